package event_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
)

// number gives an id that is never zero and another for each n.
func number(n int) (id event.ID16) {
	binary.BigEndian.PutUint64(id[8:], uint64(n)+1)
	return id
}

// newCommit is a commit of one laboratory event, as a hospital writes thousands.
func newCommit(n int) *event.Commit {
	payload, err := event.EncodePayload([]event.Field{
		{Name: "crp", Value: "21.0", Set: true}, {Name: "unit", Value: "mg/l", Set: true}, {Name: "note", Set: false},
	})
	if err != nil {
		panic(err)
	}
	at := event.Time(1413977220000000000)
	return &event.Commit{
		ID: number(n), Site: "main", CommandID: fmt.Sprintf("01K6Z3M4N5P6Q7R8S9T0%06d", n), Aggregate: event.AggregateID{Type: "patient", ID: fmt.Sprintf("p-%d", n)},
		First: 1, Actor: "org-group:intensive-care", TokenID: "TOKEN1", Issuer: "ISSUER1", Time: 7,
		Transaction: event.Transaction{ID: number(n), Count: 1}, Events: []event.Event{{Type: "crp", SchemaVersion: 3, OccurredAt: &at, Payload: payload}},
	}
}

// newBlock is a block of n commits, each the first of another aggregate.
func newBlock(t testing.TB, n int) *event.Block {
	t.Helper()
	b := &event.Block{Header: event.Header{ID: number(0), Epoch: 1, TreeSize: uint64(n), Time: 7}}
	tree := event.Tree{}
	for i := range n {
		c := newCommit(i)
		raw, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		tree = tree.Append(c.Leaves()...)
		b.Records = append(b.Records, event.Record{Raw: raw})
	}
	b.TreeRoot = tree.Root()
	return b
}
