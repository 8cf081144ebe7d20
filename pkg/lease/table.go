package lease

import "context"

// Table is a small table of records that several processes change by compare-and-set. All methods are safe for concurrent use. A call that ends
// with another error than ErrConflict may have changed the table, or may still do so later.
//
// A table may be lost and made anew. Revisions only go up, over all tables of one place: so who knows the former one changes nothing in the new one.
type Table interface {
	// Put writes a record if the key's revision is the given one, and gives its new revision. A key that does not exist, or was deleted, has the
	// revision of the table's birth, which Watch tells. ErrConflict otherwise.
	Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)

	// Delete removes a record of that revision. ErrConflict if it has another one or does not exist.
	Delete(ctx context.Context, key string, revision uint64) error

	// Watch makes the table if there is none. It calls each with all records, then with a Change without Key (the table was seen whole; its revision is that of
	// the table's birth), then with every change, one call after the other, until ctx ends; then it comes back with nil. After a gap (connection or table lost) it starts over: Change{Reset: true}, at once when
	// the gap begins, then all records again as above. A record may come more than once, and among
	// all records may be some that are gone. An error says that nothing can be watched; it may pass.
	Watch(ctx context.Context, each func(Change)) error
}

// Change is one record as a Watch sees it.
type Change struct {
	Key      string // empty: the table was seen whole, or Reset
	Value    []byte // nil: the record is gone. It must not be changed
	Revision uint64 // of the record; of a record that is gone: of its end; of the birth
	Reset    bool   // what was seen before may be out of date
}
