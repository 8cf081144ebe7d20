package checkpoint_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/pkg/checkpoint"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func key() *logtree.Key { return logtree.NewKey(verifytest.Site, [32]byte{7}) }

// bucket keeps values in memory, and fails as it is told.
type bucket struct {
	mu       sync.Mutex // guards what follows
	values   map[string][]byte
	revision map[string]uint64
	next     uint64
	fail     func() error // asked before a change is stored
	lost     func() error // asked behind it
	history  [][]byte
}

func newBucket() *bucket {
	return &bucket{values: map[string][]byte{}, revision: map[string]uint64{}}
}

func (b *bucket) Get(_ context.Context, key string) ([]byte, uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.values[key], b.revision[key], nil
}

func (b *bucket) Replace(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		if err := b.fail(); err != nil {
			return 0, err
		}
	}
	if b.revision[key] != revision {
		return 0, eventlog.ErrTaken
	}
	b.next++
	b.values[key], b.revision[key], b.history = value, b.next, append(b.history, value)
	if b.lost != nil {
		if err := b.lost(); err != nil {
			return 0, err
		}
	}
	return b.next, nil
}

func (b *bucket) set(value []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	b.values["k-patient"], b.revision["k-patient"] = value, b.next
}

func (b *bucket) stores() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.history)
}

func (b *bucket) stored() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.values["k-patient"]
}

// site is a log with one writer, and what signs it.
type site struct {
	t      *testing.T
	logs   *eventlog.Memory
	log    eventlog.Log
	write  *verifytest.Builder
	bucket *bucket
	dir    string
	record bool
	lost   string
	epochs uint64 // by which the log's epoch was raised

	mu    sync.Mutex // guards head and clock
	head  *logtree.Head
	clock time.Time
}

func newSite(t *testing.T) *site {
	s := &site{t: t, bucket: newBucket(), dir: filepath.Join(t.TempDir(), "own"), record: true, clock: time.Unix(1000, 0)}
	s.logs, s.log, s.write = verifytest.Memory(t, "patient")
	return s
}

// add writes blocks of one event each.
func (s *site) add(blocks int) {
	for range blocks {
		s.write.Block(verifytest.Commit{Aggregate: verifytest.Aggregate("patient", "A"), Events: []verifytest.Event{{Type: "crp", Fields: []event.Field{verifytest.Text("crp", "1")}}}})
	}
}

// headOf reads a log as its writer would, in a session.
func headOf(t *testing.T, log eventlog.Log, session uint64) *logtree.Head {
	t.Helper()
	h := &logtree.Head{Log: "patient", Session: session}
	var chain event.Chain
	for i, m := range verifytest.Messages(t, log) {
		v := chain.Next(uint64(i)+1, m)
		h.Sequence = uint64(i) + 1
		if v.Standing != event.Counts {
			continue
		}
		h.Block, h.Epoch, h.Time = v.Block.ID, v.Block.Epoch, v.Block.Time
		for _, c := range v.Commits {
			h.Tree = h.Tree.Append(c.Leaves()...)
			h.Commits++
		}
	}
	return h
}

func (s *site) show(session uint64) {
	h := headOf(s.t, s.log, session)
	h.Epoch += s.epochs
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head = h
}

func (s *site) config(ticks <-chan time.Time) checkpoint.Config {
	return checkpoint.Config{
		Key: key(), Logs: s.logs, Bucket: s.bucket, KeyOf: func(log string) string { return "k-" + log }, Dir: s.dir, Ticks: ticks,
		Record: func(context.Context) bool { return s.record },
		Lost:   func(string) string { return s.lost },
		Heads: func() []*logtree.Head {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.head == nil {
				return nil
			}
			return []*logtree.Head{s.head}
		},
		Now: func() time.Time {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.clock
		},
	}
}

// later lets time pass.
func (s *site) later(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = s.clock.Add(d)
}

// running is a signer that looks when it is told to.
type running struct {
	s      *site
	signer *checkpoint.Signer
	ticks  chan time.Time
	end    func()
}

func (s *site) run() *running {
	s.t.Helper()
	ticks := make(chan time.Time)
	signer, err := checkpoint.New(s.config(ticks))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := signer.Run(ctx); err != nil {
			s.t.Error(err)
		}
	})
	r := &running{s: s, signer: signer, ticks: ticks, end: sync.OnceFunc(func() { cancel(); done.Wait() })}
	s.t.Cleanup(r.end)
	return r
}

// look lets time pass and the signer look, until cond holds.
func (r *running) look(what string, cond func() bool) {
	r.s.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			r.s.t.Fatalf("no %s in time; status %+v", what, r.signer.Status())
		}
		r.s.later(time.Second)
		r.ticks <- time.Time{}
	}
}

func (r *running) signed(size uint64) {
	r.s.t.Helper()
	r.look("checkpoint", func() bool {
		c, ok := r.s.last()
		return ok && c.Size == size
	})
}

// signedNow waits for a checkpoint while the clock stands.
func (r *running) signedNow(size uint64) {
	r.s.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for c, _ := r.s.last(); c.Size != size; c, _ = r.s.last() {
		if time.Now().After(deadline) {
			r.s.t.Fatalf("got size %d, want %d without waiting", c.Size, size)
		}
		r.ticks <- time.Time{}
	}
}

func (r *running) refused(v verify.Verdict) string {
	r.s.t.Helper()
	var detail string
	r.look("refusal", func() bool {
		st := r.signer.Status()
		if len(st) != 1 || st[0].Refusal == nil {
			return false
		}
		if st[0].Refusal.Verdict != v {
			r.s.t.Fatalf("got %v, want %s", st[0].Refusal, v)
		}
		detail = st[0].Refusal.Detail
		return true
	})
	return detail
}

func (s *site) last() (logtree.Checkpoint, bool) {
	value := s.bucket.stored()
	if value == nil {
		return logtree.Checkpoint{}, false
	}
	r, err := logtree.DecodeRecord(value, key().VKey("patient"))
	if errors.Is(err, logtree.ErrNoRecord) {
		return logtree.Checkpoint{}, false
	}
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := logtree.Open(r.Note, key().VKey("patient"))
	if err != nil {
		s.t.Fatal(err)
	}
	return c, true
}

// consistent holds that everything that was ever stored is a tree of the log as it is.
func (s *site) consistent() {
	s.t.Helper()
	var signed []verify.Signed
	last := uint64(0)
	for _, value := range s.bucket.history {
		r, err := logtree.DecodeRecord(value, key().VKey("patient"))
		if err != nil {
			s.t.Fatal(err)
		}
		if r.Tree.Size() <= last {
			s.t.Errorf("a checkpoint of size %d behind one of %d", r.Tree.Size(), last)
		}
		last = r.Tree.Size()
		signed = append(signed, verify.Signed{Size: r.Tree.Size(), Root: r.Tree.Root()})
	}
	report, err := verify.Against(context.Background(), s.log, verify.Options{Signed: signed})
	if err != nil || !report.OK() {
		s.t.Errorf("the log does not extend what was signed: %+v, %v", report, err)
	}
}

// TestSigns: checkpoints follow the log, one for what has come in a second, and sooner behind 1,024 commits.
func TestSigns(t *testing.T) {
	s := newSite(t)
	r := s.run()
	s.add(3)
	s.show(1)
	r.signed(3)
	s.add(2)
	s.show(1)
	r.signed(5)
	s.add(1)
	s.show(1)
	s.later(time.Second)
	r.signedNow(6)
	n := s.bucket.stores()
	for range 3 {
		r.ticks <- time.Time{} // the log does not grow
	}
	s.add(1)
	s.show(1) // and less than a second has passed
	r.ticks <- time.Time{}
	r.ticks <- time.Time{}
	if got := s.bucket.stores(); got != n {
		t.Errorf("got %d checkpoints, want %d: the time has not come", got, n)
	}
	s.add(1024)
	s.show(1)
	r.signedNow(1031)
	r.end()
	s.consistent()
}

// TestGoesOn: another process, and the same one behind a restart, go on from the last checkpoint, also without their own notes.
func TestGoesOn(t *testing.T) {
	s := newSite(t)
	s.add(3)
	s.show(1)
	r := s.run()
	r.signed(3)
	r.end()
	s.add(4)
	s.show(1)
	r = s.run()
	r.signed(7)
	r.end()
	s.dir = filepath.Join(t.TempDir(), "other")
	s.add(2)
	s.show(5)
	r = s.run()
	r.signed(9)
	s.show(6) // the same process, behind an outcome that it settled
	s.add(1)
	s.show(6)
	r.signed(10)
	r.end()
	s.bucket.values, s.bucket.revision = map[string][]byte{}, map[string]uint64{} // the bucket is lost: its own note remains
	s.add(1)
	s.show(7)
	r = s.run()
	r.signed(11)
	r.end()
	s.consistent()
}

// TestNothingWithoutARecord: while the log does not name the key nothing is signed.
func TestNothingWithoutARecord(t *testing.T) {
	s := newSite(t)
	s.record = false
	s.add(3)
	s.show(1)
	r := s.run()
	for range 5 {
		s.mu.Lock()
		s.clock = s.clock.Add(10 * time.Second)
		s.mu.Unlock()
		r.ticks <- time.Time{}
	}
	r.end()
	if len(s.bucket.history) > 0 {
		t.Errorf("got %d checkpoints", len(s.bucket.history))
	}
}

// TestStoringFailsEachWay: not stored, and stored with the answer lost: the signer goes on, and what it signed is one line.
func TestStoringFailsEachWay(t *testing.T) {
	for _, how := range []string{"before", "behind"} {
		s := newSite(t)
		s.add(2)
		s.show(1)
		failures := 3
		fail := func() error {
			if failures--; failures >= 0 {
				return eventlog.ErrUnknown
			}
			return nil
		}
		if how == "before" {
			s.bucket.fail = fail
		} else {
			s.bucket.lost = fail
		}
		r := s.run()
		r.signed(2)
		s.add(2)
		s.show(1)
		r.signed(4)
		r.end()
		s.consistent()
	}
}

// TestARivalSignsFirst: what this process signed for a place that another one took is dropped, and it goes on from what is stored.
func TestARivalSignsFirst(t *testing.T) {
	s := newSite(t)
	s.add(2)
	s.show(1)
	r := s.run()
	r.signed(2)
	s.add(2)
	h := headOf(t, s.log, 1)
	text, err := key().Sign("patient", 4, h.Tree.Root())
	if err != nil {
		t.Fatal(err)
	}
	rival := &logtree.Record{Note: text, Position: h.Position(), Tree: h.Tree}
	s.bucket.set(rival.Encode())
	s.add(1)
	s.show(1)
	r.signed(5)
	r.end()
	s.consistent()
}

// replaced makes the site's log another one, and the rest of the site stays.
func (s *site) replaced(messages [][]byte) {
	s.logs, s.log, s.write = verifytest.Memory(s.t, "patient")
	s.write.Resume(messages)
}

// TestRefusals: what contradicts a signed checkpoint is never signed, and named; what was signed stays.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		want   verify.Verdict
		change func(*testing.T, *site)
	}{
		"cut tail": {verify.Truncated, func(t *testing.T, s *site) { s.replaced(verifytest.Messages(t, s.log)[:4]) }},
		"restored old backup, written on": {verify.Forked, func(t *testing.T, s *site) {
			s.replaced(verifytest.Messages(t, s.log)[:4])
			s.add(5)
		}},
		"rewritten middle, recomputed": {verify.Forked, func(t *testing.T, s *site) {
			s.replaced(verifytest.Messages(t, s.log)[:2])
			s.add(1)
			s.write.Block(verifytest.Commit{Aggregate: verifytest.Aggregate("patient", "A"), Actor: "user:eve", Events: []verifytest.Event{{Type: "crp"}}})
			s.add(6)
		}},
		"replaced stream": {verify.Forked, func(t *testing.T, s *site) {
			s.replaced(nil)
			s.write.Block(verifytest.Commit{Aggregate: verifytest.Aggregate("patient", "Z"), Events: []verifytest.Event{{Type: "crp"}}})
			s.add(8)
		}},
		"known to the writer": {verify.Truncated, func(t *testing.T, s *site) { s.add(2); s.lost = "block 7 is gone" }},
		"empty stream":        {verify.Truncated, func(t *testing.T, s *site) { s.replaced(nil); s.write.Block() }},
		"bucket put back":     {verify.Forked, func(t *testing.T, s *site) { s.bucket.set(s.bucket.history[0]) }},
		"bucket written by somebody": {verify.Unreadable, func(t *testing.T, s *site) {
			s.bucket.set([]byte(strings.Replace(string(s.bucket.stored()), `\n6\n`, `\n5\n`, 1)))
		}},
		"bucket with a newer version": {verify.Unreadable, func(t *testing.T, s *site) { s.bucket.set([]byte(`{"v":2}`)) }},
		"bucket with rubbish, and no note of its own": {verify.Unreadable, func(t *testing.T, s *site) {
			s.bucket.set([]byte("rubbish"))
			if err := os.Remove(filepath.Join(s.dir, "patient")); err != nil {
				t.Fatal(err)
			}
		}},
		"bucket with rubbish, and somebody else wrote the log": {verify.Unreadable, func(t *testing.T, s *site) {
			s.bucket.set([]byte("rubbish"))
			s.epochs = 2
		}},
		"bucket with rubbish, and a cut tail": {verify.Truncated, func(t *testing.T, s *site) {
			s.bucket.set([]byte("rubbish"))
			s.replaced(verifytest.Messages(t, s.log)[:4])
		}},
		"another tree behind the checkpoint": {verify.Tampered, func(t *testing.T, s *site) {
			s.add(2)
			messages := verifytest.Messages(t, s.log)
			last := append([]byte(nil), messages[7]...)
			last[4+16+16+8+8+16+8] ^= 1 // the root that its header states
			if err := s.logs.Tamper("patient", 8, last); err != nil {
				t.Fatal(err)
			}
		}},
		"damage behind the checkpoint": {verify.Unreadable, func(t *testing.T, s *site) { s.write.Damage([]byte("no block")); s.add(1) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			r := s.run()
			s.add(3)
			s.show(1)
			r.signed(3)
			s.add(3)
			s.show(1)
			r.signed(6)
			r.end()
			n := len(s.bucket.history)
			c.change(t, s)
			before := s.bucket.stored()
			s.show(2)
			r = s.run()
			if detail := r.refused(c.want); detail == "" {
				t.Error("the refusal says nothing")
			}
			s.write.Block(verifytest.Commit{Aggregate: verifytest.Aggregate("patient", "N"), Events: []verifytest.Event{{Type: "crp"}}})
			s.show(2)
			for range 8 {
				s.mu.Lock()
				s.clock = s.clock.Add(time.Second)
				s.mu.Unlock()
				r.ticks <- time.Time{}
			}
			r.end()
			if len(s.bucket.history) != n || string(s.bucket.stored()) != string(before) {
				t.Error("it was signed all the same")
			}
		})
	}
}

// TestWhatIsNoCheckpointIsWrittenOver: whoever may ask JetStream in the account LOG can have an answer stored in the place of a checkpoint. Signing goes on, from the note of the process, and in the
// session of its writer as well as behind a restart.
func TestWhatIsNoCheckpointIsWrittenOver(t *testing.T) {
	for _, rubbish := range []string{`{"type":"io.nats.jetstream.api.v1.stream_names_response","streams":[]}`, "\x01\x02", "[]"} {
		s := newSite(t)
		r := s.run()
		s.add(3)
		s.show(1)
		r.signed(3)
		s.bucket.set([]byte(rubbish))
		s.add(1)
		s.show(1)
		r.signed(4)
		r.end()
		s.bucket.set([]byte(rubbish))
		s.add(1)
		s.epochs = 1
		s.show(2)
		r = s.run()
		r.signed(5)
		r.end()
		s.consistent()
	}
}

// TestOwnNotes: a note that cannot be read, or written, is left out.
func TestOwnNotes(t *testing.T) {
	s := newSite(t)
	s.add(2)
	s.show(1)
	r := s.run()
	r.signed(2)
	r.end()
	if err := os.WriteFile(filepath.Join(s.dir, "patient"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.add(1)
	s.show(2)
	r = s.run()
	r.signed(3)
	r.end()
	s.consistent()
	if err := os.WriteFile(s.dir+"-file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.dir += "-file"
	s.add(1)
	s.show(3)
	r = s.run()
	r.signed(4)
	r.end()
	s.consistent()
}

func TestConfig(t *testing.T) {
	_, err := checkpoint.New(checkpoint.Config{})
	for _, what := range []string{"no Key", "no Logs", "no Bucket", "no KeyOf", "no Dir", "no Heads", "no Record", "no Lost"} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want it to name %q", err, what)
		}
	}
	var r *checkpoint.Refusal
	if !errors.As(error(&checkpoint.Refusal{Verdict: verify.Forked, Detail: "x"}), &r) || r.Error() != "FORKED: x" {
		t.Errorf("got %v", r)
	}
}

// TestTheEndIsSigned: what came since the last checkpoint is signed when the signer ends in order, also where nothing was signed before; not what is refused.
func TestTheEndIsSigned(t *testing.T) {
	s := newSite(t)
	s.add(2)
	s.show(1)
	r := s.run()
	r.signed(2)
	s.add(3)
	s.show(1)
	r.end()
	if c, ok := s.last(); !ok || c.Size != 5 {
		t.Errorf("behind the end: got size %d, want 5", c.Size)
	}
	signed := s.bucket.stores()
	s.run().end() // nothing is new
	if n := s.bucket.stores(); n != signed {
		t.Errorf("an end without anything new stored %d checkpoints", n-signed)
	}
	s.add(1)
	s.show(2)
	s.lost = "a test"
	s.run().end()
	if c, _ := s.last(); c.Size != 5 {
		t.Errorf("of a log that lost events: got size %d, want 5", c.Size)
	}
	s.lost = ""
	s.run().end()
	if c, _ := s.last(); c.Size != 6 {
		t.Errorf("a start that ended at once: got size %d, want 6", c.Size)
	}
}
