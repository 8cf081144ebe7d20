package staging

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// maxRecord bounds what one record holds when it is unpacked: a transaction of the largest size has a few MiB.
const maxRecord = 64 << 20

// name is the bucket's key for an actor: HMAC-SHA256 (RFC 2104), in hexadecimal. Without NameKey nobody tells whose it is.
func (s *Staging) name(actor string) string {
	mac := hmac.New(sha256.New, s.cfg.NameKey[:])
	mac.Write([]byte("staged\x00" + s.cfg.Site + "\x00" + actor))
	return hex.EncodeToString(mac.Sum(nil))
}

// binding is the associated data of the seal: a value opens only where it was put, under a name that is the actor's alone.
func (s *Staging) binding(name string) string {
	return fmt.Sprintf("staged.2\x00%s\x00%s", s.cfg.Site, name)
}

// load gives what an actor has staged; an empty record if there is nothing.
func (s *Staging) load(ctx context.Context, actor string) (*record, *problem.Problem) {
	key := s.name(actor)
	sealed, revision, err := s.cfg.Bucket.Get(ctx, key)
	if err != nil {
		return nil, notNow(err)
	}
	r := &record{Version: recordVersion, Actor: actor, Command: newCommandID(), key: key, revision: revision}
	if revision == 0 {
		return r, nil
	}
	if err := s.open(key, sealed, r); err != nil {
		return nil, problem.New(problem.Damaged, "what %s has staged cannot be opened: %v", actor, err).
			WithHint("drop it with `eventful aggregate:discard`, or bring back the key file that belongs to this store")
	}
	return r, nil
}

func (s *Staging) open(name string, sealed []byte, r *record) error {
	packed, err := keyring.Unseal(s.cfg.Key, s.binding(name), sealed)
	if err != nil {
		return err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(z, maxRecord))
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if head.Version != recordVersion {
		return fmt.Errorf("it has layout %d, this program knows %d", head.Version, recordVersion)
	}
	if err := json.Unmarshal(text, r); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if s.name(r.Actor) != name {
		return errors.New("it is another actor's")
	}
	return nil
}

func (s *Staging) seal(r *record) ([]byte, error) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if err := errors.Join(json.NewEncoder(z).Encode(r), z.Close()); err != nil {
		return nil, fmt.Errorf("encode what is staged: %w", err)
	}
	return keyring.Seal(s.cfg.Key, s.binding(r.key), packed.Bytes()), nil
}

// save stores the record if nobody else has changed it since it was loaded; again: somebody has, so begin with what he left.
func (s *Staging) save(ctx context.Context, r *record) (again bool, p *problem.Problem) {
	sealed, err := s.seal(r)
	if err != nil {
		return false, problem.From(err)
	}
	err = s.cfg.Bucket.Put(ctx, r.key, sealed, r.revision)
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, eventlog.ErrRefused):
		return false, problem.New(problem.TooLarge, "what is staged has %d bytes, more than the server keeps: %v", len(sealed), err).WithHint("commit what is staged, or discard some of it")
	}
	there, _, reading := s.cfg.Bucket.Get(ctx, r.key) // the answer may have been lost: each seal has bytes of its own, so what lies there tells
	switch {
	case reading == nil && bytes.Equal(there, sealed):
		return false, nil
	case errors.Is(err, eventlog.ErrTaken):
		return true, nil
	}
	return false, problem.New(problem.UnknownOutcome, "it is not known whether this was kept: %v", err).WithHint("send it again with the same command id, or look with `eventful aggregate:staged`")
}

// drop takes back what cannot be opened.
func (s *Staging) drop(ctx context.Context, actor string) (again bool, p *problem.Problem) {
	key := s.name(actor)
	_, revision, err := s.cfg.Bucket.Get(ctx, key)
	if err == nil && revision > 0 {
		err = s.cfg.Bucket.Delete(ctx, key, revision)
	}
	if errors.Is(err, eventlog.ErrTaken) {
		return true, nil
	}
	if err != nil {
		return false, notNow(err)
	}
	return false, nil
}

func notNow(err error) *problem.Problem {
	return problem.New(problem.Unavailable, "what is staged cannot be reached: %v", err).WithHint("send it again in a moment")
}
