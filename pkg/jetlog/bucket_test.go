package jetlog_test

import (
	"errors"
	"testing"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/fieldkey/fieldkeytest"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/pkg/staging"
	"github.com/eventfuldb/eventful/pkg/staging/stagingtest"
)

func TestBucketConforms(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	stagingtest.TestBucket(t, func(t *testing.T) staging.Bucket {
		t.Helper()
		b, err := s.Store().Staged(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}, 2<<20)
}

// A process that only reads keys need not find their bucket, and never makes it.
func TestKeysToRead(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	reader, err := s.Store().KeysToRead()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if value, revision, err := reader.Get(t.Context(), "key"); value != nil || revision != 0 || err != nil {
			t.Errorf("without a bucket: got %d bytes, %d, %v, want none", len(value), revision, err)
		}
	}
	b, err := s.Store().Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), "key", []byte("value"), 0); err != nil {
		t.Fatal(err)
	}
	value, revision, err := reader.Get(t.Context(), "key")
	if err != nil || string(value) != "value" {
		t.Errorf("got %q, %v", value, err)
	}
	for what, err := range map[string]error{"put": reader.Put(t.Context(), "other", []byte("x"), 0), "erase": reader.Erase(t.Context(), "key", revision)} {
		if !errors.Is(err, eventlog.ErrRefused) {
			t.Errorf("%s: got %v, want ErrRefused", what, err)
		}
	}
}

func TestKeysConform(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	fieldkeytest.TestBucket(t, func(t *testing.T) fieldkey.Bucket {
		t.Helper()
		b, err := s.Store().Keys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}
