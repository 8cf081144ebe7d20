package writer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// changes collects what blocks change; reads through it see what was collected. It is written in one batch with the position, each key once however often it was
// changed.
type changes struct {
	st      *state
	meta    meta
	heads   map[event.AggregateID]head
	counts  map[string]uint64 // units, by key
	set     map[string][]byte // everything else; nil: deleted
	tail    *chunk            // the newest command ids
	oldest  event.Time        // newest time in the oldest chunk, if known
	known   bool
	gently  bool // nobody waits for it to be written
	size    int  // bytes of keys and values, at most
	commits int
}

// enough is when collected changes are written: they are in memory, and a start behind a kill has to read their blocks again.
const (
	enoughWrites  = 1 << 14
	enoughBytes   = 4 << 20
	enoughCommits = 1 << 16
)

func (c *changes) full() bool {
	return len(c.heads)+len(c.counts)+len(c.set) >= enoughWrites || c.size >= enoughBytes || c.commits >= enoughCommits
}

func (c *changes) put(key string, value []byte) {
	c.set[key] = value
	c.size += len(key) + len(value)
}

func (c *changes) putHead(a event.AggregateID, h head) {
	if old, ok := c.heads[a]; ok {
		c.size -= old.size()
	} else {
		c.size += len(keyHead) + len(a.Type) + 1 + len(a.ID)
	}
	c.size += h.size()
	c.heads[a] = h
}

func (s *state) changes() *changes {
	return &changes{st: s, meta: s.meta, heads: make(map[event.AggregateID]head), counts: make(map[string]uint64), set: make(map[string][]byte), tail: s.tail.clone()}
}

func (c *changes) get(key string) ([]byte, error) {
	if v, ok := c.set[key]; ok {
		if v == nil {
			return nil, statestore.ErrNotFound
		}
		return v, nil
	}
	return c.st.store.Get([]byte(key))
}

func (c *changes) head(a event.AggregateID) (head, error) {
	if h, ok := c.heads[a]; ok {
		return h, nil
	}
	return c.st.head(a)
}

// write stores all changes and the position they lead to, or nothing. A crash before it costs a replay of these blocks.
func (c *changes) write() error {
	err := c.st.store.Update(func(b *statestore.Batch) error {
		if c.gently {
			b.Gently()
		}
		for a, h := range c.heads {
			b.Set(headKey(a), h.encode())
		}
		for k, n := range c.counts {
			b.Set([]byte(k), binary.BigEndian.AppendUint64(nil, n))
		}
		for k, v := range c.set {
			if v == nil {
				b.Delete([]byte(k))
			} else {
				b.Set([]byte(k), v)
			}
		}
		if len(c.tail.hashes) > 0 {
			b.Set([]byte(chunkKey(c.meta.next/chunkIDs)), c.tail.encode())
		}
		b.Set([]byte(keyMeta), c.meta.encode())
		return nil
	})
	if err != nil {
		return fmt.Errorf("write state at sequence %d: %w", c.meta.chain.Sequence, err)
	}
	c.st.meta, c.st.tail = c.meta, c.tail
	return nil
}

// stored is a block of the log with what its commits lead to.
type stored struct {
	sequence uint64
	header   event.Header
	items    []item
	kept     map[string][]byte // the system log only: its view's keys and values
}

// item is one commit of a block and the head behind it.
type item struct {
	commit *event.Commit
	after  head
	claims []claim // values of unique fields that it took or gave up
	hash   idHash  // of the command's id

	forgets *forgetting // nil: it forgets no key
	moves   *moving     // nil: it moves no aggregate between tiers
}

// claimant is the id of the aggregate that the claims are about.
func (i *item) claimant() string {
	if i.forgets != nil {
		return i.forgets.aggregate.ID
	}
	return i.commit.Aggregate.ID
}

// accepts reports whether the command is counted with this commit: with the first one of its transaction.
func (i *item) accepts() bool { return i.commit.Transaction.Index == 0 }

// add collects the changes of the next block, in the order of the log.
func (c *changes) add(b stored, chain event.Chain, tree event.Tree, budgeted bool) error {
	for i := range b.items {
		it := &b.items[i]
		c.putHead(it.commit.Aggregate, it.after)
		if err := c.claim(it); err != nil {
			return err
		}
		if it.forgets != nil {
			if err := c.forgetKey(it.forgets); err != nil {
				return err
			}
		}
		if it.moves != nil {
			c.putHead(it.moves.aggregate, it.moves.after)
		}
		if it.accepts() {
			c.accept(it.hash, b)
		}
		if budgeted {
			if err := c.spend(it.commit); err != nil {
				return err
			}
		}
	}
	for k, v := range b.kept {
		c.put(k, v)
	}
	c.commits += len(b.items)
	c.meta.chain, c.meta.tree = chain, tree
	return c.forget(b.header.Time)
}

// claim keeps what a commit took and gave up of unique values. While the rule is in force a value has one holder, except between the commits of a transaction that
// moves it; events from before the rule may have given it to several.
func (c *changes) claim(it *item) error {
	id := it.claimant()
	for _, taken := range it.claims {
		raw, err := c.get(taken.key)
		if err != nil && !isNotFound(err) {
			return fmt.Errorf("load holders of a unique value: %w", err)
		}
		holders := slices.DeleteFunc(strings.Split(string(raw), holderSeparator), func(h string) bool { return h == id || h == "" })
		if taken.owner != "" {
			holders = append(holders, id)
		}
		if len(holders) == 0 {
			c.put(taken.key, nil)
		} else {
			c.put(taken.key, []byte(strings.Join(holders, holderSeparator)))
		}
	}
	return nil
}

const holderSeparator = "\x00" // stands in no id

func (c *changes) accept(hash idHash, b stored) {
	c.tail.add(hash, b.sequence, b.header.Time)
	if c.meta.next++; c.meta.next%chunkIDs == 0 {
		c.put(chunkKey(c.meta.next/chunkIDs-1), c.tail.encode())
		c.tail = &chunk{}
	}
}

// forget drops the oldest chunk of command ids once all of it has left the window at block time now.
func (c *changes) forget(now event.Time) error {
	if c.meta.next < (c.meta.oldest+1)*chunkIDs {
		return nil
	}
	key := chunkKey(c.meta.oldest)
	if !c.known {
		raw, err := c.get(key)
		if err == nil {
			c.oldest, _, _, err = chunkHead(raw)
		}
		if err != nil {
			return fmt.Errorf("load oldest command ids: %w: %w", err, statestore.ErrDoubted)
		}
		c.known = true
	}
	if outlived(c.st.window, c.meta.oldest, c.oldest, c.meta.next, now) {
		c.put(key, nil)
		c.meta.oldest++
		c.known = false
	}
	return nil
}

// spend counts what a commit takes from its token's units here: one for each event, or all that it hands back.
func (c *changes) spend(commit *event.Commit) error {
	if commit.Aggregate.Type != typeBudget {
		return c.count(keySpent+commit.TokenID, uint64(len(commit.Events)))
	}
	back, err := c.counted(keyBack + commit.TokenID)
	if err != nil {
		return err
	}
	total, err := returnedBy(commit)
	if err != nil || total < back {
		return fmt.Errorf("%s hands back %d units behind %d: %w", commit.Aggregate, total, back, errors.Join(err, ErrDamaged))
	}
	return errors.Join(c.count(keyBack+commit.TokenID, total-back), c.count(keySpent+commit.TokenID, total-back))
}

func (c *changes) counted(key string) (uint64, error) {
	if n, ok := c.counts[key]; ok {
		return n, nil
	}
	return readCount(c.st.store.Get([]byte(key)))
}

func (c *changes) count(key string, more uint64) error {
	n, err := c.counted(key)
	if err == nil {
		if _, ok := c.counts[key]; !ok {
			c.size += len(key) + 8
		}
		c.counts[key] = n + more
	}
	return err
}

// returnedBy reads how many units a log has handed back of a token, all told, as of this commit.
func returnedBy(commit *event.Commit) (uint64, error) {
	f, err := fieldsOf(&commit.Events[len(commit.Events)-1])
	if err != nil {
		return 0, err
	}
	return parseUnits(f["units"])
}
