package process_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/plugins/process"
)

func until(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); {
		if time.Now().After(end) {
			t.Fatal("it did not come to it")
		}
		<-time.After(10 * time.Millisecond)
	}
}

// TestHost: a program that the host does not name is neither configured nor opened, by whatever name.
func TestHost(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	allowed, other, link, away := filepath.Join(dir, "allowed"), filepath.Join(dir, "other"), filepath.Join(dir, "link"), filepath.Join(dir, "away")
	for _, path := range []string{allowed, other} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{link: allowed, away: other} {
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	plain, linked := process.Host{Programs: []string{allowed}}, process.Host{Programs: []string{link}}
	for _, c := range []struct {
		name    string
		host    process.Host
		command string
		fits    bool
	}{
		{"named", plain, allowed + " with arguments", true},
		{"a link to it", plain, link, true},
		{"the other way to it", plain, dir + "/./allowed", true},
		{"named by a link", linked, allowed, true},
		{"another one", plain, other, false},
		{"a link to another one", plain, away, false},
		{"behind it", plain, allowed + "/../other", false},
		{"not there", plain, filepath.Join(dir, "none"), false},
		{"none is named", process.Host{}, allowed, false},
		{"a folder of it is named", process.Host{Programs: []string{dir}}, allowed, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, options := process.Kind(c.host), plugin.Values{"command": c.command}
			_, err := k.Examine(plugin.Settings{Options: options})
			if got := errors.Is(err, plugin.ErrNotAllowed); got == c.fits {
				t.Errorf("examine: got %v", err)
			}
			p, err := k.Open(t.Context(), plugin.Settings{Options: options})
			if got := errors.Is(err, plugin.ErrNotAllowed); got == c.fits {
				t.Errorf("open: got %v", err)
			}
			if err == nil {
				p.Close()
			}
		})
	}
	t.Run("a link that leads elsewhere when the program is started", func(t *testing.T) {
		p, err := process.Kind(plain).Open(t.Context(), plugin.Settings{Options: plugin.Values{"command": link}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := errors.Join(os.Remove(link), os.Symlink(other, link)); err != nil {
			t.Fatal(err)
		}
		if err := p.Test(t.Context()); !errors.Is(err, plugin.ErrNotAllowed) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a process that runs no plugins", func(t *testing.T) {
		k, options := process.Kind(process.Host{Elsewhere: true}), plugin.Values{"command": other}
		if _, err := k.Examine(plugin.Settings{Options: options}); err != nil {
			t.Errorf("examine: got %v", err)
		}
		if _, err := k.Open(t.Context(), plugin.Settings{Options: options}); !errors.Is(err, plugin.ErrNotAllowed) {
			t.Errorf("open: got %v", err)
		}
	})
}

// TestEnvironment: a configuration sets no variable that has an allowed program load another.
func TestEnvironment(t *testing.T) {
	k := process.Kind(process.Host{Programs: []string{self()}})
	for env, fits := range map[string]bool{
		"PLUGIN_A=1": true, "PLUGIN_A=1\nPLUGIN_B=2": true, "LD_PRELOAD=/tmp/x.so": false, "PLUGIN_A=1\nPYTHONPATH=/tmp": false, "PLUGIN_A": false, "": false,
	} {
		options := plugin.Values{"command": self(), "env": env}
		if _, err := k.Examine(plugin.Settings{Options: options}); (err == nil) != fits {
			t.Errorf("%q: examine: got %v", env, err)
		}
		p, err := k.Open(t.Context(), plugin.Settings{Options: options})
		if (err == nil) != (fits || env == "") {
			t.Errorf("%q: open: got %v", env, err)
		} else if err == nil {
			p.Close()
		} else if strings.Contains(err.Error(), "/tmp") {
			t.Errorf("%q: the error repeats a secret: %v", env, err)
		}
	}
}
