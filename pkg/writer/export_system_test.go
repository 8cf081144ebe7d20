package writer

import (
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
)

// System is the view of the system log.
type System struct{ s *system }

// NewSystem makes the view of an empty log.
func NewSystem() System { return System{newSystem()} }

// Load takes in an entry of the stored state.
func (s System) Load(kind, id string, value []byte) error {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	return s.s.loadOne(s.s.now.Load(), kind, id, value, time.Unix(0, 0))
}

// Apply takes in an event of the log, and gives the entry of the state that keeps what came of it.
func (s System) Apply(a event.AggregateID, eventType string, fields map[string]string) ([]byte, error) {
	old := s.s.now.Load()
	v := &view{schemas: old.schemas, keys: old.keys}
	value, err := s.s.applyEvent(v, a, eventType, fields)
	if err == nil {
		s.s.now.Store(v)
	}
	return value, err
}
