package staging_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/staging"
	"github.com/eventfuldb/eventful/pkg/staging/stagingtest"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// FuzzRecord holds that what lies sealed in the bucket is refused or opened; what was opened is the same when it is sealed again.
func FuzzRecord(f *testing.F) {
	s, err := staging.New(staging.Config{Site: "here", Bucket: stagingtest.NewMemory(), Execute: func(context.Context, writer.Request) (*writer.Answer, *problem.Problem) { return nil, nil }})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"version":1,"actor":"user/u","command":"c","began":"2026-01-02T03:04:05Z","next":2,"entries":[{"n":1,"type":"patient","id":"A","event":"crp","occurred":5,"payload":"AAE="},{"n":2}],"recent":["r"],"last":{},"attempts":[{}]}`), false)
	f.Add([]byte(`{"version":1,"actor":"user/u","entries":null,"attempts":[null]}`), false)
	f.Add([]byte(`{"version":1,"actor":"user/v"}`), false)
	f.Add([]byte(`{"version":2}`), false)
	f.Add([]byte(`null`), false)
	f.Add([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}, true)
	f.Fuzz(func(t *testing.T, text []byte, packed bool) {
		once, err := s.Rewrite("user/u", text, packed)
		if errors.Is(err, staging.ErrRewritten) {
			t.Errorf("%s: %v", text, err)
		}
		if err != nil {
			return
		}
		if twice, err := s.Rewrite("user/u", once, false); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("got %s, %v, want %s", twice, err, once)
		}
	})
}
