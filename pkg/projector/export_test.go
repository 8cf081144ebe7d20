package projector

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/indexstore"
)

var ErrContent = errContent

// IndexDigest is the SHA-256 over what an index says, whatever way it is laid out: every aggregate with its commits and where they lie, where each
// leaf hash leads, the blocks that counted, and the place. The index must not be in use.
func IndexDigest(dir string, key []byte, site string, log eventlog.Log) (digest [32]byte, err error) {
	x := newIndex(log.Name(), nil)
	x.log = log
	at, err := x.open(indexstore.Config{Dir: dir, Key: key, Identity: identity(site, log.Name()), Lookups: true, LookedUp: lookedUp, Freed: keyFreed})
	if err != nil {
		return digest, err
	}
	d := digester{sha256.New()}
	d.put(at.encode())
	err = x.read(context.Background(), d.index)
	if closing := x.close(); err == nil {
		err = closing
	}
	return [32]byte(d.Sum(nil)), err
}

// IndexHolds reports whether one of the index's keys, values or commits, decrypted, has a text. The index must not be in use.
func IndexHolds(dir string, key []byte, site, log, text string) (found bool, commits int, err error) {
	x := newIndex(log, nil)
	if _, err = x.open(indexstore.Config{Dir: dir, Key: key, Identity: identity(site, log), Lookups: true, LookedUp: lookedUp, Freed: keyFreed}); err != nil {
		return false, 0, err
	}
	err = x.read(context.Background(), func(r *reading) error {
		var failure error
		err := r.store.Scan(nil, nil, func(k, value []byte) bool {
			found = found || bytes.Contains(k, []byte(text)) || bytes.Contains(value, []byte(text))
			if k[0] != keyCommit {
				return true
			}
			at, err := locationOf(value)
			if err == nil {
				var raw []tailCommit
				raw, err = r.raw(at)
				for _, c := range raw {
					commits++
					found = found || bytes.Contains(c.raw, []byte(text))
				}
			}
			failure = err
			return err == nil
		})
		return errors.Join(failure, err)
	})
	return found, commits, errors.Join(err, x.close())
}

type digester struct{ hash.Hash }

func (d digester) put(b []byte) {
	d.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
	d.Write(b)
}

func (d digester) commit(c located) error {
	raw, err := c.Encode()
	d.put(raw)
	d.put(appendLink(nil, c.at))
	for _, leaf := range c.leaves {
		d.put(leaf[:])
	}
	return err
}

func (d digester) index(r *reading) error {
	var failure error
	entries := func(kind byte, fn func(key, value []byte) error) {
		if failure == nil {
			err := r.store.Scan([]byte{kind}, nil, func(key, value []byte) bool {
				failure = fn(key, value)
				return failure == nil
			})
			if failure == nil {
				failure = err
			}
		}
	}
	for _, kind := range [...]byte{keyNewest, keyCold} {
		entries(kind, func(key, value []byte) error {
			if len(value) == 0 {
				return nil // what is no more may stand there, or not
			}
			d.put(key)
			s, err := parseState(value)
			if err != nil {
				return err
			}
			s.at, s.cold = indexstore.Location{}, nil // whether it lies in the hot tier is nothing that the index says
			d.put(append(s.appendHead(nil), s.fields...))
			newest, err := r.newest(aggregateOf(key))
			if err != nil {
				return err
			}
			if err := d.commit(newest); err != nil {
				return err
			}
			return r.each(aggregateOf(key), 0, func(c located) (bool, error) { return true, d.commit(c) })
		})
	}
	entries(keyHash, func(key, value []byte) error {
		m, err := r.resolve(value)
		d.put(append(key, m.hash[:]...))
		d.put([]byte(m.aggregate.String()))
		d.put(binary.BigEndian.AppendUint64(nil, uint64(m.version)))
		return err
	})
	entries(keyBlock, func(key, value []byte) error {
		for first := binary.BigEndian.Uint64(key[1:]); len(value) > 0; {
			distance, n := binary.Uvarint(value)
			d.put(binary.BigEndian.AppendUint64(nil, first+distance))
			d.put(value[n : n+16])
			value = value[n+16:]
		}
		return nil
	})
	entries(keyTree, func(key, value []byte) error {
		first := binary.BigEndian.Uint64(key[2:])
		for i := 0; i < len(value); i += len(event.Hash{}) {
			d.put(treeKey(uint(key[1]), first+uint64(i/len(event.Hash{}))))
			d.put(value[i : i+len(event.Hash{})])
		}
		return nil
	})
	entries(keyField, func(key, value []byte) error {
		if len(value) > 0 { // what is no more may stand there, or not
			d.put(key)
		}
		return nil
	})
	entries(keyOrder, func(key, value []byte) error {
		d.put(append(key, value[:8]...))
		e, err := parseOrder(key, value)
		for _, c := range e.commits {
			d.put(binary.AppendUvarint(nil, uint64(c.first)))
		}
		return err
	})
	entries(keyPosting, func(key, value []byte) error {
		sequence, err := parseOrdered(key[2+hashLen:])
		for err == nil && len(value) > 0 {
			distance, n := binary.Uvarint(value)
			sequence += distance
			index, m := binary.Uvarint(value[n:])
			value = value[n+m:]
			d.put(binary.AppendUvarint(binary.AppendUvarint(bytes.Clone(key[:2+hashLen]), sequence), index))
		}
		return err
	})
	return errors.Join(failure, r.walk(posting{}, spot{}, func(c located) (bool, error) { return true, d.commit(c) }))
}

// RewritePlace and RewriteRecord read a value and write it again.
func RewriteRecord(b []byte) (out []byte, err error) {
	commits, err := parseRecord(b)
	for i := range commits {
		out = appendRecorded(out, &commits[i])
	}
	return out, err
}

func RewritePlace(b []byte) ([]byte, error) {
	p, err := parsePlace(b)
	if err != nil {
		return nil, err
	}
	return p.encode(), nil
}

// OpenCursor opens a cursor of some query under some key.
func OpenCursor(s string) error {
	c, err := newCursors(make([]byte, 32))
	if err != nil {
		return err
	}
	return c.open(queryDigest("query"), s, &listPlace{})
}

// ByHash gives the places of some hashes in their order.
func ByHash(hashes []uint64, width int) (order []uint32) {
	in := make([]hashed, len(hashes))
	for i, h := range hashes {
		in[i] = hashed{h, uint32(i)}
	}
	for _, h := range byHash(in, width) {
		order = append(order, h.at)
	}
	return order
}

// Tend moves aggregates between tiers, once, as the projector does by itself now and then.
func (p *Projector) Tend(ctx context.Context) {
	p.tendOnce(ctx, func(log string) bool { return p.config.IdleFor(log) > 0 })
}

// Residence is how many aggregates of a log lie in records, in records in part, in the log alone, and are archived; and what the index takes on disk when nothing is left to merge.
type Residence struct {
	Hot, Partly, Cold, Archived, Due int
	Bytes                            int64
}

// ResidenceOf counts the aggregates of types that are not reserved.
func ResidenceOf(p *Projector, log string) (out Residence, err error) {
	x, _, _ := p.indexOrGrowth(log)
	err = x.view(context.Background(), func(r *reading) error {
		out.Bytes = r.from.Size()
		return r.store.Scan(nil, nil, func(key, value []byte) bool {
			if len(value) == 0 || event.IsReserved(aggregateOf(append([]byte{0}, key[1:]...)).Type) {
				return true
			}
			switch key[0] {
			case keyDue:
				out.Due++
			case keyCold:
				out.Archived++
			case keyNewest:
				s, _ := parseState(value)
				switch {
				case s.gone():
					out.Cold++
				case s.cold != nil:
					out.Partly++
				default:
					out.Hot++
				}
			}
			return true
		})
	})
	return out, err
}

// BytesOf is what the index takes on disk.
func BytesOf(p *Projector, log string) int64 {
	x, _, _ := p.indexOrGrowth(log)
	return x.store.Size()
}

// Flush writes what is in memory, while the log is not read.
func Flush(ctx context.Context, p *Projector, log string) error {
	x, _, _ := p.indexOrGrowth(log)
	return x.pause(ctx, func(*mover) error { return x.flush() })
}

// FlushOnly is Flush of a process that is killed before it has done what the tail says of tiers.
func FlushOnly(ctx context.Context, p *Projector, log string) error {
	x, _, _ := p.indexOrGrowth(log)
	return x.pause(ctx, func(*mover) error {
		err := x.tail.flush(x.store, x.store.Begin, x.at)
		x.flushed = err == nil
		return err
	})
}
