package aggregate

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// maxProblems bounds what one refused command costs and how long its answer is.
const maxProblems = 100

// Check lists what is wrong with the command itself, whatever schema and state say: names, ids, limits, an aggregate that stands twice. The
// codes are malformed and too_large; beyond 100 problems it stops. Reserved types pass. Check also encodes the events' fields once for
// Digest and Decide: whoever changes fields afterwards has to call it again.
func (c *Command) Check() []*problem.Problem {
	k := &checker{}
	k.err("command id", event.CheckCommandID(c.ID))
	k.err("correlation", checkText("correlation", c.Correlation))
	k.err("causation", checkText("causation", c.Causation))
	k.err("traceparent", checkVisible("traceparent", c.Traceparent))
	if n := len(c.Changes); n == 0 {
		k.add("commits", problem.Malformed, "the command changes no aggregate")
	} else if n > MaxChanges {
		k.add("commits", problem.TooLarge, "%d aggregates in one command, at most %d are allowed", n, MaxChanges)
		return k.problems
	}
	events := 0
	for i := range c.Changes {
		events += len(c.Changes[i].Events)
	}
	if events > MaxEvents {
		k.add("commits", problem.TooLarge, "%d events in one command, at most %d are allowed", events, MaxEvents)
		return k.problems
	}
	k.twice(c.Changes)
	for i := range c.Changes {
		k.change(c, i)
	}
	return k.problems
}

type checker struct{ problems []*problem.Problem }

func (k *checker) full() bool { return len(k.problems) >= maxProblems }

func (k *checker) add(field string, code problem.Code, format string, args ...any) *problem.Problem {
	p := problem.New(code, format, args...)
	p.Field = field
	if !k.full() {
		k.problems = append(k.problems, p)
	}
	return p
}

func (k *checker) err(field string, err error) {
	if err != nil {
		k.add(field, problem.Malformed, "%v", err)
	}
}

func (k *checker) twice(changes []Change) {
	if len(changes) < 2 {
		return
	}
	seen := make(map[event.AggregateID]int, len(changes))
	for i := range changes {
		a := changes[i].Aggregate
		if first, there := seen[a]; there {
			k.add(fmt.Sprintf("commits[%d]", i), problem.Malformed, "the aggregate of commits[%d] stands here again", first).
				WithHint("put all events of an aggregate into one commit")
			continue
		}
		seen[a] = i
	}
}

func (k *checker) change(c *Command, i int) {
	change := &c.Changes[i]
	if err := event.CheckType(change.Aggregate.Type); err != nil {
		k.err(c.path(i, "type"), err)
	}
	if err := event.CheckID(change.Aggregate.ID); err != nil {
		k.err(c.path(i, "id"), err)
	}
	if len(change.Events) == 0 {
		k.add(c.path(i, "events"), problem.Malformed, "no event for the aggregate")
	}
	for j := range change.Events {
		if k.full() {
			return
		}
		if err := event.CheckEventType(change.Events[j].Type); err != nil {
			k.err(c.path(i, fmt.Sprintf("events[%d].event", j)), err)
		}
		k.fields(c, i, j)
	}
}

// path names a part of a change as DecodeTransaction does.
func (c *Command) path(i int, part string) string {
	if len(c.Changes) == 1 {
		return part
	}
	return fmt.Sprintf("commits[%d].%s", i, part)
}

func (k *checker) fields(c *Command, i, j int) {
	e := &c.Changes[i].Events[j]
	for f := range e.Fields {
		if e.Fields[f].Sealed {
			k.add(clip(e.Fields[f].Name), problem.Malformed, "the field %q is sealed; a command gives the text itself", clip(e.Fields[f].Name))
			return
		}
	}
	var err error
	if e.payload, err = event.EncodePayload(e.Fields); err == nil {
		return
	}
	if len(e.Fields) > event.MaxFields {
		k.add(c.path(i, fmt.Sprintf("events[%d].fields", j)), problem.TooLarge, "%d fields in one event, at most %d are allowed", len(e.Fields), event.MaxFields)
		return
	}
	found := len(k.problems)
	for f := range e.Fields {
		k.field(&e.Fields[f])
	}
	if len(k.problems) == found { // no field on its own, so two of them
		k.err(c.path(i, fmt.Sprintf("events[%d].fields", j)), err)
	}
}

func (k *checker) field(f *event.Field) {
	if len(f.Value) > event.MaxValueLen {
		k.add(clip(f.Name), problem.TooLarge, "the field %q has %d bytes, at most %d are allowed", clip(f.Name), len(f.Value), event.MaxValueLen)
		return
	}
	_, err := event.EncodePayload([]event.Field{*f})
	k.err(clip(f.Name), err)
}

// checkText holds log.md, section 2, for correlation and causation.
func checkText(what, s string) error {
	if len(s) > event.MaxContextLen {
		return fmt.Errorf("%s has %d bytes, at most %d are allowed", what, len(s), event.MaxContextLen)
	}
	if !utf8.ValidString(s) || strings.IndexFunc(s, unicode.IsControl) >= 0 {
		return fmt.Errorf("%s has invalid UTF-8 or a control character", what)
	}
	return nil
}

// checkVisible holds log.md, section 2, for traceparent.
func checkVisible(what, s string) error {
	if len(s) > event.MaxContextLen {
		return fmt.Errorf("%s has %d bytes, at most %d are allowed", what, len(s), event.MaxContextLen)
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return fmt.Errorf("%s has a byte outside 0x21 to 0x7e", what)
		}
	}
	return nil
}

// clip keeps names in error texts short, and valid UTF-8, however the input was.
func clip(s string) string {
	if len(s) <= 80 {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:80], "") + "…"
}
