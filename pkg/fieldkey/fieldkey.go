// Package fieldkey keeps the keys of encrypted fields, one for each aggregate, and seals and opens values with them.
//
// The authority is docs/spec/log.md, section 3, and docs/spec/subjects.md. Keys lie in a bucket, each sealed under a key of the key file, at a place that is a keyed
// hash of the aggregate, so no id is in a name. A key is made once and never changed; destroying it erases what it sealed. In memory a bounded number of keys
// is kept, each for a minute at most.
//
// A Keys and a Key are safe for concurrent use. Neither prints what it holds.
package fieldkey

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
)

// Bucket keeps one value for each key. Errors are those of package eventlog: ErrTaken (another revision), else it is not known whether a change was made. It
// must be safe for concurrent use.
type Bucket interface {
	// Get gives the value and its revision; revision 0: there is none. It sees every change that was acknowledged before.
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Put stores the value of a key that has this revision, 0 meaning none.
	Put(ctx context.Context, key string, value []byte, revision uint64) error
	// Erase overwrites a revision of a key wherever it is stored, and takes it back. That it is not there is no error.
	Erase(ctx context.Context, key string, revision uint64) error
}

// Config of Keys. All fields but After are required.
type Config struct {
	Site   string
	Bucket Bucket
	Wrap   [32]byte // seals the keys in the bucket
	Name   [32]byte // hides aggregates in the bucket's keys
	Unique [32]byte // of the keyed hashes of unique fields

	After func(time.Duration, func()) // default time.AfterFunc

	// Removed is told when what lay in the place of a key, and was none, was removed to make one; nil: nobody is.
	Removed func(aggregateType string, bytes int)
}

// Keys are the keys of a site.
type Keys struct {
	cfg   Config
	pack  *packer
	cache *cache
}

// New checks the configuration.
func New(cfg Config) (*Keys, error) {
	if err := event.CheckSite(cfg.Site); err != nil {
		return nil, fmt.Errorf("field key configuration: %w", err)
	}
	if cfg.Bucket == nil {
		return nil, errors.New("field key configuration: a bucket is required")
	}
	if cfg.After == nil {
		cfg.After = func(d time.Duration, f func()) { time.AfterFunc(d, f) }
	}
	pack, err := newPacker()
	if err != nil {
		return nil, fmt.Errorf("field key configuration: %w", err)
	}
	return &Keys{cfg: cfg, pack: pack, cache: newCache(cfg.After)}, nil
}

// Cached is the key of an aggregate if it is in memory, else nil.
func (k *Keys) Cached(a event.AggregateID) *Key { return k.cache.get(a) }

// ErrForeign says that what lies in the place of a key was never one: somebody else stored it there.
var ErrForeign = errors.New("what lies there is no key of EventfulDB")

// Lengths and versions of sealed keys: keyring.Seal makes 29 bytes more than the key, and newer layouts will count up from 2.
const (
	sealedLen     = keyLen + 29
	sealVersion   = 1
	highestLayout = 15
)

// Foreign reports whether a value has the form of no key: neither of this layout nor of one that a newer program may have.
func Foreign(sealed []byte) bool {
	if len(sealed) == 0 || sealed[0] < sealVersion || sealed[0] > highestLayout {
		return true
	}
	return sealed[0] == sealVersion && len(sealed) != sealedLen
}

// Unreadable reports whether an error of Get says that there is a value and that it is no key that this site can ever open: asking again changes nothing.
func Unreadable(err error) bool {
	return errors.Is(err, ErrForeign) || errors.Is(err, keyring.ErrWrongKey)
}

// Get gives the key of an aggregate, nil if it has none. The error wraps ErrForeign where something else lies in its place, keyring.ErrWrongKey where the key was not
// sealed for this place under this key file, else one of package eventlog.
func (k *Keys) Get(ctx context.Context, a event.AggregateID) (*Key, error) {
	if key := k.cache.get(a); key != nil {
		return key, nil
	}
	key, _, err := k.load(ctx, a)
	return key, err
}

// load reads the key from the bucket.
func (k *Keys) load(ctx context.Context, a event.AggregateID) (*Key, uint64, error) {
	dropped := k.cache.drops()
	sealed, revision, err := k.cfg.Bucket.Get(ctx, k.name(a))
	if err != nil || revision == 0 {
		return nil, 0, err
	}
	if Foreign(sealed) {
		return nil, revision, fmt.Errorf("open the field key of %s: %w", a, ErrForeign)
	}
	secret, err := keyring.Unseal(k.cfg.Wrap, k.binding(a), sealed)
	if err != nil {
		return nil, revision, fmt.Errorf("open the field key of %s: %w", a, err)
	}
	key, err := k.newKey(secret)
	if err != nil {
		return nil, revision, fmt.Errorf("open the field key of %s: %w", a, err)
	}
	k.cache.put(a, key, dropped)
	return key, revision, nil
}

// Make gives the key of an aggregate, and makes it if it has none. It comes back when the key is on disk. What lies in its place and was never a key is removed
// first. Errors are as of Get, but for ErrForeign.
func (k *Keys) Make(ctx context.Context, a event.AggregateID) (*Key, error) {
	for {
		key, err := k.Get(ctx, a)
		if errors.Is(err, ErrForeign) {
			if err = k.clear(ctx, a); err == nil {
				continue
			}
		}
		if key != nil || err != nil {
			return key, err
		}
		secret := make([]byte, keyLen)
		_, _ = rand.Read(secret) // never fails (crypto/rand)
		sealed := keyring.Seal(k.cfg.Wrap, k.binding(a), secret)
		putting := k.cfg.Bucket.Put(ctx, k.name(a), sealed, 0)
		switch {
		case putting == nil:
			return k.Get(ctx, a)
		case errors.Is(putting, eventlog.ErrTaken):
			continue // somebody made it, or this is an answer that was lost
		}
		there, _, err := k.cfg.Bucket.Get(ctx, k.name(a))
		if err != nil || !bytes.Equal(there, sealed) {
			return nil, errors.Join(putting, err)
		}
	}
}

// clear removes what lies in the place of a key and never was one.
func (k *Keys) clear(ctx context.Context, a event.AggregateID) error {
	there, revision, err := k.cfg.Bucket.Get(ctx, k.name(a))
	if err != nil || revision == 0 || !Foreign(there) {
		return err
	}
	if err := k.cfg.Bucket.Erase(ctx, k.name(a), revision); err != nil {
		return err
	}
	if k.cfg.Removed != nil {
		k.cfg.Removed(a.Type, len(there))
	}
	return nil
}

// Temporary is a key that is stored nowhere, for what is only checked.
func (k *Keys) Temporary() (*Key, error) {
	secret := make([]byte, keyLen)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	return k.newKey(secret)
}

// Destroy erases the key with this commitment, wherever it is stored, and drops it from the memory of this process. That the aggregate has none, or by now
// another one, is no error; so Destroy may be repeated. What lies there and cannot be read is erased too: nobody can tell that it is another key.
func (k *Keys) Destroy(ctx context.Context, a event.AggregateID, commitment event.Hash) error {
	defer k.cache.drop(a)
	key, revision, err := k.load(ctx, a)
	if err != nil && !Unreadable(err) {
		return err
	}
	if err == nil && (key == nil || key.Commitment() != commitment) {
		return nil
	}
	return k.cfg.Bucket.Erase(ctx, k.name(a), revision)
}

// Drop drops a key from the memory of this process: somebody destroys it.
func (k *Keys) Drop(a event.AggregateID) { k.cache.drop(a) }

// UniqueHash is the keyed hash by which equal texts of a unique field are found.
func (k *Keys) UniqueHash(aggregateType, field, text string) event.Hash {
	mac := hmac.New(sha256.New, k.cfg.Unique[:])
	b := append(make([]byte, 0, 128), "eventful.field.unique.v1\x00"...)
	for _, s := range [...]string{aggregateType, field, text} {
		b = appendStr(b, s)
	}
	mac.Write(b)
	var out event.Hash
	mac.Sum(out[:0])
	return out
}

// name is the bucket's key for an aggregate: HMAC-SHA256 (RFC 2104), in hexadecimal. Without Config.Name nobody tells whose it is.
func (k *Keys) name(a event.AggregateID) string {
	mac := hmac.New(sha256.New, k.cfg.Name[:])
	mac.Write([]byte("field key\x00" + k.cfg.Site + "\x00" + a.Type + "\x00" + a.ID))
	return hex.EncodeToString(mac.Sum(nil))
}

// binding is the associated data of a key's seal: it opens only where it was put.
func (k *Keys) binding(a event.AggregateID) string {
	return "field key\x00" + k.cfg.Site + "\x00" + a.Type + "\x00" + a.ID
}
