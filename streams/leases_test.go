package streams_test

import (
	"testing"

	"github.com/eventfuldb/eventful/streams"
)

func TestLeaseSubject(t *testing.T) {
	for key, want := range map[string]string{"north.log.a_b": "$KV.LEASES.7.north.log.a_b", "north-1.member.AZ09": "$KV.LEASES.7.north-1.member.AZ09"} {
		subject, err := streams.LeaseSubject(7, key)
		if err != nil || subject != want {
			t.Errorf("LeaseSubject(7, %q): got %q, %v, want %q", key, subject, err, want)
		}
		if back, ok := streams.LeaseKey(7, subject); !ok || back != key {
			t.Errorf("LeaseKey(7, %q): got %q, %v, want %q", subject, back, ok, key)
		}
		if back, ok := streams.LeaseKey(8, subject); ok {
			t.Errorf("LeaseKey(8, %q): got %q, want none: it is of another bucket", subject, back)
		}
	}
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "a.*", "a.>", "a b", "a\r\nb", "a\x00", "é", "a=20"} {
		if got, err := streams.LeaseSubject(7, bad); err == nil {
			t.Errorf("LeaseSubject(7, %q): got %q, want an error", bad, got)
		}
		if got, ok := streams.LeaseKey(7, "$KV.LEASES.7."+bad); ok {
			t.Errorf("LeaseKey of %q: got %q, want none", bad, got)
		}
	}
}

func TestLeaseBirth(t *testing.T) {
	for _, birth := range []uint64{1, 1763800000000000, 1<<64 - 1} {
		if got, ok := streams.LeaseBirth([]string{streams.LeaseSubjects(birth)}); !ok || got != birth {
			t.Errorf("got %d, %v, want %d", got, ok, birth)
		}
	}
	for _, bad := range [][]string{
		nil, {"$KV.LEASES.>"}, {"$KV.LEASES.7.>", "x"}, {"$KV.LEASES.07.>"}, {"$KV.LEASES.0.>"}, {"$KV.LEASES.7"}, {"$KV.OTHER.7.>"}, {"$KV.LEASES.-7.>"}, {"7.>"},
	} {
		if got, ok := streams.LeaseBirth(bad); ok {
			t.Errorf("LeaseBirth(%q): got %d, want none", bad, got)
		}
	}
}
