package projector

import (
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// States of a log's reader, as Status shows them.
const (
	stateStarting  = "starting"
	stateFollowing = "following"
	stateRetrying  = "retrying"
	statePaused    = "paused" // there is no room
	stateStopped   = "stopped"
)

// progress is how far an index has come, for those who wait for it.
type progress struct {
	mu       sync.Mutex // guards what follows
	state    string
	err      error
	at       place
	last     uint64        // of the log, when it was last asked
	lag      uint64        // events, when the log was last asked
	late     time.Duration // as lag, in time of the blocks
	target   uint64        // the index is complete from this sequence on
	opened   bool          // target is known
	finished bool          // target was reached since the index was last empty
	changed  chan struct{} // closed when at or state changes; nil while nobody waits
}

func (p *progress) init() { p.state = stateStarting }

// set changes the progress under its lock and tells those who wait.
func (p *progress) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.finished = p.finished || p.opened && p.at.chain.Sequence >= p.target
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// begin is called when the store is open and its position fits the log, which now ends at last.
func (p *progress) begin(at place, last uint64) {
	p.set(func() {
		p.state, p.err, p.at, p.last, p.opened = stateFollowing, nil, at, last, true
		if !p.finished {
			p.target = last
		}
	})
}

func (p *progress) moved(at place) {
	p.set(func() {
		p.at, p.last = at, max(p.last, at.chain.Sequence)
		if p.last == at.chain.Sequence {
			p.lag, p.late = 0, 0
		}
	})
}

func (p *progress) surveyed(last, lag uint64, late time.Duration) {
	p.set(func() { p.last, p.lag, p.late = max(last, p.at.chain.Sequence), lag, late })
}

// resumed ends a pause.
func (p *progress) resumed() {
	p.set(func() { p.state, p.err = stateFollowing, nil })
}

func (p *progress) failed(state string, err error) {
	p.set(func() { p.state, p.err = state, err })
}

// reset is called when the index is dropped.
func (p *progress) reset() {
	p.set(func() { p.at, p.opened, p.finished = place{}, false, false })
}

// settled reports whether nobody needs to wait for this log at start: the index is complete, or its reader has stopped for good.
func (p *progress) settled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.finished || p.state == stateStopped
}

// complete refuses while the index is still being built.
func (p *progress) complete(log string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.finished:
		return nil
	case p.err != nil:
		return problem.New(problem.Unavailable, "the index of log %s is not complete: it stands at %d, and %s: %v", log, p.at.chain.Sequence, p.state, p.err)
	}
	return problem.New(problem.Unavailable, "the index of log %s is being built: %d of %d blocks", log, p.at.chain.Sequence, p.target).WithHint("try again in a moment")
}

// now gives where the index stands, and a channel that is closed when that changes. stopped is the error of a reader that has stopped for good.
func (p *progress) now() (at place, changed <-chan struct{}, stopped error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == stateStopped {
		stopped = p.err
	}
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.at, p.changed, stopped
}

func (p *progress) status(log string) LogStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := LogStatus{Log: log, State: p.state, Indexed: p.at.chain.Sequence, Last: p.last, LagEvents: p.lag, LagSeconds: p.late.Seconds()}
	if p.err != nil {
		s.Error = p.err.Error()
	}
	return s
}
