package settings_test

import (
	"errors"
	"testing"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// FuzzFile holds that config.toml is refused with a problem, or gives settings that are within their bounds.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"format = 1\n", "format = 1\nport = 1\n", "format = 2\n", "format = 0\n", "format = \"1\"\nport = \"x\"\n", "format = 1\n[port]\na = 1\n", "format = 1\nport = [1]\n",
		"format = 1\ndek = \"x\"\n", "format = 1\n\"a.b\" = 1\n", "format = 1\nPORT = 7\n", "format = 1\nport = 9223372036854775807\n", "format = 1\nport = nan\n", "x", "\xff", "[[format]]\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		config, err := load(t, t.TempDir(), text)
		if err != nil {
			var p *problem.Problem
			if !errors.As(err, &p) {
				t.Errorf("got %v, want a problem", err)
			}
			return
		}
		if config.Port < 0 || config.Port > 65535 || config.NATSPort < 0 || config.NATSPort > 65535 {
			t.Errorf("got ports %d and %d", config.Port, config.NATSPort)
		}
		for _, v := range config.Values() {
			if v.Origin == "file "+config.Path() && config.Text(v.Name) != v.Value {
				t.Errorf("%s: got %q, want %q", v.Name, config.Text(v.Name), v.Value)
			}
		}
	})
}
