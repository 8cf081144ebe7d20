// Package process is the plugin that hands changes to a child process: one CloudEvent a line on its standard input, one acknowledgement a line on its standard output.
//
// The child may be written in any language; docs/plugins-process.md and examples/plugins/process.py show how. A line to the child is a CloudEvent 1.0 in the JSON format.
// A line from it is `{"id":"<id of the event>","status":"done"}`; other statuses are "retry" and "park", with an "error" for people. Acknowledgements
// may come in any order. A child that ends, does not acknowledge a call in the time that it may take, or prints what is no acknowledgement, is ended with all its own children and started anew, with pauses that
// grow; what it did not acknowledge is delivered again. What it prints on standard error goes into the log.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/sieve"
)

// MaxLine is the longest line that a child may print, in bytes.
const MaxLine = 64 << 10

// envPrefix stands before the names of an environment that a configuration may set.
const envPrefix = "PLUGIN_"

// Kind is the plugin type process, on a host.
func Kind(h Host) *plugin.Kind {
	return sieve.Kind(&plugin.Kind{
		Name: "process", Summary: "hands each change to a child process, as a CloudEvent on its standard input", Ordered: true,
		Options: []plugin.Option{
			{Name: "command", Help: "absolute path of the program, which the host lets plugins run (plugin-programs), and its arguments, separated by blanks; no shell reads it", Required: true, Check: h.checkCommand},
			{Name: "dir", Help: "folder that the program is started in; by default that of the plugin-runner", Check: checkDir},
			{Name: "env", Help: "further environment of the program: PLUGIN_NAME=VALUE, separated by line breaks", Secret: true, Check: checkEnv},
		},
		Open: h.open,
	})
}

func (h Host) checkCommand(value string) error {
	args := strings.Fields(value)
	if len(args) == 0 {
		return errors.New("it names no program")
	}
	_, _, err := h.find(args[0])
	if h.Elsewhere && errors.Is(err, plugin.ErrNotAllowed) {
		return nil
	}
	return err
}

func checkDir(value string) error {
	if !filepath.IsAbs(value) {
		return fmt.Errorf("%.80q is no absolute path", value)
	}
	return nil
}

// checkEnv lets through names of plugins alone: others, as LD_PRELOAD or PYTHONPATH, would have an allowed program load any other.
func checkEnv(value string) error {
	for line := range strings.SplitSeq(value, "\n") {
		if name, _, ok := strings.Cut(line, "="); !ok || !strings.HasPrefix(name, envPrefix) {
			return errors.New("a line is not PLUGIN_NAME=VALUE")
		}
	}
	return nil
}

// open starts nothing: the child is started by the first change.
func (h Host) open(_ context.Context, s plugin.Settings) (plugin.Plugin, error) {
	args := strings.Fields(s.Options["command"])
	if err := h.mayRun(s); err != nil {
		return nil, err
	}
	p := &process{host: h, args: args, dir: s.Options["dir"], log: s.Log, slot: make(chan struct{}, 1), longest: longestPause}
	if given := s.Options.Duration("max-backoff"); given > 0 { // one of every plugin
		p.longest = given
	}
	p.env = os.Environ()
	p.env = withoutSecrets(p.env)
	if extra := s.Options["env"]; extra != "" {
		p.env = append(p.env, strings.Split(extra, "\n")...)
	}
	p.env = append(p.env, "EVENTFUL_PLUGIN="+s.Name, "EVENTFUL_SITE="+s.Site)
	return p, nil
}

// mayRun holds what was configured, perhaps under other settings of the host or on another one, against this host.
func (h Host) mayRun(s plugin.Settings) error {
	args := strings.Fields(s.Options["command"])
	if len(args) == 0 {
		return errors.New("the configuration names no program")
	}
	if _, _, err := h.find(args[0]); err != nil {
		return err
	}
	if extra := s.Options["env"]; extra != "" {
		return checkEnv(extra)
	}
	return nil
}

// withoutSecrets keeps what this program was given for itself from its children.
func withoutSecrets(env []string) []string {
	kept := make([]string, 0, len(env))
	for _, one := range env {
		if !strings.HasPrefix(one, "EVENTFUL_") {
			kept = append(kept, one)
		}
	}
	return kept
}
