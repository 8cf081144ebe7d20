package indexstore

import "sync"

// cache keeps pages that were read, first in first out, up to a number of bytes. It is safe for concurrent use.
type cache struct {
	limit int

	mu    sync.Mutex // guards what follows
	bytes int
	pages map[pageAt][]byte
	queue []pageAt // oldest first, from head on
	head  int
}

type pageAt struct {
	run  uint64
	page int
}

func newCache(limit int) *cache { return &cache{limit: limit, pages: map[pageAt][]byte{}} }

func (c *cache) get(at pageAt) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pages[at]
}

func (c *cache) put(at pageAt, page []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pages[at] != nil || len(page) > c.limit {
		return
	}
	c.pages[at] = page
	c.queue = append(c.queue, at)
	c.bytes += len(page)
	for c.bytes > c.limit {
		oldest := c.queue[c.head]
		c.head++
		c.bytes -= len(c.pages[oldest])
		delete(c.pages, oldest)
	}
	if c.head > len(c.queue)/2 {
		c.queue = append(c.queue[:0], c.queue[c.head:]...)
		c.head = 0
	}
}
