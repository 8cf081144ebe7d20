package main

import (
	"fmt"
	"os"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// keyChange are the secrets that `config` was given on a data folder that has keys: the present ones, to be checked, and new ones.
type keyChange struct {
	master, dek       []byte
	newMaster, newDEK []byte
	dekGiven          bool // dek was given as a flag, as opposed to being found
}

func (a *app) keyChange() (keyChange, error) {
	var c keyChange
	for name, to := range map[string]*[]byte{
		settings.MasterKey: &c.master, settings.DEK: &c.dek, newMasterKey: &c.newMaster, newDEK: &c.newDEK,
	} {
		s, err := a.settings.Secret(name)
		if err != nil {
			return c, err
		}
		a.warnOfFlag(name, s)
		*to = s.Bytes
		c.dekGiven = c.dekGiven || name == settings.DEK && s.FromFlag()
	}
	return c, nil
}

// any reports whether there is something to do.
func (c keyChange) any() bool {
	return c.master != nil || c.dekGiven || c.newMaster != nil || c.newDEK != nil
}

// check refuses secrets that were given as the present ones and are not. Those that are replaced were checked already.
func (c keyChange) check(r *rotation) error {
	if c.master != nil && r.master.New == nil {
		if _, err := r.keys.OpenOperator(c.master); err != nil {
			return run.KeyProblem(err)
		}
	}
	if c.dekGiven && r.dek.New == nil {
		if _, err := r.keys.Open(c.dek); err != nil {
			return run.KeyProblem(err)
		}
	}
	return nil
}

// site makes the keys anew for another site, which only works before the first start: until then nothing was signed or encrypted with them.
// A crash leaves the old key file or the new one.
func (c keyChange) site(dir, path, site string, given map[string]any) error {
	if run.Started(dir) {
		return problem.New(problem.Conflict, "the site is fixed: a server has run on %s", dir).
			WithHint("a site stands in every event; another one needs another data folder")
	}
	lock, err := run.Acquire(dir)
	if err != nil {
		return err
	}
	defer lock.Release()
	if c.master == nil || c.dek == nil || c.newMaster != nil || c.newDEK != nil {
		return usageError("give the present master key and DEK, and change secrets afterwards", "another site needs new keys, made under master key and DEK")
	}
	keys, err := keyring.Load(path)
	if err != nil {
		return run.KeyProblem(err)
	}
	if _, err := keys.OpenOperator(c.master); err != nil {
		return run.KeyProblem(err)
	}
	if _, err := keys.Open(c.dek); err != nil {
		return run.KeyProblem(err)
	}
	fresh := path + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("make new keys: %w", err)
	}
	if _, _, err := newKeys(site, c.master, c.dek, given).Create(fresh); err != nil {
		return run.KeyProblem(err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("put the new keys in place: %w", err)
	}
	return nil
}
