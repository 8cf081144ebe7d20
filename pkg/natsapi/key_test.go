package natsapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// accounts is a server's account, which can fail to be changed.
type accounts struct {
	mu      sync.Mutex // guards what follows
	present string
	changed int
	before  error // it is not changed, and says so
	after   error // it is changed, and says that it was not
}

func (a *accounts) get(context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.present, nil
}

func (a *accounts) set(_ context.Context, jwt string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.before != nil {
		return a.before
	}
	a.present = jwt
	a.changed++
	return a.after
}

// fails sets what comes of the next change.
func (a *accounts) fails(before, after error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.before, a.after = before, after
}

// holds reports whether the account has a signing key.
func (a *accounts) holds(t *testing.T, key string) bool {
	t.Helper()
	text, _ := a.get(t.Context())
	c, err := jwt.DecodeAccountClaims(text)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Contains(c.SigningKeys.Keys(), key)
}

// office is a writer with doors, an account and its operator.
type office struct {
	*caller
	w        *writer.Writer
	memory   *eventlog.Memory
	accounts *accounts
	operator []byte // seed

	accountID string
}

func newOffice(t *testing.T) *office { return newOfficeWith(t, func(*office, *natsapi.Config) {}) }

// newOfficeWith has further doors.
func newOfficeWith(t *testing.T, further func(*office, *natsapi.Config)) *office {
	t.Helper()
	operator, err := nkeys.CreateOperator()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := operator.Seed()
	if err != nil {
		t.Fatal(err)
	}
	public, err := operator.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	account, _, err := token.NewAuthKey() // any public account key
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.NewAccountClaims(account)
	claims.Name = "APP"
	text, err := claims.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	o := &office{memory: eventlog.NewMemory(), accounts: &accounts{present: text}, operator: seed, accountID: account}
	t.Cleanup(func() { sound(t, o.memory) })
	if o.w, err = writer.New(writer.Config{Site: site, Store: o.memory, Dir: t.TempDir(), Key: key}); err != nil {
		t.Fatal(err)
	}
	during(t, o.w.Run)
	<-o.w.Ready()
	c := natsapi.Config{Writer: o.w, AccountID: account, Account: o.accounts.get, Bring: o.bring, Operators: []string{public}}
	further(o, &c)
	o.caller = open(t, c)
	return o
}

// bring does what the process around the doors does.
func (o *office) bring(ctx context.Context) error {
	present, err := o.accounts.get(ctx)
	if err != nil {
		return err
	}
	wanted, changed, err := token.BringAccount(present, o.operator, o.w.Recorded(), time.Now())
	if err != nil || !changed {
		return err
	}
	return o.accounts.set(ctx, wanted)
}

func (o *office) newKey() token.Key {
	o.t.Helper()
	id, _, err := token.NewAuthKey()
	if err != nil {
		o.t.Fatal(err)
	}
	return token.Key{ID: id, Name: "imports " + id[:9], Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionWrite}}
}

// add asks for a key as the command line does.
func (o *office) add(k token.Key) *problem.Problem {
	o.t.Helper()
	_, p := o.ask("adm.key.add", o.addition(k), nil)
	return p
}

func (o *office) addition(k token.Key) (body string) {
	o.t.Helper()
	present, _ := o.accounts.get(o.t.Context())
	account, err := token.AddAuthKey(present, o.operator, k)
	if err != nil {
		o.t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"account": account, "key": k.ID, "name": k.Name, "aggregates": k.Aggregates, "actions": k.Actions})
	if err != nil {
		o.t.Fatal(err)
	}
	return string(text)
}

// failRecord has the next block with a commit fail; those without one are the writer's own.
func (o *office) failRecord(fault eventlog.Fault) {
	failed := false
	o.memory.SetFault(func(_ string, _ uint64, data []byte) eventlog.Fault {
		if block, err := event.DecodeHeader(data); err != nil || len(block.Records) == 0 || failed {
			return eventlog.None
		}
		failed = true
		return fault
	})
}

func (o *office) knows(k token.Key) bool {
	return slices.ContainsFunc(o.w.Keys(), func(known token.Key) bool { return known.ID == k.ID })
}

// A key is recorded first, then the server takes the account. Whichever fails, with or without effect: no key is in force that the log does not know, the answer says
// what to do, and another key can be made.
func TestAKeyFailsEachWay(t *testing.T) {
	refused := errors.New("the server says no")
	for _, test := range []struct {
		name            string
		fault           eventlog.Fault // of the record
		before, after   error          // of the account
		known, in, told bool
	}{
		{name: "the record is not stored", fault: eventlog.LoseBefore},
		{name: "the record is stored, its answer lost", fault: eventlog.LoseAfter, known: true, in: true, told: true},
		{name: "the account is not changed", before: refused, known: true},
		{name: "the account is changed, its answer lost", after: refused, known: true, in: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := newOffice(t)
			o.failRecord(test.fault)
			o.accounts.fails(test.before, test.after)
			k := o.newKey()
			switch p := o.add(k); {
			case test.told && p != nil, !test.told && (p == nil || p.Code != problem.Unavailable):
				t.Errorf("got %v, want success %v, else unavailable", p, test.told)
			case test.known && p != nil && !strings.Contains(p.Hint, "another key"):
				t.Errorf("got the hint %q, want to make another key", p.Hint)
			}
			if got := o.knows(k); got != test.known {
				t.Errorf("got the key recorded %v, want %v", got, test.known)
			}
			if got := o.accounts.holds(t, k.ID); got != test.in {
				t.Errorf("got the key in the account %v, want %v", got, test.in)
			}
			o.memory.SetFault(nil)
			o.accounts.fails(nil, nil)
			another := o.newKey()
			p := o.add(another)
			for deadline := time.Now().Add(10 * time.Second); p != nil && p.Code == problem.Unavailable && time.Now().Before(deadline); { // the log may still be in recovery
				p = o.add(another)
			}
			if p != nil {
				t.Errorf("another key: got %v", p)
			}
			if !o.knows(another) || !o.accounts.holds(t, another.ID) || o.accounts.holds(t, k.ID) != test.known {
				t.Error("another key is not recorded, not in the account, or did not bring the first one along, if that is recorded")
			}
		})
	}
}

// sound verifies every log of a store.
func sound(t *testing.T, store eventlog.Store) {
	t.Helper()
	names, err := store.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		log, err := store.Open(context.Background(), name)
		if err != nil {
			t.Fatal(err)
		}
		report, err := verify.All(context.Background(), log, nil)
		if err != nil || !report.OK() {
			t.Errorf("log %s: got %v, %v, want it sound", name, report.Failures(), err)
		}
	}
}
