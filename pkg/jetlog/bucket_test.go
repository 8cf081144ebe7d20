package jetlog_test

import (
	"testing"

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
