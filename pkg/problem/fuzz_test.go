package problem_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// FuzzDecode holds that a problem is made of anything, and that it stays what it is on another way over the wire.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"", "null", "{}", "[]", `{"code":"conflict","status":409,"title":"t","detail":"d","between":[{"version":1}]}`, `{"code":"x","detail":"d"}`,
		`{"code":"invalid","problems":[null,{"code":"y"}]}`, `{"code":"invalid","status":-1,"hint":"\ud800"}`, `{"code":1}`, "{\"code\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p := problem.Decode(body)
		if p == nil || p.ExitStatus() == 0 || p.Error() == "" || problem.New(p.Code, "").Code != p.Code { // New panics at an unknown code
			t.Fatalf("got %+v", p)
		}
		for _, one := range p.Problems {
			if one == nil {
				t.Fatalf("%s: got a nil among the failing checks", body)
			}
		}
		once, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := json.Marshal(problem.Decode(once)); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("got %s, %v, want %s", twice, err, once)
		}
	})
}
