package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/keyring"
)

// secretFlags adds for each secret the flag of its name, which works and warns, and the one with -file.
func secretFlags(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		what := strings.ReplaceAll(name, "-", " ")
		cmd.Flags().String(name, "", "the "+what+"; others can see it here, so give --"+name+"-file or the environment instead")
		cmd.Flags().String(name+"-file", "", "`file` that holds the "+what+"; - is standard input")
	}
}

func (a *app) warnOfFlag(name string, s settings.Secret) {
	if s.OnCommandLine() {
		a.warn("--%s: every user of this machine can see it, and the shell keeps it; use --%s-file or the environment", name, name)
	}
}

// secret finds a secret and warns if it stood on the command line.
func (a *app) secret(name string) ([]byte, error) {
	s, err := a.settings.Secret(name)
	if err != nil {
		return nil, err
	}
	a.warnOfFlag(name, s)
	return s.Bytes, nil
}

// firstSecrets gives master key and DEK: as given, generated, or asked for. The generated ones stand in the answer too.
func (a *app) firstSecrets(generate bool) (master, dek []byte, answer configured, err error) {
	if master, err = a.secret(settings.MasterKey); err != nil {
		return nil, nil, answer, err
	}
	if dek, err = a.secret(settings.DEK); err != nil {
		return nil, nil, answer, err
	}
	if generate && master == nil {
		answer.MasterKey = rand.Text()
		master = []byte(answer.MasterKey)
	}
	if generate && dek == nil {
		answer.DEK = rand.Text()
		dek = []byte(answer.DEK)
	}
	if master == nil {
		if master, err = a.ask("master key", "the master key is missing", settings.MasterKey); err != nil {
			return nil, nil, answer, err
		}
	}
	if dek == nil {
		if dek, err = a.ask("DEK", "the DEK is missing", settings.DEK); err != nil {
			return nil, nil, answer, err
		}
	}
	for name, s := range map[string][]byte{"master key": master, "DEK": dek} {
		if err := keyring.CheckSecret(s); err != nil {
			return nil, nil, answer, run.KeyProblem(fmt.Errorf("%s: %w", name, err))
		}
	}
	if bytes.Equal(master, dek) {
		return nil, nil, answer, usageError("the DEK lies on the machine that runs; whoever finds it must not have the master key", "master key and DEK are the same")
	}
	return master, dek, answer, nil
}

// ask asks for a new secret twice on a terminal; elsewhere it is missing.
func (a *app) ask(what, missing, name string) ([]byte, error) {
	if !a.interactive() {
		env := "EVENTFUL_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		return nil, usageError(fmt.Sprintf("set %s or %s_FILE, or let --generate make it", env, env), "%s", missing)
	}
	first, err := a.prompt(fmt.Sprintf("%s (at least %d characters): ", what, keyring.MinSecret))
	if err != nil {
		return nil, err
	}
	if err := keyring.CheckSecret(first); err != nil {
		return nil, run.KeyProblem(fmt.Errorf("%s: %w", what, err))
	}
	again, err := a.prompt(what + " again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, again) {
		return nil, usageError("nothing was changed; run it again", "the two are not the same")
	}
	return first, nil
}

// askSecret reads one secret: from a terminal without echo, else from standard input. The hint is for where nothing stands there.
func (a *app) askSecret(what, hint string) ([]byte, error) {
	if a.interactive() {
		return a.prompt(what + ": ")
	}
	text, err := io.ReadAll(io.LimitReader(a.in, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read the %s: %w", what, err)
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil, usageError(hint, "no %s was given", what)
	}
	return text, nil
}

// interactive reports whether somebody can be asked.
func (a *app) interactive() bool { return term.IsTerminal(int(a.in.Fd())) }

func (a *app) prompt(text string) ([]byte, error) {
	fmt.Fprint(a.errOut, text)
	defer fmt.Fprintln(a.errOut)
	secret, err := term.ReadPassword(int(a.in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("read a secret from the terminal: %w", err)
	}
	return secret, nil
}

// generateSite makes a name that no other installation has: 50 random bits.
func generateSite() string { return "site-" + strings.ToLower(rand.Text()[:10]) }
