package lease_test

import (
	"bytes"
	"testing"

	"github.com/eventfuldb/eventful/pkg/lease"
)

// FuzzRecords holds that a record is refused, or read the same when what was read is written and read again.
func FuzzRecords(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `[]`, `{"v":1}`, `{"v":2,"incarnation":"a"}`, `{"v":1,"incarnation":"a","beat":3,"name":"n","host":"h","pid":7,"version":"1.0.0","logs":["patient"]}`,
		`{"v":1,"incarnation":"*"}`, `{"v":1,"owner":"m","incarnation":"i","generation":1,"group":"g","state":"serving","epoch":4}`, `{"v":1,"owner":"","state":"free"}`,
		`{"v":1,"state":"serving"}`, `{"v":1,"owner":"m","incarnation":"i","group":">","state":"serving"}`, `{"v":1,"logs":[null]}`, `{"v":1}{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		for name, rewrite := range map[string]func([]byte) ([]byte, error){"member": lease.RewriteMember, "log": lease.RewriteLog} {
			once, err := rewrite(value)
			if err != nil {
				continue
			}
			if twice, err := rewrite(once); err != nil || !bytes.Equal(once, twice) {
				t.Errorf("%s: got %s, %v, want %s", name, twice, err, once)
			}
		}
	})
}

// FuzzKeys holds that a key that is read has one spelling.
func FuzzKeys(f *testing.F) {
	for _, seed := range []string{"", "here.", "here.member.a", "here.log.patient", "here.log.", "here.log.*", "there.log.patient", "here.member.a.b", "here.log.Patient"} {
		f.Add("here", seed)
	}
	f.Fuzz(func(t *testing.T, site, key string) {
		if got := lease.RewriteKey(site, key); got != "" && got != key {
			t.Errorf("got %q, want %q", got, key)
		}
	})
}
