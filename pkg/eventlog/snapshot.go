package eventlog

import (
	"context"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Snapshot is what a reader of a log knows of it at a sequence, as it lies outside the reader: keys and values that only the reader understands.
type Snapshot struct {
	Log      string
	Kind     string // what it is of, and in which format; a reader takes no other
	Mark     []byte // what the reader wants to see again before it takes it
	Sequence uint64 // it holds every message up to here
}

// KeptSnapshot is where a Snapshot lies.
type KeptSnapshot struct {
	Name     string `json:"name"`
	Digest   string `json:"digest"` // hexadecimal SHA-256 of what it says; a record of the log must name it
	Sequence uint64 `json:"sequence"`
	Cut      uint64 `json:"cut"`    // the log may be purged up to here, says that record
	Record   string `json:"record"` // position of that record; empty: there is none
}

// Snapshots is where snapshots lie. Methods are safe for concurrent use.
type Snapshots interface {
	// Holder gives the digest of the segment that holds a message of a log. ErrNotFound: none does; other errors may pass.
	Holder(ctx context.Context, log string, sequence uint64) (event.Hash, error)
	// PutSnapshot stores one: entries calls put for each key and value, in ascending order of keys. What it gives has no record yet.
	PutSnapshot(ctx context.Context, s Snapshot, entries func(put func(key, value []byte) error) error) (KeptSnapshot, error)
	// ListSnapshots gives those of a log that a record names, the newest first.
	ListSnapshots(ctx context.Context, log string) ([]KeptSnapshot, error)
	// ReadSnapshot first calls begin with what the snapshot is, then put with each key and value; each part was checked. An error of them ends it and is given as it is.
	// ErrUnavailable: it can be tried again; other errors stay.
	ReadSnapshot(ctx context.Context, log string, k KeptSnapshot, begin func(Snapshot) error, put func(key, value []byte) error) error
}
