package token_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/token"
)

func TestKeyRecordRoundTrip(t *testing.T) {
	for _, want := range []token.Key{
		{ID: "A1"},
		{ID: "A2", Name: "imports of the ward", Aggregates: []string{"patient", "ward"}, Actions: []token.Action{token.ActionWrite, token.ActionVerify},
			MaxLimit: 1<<64 - 1, MaxExpiration: 8 * time.Hour},
		{ID: "A3", Aggregates: []string{token.All}, Actions: []token.Action{token.ActionAdmin}},
	} {
		got, err := token.KeyOf(want.ID, want.Fields())
		if err != nil {
			t.Fatal(err)
		}
		if want.Aggregates == nil { // the way back makes empty lists
			got.Aggregates = nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("key (-want +got):\n%s", diff)
		}
	}
}

func TestKeyOfRefuses(t *testing.T) {
	for name, fields := range map[string]map[string]string{
		"limit":           {"maxlimit": "-1"},
		"expiration":      {"maxexpiration": "x"},
		"long expiration": {"maxexpiration": "9300000000"},
	} {
		if got, err := token.KeyOf("A1", fields); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
}
