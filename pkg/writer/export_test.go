package writer

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// RewriteHead, RewriteCommandIDs and RewriteMeta read a value of the stored state and write it again.
func RewriteHead(b []byte) ([]byte, error) {
	h, err := decodeHead(b)
	if err != nil {
		return nil, err
	}
	return h.encode(), nil
}

func RewriteCommandIDs(b []byte) ([]byte, error) {
	c, err := decodeChunk(b)
	if err != nil {
		return nil, err
	}
	return c.encode(), nil
}

func RewriteMeta(b []byte) ([]byte, error) {
	m, err := decodeMeta(b)
	if err != nil {
		return nil, err
	}
	return m.encode(), nil
}

// MoveCommandIDs gives stored command ids that say of each command that it lies so many sequences further on.
func MoveCommandIDs(b []byte, by uint64) ([]byte, error) {
	c, err := decodeChunk(b)
	if err != nil {
		return nil, err
	}
	for i := range c.blocks {
		c.blocks[i].sequence += by
	}
	return c.encode(), nil
}

// FailingStates gives a configuration whose states fail where fail says so.
func FailingStates(c Config, fail func(log string, at statestore.Step) error) Config {
	c.fail = fail
	return c
}

// CommandIDs is the table of command ids in memory.
type CommandIDs struct{ ids *commandIDs }

// IDHash is the hash of a command id.
type IDHash = idHash

// ChunkIDs is how many ids leave the table at once.
const ChunkIDs = chunkIDs

// RepeatReaders is how many blocks are read at once for repeated commands, MaxTellers for conflicts.
const (
	RepeatReaders = repeatReaders
	MaxTellers    = maxTellers
)

// NewCommandIDs makes a table for commands behind those of the first so many chunks.
func NewCommandIDs(commands uint64, age time.Duration, chunks uint64) CommandIDs {
	ids := &commandIDs{window: window{commands: commands, age: age}, first: chunks * chunkIDs, next: chunks * chunkIDs}
	ids.resize(0)
	return CommandIDs{ids}
}

func (c CommandIDs) Add(hash IDHash, sequence uint64, at event.Time) { c.ids.add(hash, sequence, at) }

func (c CommandIDs) Find(hash IDHash, now event.Time) (uint64, bool) {
	return c.ids.find(hash, c.ids.next, now)
}

func (c CommandIDs) Forget(now event.Time) { c.ids.forget(now) }

// Kept is the number of ids in the table, and Next the ordinal of the next one.
func (c CommandIDs) Kept() uint64 { return c.ids.kept() }
func (c CommandIDs) Next() uint64 { return c.ids.next }

// StateIdentity is what the store of a log's state is called.
func StateIdentity(site, log string) string { return stateIdentity(site, log) }

// SplitMeta gives the sequence that a stored position stands at, and what it says besides the place in the log.
func SplitMeta(b []byte) (sequence uint64, rest []byte, err error) {
	m, err := decodeMeta(b)
	if err != nil {
		return 0, nil, err
	}
	sequence, m.chain = m.chain.Sequence, event.Chain{}
	return sequence, m.encode(), nil
}

// KeepState is the archiver's call, without the way over Peers.
func (w *Writer) KeepState(ctx context.Context, log, asker string, cut Cut) (eventlog.KeptSnapshot, error) {
	r, p := w.ask(ctx, log, verbArchive, call{Asker: asker, Archive: &cut})
	if p != nil {
		return eventlog.KeptSnapshot{}, p
	}
	return *r.Kept, nil
}

// Cool is the archiver's other call, likewise.
func (w *Writer) Cool(ctx context.Context, log, asker string, t Tier) (*TierRecord, *problem.Problem) {
	r, p := w.ask(ctx, log, verbArchive, call{Asker: asker, Tier: &t})
	return r.Tier, p
}

// FillHeads makes a cache of heads hold as many as it does at most, of aggregates with so many events, and returns it.
func FillHeads(cached int, events uint64) any {
	var applied atomic.Uint64
	r := newRecent[event.AggregateID, head](cached, &applied)
	for i := range cached {
		var t event.Tree
		for range events {
			t = t.Append(event.Hash{})
		}
		r.put(event.AggregateID{Type: "patient", ID: strings.Clone(fmt.Sprintf("w-%08d", i))}, head{version: event.Version(events), tree: t}, 0)
	}
	return &r
}
