package natsapi

import "sync"

// places are for queries that wait until the index includes a position: whoever asks chooses how long, so these are few, and one actor has half of them at most.
type places struct {
	most int // of all actors together

	mu  sync.Mutex // guards all and of
	all int
	of  map[string]int // by actor; only who has some
}

func newPlaces(most int) *places { return &places{most: max(most, 2), of: make(map[string]int)} }

// take takes a place; false: there is none for this actor.
func (s *places) take(actor string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.most || s.of[actor] >= s.most/2 {
		return false
	}
	s.all++
	s.of[actor]++
	return true
}

// leave gives back what take took.
func (s *places) leave(actor string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.of[actor]--; s.of[actor] == 0 {
		delete(s.of, actor)
	}
}
