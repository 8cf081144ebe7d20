package projector_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// fresh is the digest of an index built from nothing.
func (h *harness) fresh(log string) [32]byte {
	h.t.Helper()
	h.stop()
	dir := h.dir
	h.dir = h.t.TempDir()
	h.start()
	h.current()
	h.stop()
	defer func() { h.dir = dir }()
	return h.digest(log)
}

// TestRebuildEquals holds that an index that grew block by block, through restarts, void blocks and damage, has the content of one built at once.
func TestRebuildEquals(t *testing.T) {
	h := newHarness(t)
	b := h.log(patient)
	h.start()
	for round := range 6 {
		fill(b, 300, 40)
		h.current()
		b.Block() // an epoch block
		b.Void(one("P000001", "crp"))
		if round == 3 {
			b.Damage([]byte("no block"))
		}
		b.Block(one("P000001", "crp"), one("P000001", "crp"))
		if round%2 == 0 {
			h.stop() // with a part of the round indexed, or none
			h.start()
		}
		h.current()
	}
	h.stop()
	if grown, fresh := h.digest(patient), h.fresh(patient); grown != fresh {
		t.Errorf("digest of the grown index: got %x, want %x, that of a rebuilt one", grown, fresh)
	}
}

// TestRestartInTheMiddle stops the projector again and again while it is behind: it never begins anew, and ends with equal content.
func TestRestartInTheMiddle(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	fill(h.log(patient), 6_000, 150)
	last := uint64(0)
	for at := uint64(6); at < 60; at += 18 {
		p := h.start()
		h.reach(p, at)
		h.stop()
		h.start()
		h.tick("index opens", func() bool { return h.status(patient).State == "following" })
		if s := h.status(patient); s.Indexed < last {
			t.Errorf("after the restart: indexed up to %d, want at least %d", s.Indexed, last)
		}
		last = h.status(patient).Indexed
		h.stop()
	}
	h.start()
	h.current()
	h.stop()
	if grown, fresh := h.digest(patient), h.fresh(patient); grown != fresh {
		t.Errorf("digest: got %x, want %x, that of a rebuilt one", grown, fresh)
	}
}

// reach waits until the index of the patients stands at a sequence or behind it.
func (h *harness) reach(p *projector.Projector, sequence uint64) {
	h.t.Helper()
	h.tick("index reaches the sequence", func() bool {
		for _, s := range p.Status() {
			if s.Log == patient && s.Indexed >= sequence {
				return true
			}
		}
		return false
	})
}

// TestDropped changes what lies below an index while nothing runs: the index is dropped, rebuilt, and answers from the log as it is.
func TestDropped(t *testing.T) {
	for name, change := range map[string]func(h *harness){
		"lost tail":       func(h *harness) { h.replay(2) },
		"sequences again": func(h *harness) { h.replay(2); h.logs[patient].Block(one("A", "crp", text("crp", "other"))) },
		"grown behind a lost tail": func(h *harness) {
			h.replay(2)
			for range 9 {
				h.logs[patient].Block(one("A", "crp", text("crp", "other")))
			}
		},
		"damaged file": func(h *harness) { scribble(h.t, filepath.Join(h.dir, patient)) },
		"folder gone":  func(h *harness) { _ = os.RemoveAll(h.dir) },
		"the format before": func(h *harness) {
			dir := filepath.Join(h.dir, patient)
			if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, "db"), 0o700), os.WriteFile(filepath.Join(dir, "state.json"), nil, 0o600)); err != nil {
				h.t.Fatal(err)
			}
		},
		"another index": func(h *harness) { _ = os.Rename(filepath.Join(h.dir, "bed"), filepath.Join(h.dir, patient)) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.log("bed").Block(verifytest.Commit{Aggregate: verifytest.Aggregate("bed", "1"), Events: []verifytest.Event{{Type: "moved"}}})
			for _, v := range []string{"one", "two", "three"} {
				h.log(patient).Block(one("A", "crp", text("crp", v)))
			}
			h.start()
			h.current()
			h.stop()
			if name == "another index" {
				_ = os.RemoveAll(filepath.Join(h.dir, patient))
			}
			change(h)
			p := h.start()
			ctx := h.current()
			position, version, _, err := p.Newest(ctx, of("A"))
			if err != nil {
				t.Fatal(err)
			}
			if got := h.raw[patient]; position.Sequence != uint64(version) || !blockAt(t, got, position) {
				t.Errorf("got version %d at %s, which is not in the log", version, position)
			}
			h.stop()
			if grown, fresh := h.digest(patient), h.fresh(patient); grown != fresh {
				t.Errorf("digest: got %x, want %x, that of a rebuilt one", grown, fresh)
			}
		})
	}
}

// TestDamagedMeanwhile damages the files under a projector that runs: the query that meets it is refused, the index is rebuilt, and answers right.
func TestDamagedMeanwhile(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	h.limit = 0
	fill(h.log(patient), 300, 3)
	h.start()
	h.current()
	h.stop() // now it is on disk
	p := h.start()
	ctx := h.current()
	scribble(t, filepath.Join(h.dir, patient))
	if got, err := p.History(ctx, of("P000001"), 1, 0); !unavailable(err) {
		t.Errorf("got %+v, %v, want unavailable", got, err)
	}
	h.tick("index is rebuilt", func() bool { _, err := p.History(ctx, of("P000001"), 1, 0); return err == nil })
	if got, err := p.Get(ctx, of("P000001"), projector.When{}); err != nil || got.Version != 100 {
		t.Errorf("got %+v, %v, want version 100", got, err)
	}
	h.stop()
	if grown, fresh := h.digest(patient), h.fresh(patient); grown != fresh {
		t.Errorf("digest: got %x, want %x, that of a rebuilt one", grown, fresh)
	}
}

// TestKilledAnywhere takes copies of the folder of an index while it grows, which is what a killed process leaves: each is brought up to the log, to
// equal content.
func TestKilledAnywhere(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	b := h.log(patient)
	p := h.start()
	var copies []string
	written := 0
	for range 3 {
		fillWith(b, 3_000, 300, large)
		for _, at := range []uint64{uint64(len(verifytest.Messages(t, h.raw[patient]))) - 15, uint64(len(verifytest.Messages(t, h.raw[patient])))} {
			h.reach(p, at)
			dir := copyIndex(t, filepath.Join(h.dir, patient))
			if _, err := os.Stat(filepath.Join(dir, patient, "manifest")); err == nil {
				written++
			}
			copies = append(copies, dir)
		}
	}
	h.stop()
	if written == 0 {
		t.Error("no copy has anything of the index")
	}
	want := h.fresh(patient)
	for i, dir := range copies {
		h.dir = dir
		h.start()
		h.current()
		h.stop()
		if got := h.digest(patient); got != want {
			t.Errorf("killed at copy %d: got digest %x, want %x", i, got, want)
		}
	}
}

// copyIndex copies an index as it is, the manifest first: what it names stays, unless a merge takes it away, and then the copy is doubted and rebuilt.
func copyIndex(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.Mkdir(filepath.Join(to, patient), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"manifest", "*.r*"} {
		files, err := filepath.Glob(filepath.Join(from, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(to, patient, filepath.Base(f)), raw, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

// TestSequencesAgain replaces the newest block while the projector runs, as a server does that lost its tail: the next block shows it.
func TestSequencesAgain(t *testing.T) {
	h := newHarness(t)
	for _, v := range []string{"one", "two", "three"} {
		h.log(patient).Block(one("A", "crp", text("crp", v)))
	}
	_, other, b := verifytest.Memory(t, patient)
	b.Resume(verifytest.Messages(t, h.raw[patient])[:2])
	b.Block(one("B", "crp"))
	at := b.Block(one("B", "crp"))[0]
	p := h.start()
	ctx := h.current()
	messages := verifytest.Messages(t, other)
	if err := h.store.Tamper(patient, 3, messages[2]); err != nil {
		t.Fatal(err)
	}
	if err := h.raw[patient].Append(3, messages[3]).Err(); err != nil {
		t.Fatal(err)
	}
	h.tick("index is rebuilt", func() bool { return p.WaitFor(ctx, at) == nil })
	a, errA := p.Get(ctx, of("A"), projector.When{})
	got, errB := p.Get(ctx, of("B"), projector.When{})
	if errA != nil || errB != nil || a.Version != 2 || got.Version != 2 {
		t.Errorf("got A %+v, %v and B %+v, %v, want version 2 of both", a, errA, got, errB)
	}
	h.stop()
	if grown, fresh := h.digest(patient), h.fresh(patient); grown != fresh {
		t.Errorf("digest: got %x, want %x, that of a rebuilt one", grown, fresh)
	}
}

func blockAt(t *testing.T, log eventlog.Log, at event.Position) bool {
	t.Helper()
	_, last, err := log.Bounds(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	m, err := log.Get(context.Background(), last)
	if err != nil {
		t.Fatal(err)
	}
	b, err := event.DecodeHeader(m.Data)
	return err == nil && last == at.Sequence && b.ID == at.Block
}

// replay makes the store anew with the first blocks of the patients' log alone; what is written behind them has other ids than before.
func (h *harness) replay(blocks int) {
	h.t.Helper()
	messages := verifytest.Messages(h.t, h.raw[patient])[:blocks]
	beds := verifytest.Messages(h.t, h.raw["bed"])
	h.store = eventlog.NewMemory()
	h.from = h.store
	h.logs, h.raw = map[string]*verifytest.Builder{}, map[string]eventlog.Log{}
	for _, m := range beds {
		h.log("bed").Damage(m)
	}
	b := h.log(patient)
	b.Resume(messages)
}

// scribble changes a byte in the middle of every file of records and entries.
func scribble(t testing.TB, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.r*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("got files %v, %v, want some", files, err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)/2] ^= 0xff
		if err := os.WriteFile(f, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
