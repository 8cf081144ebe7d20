package writer

import (
	"context"
	"slices"
	"sync"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Door is what lets the requests of one log into this process: commands for its types, and with the system log administrative acts.
type Door struct {
	Log   string   // empty: commands for every type there is or may be, as this process writes all logs and is alone
	Group string   // one process of those that share it gets each request
	Types []string // of the log, by name
}

// Doors lets requests in; package natsapi does.
type Doors interface {
	// Set opens these doors and closes all others, in that order, and comes back when the servers know and each request that came by a closed door was handed to
	// the Writer. nil says that the process ends: then acts under way are waited for. Calls come one after the other.
	Set(ctx context.Context, doors []Door) error
}

// Attach has requests let in by d. It is called before Run, or not at all.
func (w *Writer) Attach(d Doors) { w.doors.outside = d }

// Shares reports whether this Writer shares the logs with other processes, and so opens and closes doors as it comes to write them.
func (w *Writer) Shares() bool { return w.keeper != nil }

// doorkeeper keeps the doors as the engines want them. One goroutine, that of keep, opens and closes.
type doorkeeper struct {
	outside Doors // nil: nobody asks to be let in

	mu      sync.Mutex // guards what follows
	waiting []chan struct{}
	changed chan struct{} // has one element when something changed
}

func newDoorkeeper() *doorkeeper { return &doorkeeper{changed: make(chan struct{}, 1)} }

// sync has the doors brought up to date; done is closed when they are as they were wanted at the time of the call.
func (d *doorkeeper) sync() (done <-chan struct{}) {
	c := make(chan struct{})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = append(d.waiting, c)
	d.poke()
	return c
}

// poke has the doors looked at.
func (d *doorkeeper) poke() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// keepDoors opens and closes doors and answers calls of other writers until ctx ends; then it closes all.
func (w *Writer) keepDoors(ctx context.Context) {
	answering := make(map[string]func()) // by log: stops answering calls of other writers
	defer func() {
		for _, stop := range answering {
			stop()
		}
	}()
	var open []Door
	for ctx.Err() == nil {
		view := w.sys.changes()
		w.doors.mu.Lock()
		waiting := w.doors.waiting
		w.doors.waiting = nil
		w.doors.mu.Unlock()
		wanted, logs := w.wantedDoors()
		if !w.setDoors(ctx, open, wanted) || !w.answerFor(ctx, answering, logs) {
			w.doors.mu.Lock()
			w.doors.waiting = append(waiting, w.doors.waiting...)
			w.doors.mu.Unlock()
			_ = pause(ctx, retryAtLeast)
			continue
		}
		open = wanted
		for _, c := range waiting {
			close(c)
		}
		select {
		case <-w.doors.changed:
		case <-view:
		case <-ctx.Done():
		}
	}
}

// setDoors reports whether the doors are as wanted.
func (w *Writer) setDoors(ctx context.Context, open, wanted []Door) bool {
	same := slices.EqualFunc(open, wanted, func(a, b Door) bool {
		return a.Log == b.Log && a.Group == b.Group && slices.Equal(a.Types, b.Types)
	})
	if same || w.doors.outside == nil {
		return true
	}
	if err := w.doors.outside.Set(ctx, wanted); err != nil {
		if ctx.Err() == nil {
			w.cfg.Log.Warn().Err(err).Msg("requests could not be let in")
		}
		return false
	}
	return true
}

// wantedDoors are the doors of the logs that are led here, with those logs.
func (w *Writer) wantedDoors() (doors []Door, logs []string) {
	v := w.sys.now.Load()
	doors = []Door{}
	groups := make(map[string]bool)
	for _, e := range w.engines() {
		if l := e.status.Load().lease; l != nil {
			doors = append(doors, Door{Log: e.name, Group: l.Group(), Types: v.typesIn(e.name)})
			logs = append(logs, e.name)
			groups[l.Group()] = true
		}
	}
	all := !slices.ContainsFunc(append(v.logs(), event.Reserved), func(log string) bool { return !slices.Contains(logs, log) })
	if !all || len(groups) != 1 || !w.keeper.Alone() {
		return doors, logs
	}
	wide := []Door{{Group: doors[0].Group}}
	for _, d := range doors {
		if d.Log == event.Reserved {
			wide = append(wide, Door{Log: d.Log, Group: d.Group})
		}
	}
	return wide, logs
}

// answerFor answers the calls of other writers for exactly these logs.
func (w *Writer) answerFor(ctx context.Context, answering map[string]func(), logs []string) bool {
	if w.cfg.Peers == nil {
		return true
	}
	for log, stop := range answering {
		if !slices.Contains(logs, log) {
			delete(answering, log)
			stop()
		}
	}
	for _, log := range logs {
		if answering[log] != nil {
			continue
		}
		stop, err := w.cfg.Peers.Serve(ctx, log, w.answerCall(log))
		if err != nil {
			if ctx.Err() == nil {
				w.cfg.Log.Warn().Err(err).Str("log", log).Msg("calls of other writers could not be answered")
			}
			return false
		}
		answering[log] = stop
	}
	return true
}
