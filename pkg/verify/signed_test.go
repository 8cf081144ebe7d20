package verify_test

import (
	"context"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// long writes blocks with three commits of two events each.
func long(b *verifytest.Builder, blocks int) {
	for range blocks {
		b.Block(commit("A", "1", "2"), commit("B", "3", "4"), commit("C", "5", "6"))
	}
}

// signedAt is what a checkpoint of the first events of a log says.
func signedAt(t *testing.T, log eventlog.Log, size int) verify.Signed {
	t.Helper()
	var tree event.Tree
	var chain event.Chain
	for i, m := range verifytest.Messages(t, log) {
		for _, c := range chain.Next(uint64(i)+1, m).Commits {
			for _, leaf := range c.Leaves() {
				if tree.Size() < uint64(size) {
					tree = tree.Append(leaf)
				}
			}
		}
	}
	if tree.Size() != uint64(size) {
		t.Fatalf("the log has %d events, not %d", tree.Size(), size)
	}
	return verify.Signed{Size: tree.Size(), Root: tree.Root()}
}

func against(t *testing.T, log eventlog.Log, signed ...verify.Signed) verify.Report {
	t.Helper()
	report, err := verify.Against(context.Background(), log, verify.Options{Signed: signed})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// TestAgainstCheckpoints: a log extends its own checkpoints, of every size, in whatever order they come.
func TestAgainstCheckpoints(t *testing.T) {
	_, log, b := verifytest.Memory(t, "patient")
	long(b, 5)
	var signed []verify.Signed
	for _, size := range []int{30, 1, 7, 6, 6, 29, 12, 18} {
		signed = append(signed, signedAt(t, log, size))
	}
	if r := against(t, log, signed...); !r.OK() || r.Verdict() != verify.Unwitnessed || r.Covered != 30 || r.Witnessed {
		t.Errorf("got %+v", r)
	}
	signed[3].Witnessed = true
	if r := against(t, log, signed...); r.Verdict() != verify.OK || r.Covered != 30 {
		t.Errorf("with a witness: got %+v", r)
	}
	if r := against(t, log); r.Verdict() != verify.Unwitnessed || r.Covered != 0 {
		t.Errorf("without checkpoints: got %+v", r)
	}
}

// TestContradictsCheckpoints: what an administrator with every key can do to a log agrees with itself, and not with what was signed.
func TestContradictsCheckpoints(t *testing.T) {
	_, log, b := verifytest.Memory(t, "patient")
	long(b, 8)
	signed := []verify.Signed{signedAt(t, log, 24), signedAt(t, log, 48)}
	messages := verifytest.Messages(t, log)
	resumed := func(keep int, then func(*verifytest.Builder)) eventlog.Log {
		_, log, b := verifytest.Memory(t, "patient")
		b.Resume(messages[:keep])
		then(b)
		return log
	}
	for name, c := range map[string]struct {
		log     eventlog.Log
		want    verify.Verdict
		covered uint64
		says    string
	}{
		"cut tail":             {resumed(5, func(*verifytest.Builder) {}), verify.Truncated, 24, "has 30 events"},
		"cut before the first": {resumed(1, func(*verifytest.Builder) {}), verify.Truncated, 0, "vouches for 48"},
		"nothing left":         {resumed(0, func(*verifytest.Builder) {}), verify.Truncated, 0, "has 0 events"},
		"rewritten middle, every hash recomputed": {resumed(5, func(b *verifytest.Builder) {
			b.Block(verifytest.Commit{Aggregate: of("A"), Actor: "user:eve", Events: []verifytest.Event{{Type: "crp"}, {Type: "crp"}}}, commit("B", "3", "4"), commit("C", "5", "6"))
			long(b, 2)
		}), verify.Forked, 24, "first 48 events"},
		"replaced stream": {resumed(0, func(b *verifytest.Builder) {
			b.Block(commit("Z", "1"))
			long(b, 8)
		}), verify.Forked, 0, "first 24 events"},
		"restored old backup, written on": {resumed(6, func(b *verifytest.Builder) { long(b, 1); b.Block(commit("N", "9")); long(b, 3) }), verify.Forked, 24, "first 48 events"},
	} {
		t.Run(name, func(t *testing.T) {
			if r := against(t, c.log); !r.OK() {
				t.Fatalf("it contradicts itself: %+v", r)
			}
			r := against(t, c.log, signed...)
			if r.Verdict() != c.want || r.Covered != c.covered || !strings.Contains(r.Failures()[0].Detail, c.says) {
				t.Errorf("got %s, covered %d, %+v; want %s, %d, %q", r.Verdict(), r.Covered, r.Failures(), c.want, c.covered, c.says)
			}
		})
	}
}

// TestCheckpointsBehindDamage: where the tree is not known nothing is said about checkpoints; the damage is.
func TestCheckpointsBehindDamage(t *testing.T) {
	_, log, b := verifytest.Memory(t, "patient")
	long(b, 6)
	signed := []verify.Signed{signedAt(t, log, 12), signedAt(t, log, 36)}
	messages := verifytest.Messages(t, log)
	messages[3] = []byte("no block")
	r := against(t, verifytest.Log(t, "patient", messages), signed...)
	if r.Covered != 12 || len(r.Damage) != 1 || r.Verdict() == verify.Forked || r.Verdict() == verify.Truncated {
		t.Errorf("got %+v", r)
	}
}

// TestLeaves: an aggregate that is proved alone names where its events stand in the log tree.
func TestLeaves(t *testing.T) {
	_, log, b := verifytest.Memory(t, "patient")
	b.Block(commit("A", "1"), commit("B", "2", "3"), commit("A", "4", "5"))
	at := b.Block(commit("B", "6"), commit("A", "7"), commit("C", "8"))
	r := prove(t, log, at[1], "A")
	var got []uint64
	for i, leaf := range r.Leaves {
		got = append(got, leaf.Index)
		if leaf.Version != event.Version(i+1) {
			t.Errorf("leaf %d: got version %d", i, leaf.Version)
		}
	}
	if want := []uint64{0, 3, 4, 6}; len(got) != 4 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] {
		t.Errorf("got %v, want %v", got, want)
	}
}
