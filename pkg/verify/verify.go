// Package verify checks every invariant of a log: leaves, roots, versions, links, the chain of blocks, the log tree, and what was signed of it.
//
// It reads the log itself and trusts nothing that was derived from it. Aggregate proves one aggregate at a cost that depends on that
// aggregate only; All reads a log once, in order, and names the aggregate and version of every failure. A failed proof is a result, not an
// error: errors mean that the log could not be read now. What neither can see is a writer that recomputed every hash, and a tail that was
// cut before anybody had saved a position in it: Against, which holds a log against signed checkpoints, finds both.
//
// Under no hash at all, and so not proved, stand a commit's command digest, its events' schema versions, the commit id of a commit in a
// transaction of several, and a block's epoch and system position as far as the chain allows another value (docs/spec/log.md, sections 4 to 7).
package verify

import (
	"encoding/json"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Verdict is the outcome of a check. The words go over the wire.
type Verdict string

const (
	// OK: everything follows from the stored bytes, and a witnessed checkpoint covers it (docs/spec/proofs.md, section 3).
	OK Verdict = "OK"
	// Unwitnessed: as OK, and nobody besides the site vouches for it: no witnessed checkpoint covers it.
	Unwitnessed Verdict = "OK_UNWITNESSED"
	// Shredded: as OK or Unwitnessed, and a key of the aggregate's encrypted fields was destroyed.
	Shredded Verdict = "SHREDDED"
	// Forked: the stored bytes agree with each other, and not with a signed checkpoint.
	Forked Verdict = "FORKED"
	// Tampered: the stored bytes contradict each other.
	Tampered Verdict = "TAMPERED"
	// Truncated: the log ends before, or begins behind, what must be in it.
	Truncated Verdict = "TRUNCATED"
	// Unreadable: a message between is missing, does not decode, or has a format version that this program does not know.
	Unreadable Verdict = "UNREADABLE"
)

// Good reports whether a verdict says that everything holds.
func (v Verdict) Good() bool { return v == OK || v == Unwitnessed || v == Shredded }

// Leaf is an event of an aggregate as it stands in the log tree.
type Leaf struct {
	Index   uint64 // in the tree of the log, as its block states
	Version event.Version
	Hash    event.Hash
}

// Signed is what a checkpoint says of a log, whose signature was checked.
type Signed struct {
	Size      uint64
	Root      event.Hash
	Witnessed bool
}

// Result is the verdict on one aggregate; on a log as a whole if Aggregate is zero.
type Result struct {
	Log       string
	Aggregate event.AggregateID
	Verdict   Verdict
	Version   event.Version // OK: the newest. Else where the proof fails: the first version of the commit that does not hold, 0 if unknown
	Root      event.Hash    // OK: the root of the aggregate tree at Version
	Sequence  uint64        // of the message with that version; 0 if unknown
	Detail    string        // why it failed; empty for OK

	// Keys are the commitments of the keys under which fields of the aggregate are sealed; of an aggregate that was proved alone, in the order in which they came into use.
	Keys []event.Hash

	// Leaves are the events of an aggregate that was proved alone, in the order of their versions.
	Leaves []Leaf
	// Covered is how many events lie under a checkpoint that the log was held against; Witnessed, whether all lie under a witnessed one.
	Covered   uint64
	Witnessed bool

	Snapshots bool // the events are proven, and only snapshots say something else: Detail names them
}

type resultJSON struct {
	Log      string        `json:"log"`
	Type     string        `json:"type"`
	ID       string        `json:"id"`
	Verdict  Verdict       `json:"verdict"`
	Version  event.Version `json:"version"`
	Root     string        `json:"root,omitempty"`
	Sequence uint64        `json:"sequence,omitempty"`
	Detail   string        `json:"detail"`

	Covered   uint64 `json:"covered,omitempty"`
	Witnessed bool   `json:"witnessed,omitempty"`
	Snapshots bool   `json:"snapshots-lie,omitempty"`
}

// MarshalJSON gives the form of docs/spec/commands.md, section 7.
func (r Result) MarshalJSON() ([]byte, error) {
	j := resultJSON{Log: r.Log, Type: r.Aggregate.Type, ID: r.Aggregate.ID, Verdict: r.Verdict, Version: r.Version, Sequence: r.Sequence, Detail: r.Detail, Covered: r.Covered, Witnessed: r.Witnessed, Snapshots: r.Snapshots}
	if r.Verdict.Good() {
		j.Root = r.Root.String()
	}
	return json.Marshal(j)
}

// Finding is something about a stretch of the log, not about one aggregate.
type Finding struct {
	From, To uint64 // sequences, both included
	Verdict  Verdict
	Detail   string

	Elsewhere bool // it lies outside the log's stream, in an archive that can be mended; the stream is not damaged by it
}

// Report is what All found in one log.
type Report struct {
	Log        string
	Blocks     uint64 // that count
	Events     uint64 // in them
	Aggregates uint64
	Failed     []Result  // at most one for each aggregate: the first version that fails
	Damage     []Finding // messages that are missing or cannot be read, a broken chain, and the first block whose log tree does not hold
	Covered    uint64    // events under the largest checkpoint that the log tree was found to extend
	Witnessed  bool      // it extends a witnessed one
	Void       []Finding // blocks that never counted; alone no failure: a writer that lost its place leaves one
}

// OK reports whether the whole log holds. Void blocks on their own do not count against it.
func (r *Report) OK() bool { return len(r.Failed) == 0 && len(r.Damage) == 0 }

// Verdict is the one word on the log.
func (r *Report) Verdict() Verdict {
	switch failures := r.Failures(); {
	case len(failures) > 0:
		return failures[0].Verdict
	case r.Witnessed:
		return OK
	}
	return Unwitnessed
}

// Failures are all failed aggregates, followed by the damage as results that name no aggregate.
func (r *Report) Failures() []Result {
	out := append([]Result(nil), r.Failed...)
	for _, d := range r.Damage {
		out = append(out, Result{Log: r.Log, Verdict: d.Verdict, Sequence: d.From, Detail: d.Detail})
	}
	return out
}
