package writer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// LogStatus is where a log stands in one process.
type LogStatus struct {
	Log       string `json:"log"`
	Mode      string `json:"mode"`                // starting, standby, taking, serving, recovering, leaving or stopped
	Serving   bool   `json:"serving"`             // by this process
	Sequence  uint64 `json:"sequence"`            // of the newest block that this process has
	Epoch     uint64 `json:"epoch"`               // with which this process serves it, or served it last; 0: never yet
	Shortened bool   `json:"shortened,omitempty"` // the log has lost acknowledged events, and nobody has removed the evidence
	Error     string `json:"error,omitempty"`
}

// Status lists the logs of this process by name.
func (w *Writer) Status() []LogStatus {
	var out []LogStatus
	for _, e := range w.engines() {
		st := e.state()
		l := LogStatus{Log: e.name, Mode: string(st.mode), Serving: st.mode == active && st.err == nil, Sequence: e.stored.Load(), Epoch: st.chain.Epoch}
		lost := e.lost()
		if l.Shortened, l.Error = lost != "", lost; st.err != nil {
			l.Mode, l.Error = string(stopped), st.err.Error()
		}
		out = append(out, l)
	}
	return out
}

// Stopped is why no log takes commands, in any process, until a person decides; nil while one may.
func (w *Writer) Stopped() error {
	all := w.engines()
	why := make([]error, len(all))
	for i, e := range all {
		err := e.state().err
		if err == nil {
			return nil
		}
		why[i] = fmt.Errorf("log %s: %w", e.name, err)
	}
	return errors.Join(why...)
}

// Site is who writes what.
type Site struct {
	Members []SiteMember `json:"members"`
	Logs    []SiteLog    `json:"logs"`
}

// SiteMember is one writer process.
type SiteMember struct {
	ID      string `json:"id"`
	Name    string `json:"name,omitempty"`
	Host    string `json:"host,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Version string `json:"version,omitempty"`
	Leads   int    `json:"leads"`  // logs
	Silent  bool   `json:"silent"` // it did not say how far it is
	// Refusing is why it refuses the commands of its logs, as its disk is nearly full, or would: those go to members that have room. Empty: it does not.
	Refusing string `json:"refusing,omitempty"`
}

// SiteLog is one log with who writes it and who follows it.
type SiteLog struct {
	Log      string        `json:"log"`
	State    string        `json:"state"`            // free, taking, serving or leaving
	Member   string        `json:"member,omitempty"` // id of who writes it
	Epoch    uint64        `json:"epoch"`
	Sequence uint64        `json:"sequence"` // of its newest block, as far as any process knows
	Standbys []SiteStandby `json:"standbys"`
}

// SiteStandby is how far a process follows a log that another one writes.
type SiteStandby struct {
	Member   string `json:"member"`
	Sequence uint64 `json:"sequence"`
	Lag      uint64 `json:"lag"` // blocks behind the newest one
	Error    string `json:"error,omitempty"`
}

// standingPatience bounds how long Site waits for processes that do not answer.
const standingPatience = time.Second

// Site asks all writer processes how far they are. Without leases there is one.
func (w *Writer) Site(ctx context.Context) Site {
	if w.keeper == nil {
		return siteOf([]lease.Member{w.cfg.Lease.Member}, nil, map[string][]LogStatus{w.cfg.Lease.Member.ID: w.Status()})
	}
	members := w.keeper.Members()
	known := map[string][]LogStatus{w.cfg.Lease.Member.ID: w.Status()}
	refusing := map[string]*problem.Problem{w.cfg.Lease.Member.ID: w.cfg.Room()}
	if w.cfg.Peers != nil && len(members) > 1 {
		ctx, cancel := context.WithTimeout(ctx, standingPatience)
		defer cancel()
		body, _ := json.Marshal(call{Format: callFormat}) // a call encodes
		answers, err := w.cfg.Peers.CallAll(ctx, verbStanding, body, len(members))
		if err != nil {
			w.cfg.Log.Warn().Err(err).Msg("other writers could not be asked how far they are")
		}
		for _, a := range answers {
			if r, err := decodeResult(a); err == nil && r.Member != "" {
				known[r.Member], refusing[r.Member] = r.Logs, r.Problem
			}
		}
	}
	s := siteOf(members, w.keeper.Owners(), known)
	for i := range s.Members {
		if p := refusing[s.Members[i].ID]; p != nil {
			s.Members[i].Refusing = p.Detail
		}
	}
	return s
}

func siteOf(members []lease.Member, owners []lease.Owner, known map[string][]LogStatus) Site {
	s := Site{Members: []SiteMember{}, Logs: []SiteLog{}}
	newest := make(map[string]uint64)
	for _, logs := range known {
		for _, l := range logs {
			newest[l.Log] = max(newest[l.Log], l.Sequence)
		}
	}
	if owners == nil {
		for _, l := range known[members[0].ID] {
			owners = append(owners, lease.Owner{Log: l.Log, Member: members[0].ID, State: lease.State(l.Mode), Epoch: l.Epoch})
		}
	}
	leads := make(map[string]int)
	for _, o := range owners {
		l := SiteLog{Log: o.Log, State: string(o.State), Member: o.Member, Epoch: o.Epoch, Sequence: newest[o.Log], Standbys: []SiteStandby{}}
		if o.State == lease.Free || !o.Live && o.Name+o.Host == "" && len(members) > 0 && !isMember(members, o.Member) {
			l.State = "free"
		}
		leads[o.Member]++
		for _, m := range members {
			if m.ID != o.Member {
				l.Standbys = append(l.Standbys, standbysOf(m.ID, o.Log, newest[o.Log], known[m.ID])...)
			}
		}
		s.Logs = append(s.Logs, l)
	}
	for _, m := range members {
		_, heard := known[m.ID]
		s.Members = append(s.Members, SiteMember{ID: m.ID, Name: m.Name, Host: m.Host, PID: m.PID, Version: m.Version, Leads: leads[m.ID], Silent: !heard})
	}
	return s
}

func isMember(members []lease.Member, id string) bool {
	for _, m := range members {
		if m.ID == id {
			return true
		}
	}
	return false
}

func standbysOf(member, log string, newest uint64, logs []LogStatus) []SiteStandby {
	for _, l := range logs {
		if l.Log == log {
			return []SiteStandby{{Member: member, Sequence: l.Sequence, Lag: newest - l.Sequence, Error: l.Error}}
		}
	}
	return nil
}

// Resign hands a log over to another process, whichever leads it, and returns when that serves it. The caller must write the system log or nothing but this.
func (w *Writer) Resign(ctx context.Context, log string) *problem.Problem {
	if p := w.knowsLog(log); p != nil {
		return p
	}
	_, p := w.ask(ctx, log, verbResign, call{})
	return p
}

func noSuccessor(log string) *problem.Problem {
	return problem.New(problem.Conflict, "no other writer that has room follows log %s", log).
		WithHint("start another writer, and wait until `eventful writer:list` shows it as a standby of the log; or make room for one that it shows with no room, which is given logs again when it had some for half a minute")
}

func resignProblem(log string, err error) *problem.Problem {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, lease.ErrNoSuccessor):
		return noSuccessor(log)
	case errors.Is(err, lease.ErrNotServed):
		return problem.New(problem.Unavailable, "log %s stays where it is: the other writer did not serve it in time", log).WithHint("`eventful writer:list` shows who writes it")
	}
	return problem.New(problem.Unavailable, "log %s was not handed over: %v", log, err).WithHint("`eventful writer:list` shows who writes it")
}
