package run_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/cmd/internal/run"
)

// FuzzParseInfo holds that what is read of a running server is the same when it is written and read again.
func FuzzParseInfo(f *testing.F) {
	for _, seed := range []string{
		"", "null", "{}", `{"format":1,"pid":7,"since":"2026-01-02T03:04:05Z","given":{"port":"1"},"ready":true}`, `{"format":2}`, `{"format":-1,"pid":-1}`, `{"pid":1e3}`,
		`{"since":"2026-01-02T03:04:05+24:00"}`, `{"since":"-"}`, "{\"site\":\"\xff\"}  \n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		info, err := run.ParseInfo(text)
		if err != nil {
			return
		}
		info.Since = time.Time{} // package time reads zones that it does not write
		once, err := json.Marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		again, err := run.ParseInfo(once)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("got %s, %v, want %s", twice, err, once)
		}
	})
}
