package verify_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// text makes fields from names and values.
func text(pairs ...string) (fields []event.Field) {
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, verifytest.Text(pairs[i], pairs[i+1]))
	}
	return fields
}

func digest(b byte) (h event.Hash) {
	copy(h[:], bytes.Repeat([]byte{b}, len(h)))
	return h
}

func of(id string) event.AggregateID { return verifytest.Aggregate("patient", id) }

// commit is one with an event for each value; the values are unique, so that a test finds their bytes in a message.
func commit(id string, values ...string) verifytest.Commit {
	c := verifytest.Commit{Aggregate: of(id)}
	for _, v := range values {
		at := verifytest.Start
		c.Events = append(c.Events, verifytest.Event{Type: "crp", Fields: text("crp", v), OccurredAt: &at, SchemaDigest: digest(v[0] | 0x80), SchemaVersion: 1})
	}
	return c
}

// sample is a log with commits of one and several events, an aggregate twice in a block, and a transaction. newest says where each aggregate's newest commit lies.
func sample(t testing.TB) (messages [][]byte, newest map[string]event.Position) {
	_, log, b := verifytest.Memory(t, "patient")
	newest = map[string]event.Position{}
	note := func(ids string, positions []event.Position) {
		for i, id := range strings.Split(ids, " ") {
			newest[id] = positions[i]
		}
	}
	note("A B", b.Block(commit("A", "value-one"), commit("B", "xalue-two", "yalue-three")))
	note("A A", b.Block(commit("A", "zalue-four"), commit("A", "malue-five")))
	note("B C", b.Transaction(commit("B", "nalue-six"), commit("C", "oalue-seven")))
	note("A", b.Block(commit("A", "palue-eight")))
	note("C", b.Block(commit("C", "qalue-nine")))
	return verifytest.Messages(t, log), newest
}

// all proves a log, and once more with one aggregate at a time, which must find the same.
func all(t testing.TB, log eventlog.Log) verify.Report {
	t.Helper()
	report := whole(t, log)
	parts, err := verify.Against(context.Background(), log, verify.Options{Aggregates: 1})
	if err != nil {
		t.Fatal(err)
	}
	want := report
	want.Failed = sorted(report.Failed)
	parts.Failed = sorted(parts.Failed)
	if diff := cmp.Diff(want, parts); diff != "" {
		t.Errorf("one aggregate at a time found something else (-want +got):\n%s", diff)
	}
	return report
}

func whole(t testing.TB, log eventlog.Log) verify.Report {
	t.Helper()
	report, err := verify.All(context.Background(), log, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func sorted(failed []verify.Result) []verify.Result {
	return slices.SortedFunc(slices.Values(failed), func(a, b verify.Result) int { return strings.Compare(a.Aggregate.String(), b.Aggregate.String()) })
}

// TestMoreAggregatesThanFit: a log of more aggregates than are looked at at once is read several times, each proved once, and what is wrong with one of them is found in its part.
func TestMoreAggregatesThanFit(t *testing.T) {
	const aggregates, limit = 2_000, 300
	_, log, b := verifytest.Memory(t, "patient")
	fill(t, b, 2*aggregates, aggregates)
	messages := verifytest.Messages(t, log)
	at := bytes.Index(messages[7], []byte("21.0"))
	for name, c := range map[string]struct {
		log    eventlog.Log
		failed int
	}{"sound": {log, 0}, "changed": {verifytest.Log(t, "patient", changed(messages, 7, func(m []byte) { m[at] ^= 1 })), 1}} {
		var done, total, before uint64
		report, err := verify.Against(context.Background(), c.log, verify.Options{Aggregates: limit, Progress: func(n, of uint64) {
			if before = done; n < before {
				t.Errorf("%s: progress went back from %d to %d", name, before, n)
			}
			done, total = n, of
		}})
		if err != nil || report.Aggregates != aggregates || report.Events != 2*aggregates || len(report.Failed) != c.failed {
			t.Errorf("%s: got %d aggregates, %d events, failed %+v, %v", name, report.Aggregates, report.Events, report.Failed, err)
		}
		if reads := total / uint64(len(messages)); done != total || total%uint64(len(messages)) != 0 || reads < aggregates/limit {
			t.Errorf("%s: progress ended at %d of %d, want the log of %d messages %d times or more", name, done, total, len(messages), aggregates/limit)
		}
	}
}

// TestDerived: whoever holds something derived against what was proven is asked behind every reading, hears of each aggregate that holds once, with its newest version and root, and names failures.
func TestDerived(t *testing.T) {
	_, log, b := verifytest.Memory(t, "patient")
	fill(t, b, 600, 200)
	ids := map[event.AggregateID]bool{}
	for sequence, m := range verifytest.Messages(t, log) {
		_, commits, err := event.DecodeBlock(m, uint64(sequence+1))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commits {
			ids[c.Aggregate] = true
		}
	}
	messages := verifytest.Messages(t, log)
	at := bytes.Index(messages[2], []byte("21.0"))
	tampered := verifytest.Log(t, "patient", changed(messages, 2, func(m []byte) { m[at] ^= 1 }))
	for name, c := range map[string]struct {
		log    eventlog.Log
		failed int
	}{"sound": {log, 0}, "changed": {tampered, 1}} {
		for _, limit := range []int{0, 30} {
			asked, said := 0, map[event.AggregateID]event.Hash{}
			report, err := verify.Against(t.Context(), c.log, verify.Options{Aggregates: limit, Derived: func(_ context.Context, proven verify.Proven) (failed []verify.Result) {
				asked++
				for a := range ids {
					if newest, root, ok := proven(a); ok && newest == 3 && said[a] == (event.Hash{}) {
						said[a] = root
						failed = append(failed, verify.Result{Aggregate: a, Verdict: verify.Tampered, Version: newest, Snapshots: true})
					}
					if _, _, again := proven(a); again {
						t.Errorf("%s: %s was told twice", name, a)
					}
				}
				return failed
			}})
			if err != nil || len(ids) != 200 || len(said) != 200-c.failed || len(report.Failed) != 200 || (limit > 0) != (asked > 1) {
				t.Errorf("%s, %d at once: got %d of %d aggregates in %d readings, %d failed, %v", name, limit, len(said), len(ids), asked, len(report.Failed), err)
			}
			for _, f := range report.Failed {
				if one, err := verify.Aggregate(t.Context(), c.log, newestOf(t, c.log, f.Aggregate), f.Aggregate); f.Snapshots && (err != nil || one.Root != said[f.Aggregate] || one.Version != 3) {
					t.Fatalf("%s, %s: told was the root %s, proven is %+v, %v", name, f.Aggregate, said[f.Aggregate], one, err)
				}
			}
		}
	}
}

// newestOf is where the newest commit of an aggregate lies.
func newestOf(t *testing.T, log eventlog.Log, a event.AggregateID) (at event.Position) {
	t.Helper()
	for i, m := range verifytest.Messages(t, log) {
		block, commits, err := event.DecodeBlock(m, uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		for n, c := range commits {
			if c.Aggregate == a {
				at = event.Position{Log: log.Name(), Sequence: uint64(i + 1), Index: uint32(n), Block: block.ID}
			}
		}
	}
	return at
}

func prove(t testing.TB, log eventlog.Log, newest event.Position, id string) verify.Result {
	t.Helper()
	result, err := verify.Aggregate(context.Background(), log, newest, of(id))
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// names lists "verdict type/id@version" of the aggregates that failed, and "verdict from-to" of the damage.
func names(r verify.Report) (out []string) {
	for _, f := range r.Failed {
		out = append(out, string(f.Verdict)+" "+f.Aggregate.String()+"@"+decimal(uint64(f.Version)))
	}
	for _, d := range r.Damage {
		out = append(out, string(d.Verdict)+" "+decimal(d.From)+"-"+decimal(d.To))
	}
	return out
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// changed gives the messages with one of them changed.
func changed(messages [][]byte, i int, change func([]byte)) [][]byte {
	out := append([][]byte(nil), messages...)
	out[i] = bytes.Clone(out[i])
	change(out[i])
	return out
}

// flip inverts the lowest bit of the byte behind the first occurrence of text.
func flip(t testing.TB, messages [][]byte, i int, text string) [][]byte {
	t.Helper()
	at := bytes.Index(messages[i], []byte(text))
	if at < 0 {
		t.Fatalf("message %d does not hold %q", i+1, text)
	}
	return changed(messages, i, func(m []byte) { m[at] ^= 1 })
}

func TestSoundLog(t *testing.T) {
	messages, newest := sample(t)
	log := verifytest.Log(t, "patient", messages)
	var last [2]uint64
	report, err := verify.All(context.Background(), log, func(done, total uint64) { last = [2]uint64{done, total} })
	want := verify.Report{Log: "patient", Blocks: 5, Events: 9, Aggregates: 3}
	if diff := cmp.Diff(want, report); err != nil || diff != "" {
		t.Errorf("all: %v, diff (-want +got):\n%s", err, diff)
	}
	if last != [2]uint64{5, 5} {
		t.Errorf("last progress: got %v, want [5 5]", last)
	}
	for id, version := range map[string]event.Version{"A": 4, "B": 3, "C": 2} {
		if got := prove(t, log, newest[id], id); got.Verdict != verify.OK || got.Version != version || got.Root == (event.Hash{}) {
			t.Errorf("aggregate %s: got %+v, want OK at version %d with its root", id, got, version)
		}
	}
}

func TestEmptyLog(t *testing.T) {
	_, log, _ := verifytest.Memory(t, "patient")
	if got := all(t, log); !got.OK() || got.Blocks != 0 {
		t.Errorf("got %+v, want an empty report", got)
	}
}

// TestTampered changes one thing and says what All and the proof of the aggregate must name.
func TestTampered(t *testing.T) {
	messages, newest := sample(t)
	header := func(i, at int) [][]byte { return changed(messages, i, func(m []byte) { m[at] ^= 1 }) }
	for _, c := range []struct {
		name     string
		messages [][]byte
		want     []string // of All, the log tree's finding left out
		id       string
		proof    string
	}{
		{"payload", flip(t, messages, 0, "value-one"), []string{"TAMPERED patient/A@1"}, "A", "TAMPERED@1"},
		{"payload of a commit of two", flip(t, messages, 0, "yalue-three"), []string{"TAMPERED patient/B@1"}, "B", "TAMPERED@1"},
		{"payload inside a transaction", flip(t, messages, 2, "nalue-six"), []string{"TAMPERED patient/B@3"}, "B", "TAMPERED@3"},
		{"newest payload", flip(t, messages, 3, "palue-eight"), []string{"TAMPERED patient/A@4"}, "A", "TAMPERED@4"},
		{"actor", flip(t, messages, 3, "user:test"), []string{"TAMPERED patient/A@4"}, "A", "TAMPERED@4"},
		{"payload that is no UTF-8 any more", changed(messages, 2, func(m []byte) { m[bytes.Index(m, []byte("oalue"))] = 0xff }),
			[]string{"UNREADABLE patient/C@1", "UNREADABLE 3-3"}, "C", "UNREADABLE@1"},
		{"aggregate id", changed(messages, 3, func(m []byte) { m[bytes.Index(m, []byte("patient\x01A"))+8] = 'B' }),
			[]string{"TAMPERED patient/B@4"}, "A", "TAMPERED@0"},
		{"link", changed(messages, 3, func(m []byte) { m[recordsAt(m)+7]-- }), []string{"TAMPERED patient/A@4"}, "A", "TAMPERED@3"},
		{"log tree root", header(2, 76), []string{"TAMPERED 3-3"}, "B", "OK@3"},
		{"tree size", header(2, 75), []string{"TAMPERED 3-5"}, "B", "OK@3"},
		{"block id", header(2, 4), []string{"TAMPERED 4-5"}, "B", "TAMPERED@0"},
		{"block id, aggregate twice in the block", header(1, 4), []string{"UNREADABLE 2-2"}, "A", "TAMPERED@3"},
		{"block id of the last but one", header(3, 4), []string{"TAMPERED 5-5"}, "A", "TAMPERED@0"},
		{"predecessor", header(2, 20), []string{"TAMPERED 3-5"}, "B", "OK@3"},
		{"block time", header(1, 115), []string{"UNREADABLE 2-2"}, "A", "TAMPERED@3"},
		{"newer format", changed(messages, 2, func(m []byte) { m[3] = 9 }), []string{"UNREADABLE 3-5"}, "B", "UNREADABLE@0"},
		{"no block at all", changed(messages, 1, func(m []byte) { m[0] = 'x' }), []string{"UNREADABLE patient/A@2", "UNREADABLE 2-2"}, "A", "UNREADABLE@3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := verifytest.Log(t, "patient", c.messages)
			report := all(t, log)
			if diff := cmp.Diff(c.want, withoutTree(report, names(report))); diff != "" {
				t.Errorf("all: diff (-want +got):\n%s\n%+v", diff, report.Failures())
			}
			if report.OK() {
				t.Error("the report is OK, want it to fail")
			}
			proof := prove(t, log, newest[c.id], c.id)
			if got := string(proof.Verdict) + "@" + decimal(uint64(proof.Version)); got != c.proof {
				t.Errorf("aggregate %s: got %s (%s), want %s", c.id, got, proof.Detail, c.proof)
			}
		})
	}
}

// withoutTree leaves the log tree's finding out where an aggregate's failure explains it.
func withoutTree(r verify.Report, list []string) (out []string) {
	for i, n := range list {
		k := i - len(r.Failed)
		if len(r.Failed) > 0 && k >= 0 && strings.HasPrefix(r.Damage[k].Detail, "the log tree does not hold") {
			continue
		}
		out = append(out, n)
	}
	return out
}

// recordsAt is where the first record of a block begins.
func recordsAt(m []byte) int { return 120 + 4*int(binary.BigEndian.Uint32(m[116:])) }
