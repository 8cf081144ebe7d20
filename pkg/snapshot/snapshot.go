// Package snapshot keeps folded states of aggregates in a bucket, so that a long aggregate is read without its whole history.
//
// A snapshot is a function of the log. It may be lost at any time; it is never trusted: whoever reads one holds it against the log's leaf hash at its version, and
// verification folds the events again and names a snapshot that says something else. The authority for names and layout is docs/spec/subjects.md. Values lie in the
// bucket sealed under a key of the key file, at a place that is a keyed hash of the aggregate, so no id is in a name; values of encrypted fields stay
// sealed under the aggregate's own key besides.
//
// Of each aggregate the newest snapshot that was taken by number is kept, and those that somebody asked for, at most MaxRequested.
package snapshot

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
)

// Limits.
const (
	MaxRequested  = 16      // snapshots of one aggregate that somebody asked for; the one with the lowest version gives way to another
	MaxCommentLen = 1024    // bytes of a comment
	maxSize       = 1 << 20 // bytes of a sealed snapshot; a larger state has none
)

// ErrTooLarge says that a state is too large for a snapshot.
var ErrTooLarge = errors.New("state is too large for a snapshot")

// Bucket keeps one value for each key, of A-Z a-z 0-9 _ - and dots between. Errors are those of package eventlog. It must be safe for concurrent use.
type Bucket interface {
	// Get gives the value and its revision; revision 0: there is none.
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Put stores the value of a key that has this revision, 0 meaning none; ErrTaken: it has another one.
	Put(ctx context.Context, key string, value []byte, revision uint64) error
	// Below lists the keys that begin with a prefix and a dot.
	Below(ctx context.Context, prefix string) ([]string, error)
	// Next gives the value with the lowest revision above one, of those whose key begins with a prefix and a dot; revision 0: there is none.
	Next(ctx context.Context, prefix string, above uint64) (key string, value []byte, revision uint64, err error)
	// Erase overwrites a revision of a key, and takes it back. That it is not there is no error.
	Erase(ctx context.Context, key string, revision uint64) error
}

// Config of Snapshots. All fields are required.
type Config struct {
	Site   string
	Bucket Bucket
	Wrap   [32]byte // seals snapshots
	Name   [32]byte // hides aggregates in the bucket's keys
}

// Snapshots are those of a site. Safe for concurrent use.
type Snapshots struct{ cfg Config }

// New checks the configuration.
func New(cfg Config) (*Snapshots, error) {
	if err := event.CheckSite(cfg.Site); err != nil {
		return nil, fmt.Errorf("snapshot configuration: %w", err)
	}
	if cfg.Bucket == nil {
		return nil, errors.New("snapshot configuration: a bucket is required")
	}
	return &Snapshots{cfg: cfg}, nil
}

// Snapshot is the state of an aggregate at a version.
type Snapshot struct {
	Format  int             `json:"v"` // 1
	Log     string          `json:"log"`
	Type    string          `json:"type"`
	ID      string          `json:"id"`
	Version event.Version   `json:"version"`
	Hash    string          `json:"hash"` // leaf hash of the event at Version
	Deleted bool            `json:"deleted,omitempty"`
	Fields  []Field         `json:"fields"` // by name
	Keys    []SealedVersion `json:"keys,omitempty"`

	Requested bool      `json:"requested,omitempty"` // somebody asked for it
	Comment   string    `json:"comment,omitempty"`
	Actor     string    `json:"actor,omitempty"` // who asked
	Taken     time.Time `json:"taken"`
}

// Field is a field that is set. Sealed is the version of the event that set a sealed value; 0: the value is not sealed.
type Field struct {
	Name   string        `json:"name"`
	Value  string        `json:"value"`
	Sealed event.Version `json:"sealed,omitempty"`
}

// SealedVersion is what opening a value takes that the event at Version sealed.
type SealedVersion struct {
	Version event.Version `json:"version"`
	Site    string        `json:"site"`
	Branch  uint64        `json:"branch,omitempty"`
	Key     string        `json:"key"` // commitment
}

// format is the version of Snapshot that this program writes, and the newest it reads.
const format = 1

// Found is a stored snapshot, or what is wrong with one.
type Found struct {
	Snapshot
	Version event.Version // by its name, of one that cannot be read; 0: not known
	Err     error         // it does not open, or is of a newer format
}

func (s *Snapshots) place(log string, a event.AggregateID) string {
	mac := hmac.New(sha256.New, s.cfg.Name[:])
	mac.Write([]byte("snapshot\x00" + s.cfg.Site + "\x00" + a.Type + "\x00" + a.ID))
	return log + "." + hex.EncodeToString(mac.Sum(nil))
}

func requestedKey(place string, v event.Version) string {
	return place + "." + strconv.FormatUint(uint64(v), 10)
}

// Put stores a snapshot. One that was taken by number takes the place of an older one; one of the same or a newer version stays. The error wraps ErrTooLarge, or is of the bucket.
func (s *Snapshots) Put(ctx context.Context, one Snapshot) error {
	return s.put(ctx, one, func(before event.Version) bool { return before < one.Version })
}

// Mend is Put for one that was folded from the events alone: it takes the place of one of the same version too.
func (s *Snapshots) Mend(ctx context.Context, one Snapshot) error {
	return s.put(ctx, one, func(before event.Version) bool { return before <= one.Version })
}

func (s *Snapshots) put(ctx context.Context, one Snapshot, replaces func(before event.Version) bool) error {
	one.Format = format
	plain, err := json.Marshal(one)
	if err != nil {
		return fmt.Errorf("encode a snapshot: %w", err)
	}
	place := s.place(one.Log, event.AggregateID{Type: one.Type, ID: one.ID})
	key := place
	if one.Requested {
		key = requestedKey(place, one.Version)
	}
	sealed := keyring.Seal(s.cfg.Wrap, s.binding(key), plain)
	if len(sealed) > maxSize {
		return fmt.Errorf("snapshot of %s/%s with %d bytes: %w", one.Type, one.ID, len(sealed), ErrTooLarge)
	}
	for {
		old, revision, err := s.cfg.Bucket.Get(ctx, key)
		if err != nil {
			return err
		}
		if before := s.open(key, old); revision > 0 && before.Err == nil && !one.Requested && !replaces(before.Snapshot.Version) {
			return nil
		}
		if err = s.cfg.Bucket.Put(ctx, key, sealed, revision); !errors.Is(err, eventlog.ErrTaken) {
			if err == nil && one.Requested {
				err = s.makeRoom(ctx, place, key)
			}
			return err
		}
	}
}

// makeRoom removes those with the lowest versions of the snapshots that somebody asked for, but for the one that was just taken.
func (s *Snapshots) makeRoom(ctx context.Context, place, taken string) error {
	keys, err := s.requested(ctx, place)
	if err != nil {
		return err
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { return key == taken })
	for ; len(keys) >= MaxRequested; keys = keys[1:] {
		if err := s.erase(ctx, keys[0]); err != nil {
			return err
		}
	}
	return nil
}

// requested are the keys of snapshots that somebody asked for, by version.
func (s *Snapshots) requested(ctx context.Context, place string) ([]string, error) {
	keys, err := s.cfg.Bucket.Below(ctx, place)
	slices.SortFunc(keys, func(a, b string) int { return int(versionIn(place, a)) - int(versionIn(place, b)) })
	return keys, err
}

func versionIn(place, key string) event.Version {
	n, err := strconv.ParseUint(strings.TrimPrefix(key, place+"."), 10, 63)
	if err != nil {
		return 0
	}
	return event.Version(n)
}

func (s *Snapshots) binding(key string) string { return "snapshot\x00" + s.cfg.Site + "\x00" + key }

// open reads what lies under a key.
func (s *Snapshots) open(key string, sealed []byte) Found {
	plain, err := keyring.Unseal(s.cfg.Wrap, s.binding(key), sealed)
	if err != nil {
		return Found{Err: fmt.Errorf("snapshot does not open: %w", err)}
	}
	f := Found{}
	if err := json.Unmarshal(plain, &f.Snapshot); err != nil {
		return Found{Err: fmt.Errorf("snapshot cannot be read: %w", err)}
	}
	if f.Format != format {
		return Found{Err: fmt.Errorf("snapshot of format %d, this program knows %d", f.Format, format)}
	}
	f.Version = f.Snapshot.Version
	return f
}

// Newest gives the newest snapshot that was taken by number, nil if there is none, or none that can be read. The error is of the bucket.
func (s *Snapshots) Newest(ctx context.Context, log string, a event.AggregateID) (*Snapshot, error) {
	key := s.place(log, a)
	sealed, revision, err := s.cfg.Bucket.Get(ctx, key)
	if err != nil || revision == 0 {
		return nil, err
	}
	f := s.open(key, sealed)
	if f.Err != nil || f.Log != log || f.Type != a.Type || f.ID != a.ID {
		return nil, nil
	}
	return &f.Snapshot, nil
}

// List gives all snapshots of an aggregate by version, those that cannot be read too.
func (s *Snapshots) List(ctx context.Context, log string, a event.AggregateID) ([]Found, error) {
	place := s.place(log, a)
	keys, err := s.requested(ctx, place)
	if err != nil {
		return nil, err
	}
	var out []Found
	for _, key := range append([]string{place}, keys...) {
		sealed, revision, err := s.cfg.Bucket.Get(ctx, key)
		if err != nil {
			return nil, err
		}
		if revision == 0 {
			continue
		}
		f := s.open(key, sealed)
		if f.Err == nil && (f.Log != log || f.Type != a.Type || f.ID != a.ID) {
			f = Found{Err: errPlace}
		}
		if f.Err != nil {
			f.Version = versionIn(place, key)
		}
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b Found) int { return int(a.Version) - int(b.Version) })
	return out, nil
}

// Remove erases all snapshots of an aggregate and gives their number. It may be repeated.
func (s *Snapshots) Remove(ctx context.Context, log string, a event.AggregateID) (n int, err error) {
	place := s.place(log, a)
	keys, err := s.requested(ctx, place)
	if err != nil {
		return 0, err
	}
	for _, key := range append([]string{place}, keys...) {
		_, revision, err := s.cfg.Bucket.Get(ctx, key)
		if err != nil {
			return n, err
		}
		if revision == 0 {
			continue
		}
		if err := s.cfg.Bucket.Erase(ctx, key, revision); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (s *Snapshots) erase(ctx context.Context, key string) error {
	_, revision, err := s.cfg.Bucket.Get(ctx, key)
	if err != nil || revision == 0 {
		return err
	}
	return s.cfg.Bucket.Erase(ctx, key, revision)
}
