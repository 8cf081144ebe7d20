// Package eventlog is the contract of a log: append a block behind an expected sequence, read blocks in order; with an in-memory log.
//
// A log is a sequence of messages numbered from 1 without gaps. It knows nothing of what a message means; which messages count is
// judged by event.Chain, which Read applies. Package jetlog implements the contract on JetStream, Memory in memory;
// eventlogtest holds the suite that both must pass.
package eventlog

import "context"

// Message is one stored message. Data must not be changed.
type Message struct {
	Sequence uint64
	Data     []byte
}

// Log is one log. All methods are safe for concurrent use.
type Log interface {
	// Name is the log's name, for example "patient".
	Name() string

	// Append asks for data to be stored as the message with sequence expected+1, and for nothing else: if that place is taken, nothing is
	// stored. It does not wait; several appends may be under way, and they are sent in the order of the calls. The log keeps data; the
	// caller must not change it afterwards. Only the sequence is compared: with two in flight, of which a rival takes the first one's place, the
	// second may be stored behind the rival's message. It does not continue that one, so it is void (event.Chain): an append counts only if
	// all before it by the same caller did.
	Append(expected uint64, data []byte) Pending

	// Get reads one message: ErrNotFound if there is none at that sequence.
	Get(ctx context.Context, sequence uint64) (Message, error)

	// Bounds gives the first and last sequence; an empty log has last = first-1. The answer is not older than the call.
	Bounds(ctx context.Context) (first, last uint64, err error)

	// Follow reads every message behind the sequence after, in order and without an end: Next waits for messages to come. ErrRewound if the
	// log ends before that sequence.
	Follow(ctx context.Context, after uint64) (Cursor, error)
}

// Pending is an append under way.
type Pending interface {
	// Done is closed when the outcome is there. It always comes: a log gives up by itself with ErrUnknown.
	Done() <-chan struct{}
	// Err waits for the outcome. nil: stored at expected+1 and on disk. ErrTaken: not stored by this append. ErrRefused: not stored, the
	// log does not take it. ErrUnknown: it may be stored, now or later, until another message takes its place. Other errors do not occur.
	Err() error
}

// Cursor reads in order. It is for one goroutine. One that gathers messages for some milliseconds before it gives them has a method Hurry() too, which
// Reader.Hurry calls.
type Cursor interface {
	// Next waits for the next message, or until ctx ends. Messages are never skipped or repeated: if a sequence is missing in the log, the next higher one comes.
	Next(ctx context.Context) (Message, error)
	// Stop releases what the cursor holds. Next must not be called after it.
	Stop()
}

// Store is where logs live.
type Store interface {
	// Open opens a log: ErrNotFound if it does not exist.
	Open(ctx context.Context, name string) (Log, error)
	// Create opens a log and makes it first if it does not exist.
	Create(ctx context.Context, name string) (Log, error)
	// List gives the names of all logs in ascending order.
	List(ctx context.Context) ([]string, error)
}
