package delivery

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
)

// recordVersion is the version of checkpoints and of parked changes (docs/spec/plugins.md). It only goes up.
const recordVersion = 1

// errNewer: a record of a newer program.
var errNewer = errors.New("record has a newer format than this program knows")

// errUnreadable: what lies there is no record, or was sealed under another key, as behind the restore of only one of two backups. No waiting mends it.
var errUnreadable = errors.New("it cannot be read")

// unreadable marks what cannot be decoded; a newer record is another matter.
func unreadable(err error) error {
	if err == nil || errors.Is(err, errNewer) {
		return err
	}
	return fmt.Errorf("%w: %w", errUnreadable, err)
}

// Checkpoint is how far a partition is, as it is stored.
type Checkpoint struct {
	V     int             `json:"v"`
	Epoch uint64          `json:"epoch"` // raised by whoever takes the partition over
	Owner string          `json:"owner"` // of that, for people
	Logs  map[string]Mark `json:"logs"`  // a log that is missing is not begun
	// Closed: its owner settled everything and delivers no more; another layout may take the place of this one.
	Closed bool `json:"closed,omitempty"`
	// Replay is the newest one that was begun, Replaying what is left of those behind Replayed.
	Replay    uint64            `json:"replay,omitempty"`
	Replaying map[string]uint64 `json:"replaying,omitempty"` // log -> the sequence behind which changes are new again
	Replayed  uint64            `json:"replayed,omitempty"`
	Retry     uint64            `json:"retry,omitempty"` // the newest one that was done
	State     string            `json:"state"`           // starting, delivering, retrying or stopped
	Error     string            `json:"error,omitempty"` // the last one
	Saved     event.Time        `json:"saved"`
}

func (c Checkpoint) clone() Checkpoint {
	c.Logs, c.Replaying = maps.Clone(c.Logs), maps.Clone(c.Replaying)
	return c
}

// Mark is the place up to which everything of a log is settled.
type Mark struct {
	Position string     `json:"position"` // of the last commit of the block, in text form: all four parts
	Events   uint64     `json:"events"`   // of the log up to there
	Time     event.Time `json:"time"`     // writer time of the block
}

func (m Mark) position() (event.Position, error) { return event.ParsePosition(m.Position) }

// States of a partition.
const (
	stateStarting   = "starting" // it was taken over, and its target is being opened
	stateDelivering = "delivering"
	stateRetrying   = "retrying"
	stateStopped    = "stopped"

	stateDisabled = "disabled" // of the plugin: it is not kept here
)

// CheckpointKey is where the checkpoint of a partition lies.
func CheckpointKey(name string, layout, index int) string {
	return name + "_" + strconv.Itoa(layout) + "_" + strconv.Itoa(index)
}

// EncodeCheckpoint is the inverse of DecodeCheckpoint.
func EncodeCheckpoint(s Secrets, key string, c Checkpoint) ([]byte, error) {
	c.V = recordVersion
	plain, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode checkpoint %s: %w", key, err)
	}
	return keyring.Seal(s.Parked, "checkpoint\x00"+key, plain), nil
}

// DecodeCheckpoint reads what lies under a key.
func DecodeCheckpoint(s Secrets, key string, value []byte) (c Checkpoint, err error) {
	plain, err := keyring.Unseal(s.Parked, "checkpoint\x00"+key, value)
	if err == nil {
		err = json.Unmarshal(plain, &c)
	}
	if err == nil && c.V != recordVersion {
		err = fmt.Errorf("version %d: %w", c.V, errNewer)
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint %s: %w", key, unreadable(err))
	}
	if c.Logs == nil {
		c.Logs = map[string]Mark{}
	}
	return c, nil
}

// Parked is a change that its target refused for good. It names the change and holds nothing of its content.
type Parked struct {
	V         int    `json:"v"`
	Plugin    string `json:"plugin"`
	Aggregate string `json:"aggregate"` // type/id
	Version   uint64 `json:"version"`
	EventType string `json:"event"`
	Position  string `json:"position"`
	Leaf      string `json:"hash"`
	Cause     string `json:"cause"`
	// Generation of the target that refused it.
	Generation uint64     `json:"generation,omitempty"`
	Behind     bool       `json:"behind,omitempty"` // never tried: an earlier one of the aggregate is parked
	Time       event.Time `json:"time"`
}

// takeover is stored once a generation of a target is about to take the place of the one that readers use.
type takeover struct {
	V          int    `json:"v"`
	Generation uint64 `json:"generation"` // those before it are delivered to no more
	Published  bool   `json:"published"`  // and readers use it
}

// TakeoverKey is where the takeover of a plugin lies.
func TakeoverKey(name string) string { return name + "_generation" }

// loadTakeover reads it; the zero takeover and revision 0 if none was ever needed.
func loadTakeover(ctx context.Context, b Bucket, s Secrets, name string) (t takeover, revision uint64, err error) {
	key := TakeoverKey(name)
	value, revision, err := b.Get(ctx, key)
	if err != nil || revision == 0 {
		return takeover{}, 0, err
	}
	plain, err := keyring.Unseal(s.Parked, "generation\x00"+key, value)
	if err == nil {
		err = json.Unmarshal(plain, &t)
	}
	if err == nil && t.V != recordVersion {
		err = fmt.Errorf("version %d: %w", t.V, errNewer)
	}
	if err != nil {
		return takeover{}, 0, fmt.Errorf("%s: %w", key, err)
	}
	return t, revision, nil
}

// saveTakeover stores it, unless a higher generation is there. It may be repeated.
func saveTakeover(ctx context.Context, b Bucket, s Secrets, name string, t takeover) error {
	there, revision, err := loadTakeover(ctx, b, s, name)
	if err != nil {
		return err
	}
	if there.Generation > t.Generation || there.Generation == t.Generation && (there.Published || !t.Published) && revision > 0 {
		return nil
	}
	t.V = recordVersion
	plain, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode a takeover: %w", err)
	}
	return b.Put(ctx, TakeoverKey(name), keyring.Seal(s.Parked, "generation\x00"+TakeoverKey(name), plain), revision)
}

// EncodeParked is the inverse of DecodeParked.
func EncodeParked(s Secrets, p Parked) ([]byte, error) {
	p.V = recordVersion
	plain, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode a parked change: %w", err)
	}
	return keyring.Seal(s.Parked, "parked\x00"+p.Plugin, plain), nil
}

// DecodeParked reads a parked change of a plugin.
func DecodeParked(s Secrets, plugin string, data []byte) (p Parked, err error) {
	plain, err := keyring.Unseal(s.Parked, "parked\x00"+plugin, data)
	if err == nil {
		err = json.Unmarshal(plain, &p)
	}
	if err == nil && p.V != recordVersion {
		err = fmt.Errorf("version %d: %w", p.V, errNewer)
	}
	if err != nil {
		return Parked{}, fmt.Errorf("parked change of %s: %w", plugin, unreadable(err))
	}
	return p, nil
}

// saver writes the checkpoint of one partition, under the epoch that it claimed.
type saver struct {
	bucket   Bucket
	secrets  Secrets
	key      string
	revision uint64
	epoch    uint64
}

// errLost: somebody else has the partition.
var errLost = errors.New("another process took the partition over")

// save stores c in place of what this epoch stored last: errLost if another epoch is there.
func (s *saver) save(ctx context.Context, c Checkpoint) error {
	value, err := EncodeCheckpoint(s.secrets, s.key, c)
	if err != nil {
		return err
	}
	for range 3 {
		if err = s.bucket.Put(ctx, s.key, value, s.revision); err != nil && !errors.Is(err, eventlog.ErrTaken) && !errors.Is(err, eventlog.ErrUnknown) {
			return fmt.Errorf("save checkpoint: %w", err)
		}
		there, revision, reading := s.bucket.Get(ctx, s.key) // the answer may have been lost, and the revision is needed
		if reading != nil {
			return fmt.Errorf("save checkpoint: %w", errors.Join(err, reading))
		}
		now, decoding := DecodeCheckpoint(s.secrets, s.key, there)
		if revision == 0 || decoding != nil || now.Epoch != s.epoch || now.Owner != c.Owner {
			return fmt.Errorf("save checkpoint %s: %w", s.key, errors.Join(errLost, decoding))
		}
		if s.revision = revision; err == nil || now.Saved == c.Saved {
			return nil
		}
	}
	return fmt.Errorf("save checkpoint: %w", err)
}

// leaseName is the name under which the lease of a partition is kept.
func leaseName(plugin string, index int) string { return plugin + "_" + strconv.Itoa(index) }

func parseLeaseName(name string) (plugin string, index int, ok bool) {
	plugin, text, ok := strings.Cut(name, "_")
	index, err := strconv.Atoi(text)
	return plugin, index, ok && err == nil && index >= 0
}

func encode64(b []byte) []byte { return base64.StdEncoding.AppendEncode(nil, b) }

func decode64(b []byte) ([]byte, error) { return base64.StdEncoding.AppendDecode(nil, b) }
