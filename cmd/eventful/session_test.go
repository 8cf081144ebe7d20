package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// sessionApp is an app with a home and a data folder of its own, and where its session lies.
func sessionApp(t *testing.T) (a *app, path string) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("EVENTFUL_DATA_DIR", t.TempDir())
	s, err := settings.Load(pflag.NewFlagSet("test", pflag.ContinueOnError))
	if err != nil {
		t.Fatal(err)
	}
	a = &app{settings: s, errOut: &bytes.Buffer{}}
	dir, err := a.sessionFolder()
	if err != nil {
		t.Fatal(err)
	}
	return a, filepath.Join(dir, sessionFile)
}

func TestSessionIsSealedAndComesBack(t *testing.T) {
	a, path := sessionApp(t)
	want := &session{Format: sessionFormat, Token: &kept{Secret: "header.claims.signature", Holder: "token x", Expires: time.Now().Add(time.Hour).UTC().Truncate(time.Second)}}
	if s, err := a.session(); err != nil || !s.empty() {
		t.Fatalf("before: got %v, %v, want an empty session", s, err)
	}
	if err := a.keep(want); err != nil {
		t.Fatal(err)
	}
	got, err := a.session()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
	for _, file := range []string{path, path + ".key"} {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %v (%v), want 0600", file, info.Mode(), err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || bytes.Contains(text, []byte(want.Token.Secret)) {
		t.Errorf("the session file holds the token as it is (%v)", err)
	}
}

func TestBothKindsAreKeptSideBySide(t *testing.T) {
	a, _ := sessionApp(t)
	key, access := &kept{Secret: "SA1", Account: "A1", Holder: "A2"}, &kept{Secret: "a.b.c", Holder: "token x"}
	for kind, k := range map[string]*kept{kindAuthKey: key, kindToken: access} {
		if err := a.keepBeside(kind, k); err != nil {
			t.Fatal(err)
		}
	}
	got, err := a.session()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&session{Format: sessionFormat, AuthKey: key, Token: access}, got); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
}

func TestSessionsThatDoNotOpen(t *testing.T) {
	tests := map[string]struct {
		spoil func(path string) error
		text  string
	}{
		"expired": {func(string) error { return nil }, "the session of token x expired at 2020-01-01T00:00:00Z"},
		"no key":  {func(path string) error { return os.Remove(path + ".key") }, "its key is missing"},
		"changed": {func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("x", 60)), 0o600) }, "cannot be opened"},
	}
	for name, test := range tests {
		a, path := sessionApp(t)
		if err := a.keep(&session{Token: &kept{Secret: "t", Holder: "token x", Expires: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}}); err != nil {
			t.Fatal(err)
		}
		if err := test.spoil(path); err != nil {
			t.Fatal(err)
		}
		_, err := a.token()
		if !errors.Is(err, &problem.Problem{Code: problem.Unauthenticated}) || !strings.Contains(err.Error(), test.text) || problem.From(err).Hint == "" {
			t.Errorf("%s: got %v, want %q with a hint", name, err, test.text)
		}
	}
}
