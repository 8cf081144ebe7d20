package doctor

import (
	"cmp"
	"fmt"
	"slices"
)

// site is the part that is read of who writes what, as the writer that answered sees it.
type site struct {
	Members []siteMember `json:"members"` // those that live
	Logs    []siteLog    `json:"logs"`
}

type siteMember struct {
	ID   string `json:"id"`
	Host string `json:"host"`
	PID  int    `json:"pid"`

	Leads    int    `json:"leads"`    // logs
	Refusing string `json:"refusing"` // why it refuses the commands of its logs; empty: it does not
}

type siteLog struct {
	Log      string `json:"log"`
	State    string `json:"state"`  // free, taking, serving or leaving
	Member   string `json:"member"` // who writes it
	Standbys []struct {
		Member string `json:"member"`
		Error  string `json:"error"`
	} `json:"standbys"`
}

// writers looks at how each log is written, by whichever process. A log that the one that answered does not know counts too.
func (x *examination) writers(s status) {
	logs := slices.Clone(s.Logs)
	if s.Writers != nil {
		for _, l := range s.Writers.Logs {
			if !slices.ContainsFunc(logs, func(o logStatus) bool { return o.Log == l.Log }) {
				logs = append(logs, logStatus{Log: l.Log, State: "recovering"})
			}
		}
	}
	before := len(x.results)
	for _, l := range logs {
		x.written(l, s.Writers)
	}
	if len(x.results) == before {
		x.ok(checkWriter, "serves every log (%d)", len(logs))
	}
}

// written looks at one log. What ails it where the answer came from goes before what the site says of it.
func (x *examination) written(l logStatus, s *site) {
	lead, listed := s.log(l.Log)
	if l.Unsigned != "" {
		x.found(checkWriter, "keep a copy of the data as they are. If the loss of its end was accepted since, start the writer again; else docs/proofs.md, \"When signing is refused\", says what to do",
			"no checkpoints of log %s are signed, as it contradicts an earlier one: %s", l.Log, l.Unsigned)
	}
	switch {
	case l.Shortened:
		x.found(checkWriter, "put back the newest backup of the logs; or accept the loss: remove the folder that shows it, and start the writer again. Until then `eventful aggregate:verify` says TRUNCATED",
			"log %s has lost acknowledged events: %s", l.Log, l.orNothing())
	case l.Error != "", l.State == "stopped", !listed && l.State != "serving" && l.State != "recovering":
		x.found(checkWriter, "`eventful aggregate:verify --all` names damage in a log, which takes no commands until you decide; `eventful logs` says more",
			"log %s is %s: %s", l.Log, l.State, l.orNothing())
	case !listed && l.State == "serving":
	case listed && (lead.Member == "" || lead.State == "free" || !s.lives(lead.Member)):
		x.found(checkWriter, "wait some seconds: a writer that runs takes it over; if none does, `eventful writer:list` shows which run, and what they wrote to standard error says why",
			"log %s has no writer", l.Log)
	case listed && lead.State == "serving":
		x.standbys(lead, s)
	default:
		x.found(checkWriter, "wait: commands are accepted when it is done; `eventful status` shows the state",
			"log %s is %s: %s", l.Log, cmp.Or(lead.State, l.State), l.orNothing())
	}
}

// standbys that stopped following a log do not take it over.
func (x *examination) standbys(l siteLog, s *site) {
	for _, b := range l.Standbys {
		if b.Error != "" {
			x.found(checkWriter, "what that writer wrote to standard error says more; start it again when the cause is gone",
				"log %s is served, and not followed by writer %s: %s", l.Log, s.name(b.Member), b.Error)
		}
	}
}

func (s *site) log(name string) (siteLog, bool) {
	if s != nil {
		for _, l := range s.Logs {
			if l.Log == name {
				return l, true
			}
		}
	}
	return siteLog{}, false
}

func (s *site) lives(id string) bool {
	return slices.ContainsFunc(s.Members, func(m siteMember) bool { return m.ID == id })
}

func (s *site) name(id string) string {
	for _, m := range s.Members {
		if m.ID == id && m.Host != "" {
			return fmt.Sprintf("%s:%d", m.Host, m.PID)
		}
	}
	return id
}
