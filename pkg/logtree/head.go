package logtree

import "github.com/eventfuldb/eventful/pkg/event"

// Head is a log's tree behind a block that is on disk, as the process that writes the log knows it. It must not be changed.
type Head struct {
	Log      string
	Session  uint64 // of the process's leading the log: within one, every tree is the one before with leaves added
	Sequence uint64 // of the block
	Block    event.ID16
	Epoch    uint64
	Time     event.Time
	Tree     event.Tree
	Commits  uint64 // that the process has stored in the log so far
}

// Position is where the block lies.
func (h *Head) Position() event.Position {
	return event.Position{Log: h.Log, Sequence: h.Sequence, Block: h.Block}
}
