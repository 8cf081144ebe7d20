package projector

import (
	"context"
	"strconv"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Export gives an aggregate's commits as they are stored, beginning with the one that holds version from (0 is 1), up to about 512 KiB; Cursor
// says where to go on. not_found if there is no such aggregate.
func (p *Projector) Export(ctx context.Context, a event.AggregateID, from event.Version) (Export, error) {
	x, err := p.find(a)
	if err != nil {
		return Export{}, err
	}
	page := exportPage{log: x.name, next: max(from, 1), out: Export{Site: p.config.Site, Log: x.name, Type: a.Type, ID: a.ID, Commits: []ExportedCommit{}}}
	err = x.view(ctx, func(r *reading) error {
		newest, err := r.newest(a)
		if err != nil {
			return err
		}
		page.newest, page.root = newest.Last(), newest.Root
		return r.commits(ctx, a, page.next, page.add)
	})
	if err != nil {
		return Export{}, err
	}
	page.out.Version, page.out.Root = uint64(page.newest), page.root.String()
	if page.next <= page.newest {
		page.out.Cursor = strconv.FormatUint(uint64(page.next), 10)
	}
	return page.out, nil
}

type exportPage struct {
	log    string
	out    Export
	next   event.Version
	newest event.Version // moves on with what is read: a commit may have come after the summary was read
	root   event.Hash
	size   int
}

// exportedBytes is what a commit takes in JSON besides its bytes and leaves, leafText what a leaf takes.
const (
	exportedBytes = 200
	leafText      = 67
)

func (e *exportPage) add(c located) (bool, error) {
	if c.Last() < e.next {
		return true, nil // from lies behind the newest version
	}
	raw, err := c.Encode()
	if err != nil {
		return false, err
	}
	size := exportedBytes + (len(raw)+2)/3*4 + leafText*len(c.Events)
	if len(e.out.Commits) > 0 && e.size+size > pageBytes {
		return false, nil
	}
	leaves := make([]string, len(c.Events))
	for i, h := range c.leaves {
		leaves[i] = h.String()
	}
	e.out.Commits = append(e.out.Commits, ExportedCommit{Position: (event.Position{Log: e.log, Sequence: c.at.Sequence, Index: c.at.Index, Block: c.at.Block}).String(), Commit: raw, Leaves: leaves})
	e.size += size
	e.next = c.Last() + 1
	if c.Last() > e.newest {
		e.newest, e.root = c.Last(), c.Root
	}
	return true, nil
}
