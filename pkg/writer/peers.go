package writer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// Peers carries calls between the writers of a site, where no person reaches (docs/spec/subjects.md). Bodies are JSON of at most some 100 KB. All methods are
// safe for concurrent use.
type Peers interface {
	// Call asks who serves a log. An error: nobody answered; whether the call arrived is not known.
	Call(ctx context.Context, log, verb string, body []byte) ([]byte, error)

	// CallAll asks every writer process, this one too if it answers, and gives what it has when n answered or ctx ends.
	CallAll(ctx context.Context, verb string, body []byte, n int) ([][]byte, error)

	// Serve answers the calls of a log, or with an empty log those of CallAll, until stop; each call on a goroutine of its own, whose context ends with
	// stop. stop waits for them. Calls are answered when Serve comes back.
	Serve(ctx context.Context, log string, answer func(ctx context.Context, verb string, body []byte) []byte) (stop func(), err error)
}

// Verbs of calls. All but those of CallAll are about a log and are answered by who serves it; each may come twice.
const (
	verbGrant    = "grant"     // of the system log: units of a token for another log
	verbHandBack = "hand-back" // the log gives up what it does not need of a token
	verbUsage    = "usage"     // how much of some tokens the log has stored
	verbFreeze   = "freeze"    // decide no commands until a migration is stored
	verbCheck    = "check"     // … and look for values that would stand twice
	verbThaw     = "thaw"      // the migration will not be stored
	verbBarrier  = "barrier"   // decide under the system log as of a sequence
	verbConfig   = "config"    // of the system log: enter what `config` did
	verbForget   = "forget"    // seal nothing under a key any more
	verbRollback = "rollback"  // a step of a rollback
	verbArchive  = "archive"   // keep the state in the archive, and record that the log may be purged
	verbArchived = "archived"  // of the system log: record that a log may be purged
	verbTier     = "tier"      // archive or restore an aggregate
	verbResign   = "resign"    // hand the log over
	verbCondemn  = "condemn"   // of CallAll: a log is damaged
	verbStanding = "standing"  // of CallAll: how far each log is
)

// callFormat is the version of calls and their answers.
const callFormat = 1

// call is what one writer asks another.
type call struct {
	Format   int                 `json:"v"`
	Log      string              `json:"log,omitempty"`
	Token    *token.Claims       `json:"token,omitempty"` // of whom units are asked, or who acts
	Have     uint64              `json:"have,omitempty"`
	Need     uint64              `json:"need,omitempty"`
	Tokens   []string            `json:"tokens,omitempty"`   // ids
	Sequence uint64              `json:"sequence,omitempty"` // of the system log
	Freeze   *freeze             `json:"freeze,omitempty"`
	Unique   map[string][]string `json:"unique,omitempty"`
	Found    string              `json:"found,omitempty"`
	Forget   *forgetCall         `json:"forget,omitempty"`
	Config   *ConfigAct          `json:"config,omitempty"`
	Roll     *rollCall           `json:"roll,omitempty"`
	Archive  *Cut                `json:"archive,omitempty"`
	Asker    string              `json:"asker,omitempty"` // token, as text, of who asked the archiver
	Tier     *Tier               `json:"tier,omitempty"`
	Archived *archivedAct        `json:"archived,omitempty"`
	Moved    *TierRecord         `json:"moved,omitempty"` // what Tier led to
}

// result is the answer to a call.
type result struct {
	Format   int                `json:"v"`
	Problem  *problem.Problem   `json:"problem,omitempty"`
	Again    bool               `json:"again,omitempty"` // this process does not serve the log now, or is not done: ask again
	Sequence uint64             `json:"sequence,omitempty"`
	Units    uint64             `json:"units,omitempty"`
	Spent    map[string]uint64  `json:"spent,omitempty"` // units, by token id
	Found    []*problem.Problem `json:"found,omitempty"`
	Member   string             `json:"member,omitempty"`
	Logs     []LogStatus        `json:"logs,omitempty"`

	Forgotten *forgottenKeyRecord    `json:"forgotten,omitempty"`
	Kept      *eventlog.KeptSnapshot `json:"kept,omitempty"`
	Tier      *TierRecord            `json:"tier,omitempty"`
	Rolled    *rolled                `json:"rolled,omitempty"`
}

// attemptPatience is how long one attempt of a call may take; the answering side says Again before that.
const attemptPatience = 3 * time.Second

// ask has a call answered by who serves the log, here or in another process, and asks again until somebody has or ctx ends. Then its outcome is not known.
func (w *Writer) ask(ctx context.Context, log, verb string, c call) (result, *problem.Problem) {
	why := "nobody serves it"
	for {
		r, err := w.askOnce(ctx, log, verb, c)
		switch {
		case err != nil:
			why = err.Error()
		case r.Again:
			why = "who serves it is not ready"
		default:
			return r, r.Problem
		}
		if pause(ctx, retryAtLeast) != nil {
			return result{}, problem.New(problem.UnknownOutcome, "log %s did not answer in time: %s", log, why).WithHint("`eventful status` names who writes each log")
		}
	}
}

func (w *Writer) askOnce(ctx context.Context, log, verb string, c call) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptPatience)
	defer cancel()
	if e := w.engine(log); e != nil && e.leads() {
		return w.answer(ctx, e, verb, c), nil
	}
	if w.cfg.Peers == nil {
		return result{Again: true}, nil
	}
	c.Format = callFormat
	body, err := json.Marshal(c)
	if err != nil {
		return result{}, fmt.Errorf("encode a call: %w", err)
	}
	answer, err := w.cfg.Peers.Call(ctx, log, verb, body)
	if err != nil {
		return result{}, err
	}
	return decodeResult(answer)
}

func decodeResult(body []byte) (r result, err error) {
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("decode the answer of another writer: %w", err)
	}
	r.Found = slices.DeleteFunc(r.Found, func(p *problem.Problem) bool { return p == nil }) // JSON's null
	if r.Format != callFormat {
		return r, fmt.Errorf("the answer of another writer has version %d, this program knows %d", r.Format, callFormat)
	}
	return r, nil
}

func decodeCall(body []byte) (c call, err error) {
	if err := json.Unmarshal(body, &c); err != nil || c.Format != callFormat {
		return c, fmt.Errorf("a call of version %d cannot be read (%v); this program knows version %d", c.Format, err, callFormat)
	}
	return c, nil
}

// leads reports whether this process is the one that calls of the log are for.
func (e *engine) leads() bool {
	st := e.state()
	return st.mode == active || e.orders == nil || st.err != nil && st.lease != nil
}

// answerCall is what Peers hands a call to.
func (w *Writer) answerCall(log string) func(ctx context.Context, verb string, body []byte) []byte {
	return func(ctx context.Context, verb string, body []byte) []byte {
		r := result{}
		c, err := decodeCall(body)
		if err != nil {
			r.Problem = problem.New(problem.Malformed, "%v", err)
		} else if e := w.engine(log); log == "" {
			r = w.answerAll(verb, c)
		} else if e == nil || !e.leads() {
			r.Again = true
		} else {
			r = w.answer(ctx, e, verb, c)
		}
		r.Format = callFormat
		out, err := json.Marshal(r)
		if err != nil {
			return []byte(`{"v":1,"again":true}`)
		}
		return out
	}
}

// answer does what a call asks of a log that is led here. What could not be decided is to be asked again.
func (w *Writer) answer(ctx context.Context, e *engine, verb string, c call) (r result) {
	switch {
	case verb == verbBarrier:
		r.Problem = w.passBarrier(ctx, e, c)
	case verb == verbResign:
		r.Problem = w.resign(ctx, e.name)
	case verb == verbGrant && c.Token != nil && e.isSystem():
		r.Problem = w.grant(ctx, c.Token, units{log: c.Log, have: c.Have, need: c.Need})
		r.Sequence = w.sys.now.Load().position.Sequence
	case verb == verbHandBack && c.Token != nil && !e.isSystem():
		r.Units, r.Problem = w.handBack(ctx, e, c.Token)
	case verb == verbUsage && !e.isSystem():
		r.Spent, r.Problem = w.spentHere(ctx, e, c.Tokens)
	case verb == verbConfig && c.Config != nil && e.isSystem():
		r.Problem = w.enterConfig(ctx, *c.Config)
	case verb == verbFreeze && c.Token != nil && c.Freeze != nil && !e.isSystem():
		if err := w.sys.await(ctx, c.Sequence); err != nil {
			return result{Again: true}
		}
		r.Problem = w.freezeLog(ctx, e, c.Token, *c.Freeze)
	case verb == verbCheck && c.Freeze != nil && !e.isSystem():
		r = w.check(ctx, e, *c.Freeze, c.Unique)
	case verb == verbThaw && c.Token != nil && c.Freeze != nil && !e.isSystem():
		r.Problem = w.thawLog(ctx, e, c.Token, *c.Freeze)
	case verb == verbForget && c.Token != nil && c.Forget != nil && !e.isSystem():
		if err := w.sys.await(ctx, c.Sequence); err != nil {
			return result{Again: true}
		}
		r.Forgotten, r.Problem = w.forgetHere(ctx, e, c.Token, *c.Forget)
	case verb == verbRollback && c.Token != nil && c.Roll != nil && !e.isSystem():
		if err := w.sys.await(ctx, c.Sequence); err != nil {
			return result{Again: true}
		}
		return w.rollStep(ctx, e, c)
	case verb == verbArchive && c.Archive != nil:
		r = w.archive(ctx, e, c)
	case verb == verbArchive && c.Tier != nil && c.Tier.Version > 0 && !e.isSystem():
		r = w.cool(ctx, e, c)
	case verb == verbArchived && c.Token != nil && c.Archived != nil && e.isSystem():
		r.Problem = w.enterArchived(ctx, c.Token, *c.Archived)
	case verb == verbArchived && c.Token != nil && c.Tier != nil && c.Moved != nil && e.isSystem():
		r.Problem = w.recordTier(ctx, c.Token, *c.Tier, c.Moved)
	case verb == verbTier && c.Token != nil && c.Tier != nil && c.Tier.Version == 0 && !e.isSystem():
		if err := w.sys.await(ctx, c.Sequence); err != nil {
			return result{Again: true}
		}
		r.Tier, r.Problem = w.moveHere(ctx, e, c.Token, *c.Tier)
	default:
		r.Problem = problem.New(problem.Malformed, "call %.40q of log %s cannot be read", verb, e.name)
	}
	if p := r.Problem; p != nil && (p.Code == problem.Unavailable || p.Code == problem.UnknownOutcome) && verb != verbResign {
		return result{Again: true}
	}
	return r
}

// answerAll answers what is asked of every process.
func (w *Writer) answerAll(verb string, c call) (r result) {
	r.Member = w.cfg.Lease.Member.ID
	switch verb {
	case verbCondemn:
		w.condemn(c.Log, c.Found)
	case verbStanding:
		r.Logs, r.Problem = w.Status(), w.cfg.Room()
	default:
		r.Problem = problem.New(problem.Malformed, "call %.40q cannot be read", verb)
	}
	return r
}

// resign hands a log over to another process and returns when that serves it.
func (w *Writer) resign(ctx context.Context, log string) *problem.Problem {
	if w.keeper == nil {
		return noSuccessor(log)
	}
	return resignProblem(log, w.keeper.Resign(ctx, log))
}
