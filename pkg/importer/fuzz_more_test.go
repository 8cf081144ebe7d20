package importer_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/importer"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func FuzzParseTokens(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", "a: b", `{"a":"b","c":" d\n"}`, "a: ''", "a: [b]", "a: &x b\nc: *x", "<<: {a: b}", "a: b\na: c", "1: 2", "a: !!binary YQ==", "? [a]\n: b", "a: null",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		tokens, err := importer.ParseTokens(text)
		if err != nil {
			if !errors.Is(err, &problem.Problem{Code: problem.Malformed}) {
				t.Errorf("got %v, want a problem that says malformed", err)
			}
			return
		}
		if len(tokens) == 0 {
			t.Error("got no tokens and no error")
		}
		for value, token := range tokens {
			if token == "" || token != strings.TrimSpace(token) {
				t.Errorf("%q: got token %q", value, token)
			}
		}
	})
}
