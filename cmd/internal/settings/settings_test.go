package settings_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// load reads the settings of a fresh data folder with this config.toml (none if empty) and these arguments.
func load(t *testing.T, dir, file string, args ...string) (*settings.Config, error) {
	t.Helper()
	if file != "" {
		if err := os.WriteFile(filepath.Join(dir, settings.File), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.String("data-dir", "", "")
	flags.Int("port", 9595, "")
	flags.String("output", "table", "")
	flags.String("dek", "", "")
	flags.String("dek-file", "", "")
	flags.String("server", "", "")
	if err := flags.Parse(append([]string{"--data-dir=" + dir}, args...)); err != nil {
		t.Fatal(err)
	}
	return settings.Load(flags)
}

func TestPrograms(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                    nil,
		`plugin-programs = ""`:                nil,
		`plugin-programs = "/a/b"`:            {"/a/b"},
		`plugin-programs = "/a/b,/c"`:         {"/a/b", "/c"},
		`plugin-programs = ["/a/b", "/c"]`:    {"/a/b", "/c"},
		`plugin-programs = "a"`:               nil,
		`plugin-programs = "/a, /b"`:          nil,
		`plugin-programs = "/a,"`:             nil,
		`plugin-programs = ["/a", "/b/../c"]`: nil,
		`plugin-programs = 7`:                 nil,
	} {
		config, err := load(t, t.TempDir(), "format = 1\n"+text+"\n")
		if bad := text != "" && want == nil && !strings.HasSuffix(text, `""`); bad != (err != nil) {
			t.Errorf("%s: got error %v", text, err)
		} else if err == nil && !cmp.Equal(config.Programs, want) {
			t.Errorf("%s: got %q, want %q", text, config.Programs, want)
		}
	}
}

func TestPrecedence(t *testing.T) {
	const file = "format = 1\nport = 1\n"
	for _, c := range []struct {
		name, file, env string
		args            []string
		port            int
		origin          string
	}{
		{"default", "", "", nil, 9595, "default"},
		{"file", file, "", nil, 1, "file"},
		{"environment before file", file, "2", nil, 2, "env EVENTFUL_PORT"},
		{"flag before all", file, "2", []string{"--port=3"}, 3, "flag --port"},
		{"flag with the default's value", file, "2", []string{"--port=9595"}, 9595, "flag --port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("EVENTFUL_PORT", c.env)
			config, err := load(t, t.TempDir(), c.file, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			if config.Port != c.port {
				t.Errorf("got port %d, want %d", config.Port, c.port)
			}
			for _, v := range config.Values() {
				if v.Name == "port" && !strings.HasPrefix(v.Origin, c.origin) {
					t.Errorf("got origin %q, want %q", v.Origin, c.origin)
				}
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, file, want string
		args             []string
		code             problem.Code
	}{
		{"newer format", "format = 2\n", "has format 2", nil, problem.Invalid},
		{"no format", "port = 1\n", "has no valid", nil, problem.Malformed},
		{"no TOML", "format = = 1\n", "is not TOML", nil, problem.Malformed},
		{"unknown", "format = 1\ncolour = 1\n", `"colour" is no setting`, nil, problem.Malformed},
		{"secret", "format = 1\ndek = \"0123456789abcdef\"\n", `"dek" is a secret`, nil, problem.Malformed},
		{"list for a number", "format = 1\nport = [1]\n", "is no number", nil, problem.Malformed},
		{"no port", "", "is no number", []string{"--port=65536"}, problem.Malformed},
		{"no number of failures", "format = 1\nconnect-failures = -1\n", "is no number", nil, problem.Malformed},
		{"a token in an address", "", "is host and port", []string{"--server=nats://0123456789abcdef@127.0.0.1:7070"}, problem.Malformed},
		{"a token behind an address", "format = 1\nserver = \"nats://127.0.0.1:7070/?token=0123456789abcdef\"\n", "is host and port", nil, problem.Malformed},
		{"no time ago", "format = 1\narchive-older-than = \"soon\"\n", `archive-older-than (file`, nil, problem.Malformed},
		{"a time ago of no log", "format = 1\narchive-idle-for = \"720h,War d=24h\"\n", "for example 720h, or patient=720h", nil, problem.Malformed},
		{"a time ago below zero", "format = 1\narchive-idle-for = \"patient=-1h\"\n", "no duration above zero", nil, problem.Malformed},
		{"no size", "format = 1\narchive-larger-than = \"patient=10GiB,ward=\"\n", "for example 10GiB", nil, problem.Malformed},
		{"a size of nothing", "format = 1\narchive-larger-than = \"0\"\n", "above zero", nil, problem.Malformed},
		{"no form", "", "is none of", []string{"--output=xml"}, problem.Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, t.TempDir(), c.file, c.args...)
			if !errors.Is(err, &problem.Problem{Code: c.code}) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want %s with %q", err, c.code, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "0123456789abcdef") {
				t.Error("got the secret in the error, want it left out")
			}
		})
	}
}

// TestChanging: only what would be another value is told, and only what stands in the file is in force.
func TestChanging(t *testing.T) {
	dir := t.TempDir()
	config, err := load(t, dir, "format = 1\nport = 1\ninsecure = true\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		given map[string]any
		want  map[string]string
	}{
		{map[string]any{"port": 1, "insecure": true}, nil},
		{map[string]any{"port": 2, "insecure": true, "nats-port": 7070}, map[string]string{"port": "2", "nats-port": "7070"}},
		{nil, nil},
	} {
		got, err := config.Changing(c.given)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.given, diff)
		}
	}
	for _, c := range []struct {
		values map[string]string
		want   bool
	}{{map[string]string{"port": "1"}, true}, {map[string]string{"port": "1", "insecure": "false"}, false}, {map[string]string{"nats-port": "7070"}, false}, {nil, true}} {
		if got := settings.InForce(dir, c.values); got != c.want {
			t.Errorf("%v in force: got %v, want %v", c.values, got, c.want)
		}
	}
	if settings.InForce(t.TempDir(), map[string]string{"port": "1"}) {
		t.Error("in force without a file")
	}
}

func TestSaveKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	config, err := load(t, dir, "format = 1\nport = 1\nsite = \"ward\"\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := config.Save(map[string]any{"port": 2, "memory-threshold": 3}); err != nil {
		t.Fatal(err)
	}
	if config, err = load(t, dir, ""); err != nil {
		t.Fatal(err)
	}
	got := []any{config.Port, config.MemoryThreshold, config.Site}
	if diff := cmp.Diff([]any{2, 3, "ward"}, got); diff != "" {
		t.Errorf("saved settings differ (-want +got):\n%s", diff)
	}
	info, err := os.Stat(config.Path())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, error %v, want 0600", info.Mode(), err)
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "dek")
	if err := os.WriteFile(file, []byte("from a file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for _, c := range []struct {
		name, env, envFile, want, origin string
		args                             []string
	}{
		{"none", "", "", "", "", nil},
		{"environment", "from the environment", "", "from the environment", "env EVENTFUL_DEK", nil},
		{"file of the environment", "", file, "from a file", "env EVENTFUL_DEK_FILE", nil},
		{"file of a flag before the environment", "x", "", "from a file", "flag --dek-file", []string{"--dek-file=" + file}},
		{"flag", "x", "", "from a flag", "flag --dek", []string{"--dek=from a flag"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("EVENTFUL_DEK", c.env)
			t.Setenv("EVENTFUL_DEK_FILE", c.envFile)
			config, err := load(t, dir, "", c.args...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := config.Secret(settings.DEK)
			if err != nil || string(got.Bytes) != c.want || got.Origin != c.origin {
				t.Errorf("got %q from %q, error %v, want %q from %q", got.Bytes, got.Origin, err, c.want, c.origin)
			}
			if strings.Contains(got.String(), "from") {
				t.Errorf("got %q as text, want a mask", got)
			}
		})
	}
}

func TestStoredDEK(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	config, err := load(t, t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	path, err := config.StoreDEK([]byte("a key of this test"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, error %v, want mode 0600", info, err)
	}
	if got, err := config.Secret(settings.DEK); err != nil || string(got.Bytes) != "a key of this test" {
		t.Errorf("got %q, error %v, want the stored key", got.Bytes, err)
	}
	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Secret(settings.DEK); !errors.Is(err, &problem.Problem{Code: problem.Invalid}) {
		t.Errorf("got error %v for a key that others can read, want invalid", err)
	}
	if err := config.RemoveDEK(); err != nil {
		t.Fatal(err)
	}
	if got, err := config.Secret(settings.DEK); err != nil || got.Bytes != nil {
		t.Errorf("got %q, error %v behind the removal, want none", got.Bytes, err)
	}
}

func TestDEKStaysOutsideTheData(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "inside"))
	config, err := load(t, dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if path, err := config.StoreDEK([]byte("a key of this test")); err == nil {
		t.Errorf("got the DEK stored in %s, want a refusal", path)
	}
}
