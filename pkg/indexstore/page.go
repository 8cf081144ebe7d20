package indexstore

import (
	"encoding/binary"
	"fmt"
)

// A page holds entries in ascending order of keys: number of bytes shared with the key before, number of bytes of its own, length of the value
// (each a uvarint), own bytes of the key, value.

// pageBuilder collects a page.
type pageBuilder struct {
	data  []byte
	first []byte
	last  []byte
}

func (p *pageBuilder) add(key, value []byte) {
	shared := 0
	if len(p.data) == 0 {
		p.first = append(p.first[:0], key...)
	} else {
		shared = common(p.last, key)
	}
	p.data = binary.AppendUvarint(p.data, uint64(shared))
	p.data = binary.AppendUvarint(p.data, uint64(len(key)-shared))
	p.data = binary.AppendUvarint(p.data, uint64(len(value)))
	p.data = append(append(p.data, key[shared:]...), value...)
	p.last = append(p.last[:shared], key[shared:]...)
}

func (p *pageBuilder) reset() { p.data = p.data[:0] }

func common(a, b []byte) (n int) {
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// maxEntry is above every length in a page.
const maxEntry = 1 << 30

// pageReader goes through a page. key and value are valid until the next call; value shares the page's memory.
type pageReader struct {
	rest  []byte
	key   []byte
	value []byte
}

func (p *pageReader) open(page []byte) { p.rest, p.key = page, p.key[:0] }

// next moves to the next entry; false at the end of the page.
func (p *pageReader) next() (bool, error) {
	if len(p.rest) == 0 {
		return false, nil
	}
	e, err := p.peek()
	if err == nil {
		p.take(e)
	}
	return err == nil, err
}

// entry is one as it stands in a page.
type entry struct {
	shared     int
	own, value []byte
	end        int // of it, in what is left of the page
}

// peek reads the next entry without moving to it.
func (p *pageReader) peek() (e entry, err error) {
	var lengths [3]int
	at := 0
	for i := range lengths {
		if at < len(p.rest) && p.rest[at] < 0x80 {
			lengths[i] = int(p.rest[at])
			at++
			continue
		}
		v, n := binary.Uvarint(p.rest[at:])
		if n <= 0 || v > maxEntry {
			return e, fmt.Errorf("page: length of an entry: %w", ErrDoubted)
		}
		lengths[i], at = int(v), at+n
	}
	own, value := at+lengths[1], at+lengths[1]+lengths[2]
	if lengths[0] > len(p.key) || value > len(p.rest) {
		return e, fmt.Errorf("page: entry is longer than its page: %w", ErrDoubted)
	}
	return entry{lengths[0], p.rest[at:own], p.rest[own:value:value], value}, nil
}

// take moves to the entry that peek gave.
func (p *pageReader) take(e entry) {
	p.key = append(p.key[:e.shared], e.own...)
	p.value = e.value
	p.rest = p.rest[e.end:]
}

// floor moves to the last entry whose key is not above key; false if there is none.
func (p *pageReader) floor(page, key []byte) (found bool, err error) {
	p.open(page)
	return p.pass(key, true)
}

// pass moves past all entries whose keys are below key, and with equal also past key itself; false if there is none. It compares only what an entry
// does not share with the one before. The entry that it stands at, if any, must not be above key.
func (p *pageReader) pass(key []byte, equal bool) (passed bool, err error) {
	match := common(p.key, key) // bytes that the last key has in common with key; it is below key from there on
	for len(p.rest) > 0 {
		e, err := p.peek()
		if err != nil {
			return false, err
		}
		if e.shared < match {
			break // above the last key where that one agrees with key
		}
		if e.shared == match {
			n := common(e.own, key[match:])
			if n < len(e.own) && (match+n == len(key) || e.own[n] > key[match+n]) || !equal && n == len(e.own) && match+n == len(key) {
				break
			}
			match += n
		}
		p.take(e)
		passed = true
	}
	return passed, nil
}
