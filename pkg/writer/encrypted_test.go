package writer_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/fieldkey/fieldkeytest"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// personSchema is a type in the log person; the flags are those of its name and its address: encrypted, encrypted, unique.
const personSchema = `{"aggregate":"person","fields":{"name":{"pii":%v,"max-length":30,"pattern":"[A-Za-z ]+"},"email":{"pii":%v,"unique":%v}},
	"events":{"came":{"fields":["name","email","ward"]},"gone":{"deletes":true}}}`

// sealing is a site with keys of encrypted fields, and the type person.
type sealing struct {
	*site
	bucket *fieldkeytest.Memory
	jwt    string
}

func newSealing(t *testing.T, store eventlog.Store, schema string) *sealing {
	t.Helper()
	s := &sealing{site: newSite(t, store), bucket: fieldkeytest.NewMemory()}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s.cfg.Keys = s.keys()
	s.start()
	s.migrate(schema)
	s.jwt = s.token(100_000)
	return s
}

// keys are those of another process on the same bucket.
func (s *sealing) keys() *fieldkey.Keys {
	s.t.Helper()
	keys, err := fieldkey.New(fieldkey.Config{Site: "here", Bucket: s.bucket, Wrap: [32]byte{1}, Name: [32]byte{2}, Unique: [32]byte{3}})
	if err != nil {
		s.t.Fatal(err)
	}
	return keys
}

// again starts the writer anew, with nothing in memory.
func (s *sealing) again() {
	s.t.Helper()
	if err := s.stop(); err != nil {
		s.t.Fatal(err)
	}
	s.cfg.Keys = s.keys()
	s.start()
}

func personID(id string) event.AggregateID { return event.AggregateID{Type: "person", ID: id} }

// person is a change of one person: pairs of field and value.
func person(id string, pairs ...string) aggregate.Change {
	var fields []event.Field
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, event.Field{Name: pairs[i], Value: pairs[i+1], Set: pairs[i+1] != "-"})
		if pairs[i+1] == "-" {
			fields[len(fields)-1].Value = ""
		}
	}
	return aggregate.Change{Aggregate: personID(id), Events: []aggregate.NewEvent{{Type: "came", Fields: fields}}}
}

// field reads a stored field, opened if it is sealed and the key is there.
func (s *sealing) field(c *event.Commit, name string) (value string, sealed bool) {
	s.t.Helper()
	fields, err := event.DecodePayload(c.Events[0].Payload)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range fields {
		if f.Name != name {
			continue
		}
		if !f.Sealed {
			return f.Value, false
		}
		key, err := s.keys().Get(context.Background(), c.Aggregate)
		if err != nil {
			s.t.Fatal(err)
		}
		commitment := event.Hash{}
		copy(commitment[:], c.KeyCommitment)
		if key == nil || key.Commitment() != commitment {
			return "", true
		}
		text, err := key.Open(fieldkey.Place{Site: c.Site, Branch: c.Branch, Aggregate: c.Aggregate, Field: name}, f.Value)
		if err != nil {
			s.t.Fatal(err)
		}
		return text, true
	}
	return "", false
}

// people are the commits of one person.
func (s *sealing) people(id string) (out []*event.Commit) {
	s.t.Helper()
	for _, c := range s.commits("person") {
		if c.Aggregate == personID(id) {
			out = append(out, c)
		}
	}
	return out
}

// nowhere holds that no block of any log has a text, plain or in the usual encodings.
func (s *sealing) nowhere(text string) {
	s.t.Helper()
	forms := [][]byte{[]byte(text), fmt.Appendf(nil, "%x", text)}
	for shift := range 3 { // base64 of the text within something
		whole := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + text))
		forms = append(forms, []byte(whole[2*shift:len(whole)-2]))
	}
	names, err := s.store.List(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range names {
		log, last := ended(s.t, s.store, name)
		for sequence := uint64(1); sequence <= last; sequence++ {
			m, err := log.Get(context.Background(), sequence)
			if err != nil {
				s.t.Fatal(err)
			}
			for _, form := range forms {
				if bytes.Contains(m.Data, form) {
					s.t.Errorf("log %s, sequence %d holds %q", name, sequence, form)
				}
			}
		}
	}
}

func TestEncryptedFieldsAreStoredSealed(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, true, true, false))
	const secret = "Ada Augusta Lovelace"
	r := change(s.jwt, "the-command", person("A", "name", secret, "ward", "seven"))
	first := s.must(r)
	plain := s.must(change(s.jwt, "", person("A", "ward", "eight"), person("B", "ward", "eight")))
	s.must(change(s.jwt, "", person("A", "name", "-")))
	all := s.people("A")
	if len(all) != 3 {
		t.Fatalf("got %d commits, want 3", len(all))
	}
	if name, sealed := s.field(all[0], "name"); name != secret || !sealed {
		t.Errorf("name: got %q, sealed %v, want the text, sealed", name, sealed)
	}
	if ward, sealed := s.field(all[0], "ward"); ward != "seven" || sealed {
		t.Errorf("ward: got %q, sealed %v, want it plain", ward, sealed)
	}
	if len(all[0].KeyCommitment) != 32 || all[1].KeyCommitment != nil || all[2].KeyCommitment != nil {
		t.Errorf("key commitments: got %x, %x, %x, want one with the first commit", all[0].KeyCommitment, all[1].KeyCommitment, all[2].KeyCommitment)
	}
	if len(s.bucket.Values()) != 1 || plain.Commits[1].ID != "B" {
		t.Errorf("got %d keys, want one: B has no encrypted value", len(s.bucket.Values()))
	}
	digest := (&aggregate.Command{ID: "the-command", Changes: []aggregate.Change{person("A", "name", secret, "ward", "seven")}}).Digest(all[0].Actor)
	if all[0].CommandDigest == digest {
		t.Error("the command digest is that of the text: it can be guessed")
	}
	for range 2 {
		again := s.must(change(s.jwt, "the-command", person("A", "name", secret, "ward", "seven")))
		if !again.Repeated || again.Commits[0].Position != first.Commits[0].Position {
			t.Errorf("repeated: got %+v, want the first answer %+v", again, first)
		}
		wantCode(t, s.do(change(s.jwt, "the-command", person("A", "name", "Somebody else", "ward", "seven"))), problem.CommandIDReused)
		s.again()
	}
	s.nowhere(secret)
}

// Types without encrypted fields ask nobody for keys.
func TestOtherTypesNeedNoKeys(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, true, true, false))
	for i := range 50 {
		s.must(crp(s.jwt, "", fmt.Sprint("P", i), "1"))
	}
	s.must(change(s.jwt, "", person("A", "ward", "7")))
	if n := s.bucket.Reads(); n != 0 {
		t.Errorf("got %d looks into the bucket of keys, want none", n)
	}
}

// Rules are held against the text, a dry run and a command that the schema refuses make no key, and no refusal tells a value.
func TestRulesAreAboutTheText(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, true, true, false))
	for what, value := range map[string]string{"pattern": "secret 123", "length": strings.Repeat("secret ", 10)} {
		o := s.do(change(s.jwt, "", person("A", "name", value)))
		wantCode(t, o, problem.Invalid)
		if strings.Contains(o.problem.Detail+o.problem.Hint, "secret") {
			t.Errorf("%s: the refusal tells the value: %v", what, o.problem)
		}
	}
	dry := change(s.jwt, "", person("A", "name", "Ada"))
	dry.Command.DryRun = true
	if a := s.must(dry); !a.DryRun || a.Commits[0].Version != 1 {
		t.Errorf("dry run: got %+v", a)
	}
	if n := len(s.bucket.Values()); n != 0 {
		t.Errorf("got %d keys, want none", n)
	}
	o := s.do(expect(change(s.jwt, "", person("A", "name", "Ada")), "exists"))
	wantCode(t, o, problem.Conflict)
	s.must(change(s.jwt, "", person("A", "name", "Ada")))
	sealed := person("A", "name", "AQD1oC-20mOG8DQJ6lUTEdFw7RvKGWPBoWkgwPB49RqBHLQkeqHmfXpD")
	sealed.Events[0].Fields[0].Sealed = true
	wantCode(t, s.do(change(s.jwt, "", sealed)), problem.Malformed)
	large := aggregate.Change{Aggregate: personID("L"), Events: []aggregate.NewEvent{{Type: "came", Fields: []event.Field{{Name: "email", Value: noise(900_000), Set: true}}}}}
	o = s.do(change(s.jwt, "", large))
	wantCode(t, o, problem.TooLarge)
	s.must(change(s.jwt, "", person("L", "email", strings.Repeat("a@example.org ", 70_000)))) // it compresses
}

// noise is text that does not compress.
func noise(n int) string {
	out := make([]byte, n)
	x := uint64(1)
	for i := range out {
		x = x*6364136223846793005 + 1442695040888963407
		out[i] = 'A' + byte(x>>59)
	}
	return string(out)
}

// The key is on disk before the command is decided: where it cannot be made nothing is stored.
func TestTheKeyComesFirst(t *testing.T) {
	for _, before := range []bool{true, false} {
		s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, true, true, false))
		fails := true
		s.bucket.Fail = func(_ string, at bool) error {
			if fails && at == before {
				return eventlog.ErrUnknown
			}
			return nil
		}
		o := s.do(change(s.jwt, "c", person("A", "name", "Ada")))
		if before {
			wantCode(t, o, problem.Unavailable)
			if n := len(s.people("A")); n != 0 {
				t.Errorf("not made: got %d commits, want none", n)
			}
		} else if o.problem != nil {
			t.Errorf("made, and the answer lost: got %v, want success", o.problem)
		}
		fails = false
		s.must(change(s.jwt, "c", person("A", "name", "Ada")))
		if n, keys := len(s.people("A")), len(s.bucket.Values()); n != 1 || keys != 1 {
			t.Errorf("got %d commits, %d keys, want one of each", n, keys)
		}
	}
}

// Commands about one aggregate are decided in the order in which they came, whether they wait for a key or not.
func TestKeysKeepTheOrder(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, true, true, false))
	var waits []<-chan outcome
	for i := range 60 {
		for _, id := range []string{"A", "B", "C"} {
			c := person(id, "ward", fmt.Sprint(i))
			if i%3 == 0 || id == "B" {
				c = person(id, "name", "Ada", "ward", fmt.Sprint(i))
			}
			if i%7 == 3 { // it is sealed aside
				c = person(id, "email", strings.Repeat("large@example.org ", 2000), "ward", fmt.Sprint(i))
			}
			c.Expected = aggregate.Exactly(event.Version(2 * i))
			waits = append(waits, s.send(change(s.jwt, "", c)))
		}
		all := []aggregate.Change{person("A", "name", "Ada"), person("B", "ward", "9"), person("C", "name", "Ada")}
		for j := range all {
			all[j].Expected = aggregate.Exactly(event.Version(2*i + 1))
		}
		waits = append(waits, s.send(change(s.jwt, "", all...)))
		if i == 30 {
			s.cfg.Keys.Drop(personID("A")) // it has to be fetched again
			s.cfg.Keys.Drop(personID("C"))
		}
	}
	for i, w := range waits {
		if o := s.wait(w); o.problem != nil {
			t.Fatalf("command %d: got %v, want success", i, o.problem)
		}
	}
}

// Without room no key is made.
func TestWithoutRoomNoKeyIsMade(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, true, true, false))
	var full atomic.Pointer[problem.Problem]
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s.cfg.Room = full.Load
	s.start()
	full.Store(problem.New(problem.NoSpace, "the disk is full"))
	wantCode(t, s.do(change(s.jwt, "c", person("A", "name", "Ada"))), problem.NoSpace)
	if n := len(s.bucket.Values()); n != 0 {
		t.Errorf("got %d keys, want none", n)
	}
	full.Store(nil)
	s.must(change(s.jwt, "c", person("A", "name", "Ada")))
}

// A migration that encrypts a field takes effect between two commands: what is stored under the new schema is sealed, what under the old one is not; also where
// another field of the command was encrypted before, and the command was sealed for that.
func TestMigrationWhileCommandsCome(t *testing.T) {
	for _, name := range []bool{false, true} {
		s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, name, false, false))
		s.must(change(s.jwt, "", person("first", "name", "Ada", "email", "a@example.org")))
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for n := 0; ; n++ {
				var waits []<-chan outcome
				for i := range 64 { // most of them wait for the engine when the migration comes
					waits = append(waits, s.send(change(s.jwt, "", person(fmt.Sprint("P", (n+i)%7), "name", "Ada", "email", "a@example.org"))))
				}
				for _, w := range waits {
					if o := <-w; o.problem != nil {
						t.Errorf("got %v", o.problem)
					}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
		if _, p := s.w.DraftSchema(t.Context(), s.admin, []byte(fmt.Sprintf(personSchema, name, true, false))); p != nil {
			t.Fatal(p)
		}
		checks, p := s.w.CheckMigration(t.Context(), "person")
		if p != nil || len(checks) != 1 || checks[0].Failing != 0 || len(checks[0].Samples) != 1 || !strings.Contains(checks[0].Samples[0], `hold the field "email" in plain text`) {
			t.Errorf("got %+v, %v, want one warning", checks, p)
		}
		if _, p := s.w.Migrate(t.Context(), s.admin, "person"); p != nil {
			t.Fatal(p)
		}
		s.must(change(s.jwt, "", person("last", "email", "a@example.org")))
		close(stop)
		<-done
		seen := map[bool]int{}
		for _, c := range s.commits("person") {
			_, sealed := s.field(c, "email")
			if seen[sealed]++; c.Aggregate.Type == "person" && sealed != (c.Events[0].SchemaVersion == 2) {
				t.Errorf("%s version %d under schema %d: sealed %v", c.Aggregate, c.First, c.Events[0].SchemaVersion, sealed)
			}
		}
		if seen[true] == 0 || seen[false] == 0 {
			t.Errorf("got %v commits sealed or not, want some of both", seen)
		}
		s.migrate(fmt.Sprintf(personSchema, false, false, false))
		s.must(change(s.jwt, "", person("last", "email", "plain@example.org")))
		if email, sealed := s.field(s.people("last")[1], "email"); sealed || email != "plain@example.org" {
			t.Errorf("behind pii=false: got %q, sealed %v", email, sealed)
		}
	}
}

func TestWithoutKeysEncryptedFieldsAreRefused(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	s.migrate(fmt.Sprintf(personSchema, true, true, true))
	jwt := s.token(10)
	wantCode(t, s.do(change(jwt, "", person("A", "name", "Ada"))), problem.Unavailable)
	_, p := s.w.Forget(t.Context(), s.admin, personID("A"), func(context.Context) (n writer.Removed, p *problem.Problem) { return n, p })
	wantCode(t, outcome{problem: p}, problem.Unavailable)
}

// Unique encrypted values are found by keyed hashes, in the log and in the state, and those from before the encryption by their text.
func TestUniqueEncryptedValues(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, false, false, true))
	s.must(change(s.jwt, "", person("old", "email", "plain@example.org")))
	s.migrate(fmt.Sprintf(personSchema, true, true, true))
	s.untilTaken(s.jwt, person("A", "email", "ada@example.org"))
	held := func() {
		t.Helper()
		for _, email := range []string{"plain@example.org", "ada@example.org"} {
			o := s.do(change(s.jwt, "", person("thief", "email", email)))
			wantCode(t, o, problem.Conflict)
			if strings.Contains(fmt.Sprintf("%+v", o.problem), "@example") {
				t.Errorf("the conflict tells the value: %+v", o.problem)
			}
		}
	}
	held()
	s.must(change(s.jwt, "", person("A", "email", "ada@example.org")))
	s.must(change(s.jwt, "", person("A", "email", "lovelace@example.org"), person("B", "email", "ada@example.org")))
	held()
	wantCode(t, s.do(change(s.jwt, "", person("X", "email", "x@example.org"), person("Y", "email", "x@example.org"))), problem.Conflict)
	s.stateIsOfTheLog("person")
	held()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	for key, value := range s.entries("person") {
		for _, email := range []string{"ada@", "lovelace@"} {
			if strings.Contains(key+value, email) {
				t.Errorf("the state holds %q: %q, %q", email, key, value)
			}
		}
	}
	if err := os.RemoveAll(s.stateDir("person")); err != nil {
		t.Fatal(err)
	}
	s.start()
	held()
	s.must(change(s.jwt, "", person("B", "email", "-")))
	s.must(change(s.jwt, "", person("old", "email", "new@example.org")))
	s.must(change(s.jwt, "", person("thief", "email", "plain@example.org")))
	s.must(change(s.jwt, "", person("thief", "email", "ada@example.org")))
	s.nowhere("lovelace@example.org")
	s.migrate(fmt.Sprintf(personSchema, false, false, true)) // the texts are compared with the hashes all the same
	s.untilTaken(s.jwt, person("C", "email", "c@example.org"))
	wantCode(t, s.do(change(s.jwt, "", person("D", "email", "ada@example.org"))), problem.Conflict)
	wantCode(t, s.do(change(s.jwt, "", person("D", "email", "c@example.org"))), problem.Conflict)
}

// A value that was sealed before its field was unique cannot be compared: the migration names who holds one.
func TestUniqueBehindEncryption(t *testing.T) {
	s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, true, true, false))
	for _, id := range []string{"A", "B", "left", "gone"} {
		s.must(change(s.jwt, "", person(id, "email", "same@example.org")))
	}
	s.must(change(s.jwt, "", aggregate.Change{Aggregate: personID("left"), Events: []aggregate.NewEvent{{Type: "gone"}}}))
	if _, p := s.w.Forget(t.Context(), s.admin, personID("gone"), func(context.Context) (n writer.Removed, p *problem.Problem) { return n, p }); p != nil {
		t.Fatal(p)
	}
	if _, p := s.w.DraftSchema(t.Context(), s.admin, []byte(fmt.Sprintf(personSchema, true, true, true))); p != nil {
		t.Fatal(p)
	}
	checks, p := s.w.CheckMigration(t.Context(), "person")
	if p != nil || len(checks) != 1 || checks[0].Colliding != 2 || len(checks[0].Samples) != 2 || !strings.Contains(checks[0].Samples[1], "person/B holds a value") {
		t.Errorf("got %+v, %v, want A and B named", checks, p)
	}
	_, p = s.w.Migrate(t.Context(), s.admin, "person")
	wantCode(t, outcome{problem: p}, problem.Conflict)
	s.untilTaken(s.jwt, person("A", "email", "-"))
	s.must(change(s.jwt, "", person("B", "email", "-")))
	if _, p := s.w.Migrate(t.Context(), s.admin, "person"); p != nil {
		t.Fatal(p)
	}
	s.untilTaken(s.jwt, person("A", "email", "same@example.org"))
	wantCode(t, s.do(change(s.jwt, "", person("B", "email", "same@example.org"))), problem.Conflict)
}

// sluice is a store of which one log's appends wait while it is shut.
type sluice struct {
	eventlog.Store
	log string

	mu      sync.Mutex    // guards what follows
	shut    chan struct{} // closed when it opens; nil: open
	reached chan struct{} // closed when an append waits
}

func (g *sluice) Create(ctx context.Context, name string) (eventlog.Log, error) {
	log, err := g.Store.Create(ctx, name)
	if err != nil || name != g.log {
		return log, err
	}
	return dammed{log, g}, nil
}

// close shuts it until the function that it gives is called.
func (g *sluice) close() (open func(), reached <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	shut := make(chan struct{})
	g.shut, g.reached = shut, make(chan struct{})
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.shut = nil
		close(shut)
	}), g.reached
}

type dammed struct {
	eventlog.Log
	sluice *sluice
}

func (l dammed) Append(expected uint64, data []byte) eventlog.Pending {
	l.sluice.mu.Lock()
	shut := l.sluice.shut
	if shut != nil {
		close(l.sluice.reached)
	}
	l.sluice.mu.Unlock()
	if shut != nil {
		<-shut
	}
	return l.Log.Append(expected, data)
}

// Commands that were sealed and wait for the engine while their schema changes are sealed anew: what was plain under the old one is not stored so under the new one.
func TestSealedCommandsThatWaitThroughAMigration(t *testing.T) {
	g := &sluice{Store: eventlog.NewMemory(), log: "person"}
	s := newSealing(t, g, fmt.Sprintf(personSchema, true, false, false))
	s.must(change(s.jwt, "", person("A", "name", "Ada", "email", "a@example.org")))
	open, reached := g.close()
	defer open()
	waits := []<-chan outcome{s.send(change(s.jwt, "", person("A", "name", "Ada", "email", "a@example.org")))}
	<-reached // its append waits, and the engine with it
	for range 29 {
		waits = append(waits, s.send(change(s.jwt, "", person("A", "name", "Ada", "email", "a@example.org"))))
	}
	if _, p := s.w.DraftSchema(t.Context(), s.admin, []byte(fmt.Sprintf(personSchema, true, true, false))); p != nil {
		t.Fatal(p)
	}
	migrated := make(chan *problem.Problem, 1)
	go func() {
		_, p := s.w.Migrate(t.Context(), s.admin, "person")
		migrated <- p
	}()
	for deadline := time.Now().Add(patience); ; {
		if info, p := s.w.Schema("person"); p == nil && info.Version == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the schema was not migrated")
		}
		runtime.Gosched()
	}
	open()
	for i, w := range waits {
		if o := s.wait(w); o.problem != nil {
			t.Errorf("command %d: got %v", i, o.problem)
		}
	}
	if p := <-migrated; p != nil {
		t.Error(p)
	}
	under := map[uint64]int{}
	for _, c := range s.people("A") {
		version := c.Events[0].SchemaVersion
		under[version]++
		if _, sealed := s.field(c, "email"); sealed != (version == 2) {
			t.Errorf("version %d under schema %d: the address is sealed: %v", c.First, version, sealed)
		}
	}
	if under[1] != 2 || under[2] != 29 {
		t.Errorf("got commits by schema version %v, want 2 and 29", under)
	}
}
