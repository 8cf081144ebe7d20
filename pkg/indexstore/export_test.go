package indexstore

import (
	"encoding/json"
	"time"
)

// SealManifest puts a manifest with this content into a folder, and ReadManifest gives the content of one.
func SealManifest(c Config, plain []byte) error { return (&Store{config: c}).sealManifest(plain) }

func ReadManifest(c Config) ([]byte, error) {
	m, err := readManifest(c)
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

// ReadPage gives keys and values of a page, one behind the other.
func ReadPage(page []byte) (out [][]byte, err error) {
	var r pageReader
	r.open(page)
	for {
		more, err := r.next()
		if err != nil || !more {
			return out, err
		}
		out = append(out, append([]byte(nil), r.key...), append([]byte(nil), r.value...))
	}
}

// WritePage is the inverse of ReadPage.
func WritePage(parts [][]byte) []byte {
	var b pageBuilder
	for i := 0; i+1 < len(parts); i += 2 {
		b.add(parts[i], parts[i+1])
	}
	return b.data
}

// RewriteFences reads fences and writes them again.
func RewriteFences(b []byte, end int64) ([]byte, error) {
	f, err := parseFences(b, end)
	return f.encode(), err
}

// AwaitMerges waits until there is nothing to merge.
func AwaitMerges(s *Store) {
	for {
		s.mu.Lock()
		from, to := mergeable(s.current.runs)
		done := from == to && !(s.config.Freed != 0 && hollow(s.current.runs)) && s.compactable() == nil
		merged := s.merged
		s.mu.Unlock()
		if done {
			return
		}
		poke(s.wake)
		<-merged
	}
}

// Filter is the filter of a run.
type Filter struct{ f filter }

func NewFilter(entries uint64) Filter { return Filter{newFilter(entries)} }

func (f Filter) Add(key []byte)      { f.f.add(hashKey(key)) }
func (f Filter) May(key []byte) bool { return f.f.may(hashKey(key)) }

// PauseFor is how long the pauses of a batch are, beside the work.
func PauseFor(since, work time.Duration) float64 { return pauseFor(since, work) }
