package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	tokensChecked   = "full path, each token checked"
	tokensUnchecked = "the same process while none is"
)

// What checks a command's token and the rights that it gives, and what stands there in the program of this scene. A text that is not there any more ends the run.
var uncheckedTexts = []struct{ checks, instead string }{
	{"return w.tokens.Verify(jwt, w.cfg.Now())", "return unchecked.claims(func() (*token.Claims, error) { return w.tokens.Verify(jwt, w.cfg.Now()) })"},
	{"if p := claims.MayWrite(c.Aggregate); p != nil {", "if p := unchecked.may(claims.MayWrite, c.Aggregate); p != nil {"},
}

// uncheckedFile is what the replaced texts call: SIGUSR1 has every token taken for the one that was checked last, SIGUSR2 has them checked again.
const uncheckedFile = `package writer

import (
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

type switchedCheck struct {
	off  atomic.Bool
	last atomic.Pointer[token.Claims]
}

var unchecked switchedCheck

func (s *switchedCheck) claims(check func() (*token.Claims, error)) (*token.Claims, error) {
	if c := s.last.Load(); c != nil && s.off.Load() {
		return c, nil
	}
	c, err := check()
	if err == nil {
		s.last.Store(c)
	}
	return c, err
}

func (s *switchedCheck) may(check func(event.AggregateID) *problem.Problem, a event.AggregateID) *problem.Problem {
	if s.off.Load() {
		return nil
	}
	return check(a)
}

func init() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for one := range signals {
			unchecked.off.Store(one == syscall.SIGUSR1)
		}
	}()
}
`

// tokenCheck measures what checking the token of each command costs: one process of the real program, in which the check can be switched off, with it and without it in turns. The token travels in both.
func tokenCheck(ctx context.Context, s *stage) error {
	const clients = 256
	program, err := s.buildUnchecked(ctx)
	if err != nil {
		return err
	}
	one, err := s.site("tokens")
	if err != nil {
		return err
	}
	one.eventful = program
	if err := one.start(ctx); err != nil {
		return err
	}
	f, err := newFleet(one.door(), min(clients, s.aggregates), s.connections, one.books("a", s.aggregates, s.data).commands)
	if err != nil {
		return err
	}
	defer f.close()
	turns, err := s.inTurns(ctx, one, f, func(on bool) error {
		if on {
			return one.server.cmd.Process.Signal(syscall.SIGUSR2)
		}
		return one.server.cmd.Process.Signal(syscall.SIGUSR1)
	})
	if err != nil {
		return err
	}
	s.compare(fmt.Sprintf("%s, %d clients", tokensChecked, clients), tokensUnchecked, turns, 0.97)
	return one.server.cmd.Process.Signal(syscall.SIGUSR2) // verify comes with another token
}

// buildUnchecked builds eventful with the check of tokens behind a switch. The tree stays as it is.
func (s *stage) buildUnchecked(ctx context.Context) (program string, err error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/eventfuldb/eventful/pkg/writer").Output()
	if err != nil {
		return "", fmt.Errorf("find pkg/writer: %w", err)
	}
	dir := filepath.Join(s.dir, "unchecked")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a folder for the overlay: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "writer.go")
	text, err := os.ReadFile(original)
	if err != nil {
		return "", fmt.Errorf("read what checks tokens: %w", err)
	}
	changed, err := withSwitch(string(text))
	if err != nil {
		return "", fmt.Errorf("%s: %w", original, err)
	}
	added := filepath.Join(filepath.Dir(original), "unchecked.go")
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: filepath.Join(dir, "writer.txt"), added: filepath.Join(dir, "unchecked.txt")}})
	if err != nil {
		return "", err
	}
	for name, content := range map[string]string{"writer.txt": changed, "unchecked.txt": uncheckedFile, "overlay.json": string(overlay)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return "", fmt.Errorf("write the overlay: %w", err)
		}
	}
	program = filepath.Join(dir, "eventful")
	build := exec.CommandContext(ctx, "go", "build", "-overlay="+filepath.Join(dir, "overlay.json"), "-o", program, "github.com/eventfuldb/eventful/cmd/eventful")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program without the check: %w\n%s", err, text)
	}
	return program, nil
}

// withSwitch puts the check of tokens in a source behind the switch.
func withSwitch(source string) (string, error) {
	for _, one := range uncheckedTexts {
		if strings.Count(source, one.checks) != 1 {
			return "", fmt.Errorf("%q does not stand there once any more: the scene has to follow it", one.checks)
		}
		source = strings.Replace(source, one.checks, one.instead, 1)
	}
	return source, nil
}
