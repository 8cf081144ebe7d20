// Package verifytest builds logs that verify accepts, block by block and the same on every run, and damages them.
package verifytest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// Start is the writer time of a builder's first block; each further block is one second later.
const Start event.Time = 1_700_000_000_000_000_000

// Site is the origin site of everything a builder writes.
const Site = "test-site"

// Commit is what a test says of a commit; everything else is made up.
type Commit struct {
	Aggregate event.AggregateID
	Events    []Event
	Actor     string // empty: "user:test"
	Command   string // its id; empty: made up
	Causation string

	KeyCommitment []byte // of the key that sealed fields are sealed under; nil: there are none
}

// Event is what a test says of an event.
type Event struct {
	Type          string
	Fields        []event.Field
	OccurredAt    *event.Time
	SchemaDigest  event.Hash
	SchemaVersion uint64
}

// Builder appends valid blocks to one log. It is for one goroutine; any failure ends the test.
type Builder struct {
	t       testing.TB
	log     eventlog.Log
	counter uint64
	chain   event.Chain
	tree    event.Tree
	heads   map[event.AggregateID]*head
}

type head struct {
	tree event.Tree
	at   event.Link
}

// New begins at the start of an empty log.
func New(t testing.TB, log eventlog.Log) *Builder {
	t.Helper()
	return &Builder{t: t, log: log, heads: map[event.AggregateID]*head{}}
}

// Memory makes a store with one empty log, and a builder for it.
func Memory(t testing.TB, name string) (*eventlog.Memory, eventlog.Log, *Builder) {
	t.Helper()
	store := eventlog.NewMemory()
	log, err := store.Create(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return store, log, New(t, log)
}

// Text is a field that is set.
func Text(name, value string) event.Field { return event.Field{Name: name, Value: value, Set: true} }

// Aggregate reads `type/id` without checking it.
func Aggregate(aggregateType, id string) event.AggregateID {
	return event.AggregateID{Type: aggregateType, ID: id}
}

// Block appends one block with these commits, each on its own.
func (b *Builder) Block(commits ...Commit) []event.Position { return b.append(false, commits) }

// Transaction appends one block whose commits are one transaction.
func (b *Builder) Transaction(commits ...Commit) []event.Position { return b.append(true, commits) }

func (b *Builder) append(together bool, commits []Commit) []event.Position {
	b.t.Helper()
	sequence := b.chain.Sequence + 1
	block := &event.Block{Header: event.Header{ID: b.id(), Previous: b.chain.Block, Epoch: max(b.chain.Epoch, 1), Time: max(Start+event.Time(sequence)*1e9, b.chain.Time+1)}}
	transaction := b.id()
	positions := make([]event.Position, len(commits))
	for i := range commits {
		c := b.commit(block.Time, &commits[i])
		if together && len(commits) > 1 {
			c.Transaction = event.Transaction{ID: transaction, Index: uint64(i), Count: uint64(len(commits))}
		}
		link := event.Link{Sequence: sequence, Index: uint32(i), Block: block.ID}
		block.Records = append(block.Records, b.record(c, link))
		positions[i] = event.Position{Log: b.log.Name(), Sequence: sequence, Index: uint32(i), Block: block.ID}
	}
	block.TreeSize, block.TreeRoot = b.tree.Size(), b.tree.Root()
	b.store(block)
	b.chain = event.ChainAt(sequence, block.Header)
	return positions
}

// Void appends a block with these commits that does not continue the last one, so that nothing of it counts.
func (b *Builder) Void(commits ...Commit) {
	b.t.Helper()
	shadow := &Builder{t: b.t, log: b.log, counter: b.counter + 1<<32, chain: b.chain, heads: map[event.AggregateID]*head{}}
	shadow.chain.Block = shadow.id()
	shadow.append(false, commits)
	b.counter += 1 << 16
	b.chain.Sequence++
}

// Damage appends a message that is no block.
func (b *Builder) Damage(data []byte) {
	b.t.Helper()
	b.put(data)
	b.chain.Sequence++
}

func (b *Builder) commit(at event.Time, spec *Commit) *event.Commit {
	c := &event.Commit{ID: b.id(), Site: Site, CommandID: fmt.Sprintf("command-%d", b.counter), CommandDigest: sha256.Sum256([]byte(fmt.Sprint(b.counter))),
		Aggregate: spec.Aggregate, First: 1, Actor: "user:test", TokenID: "token", Issuer: "issuer", Correlation: "correlation", Time: at, KeyCommitment: spec.KeyCommitment}
	if spec.Actor != "" {
		c.Actor = spec.Actor
	}
	if spec.Command != "" {
		c.CommandID = spec.Command
	}
	c.Causation = spec.Causation
	c.Transaction = event.Transaction{ID: c.ID, Count: 1}
	if h := b.heads[spec.Aggregate]; h != nil {
		c.First = event.Version(h.tree.Size()) + 1
	}
	for _, e := range spec.Events {
		payload, err := event.EncodePayload(e.Fields)
		if err != nil {
			b.t.Fatal(err)
		}
		c.Events = append(c.Events, event.Event{Type: e.Type, SchemaDigest: e.SchemaDigest, SchemaVersion: e.SchemaVersion, Salt: b.id(), OccurredAt: e.OccurredAt, Payload: payload})
	}
	return c
}

func (b *Builder) record(c *event.Commit, at event.Link) event.Record {
	h := b.heads[c.Aggregate]
	if h == nil {
		h = &head{}
		b.heads[c.Aggregate] = h
	}
	leaves := c.Leaves()
	h.tree = h.tree.Append(leaves...)
	b.tree = b.tree.Append(leaves...)
	c.Root = h.tree.Root()
	raw, err := c.Encode()
	if err != nil {
		b.t.Fatal(err)
	}
	r := event.Record{Prev: h.at, Raw: raw}
	h.at = at
	return r
}

func (b *Builder) store(block *event.Block) { b.put(block.Encode()) }

func (b *Builder) put(data []byte) {
	if err := b.log.Append(b.chain.Sequence, data).Err(); err != nil {
		b.t.Fatal(err)
	}
}

// id makes ids that look random and are the same on every run.
func (b *Builder) id() (id event.ID16) {
	b.counter++
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(b.log.Name()), b.counter))
	copy(id[:], sum[:])
	return id
}

// Messages are the messages of a log, from the first.
func Messages(t testing.TB, log eventlog.Log) [][]byte {
	t.Helper()
	first, last, err := log.Bounds(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for s := first; s <= last; s++ {
		m, err := log.Get(context.Background(), s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, m.Data)
	}
	return out
}

// Log makes a log in memory with these messages.
func Log(t testing.TB, name string, messages [][]byte) eventlog.Log {
	t.Helper()
	_, log, b := Memory(t, name)
	for _, m := range messages {
		b.Damage(m)
	}
	return log
}

// Resume takes over a log's first messages, all of them blocks that count, and goes on behind them with ids of its own.
func (b *Builder) Resume(messages [][]byte) {
	b.t.Helper()
	for _, m := range messages {
		b.put(m)
		b.counter += 1 << 20
		v := b.chain.Next(b.chain.Sequence+1, m)
		if v.Standing != event.Counts {
			b.t.Fatalf("resume at %d: got a message that is %s, want a block: %v", b.chain.Sequence, v.Standing, v.Err)
		}
		for i, c := range v.Commits {
			b.record(c, event.Link{Sequence: b.chain.Sequence, Index: uint32(i), Block: v.Block.ID})
		}
	}
}
