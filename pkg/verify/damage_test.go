package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

func TestMissingMessages(t *testing.T) {
	messages, newest := sample(t)
	log := verifytest.Log(t, "patient", messages)
	for _, c := range []struct {
		name string
		gone []uint64
		want []string
		id   string
		got  string
	}{
		{"in the middle", []uint64{2}, []string{"UNREADABLE patient/A@2", "UNREADABLE 2-2"}, "A", "UNREADABLE@3"},
		{"at the start", []uint64{1}, []string{"UNREADABLE patient/A@1", "UNREADABLE patient/B@1", "TRUNCATED 1-1"}, "B", "UNREADABLE@2"},
		{"at the end", []uint64{4, 5}, []string{"UNREADABLE 4-5"}, "A", "UNREADABLE@0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := verifytest.Without(log, c.gone...)
			report := all(t, log)
			if diff := cmp.Diff(c.want, names(report)); diff != "" {
				t.Errorf("all: diff (-want +got):\n%s", diff)
			}
			proof := prove(t, log, newest[c.id], c.id)
			if got := string(proof.Verdict) + "@" + decimal(uint64(proof.Version)); got != c.got {
				t.Errorf("aggregate %s: got %s (%s), want %s", c.id, got, proof.Detail, c.got)
			}
		})
	}
}

func TestLostTail(t *testing.T) {
	messages, newest := sample(t)
	log := verifytest.Log(t, "patient", messages[:3])
	if got := prove(t, log, newest["A"], "A"); got.Verdict != verify.Truncated {
		t.Errorf("got %+v, want TRUNCATED", got)
	}
	if got := all(t, log); !got.OK() {
		t.Errorf("got %+v, want OK: only a checkpoint knows of a tail that is gone", got)
	}
}

// TestVoid: what a writer that lost its place leaves behind is named, fails nothing, and the log goes on.
func TestVoid(t *testing.T) {
	_, log, b := verifytest.Memory(t, "patient")
	b.Block(commit("A", "value-one"))
	b.Void(commit("A", "xalue-two"))
	at := b.Block(commit("A", "yalue-three"))
	report := all(t, log)
	if !report.OK() || len(report.Void) != 1 || report.Void[0].From != 2 || report.Blocks != 2 || report.Events != 2 {
		t.Errorf("got %+v, want message 2 named as void and no failure", report)
	}
	if got := prove(t, log, at[0], "A"); got.Verdict != verify.OK || got.Version != 2 {
		t.Errorf("got %+v, want OK at version 2", got)
	}
}

// TestWrongPosition: what an index says is checked, never believed.
func TestWrongPosition(t *testing.T) {
	messages, newest := sample(t)
	log := verifytest.Log(t, "patient", messages)
	other, beyond, index := newest["A"], newest["A"], newest["A"]
	other.Block[0] ^= 1
	beyond.Sequence = 99
	index.Index = 7
	for _, c := range []struct {
		name string
		at   event.Position
		want verify.Verdict
	}{{"another block", other, verify.Tampered}, {"behind the end", beyond, verify.Truncated}, {"no such index", index, verify.Tampered}, {"another aggregate", newest["B"], verify.Tampered}} {
		if got := prove(t, log, c.at, "A"); got.Verdict != c.want {
			t.Errorf("%s: got %+v, want %s", c.name, got, c.want)
		}
	}
}

func TestCancelled(t *testing.T) {
	messages, newest := sample(t)
	log := verifytest.Log(t, "patient", messages)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := verify.All(ctx, log, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("all: got %v, want context.Canceled", err)
	}
	if _, err := verify.Aggregate(ctx, log, newest["A"], of("A")); !errors.Is(err, context.Canceled) {
		t.Errorf("aggregate: got %v, want context.Canceled", err)
	}
}

func TestResultJSON(t *testing.T) {
	r := verify.Result{Log: "patient", Aggregate: of("A"), Verdict: verify.Tampered, Version: 3, Sequence: 17, Detail: "changed"}
	got, err := json.Marshal(r)
	want := `{"log":"patient","type":"patient","id":"A","verdict":"TAMPERED","version":3,"sequence":17,"detail":"changed"}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}
