// Package aggregate is the rules of writing: what a command is, how it is decoded and checked, which events it becomes, and how events fold to state.
//
// A command goes through the package in this order: DecodeFields or DecodeTransaction, Command.Check, Command.Digest, then Decide for each of
// its changes. The authority is docs/spec/commands.md; section numbers in comments are its sections. Every refusal is a *problem.Problem;
// its text names fields and rules, never values.
//
// The package is pure: no clock, no randomness, no I/O. Fold never fails and decides nothing; Decide appends nothing. Commands are not safe for
// concurrent use while Check runs; everything else is.
package aggregate

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Limits of a command.
const (
	MaxChanges = 512                   // aggregates of a transaction
	MaxEvents  = event.MaxCommitEvents // events of a command, over all its changes
)

// NewEvent is an event that somebody wants to be written. Fields come in any order, each name once.
type NewEvent struct {
	Type       string
	Fields     []event.Field
	OccurredAt *event.Time // nil: not given
	payload    []byte      // the fields encoded, by Command.Check
	sealed     *sealed     // nil: what is stored is what was sent
}

// sealed is an event of which some values are stored sealed: payloads in place of the one with the fields as they were sent.
type sealed struct {
	stored []byte
	digest []byte
}

// Seal says how the event's fields are stored, and how the command digest covers them, where that is not as they were sent: values of encrypted fields. It comes
// behind Command.Check. Rules are still held against Fields. An error says that a field cannot be stored so.
func (e *NewEvent) Seal(stored, digested []event.Field) error {
	s := &sealed{}
	var err error
	if s.stored, err = event.EncodePayload(stored); err != nil {
		return err
	}
	if s.digest, err = event.EncodePayload(digested); err != nil {
		return err
	}
	e.sealed = s
	return nil
}

// Unseal takes Seal back.
func (e *NewEvent) Unseal() { e.sealed = nil }

// Change is what a command does to one aggregate: all of its events or none.
type Change struct {
	Aggregate event.AggregateID
	Expected  Expected
	Events    []NewEvent
}

// Command is a request to commit changes of one log together: one with one event, or a transaction.
type Command struct {
	ID          string // makes a repeat harmless; whoever takes the request makes one where the sender gave none
	Changes     []Change
	Correlation string
	Causation   string
	Traceparent string
	DryRun      bool // check everything, store nothing
}

// Digest is the command digest (section 5), by which a repeat is told from another command with the same id. Correlation, causation,
// traceparent and dry run are no part of it. The command has passed Check; one that could not is a programming error and panics.
func (c *Command) Digest(actor string) event.Hash {
	b := make([]byte, 0, 512)
	b = append(b, "eventful.command.v1\x00"...)
	b = appendStr(b, actor)
	b = binary.AppendUvarint(b, uint64(len(c.Changes)))
	for i := range c.Changes {
		change := &c.Changes[i]
		b = appendStr(b, change.Aggregate.Type)
		b = appendStr(b, change.Aggregate.ID)
		b = appendStr(b, change.Expected.String())
		b = binary.AppendUvarint(b, uint64(len(change.Events)))
		for j := range change.Events {
			b = change.Events[j].append(b)
		}
	}
	return sha256.Sum256(b)
}

func (e *NewEvent) append(b []byte) []byte {
	b = appendStr(b, e.Type)
	if e.OccurredAt == nil {
		b = append(b, 0)
	} else {
		b = binary.BigEndian.AppendUint64(append(b, 1), uint64(*e.OccurredAt))
	}
	payload, err := e.encode()
	if e.sealed != nil {
		payload = e.sealed.digest
	}
	if err != nil {
		panic("aggregate: digest of a command that Check refuses: " + err.Error())
	}
	b = binary.AppendUvarint(b, uint64(len(payload)))
	return append(b, payload...)
}

// encode gives the payload that Check made, or makes it.
func (e *NewEvent) encode() ([]byte, error) {
	if e.payload != nil {
		return e.payload, nil
	}
	return event.EncodePayload(e.Fields)
}

func appendStr(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
