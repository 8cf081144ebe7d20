package archive

import (
	"container/list"
	"sync"
)

// place is a message of a log.
type place struct {
	log      string
	sequence uint64
}

// cache keeps opened frames, up to a number of bytes; what was asked for last is kept longest.
type cache struct {
	limit int

	mu     sync.Mutex // guards what follows
	size   int
	recent *list.List // of cached, newest first
}

type cached struct {
	log string
	*messages
}

func newCache(limit int) *cache { return &cache{limit: limit, recent: list.New()} }

func (c *cache) get(at place) *messages {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.recent.Front(); e != nil; e = e.Next() {
		if one := e.Value.(cached); one.log == at.log && one.has(at.sequence) {
			c.recent.MoveToFront(e)
			return one.messages
		}
	}
	return nil
}

func (c *cache) put(log string, m *messages) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recent.PushFront(cached{log, m})
	for c.size += m.size; c.size > c.limit && c.recent.Len() > 1; {
		c.size -= c.recent.Remove(c.recent.Back()).(cached).size
	}
}
