package projector

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
)

// spot is a place in the order of a log: an event of a commit.
type spot struct {
	sequence uint64
	index    uint32
	event    uint32
}

func (s spot) compare(o spot) int {
	switch {
	case s.sequence != o.sequence:
		return cmp.Compare(s.sequence, o.sequence)
	case s.index != o.index:
		return cmp.Compare(s.index, o.index)
	}
	return cmp.Compare(s.event, o.event)
}

// commit is the place of the commit.
func (s spot) commit() spot { return spot{sequence: s.sequence, index: s.index} }

func spotOf(l event.Link) spot { return spot{sequence: l.Sequence, index: l.Index} }

// postingKinds are what commits are found by, in the order of keys.
var postingKinds = [...]byte{byActor, byCause, byCommand, byCorrelation, byEvent}

// post notes what a commit can be found by. It comes before its events are noted.
func (t *tail) post(c *event.Commit, at spot) {
	place := uint32(len(t.commits))
	t.commits = append(t.commits, tailPlace{at.sequence, at.index, uint32(len(t.hashes))})
	for i, kind := range postingKinds {
		switch kind {
		case byActor:
			t.posts[i] = append(t.posts[i], hashed{hash48(c.Actor), place})
		case byCommand:
			t.posts[i] = append(t.posts[i], hashed{hash48(c.CommandID), place})
		case byCause:
			if c.Causation != "" {
				t.posts[i] = append(t.posts[i], hashed{hash48(c.Causation), place})
			}
		case byCorrelation:
			if c.Correlation != "" {
				t.posts[i] = append(t.posts[i], hashed{hash48(c.Correlation), place})
			}
		case byEvent:
			for k := range c.Events {
				if k == 0 || c.Events[k].Type != c.Events[k-1].Type {
					t.posts[i] = append(t.posts[i], hashed{hash48(c.Events[k].Type), place})
				}
			}
		}
	}
}

// posted gives the commits, not before a spot, that are found by something, in the order of the log.
func (t *tail) posted(by posting, from spot) (out []tailCommit) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	posts := t.posts[slices.Index(postingKinds[:], by.kind)]
	last := -1
	for _, p := range posts {
		if p.hash != by.hash || int(p.at) == last || t.commits[p.at].before(from) {
			continue // an event type may stand in a commit again
		}
		last = int(p.at)
		out = append(out, t.commit(p.at))
	}
	return out
}

// postChunk is the number of commits from which on a further entry begins.
const postChunk = 512

// postings writes what commits are found by.
func (f *flusher) postings() error {
	for i, kind := range postingKinds {
		posts := byHash(f.tail.posts[i], 48)
		for len(posts) > 0 {
			n, err := f.posting(kind, posts)
			if err != nil {
				return err
			}
			posts = posts[n:]
		}
	}
	return nil
}

// posting writes one entry of postings, which is about the first ones of some, and says of how many.
func (f *flusher) posting(kind byte, posts []hashed) (n int, err error) {
	places, first := f.tail.commits, posts[0]
	last := places[first.at].sequence
	f.key = appendOrdered(appendPosting(f.key[:0], kind, first.hash), last)
	f.value = f.value[:0]
	for ; n < len(posts) && posts[n].hash == first.hash; n++ {
		p := &places[posts[n].at]
		if n >= postChunk && p.sequence != last {
			break
		}
		if n > 0 && posts[n].at == posts[n-1].at {
			continue // an event type that stands in it again
		}
		f.value = binary.AppendUvarint(binary.AppendUvarint(f.value, p.sequence-last), uint64(p.index))
		last = p.sequence
	}
	return n, f.batch.Set(f.key, f.value)
}

// order writes where the commits of each block lie.
func (f *flusher) order() error {
	commits := f.tail.commits
	for _, b := range f.tail.blocks {
		f.value = binary.BigEndian.AppendUint64(f.value[:0], uint64(b.time))
		n := 0
		for ; n < len(commits) && commits[n].sequence == b.sequence; n++ {
			h := f.tail.hashes[commits[n].first]
			f.value = binary.AppendUvarint(f.at(h).Append(f.value), uint64(h.of.commits[h.commit].first))
		}
		if commits = commits[n:]; n == 0 {
			continue
		}
		f.key = append(f.key[:0], orderKey(b.sequence)...)
		if err := f.batch.Set(f.key, f.value); err != nil {
			return err
		}
	}
	return nil
}
