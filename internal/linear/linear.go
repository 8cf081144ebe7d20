// Package linear checks that what concurrent senders saw of aggregates is what one sender after the other could have seen (linearizability, by porcupine).
//
// A test notes every command and read with its begin and its end, and at last what the log holds. A command without an answer may have happened at any time
// behind its begin, or never: what the log holds at last decides.
package linear

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Any is the expected version of a command that takes every version.
const Any = -1

// Outcome is what a sender was told of a command.
type Outcome struct {
	Kind     Kind
	Version  uint64 // Stored: of its event; Conflict: the actual one
	Repeated bool   // Stored: the command had been stored before
}

// Kind says how a command ended.
type Kind string

// The ways in which a command ends.
const (
	Stored   Kind = "stored"
	Conflict Kind = "conflict" // another version was expected
	Refused  Kind = "refused"  // nothing was stored
	Lost     Kind = "lost"     // no answer
)

// History collects operations; it is safe for concurrent use. The zero value is not ready: New makes one.
type History struct {
	start time.Time
	mu    sync.Mutex // guards ops
	ops   []operation
}

// operation is a command, a read, or the content of the log at last.
type operation struct {
	client        int
	aggregate     string
	begin, end    time.Duration
	command       string // its id; empty: a read
	expected      int64
	outcome       Outcome
	version       uint64 // a read: the newest version …
	newest        string // … and the id of the command that wrote it
	final         bool
	finalCommands string // the ids in the order of versions
}

// New begins a history.
func New() *History { return &History{start: time.Now()} }

// Command notes that a client begins a command with one event; call what it gives with the outcome.
func (h *History) Command(client int, aggregate, id string, expected int64) (ended func(Outcome)) {
	begin := time.Since(h.start)
	return func(o Outcome) {
		h.add(operation{client: client, aggregate: aggregate, begin: begin, end: time.Since(h.start), command: id, expected: expected, outcome: o})
	}
}

// Read notes that a client begins to read the newest version, which must include all that was stored before; call what it gives with the version, 0 if there is none, and the id
// of the command that wrote it, or nothing if the read did not tell. A read that fails is not noted.
func (h *History) Read(client int, aggregate string) (ended func(version uint64, newest string)) {
	begin := time.Since(h.start)
	return func(version uint64, newest string) {
		h.add(operation{client: client, aggregate: aggregate, begin: begin, end: time.Since(h.start), version: version, newest: newest})
	}
}

// Final notes what the log holds of an aggregate when all is over: the ids of the commands, in the order of versions.
func (h *History) Final(aggregate string, commands []string) {
	now := time.Since(h.start)
	h.add(operation{aggregate: aggregate, begin: now, end: now + 1, final: true, finalCommands: join(commands)})
}

func (h *History) add(o operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, o)
}

const separator = "\n"

func join(ids []string) string { return strings.Join(ids, separator) }

// checkFor bounds the search for one aggregate's order.
const checkFor = time.Minute

// Check looks for an order, aggregate by aggregate. The error names the first aggregate that has none, with what was seen of it.
func (h *History) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	byAggregate := map[string][]operation{}
	for _, o := range h.ops {
		byAggregate[o.aggregate] = append(byAggregate[o.aggregate], o)
	}
	for aggregate, ops := range byAggregate {
		switch result := porcupine.CheckOperationsTimeout(model(), settled(ops), checkFor); result {
		case porcupine.Ok:
		case porcupine.Unknown:
			return fmt.Errorf("no order of the %d operations on %s was found in %s", len(ops), aggregate, checkFor)
		default:
			return fmt.Errorf("no order of the operations on %s explains what was seen:\n%s", aggregate, text(ops))
		}
	}
	return nil
}

// settled are the operations that the check takes. Those that may have any place are left out: commands that were refused, and lost ones that the log does not hold
// or whose effect another sending told as its own. What is left of the lost sendings of one command is one operation, which happened before anybody was told so.
func settled(ops []operation) []porcupine.Operation {
	var held []string
	var last time.Duration
	lost, told := map[string]operation{}, map[string]operation{}
	for _, o := range ops {
		if last = max(last, o.end); o.final {
			held = strings.Split(o.finalCommands, separator)
		}
		switch first, known := told[o.command]; {
		case o.command == "":
		case o.outcome.Kind == Stored && (!known || o.end < first.end):
			told[o.command] = o
		case o.outcome.Kind == Lost:
			if first, known := lost[o.command]; !known || o.begin < first.begin {
				lost[o.command] = o
			}
		}
	}
	var out []porcupine.Operation
	add := func(o operation, end time.Duration) {
		out = append(out, porcupine.Operation{ClientId: o.client, Input: o, Call: int64(o.begin), Return: int64(end)})
	}
	for _, o := range ops {
		if o.command == "" || o.outcome.Kind == Stored || o.outcome.Kind == Conflict {
			add(o, o.end)
		}
	}
	for id, o := range lost {
		end := last
		first, known := told[id]
		if known {
			end = first.end
		}
		if slices.Contains(held, id) && !(known && !first.outcome.Repeated) {
			add(o, end)
		}
	}
	return out
}

// model is one aggregate: its state is the ids of the commands that were stored, in the order of versions, as one string.
func model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, _ any) (bool, any) {
			return step(state.(string), input.(operation))
		},
	}
}

func step(state string, o operation) (possible bool, next string) {
	var ids []string
	if state != "" {
		ids = strings.Split(state, separator)
	}
	version := uint64(len(ids))
	switch {
	case o.final:
		return o.finalCommands == state, state
	case o.command == "":
		return o.version == version && (version == 0 || o.newest == "" || o.newest == ids[version-1]), state
	}
	if i := slices.Index(ids, o.command); i >= 0 {
		again := o.outcome.Kind == Stored && o.outcome.Repeated && o.outcome.Version == uint64(i)+1
		return again || o.outcome.Kind == Refused || o.outcome.Kind == Lost, state
	}
	if o.expected != Any && uint64(o.expected) != version {
		told := o.outcome.Kind == Conflict && o.outcome.Version == version
		return told || o.outcome.Kind == Refused || o.outcome.Kind == Lost, state
	}
	switch o.outcome.Kind {
	case Refused:
		return true, state
	case Stored:
		return !o.outcome.Repeated && o.outcome.Version == version+1, join(append(ids, o.command))
	case Lost:
		return true, join(append(ids, o.command))
	}
	return false, state
}

func text(ops []operation) string {
	ops = slices.Clone(ops)
	slices.SortFunc(ops, func(a, b operation) int { return int(a.begin - b.begin) })
	var b strings.Builder
	for _, o := range ops {
		fmt.Fprintf(&b, "%12s %12s client %d: ", o.begin, o.end, o.client)
		switch {
		case o.final:
			fmt.Fprintf(&b, "the log holds %s\n", strings.ReplaceAll(o.finalCommands, separator, " "))
		case o.command == "":
			fmt.Fprintf(&b, "read version %d by %s\n", o.version, o.newest)
		default:
			fmt.Fprintf(&b, "command %s expecting %d: %+v\n", o.command, o.expected, o.outcome)
		}
	}
	return b.String()
}
