package snapshot

import (
	"context"
	"errors"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
)

// errPlace: a snapshot lies where that of another aggregate belongs.
var errPlace = errors.New("snapshot is of another aggregate")

// Stored is a snapshot as Walk finds it. Place is what Place gives of its aggregate; of one with an Err nothing else says whose it is.
type Stored struct {
	Found
	Place string
}

// Place is where the snapshots of an aggregate lie. Nobody without the key file can tell whose it is.
func (s *Snapshots) Place(log string, a event.AggregateID) string { return s.place(log, a) }

// Walk gives all snapshots of a log, in the order in which they were stored, until fn gives an error. One that is replaced meanwhile may come twice. It holds one at a time.
func (s *Snapshots) Walk(ctx context.Context, log string, fn func(Stored) error) error {
	for above := uint64(0); ; {
		key, sealed, revision, err := s.cfg.Bucket.Next(ctx, log, above)
		if err != nil || revision == 0 {
			return err
		}
		above = revision
		one := Stored{Found: s.open(key, sealed), Place: key}
		if parts := strings.SplitN(key, ".", 3); len(parts) == 3 {
			one.Place = parts[0] + "." + parts[1]
		}
		if one.Err == nil && (one.Log != log || s.place(log, event.AggregateID{Type: one.Type, ID: one.ID}) != one.Place) {
			one.Found = Found{Err: errPlace}
		}
		if err := fn(one); err != nil {
			return err
		}
	}
}
