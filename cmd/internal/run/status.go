package run

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// engineStatus is the answer of adm.server.status.
type engineStatus struct {
	Site    string      `json:"site"`
	Version string      `json:"version"`
	Logs    []logStatus `json:"logs"`
	Held    int         `json:"held"`  // decoded events in memory
	Limit   int         `json:"limit"` // of them, at most

	Writers *writer.Site `json:"writers,omitempty"` // which process writes which log, and who follows it

	Inbox    string         `json:"inbox,omitempty"`    // why commands of the durable inbox are not delivered now
	Refusing string         `json:"refusing,omitempty"` // why writes are refused now
	Disks    []space.Volume `json:"disks"`
	Archive  string         `json:"archive,omitempty"` // where it lies; empty: there is none
}

// logStatus is how a log is written and how far its index is.
type logStatus struct {
	Log        string  `json:"log"`
	State      string  `json:"state"`               // of writing it, or without a writer of indexing it
	Writer     string  `json:"writer,omitempty"`    // the process that writes it, where that is another one: host and process id
	Position   string  `json:"position"`            // sequence of its newest block
	Indexed    uint64  `json:"indexed"`             // last sequence in the index
	LagEvents  uint64  `json:"lag-events"`          // stored and not yet in the index
	LagSeconds float64 `json:"lag-seconds"`         // how much later its newest block was written than the newest one in the index
	Shortened  bool    `json:"shortened,omitempty"` // it has lost acknowledged events, and the evidence is still there
	Unsigned   string  `json:"unsigned,omitempty"`  // why no checkpoints of it are signed any more
	Foreign    uint64  `json:"foreign,omitempty"`   // sequence of a message behind its newest block that its writer did not store; 0: none is seen
	Archived   uint64  `json:"archived,omitempty"`  // sequence up to which the archive holds it, as far as this process has seen
	Error      string  `json:"error,omitempty"`
}

// status is statusOf, with the archive.
func (e Engines) status(ctx context.Context, api natsapi.Config, guard *space.Watcher) engineStatus {
	s := statusOf(ctx, api, guard)
	if e.Archive == nil {
		return s
	}
	s.Archive = e.Archive.String()
	for i := range s.Logs {
		s.Logs[i].Archived = e.Archive.Known(s.Logs[i].Log)
	}
	return s
}

func statusOf(ctx context.Context, api natsapi.Config, guard *space.Watcher) engineStatus {
	site, w, p := api.Site, api.Writer, api.Projector
	s := engineStatus{Site: site, Version: Version(), Logs: []logStatus{}, Disks: guard.Volumes()}
	if p := guard.Check(); p != nil {
		s.Refusing = p.Detail
	}
	if api.Inbox != nil {
		if err := api.Inbox.Fault(); err != nil {
			s.Inbox = err.Error()
		}
	}
	unsigned := make(map[string]string)
	if api.Signer != nil {
		for _, l := range api.Signer.Status() {
			if l.Refusal != nil {
				unsigned[l.Log] = l.Refusal.Error()
			}
		}
	}
	indexed := make(map[string]projector.LogStatus)
	if p != nil {
		s.Held, s.Limit = p.Held()
		for _, l := range p.Status() {
			indexed[l.Log] = l
		}
	}
	if w != nil {
		site := w.Site(ctx)
		s.Writers = &site
		var strange map[string]uint64
		if api.Store != nil {
			strange = foreign(ctx, api.Store, w)
		}
		for _, l := range w.Status() {
			i := indexed[l.Log]
			delete(indexed, l.Log)
			one := logStatus{Log: l.Log, State: "recovering", Position: strconv.FormatUint(l.Sequence, 10), Indexed: i.Indexed, LagEvents: i.LagEvents, LagSeconds: i.LagSeconds, Shortened: l.Shortened, Unsigned: unsigned[l.Log], Foreign: strange[l.Log], Error: l.Error + i.Error}
			switch {
			case l.Serving:
				one.State = "serving"
			case l.Error != "":
				one.State = "stopped"
			default:
				one.elsewhere(site)
			}
			s.Logs = append(s.Logs, one)
		}
	}
	for _, i := range indexed {
		s.Logs = append(s.Logs, logStatus{Log: i.Log, State: i.State, Position: strconv.FormatUint(i.Last, 10), Indexed: i.Indexed, LagEvents: i.LagEvents, LagSeconds: i.LagSeconds, Error: i.Error})
	}
	slices.SortFunc(s.Logs, func(a, b logStatus) int { return strings.Compare(a.Log, b.Log) })
	return s
}

// elsewhere says of a log that this process does not write how it is where it is written.
func (l *logStatus) elsewhere(site writer.Site) {
	for _, other := range site.Logs {
		if other.Log != l.Log || other.State != "serving" {
			continue
		}
		l.State, l.Writer = other.State, other.Member
		for _, m := range site.Members {
			if m.ID == other.Member {
				l.Writer = fmt.Sprintf("%s:%d", m.Host, m.PID)
			}
		}
	}
}
