package run_test

import (
	"testing"
	"time"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/pkg/archive"
)

func TestPolicies(t *testing.T) {
	p, err := run.ParsePolicies("720h,ward=24h", "patient=10GiB", "48h,other=1h")
	if err != nil {
		t.Fatal(err)
	}
	for log, want := range map[string]archive.Policy{
		"patient": {OlderThan: 720 * time.Hour, LargerThan: 10 << 30, IdleFor: 48 * time.Hour}, "ward": {OlderThan: 24 * time.Hour, IdleFor: 48 * time.Hour},
		"other": {OlderThan: 720 * time.Hour, IdleFor: time.Hour},
	} {
		if got := run.PolicyOf(p, log); got != want {
			t.Errorf("%s: got %+v, want %+v", log, got, want)
		}
	}
	for _, bad := range [][3]string{{"soon"}, {"-1h"}, {"0s"}, {"1h,"}, {"Ward=1h"}, {"=1h"}, {"", "much"}, {"", "0"}, {"", "ward="}, {"", "", "soon"}, {"", "", "-1h"}, {"", "", "ward="}} {
		if _, err := run.ParsePolicies(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}
