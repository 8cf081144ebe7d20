package registry_test

import (
	"fmt"
	"hash/fnv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/registry"
)

func apply(t *testing.T, p *registry.Plugin, eventType string, fields ...string) *registry.Plugin {
	t.Helper()
	m := map[string]string{}
	for i := 0; i+1 < len(fields); i += 2 {
		m[fields[i]] = fields[i+1]
	}
	next, err := registry.Apply(p, "search", eventType, m)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestLifeOfAPlugin(t *testing.T) {
	p := apply(t, nil, registry.Configured, "kind", "process", "options", `{"command":"cat"}`, "secrets", "s", "partitions", "2")
	if n, l := p.Layout(); n != 0 || l.Partitions != 2 || !l.Fresh || p.Enabled || p.Options["command"] != "cat" || string(p.Secrets) != "s" {
		t.Fatalf("got %+v", p)
	}
	on := apply(t, p, registry.Enabled)
	if p.Enabled || !on.Enabled || on.Change <= p.Change {
		t.Errorf("got %+v behind %+v", on, p)
	}
	same := apply(t, on, registry.Configured, "kind", "process", "options", `{}`, "partitions", "2")
	if n, _ := same.Layout(); n != 0 || !same.Enabled {
		t.Errorf("got layout %d, enabled %v: the same partitions keep their checkpoints", n, same.Enabled)
	}
	more := apply(t, same, registry.Configured, "kind", "process", "options", `{}`, "partitions", "5")
	if n, l := more.Layout(); n != 1 || l.Partitions != 5 || l.Fresh {
		t.Errorf("got %d %+v", n, l)
	}
	gone := apply(t, more, registry.Removed)
	if gone.Enabled || !gone.Removed || gone.Options != nil || gone.Secrets != nil {
		t.Errorf("got %+v", gone)
	}
	again := apply(t, gone, registry.Configured, "kind", "nats", "options", `{}`, "partitions", "5")
	if n, l := again.Layout(); n != 2 || !l.Fresh || again.Removed || again.Enabled {
		t.Errorf("got %d %+v: what was removed begins anew", n, l)
	}
	if diff := cmp.Diff(again, apply(t, again, "plugin-of-tomorrow")); diff != "" {
		t.Error(diff)
	}
}

func TestReplays(t *testing.T) {
	p := apply(t, nil, registry.Configured, "kind", "process", "options", `{}`, "partitions", "1")
	for i, r := range []registry.Replay{{}, {Scope: "patient/a/b"}, {Scope: "patient"}, {Log: "patient", Sequence: 7}, {Time: 12345}, {Scope: "patient", Time: -5}} {
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		f := r.Fields()
		var pairs []string
		for k, v := range f {
			pairs = append(pairs, k, v)
		}
		p = apply(t, p, registry.Replayed, pairs...)
		r.Number = uint64(i + 1)
		if diff := cmp.Diff(r, p.Replay); diff != "" {
			t.Error(diff)
		}
	}
	for _, r := range []registry.Replay{{Log: "patient"}, {Log: "P", Sequence: 1}, {Log: "patient", Sequence: 1, Scope: "patient"}, {Scope: "patient/"}, {Scope: "Patient"}, {Scope: "/x"}} {
		if r.Check() == nil {
			t.Errorf("%+v was taken", r)
		}
	}
	one := registry.Replay{Scope: "patient/a/b"}
	if !one.Covers(event.AggregateID{Type: "patient", ID: "a/b"}) || one.Covers(event.AggregateID{Type: "patient", ID: "a"}) || one.Covers(event.AggregateID{Type: "order", ID: "a/b"}) {
		t.Error("the scope of one aggregate")
	}
	kind := registry.Replay{Scope: "patient"}
	if !kind.Covers(event.AggregateID{Type: "patient", ID: "x"}) || kind.Covers(event.AggregateID{Type: "order", ID: "patient"}) {
		t.Error("the scope of a type")
	}
}

func TestBrokenEvents(t *testing.T) {
	for _, fields := range []map[string]string{{}, {"partitions": "0"}, {"partitions": "257"}, {"partitions": "1", "options": "["}} {
		if _, err := registry.Apply(nil, "x", registry.Configured, fields); err == nil {
			t.Errorf("%v was taken", fields)
		}
	}
	if _, err := registry.Apply(nil, "x", registry.Replayed, map[string]string{"log": "patient", "sequence": "x"}); err == nil {
		t.Error("a sequence that is no number was taken")
	}
	for _, name := range []string{"", "A", "a_b", "1a", "a.b", "abcdefghijklmnopqrstuvwxyzabcde"} {
		if registry.CheckName(name) == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func TestPartitionsAreStable(t *testing.T) {
	count := make([]int, 6)
	for i := range 6000 {
		a := event.AggregateID{Type: "patient", ID: fmt.Sprint(i)}
		h := fnv.New64a()
		h.Write([]byte(a.String()))
		got := registry.Partition(a, 6)
		if want := int(h.Sum64() % 6); got != want {
			t.Fatalf("%s: got partition %d, want %d", a, got, want)
		}
		count[got]++
	}
	for n, c := range count {
		if c < 800 || c > 1200 {
			t.Errorf("partition %d has %d of 6000", n, c)
		}
	}
	if registry.Partition(event.AggregateID{}, 0) != 0 {
		t.Error("no partitions")
	}
}

// More replays than are told apart ask for everything: none is left out.
func TestManyReplays(t *testing.T) {
	p := apply(t, nil, registry.Configured, "kind", "process", "options", `{}`, "partitions", "1")
	for n := range 1000 {
		p = apply(t, p, registry.Replayed, "scope", fmt.Sprint("patient/", n))
	}
	asks := func(number uint64, id string) (n int) {
		for _, r := range p.ReplaysBehind(number) {
			if r.Asks(event.AggregateID{Type: "patient", ID: id}, "patient", 1, 0) {
				n++
			}
		}
		return n
	}
	for number, want := range map[uint64]map[string]int{0: {"0": 1, "999": 2}, 998: {"997": 0, "998": 1, "999": 1}, 1000: {"999": 0}} {
		for id, n := range want {
			if got := asks(number, id); got != n {
				t.Errorf("behind %d: got %d replays of patient/%s, want %d", number, got, id, n)
			}
		}
	}
	if len(p.Replays) > 256 {
		t.Errorf("%d replays are kept", len(p.Replays))
	}
}
