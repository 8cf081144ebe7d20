package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// rotation puts new secrets in the place of the present ones.
//
// Its steps in order, and what a crash behind each leaves: (1) stage: the new DEK lies beside the kept one; the old secrets open everything. (2) show:
// whoever asked for generated secrets has them before they count. (3) seal: the key file opens with the new secrets alone; `start` finds the new DEK where
// it was staged. (4) settle: the new DEK is the kept one. Each may be repeated: a rotation that is run again goes on where the last one was cut short.
type rotation struct {
	config      *settings.Config
	keys        *keyring.Keyring
	master, dek keyring.Renewal // New is nil where nothing changes
	keep        bool            // the DEK is kept on this machine
	show        func() error    // nil: nothing was generated
}

// step is one side effect of a rotation.
type step struct {
	name string
	do   func() error
}

func (r *rotation) steps() (all []step) {
	add := func(wanted bool, name string, do func() error) {
		if wanted {
			all = append(all, step{name, do})
		}
	}
	kept := r.keep && r.dek.New != nil
	add(kept, "stage", func() error { return r.config.StageDEK(r.dek.New) })
	add(r.show != nil, "show", r.show)
	add(changes(r.master) || changes(r.dek), "seal", r.seal)
	add(kept, "settle", func() error { _, err := r.config.SettleDEK(); return err })
	return all
}

// names are those of the secrets that are replaced.
func (r *rotation) names() (names []string) {
	if r.master.New != nil {
		names = append(names, "master key")
	}
	if r.dek.New != nil {
		names = append(names, "DEK")
	}
	return names
}

func (r *rotation) run() error {
	for _, s := range r.steps() {
		if err := s.do(); err != nil {
			return err
		}
	}
	return nil
}

func (r *rotation) seal() error {
	var master, dek keyring.Renewal
	if changes(r.master) {
		master = r.master
	}
	if changes(r.dek) {
		dek = r.dek
	}
	return run.KeyProblem(r.keys.Renew(master, dek, run.Me()))
}

// changes reports whether the key file is not sealed under the new secret yet.
func changes(r keyring.Renewal) bool { return r.New != nil && !bytes.Equal(r.Old, r.New) }

// begin completes a rotation: it finds out which secrets open the key file, which may be the new ones, or a staged one, if an earlier rotation was cut short.
// A secret that was given and opens nothing is an error.
func (r *rotation) begin() error {
	staged, err := r.config.StagedDEK()
	if err != nil {
		return err
	}
	if r.master.New != nil {
		r.master.Old, err = opening(func(s []byte) error { _, err := r.keys.OpenOperator(s); return err }, r.master.Old, r.master.New)
	}
	if r.dek.New != nil && err == nil {
		r.dek.Old, err = opening(func(s []byte) error { _, err := r.keys.Open(s); return err }, r.dek.Old, staged, r.dek.New)
	}
	return run.KeyProblem(err)
}

// opening is the first secret that opens; else the error is that of the first one.
func opening(open func([]byte) error, secrets ...[]byte) ([]byte, error) {
	var first error
	for _, s := range secrets {
		if s == nil {
			continue
		}
		err := open(s)
		if err == nil {
			return s, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// renewal is the rotation that was asked for: with new secrets that were given, are generated, or are asked for. The answer gets the generated ones.
func (a *app) renewal(keys *keyring.Keyring, f configFlags, c keyChange, answer *configured) (*rotation, error) {
	r := &rotation{config: a.settings, keys: keys, keep: a.settings.KeepsDEK()}
	r.master, r.dek = keyring.Renewal{Old: c.master, New: c.newMaster}, keyring.Renewal{Old: c.dek, New: c.newDEK}
	if f.rotateMaster && r.master.New == nil {
		if err := a.newSecret(&r.master, f.generate, "new master key", newMasterKey, &answer.MasterKey); err != nil {
			return nil, err
		}
	}
	if f.rotateDEK && r.dek.New == nil {
		if err := a.newDEK(r, f.generate, answer); err != nil {
			return nil, err
		}
	}
	if r.master.New != nil && r.master.Old == nil {
		old, err := a.presentMaster()
		if err != nil {
			return nil, err
		}
		r.master.Old = old
	}
	if r.dek.New != nil && r.dek.Old == nil {
		return nil, usageError("give the present one with --dek-file or EVENTFUL_DEK", "a new DEK needs the present one")
	}
	if r.dek.New != nil && (bytes.Equal(r.dek.New, r.master.New) || bytes.Equal(r.dek.New, r.master.Old) && r.master.New == nil) {
		return nil, usageError("whoever finds the DEK must not have the master key", "master key and DEK would be the same")
	}
	for _, fresh := range [][]byte{r.master.New, r.dek.New} {
		if fresh != nil && keyring.CheckSecret(fresh) != nil {
			return nil, run.KeyProblem(keyring.CheckSecret(fresh))
		}
	}
	return r, r.begin()
}

// newDEK is newSecret for the DEK. One that was staged, and perhaps shown, by a rotation that was cut short is taken up again.
func (a *app) newDEK(r *rotation, generate bool, answer *configured) error {
	staged, err := a.settings.StagedDEK()
	if err != nil {
		return err
	}
	if generate && staged != nil {
		r.dek.New, answer.DEK = staged, string(staged)
		return nil
	}
	return a.newSecret(&r.dek, generate, "new DEK", newDEK, &answer.DEK)
}

func (a *app) newSecret(to *keyring.Renewal, generate bool, what, name string, shown *string) (err error) {
	if generate {
		*shown = rand.Text()
		to.New = []byte(*shown)
		return nil
	}
	to.New, err = a.ask(what, "the "+what+" is missing", name)
	return err
}

// presentMaster asks for the present master key on a terminal; elsewhere it must be given.
func (a *app) presentMaster() ([]byte, error) {
	if !a.interactive() {
		return nil, usageError("give the present one with --master-key-file or EVENTFUL_MASTER_KEY", "a new master key needs the present one")
	}
	return a.prompt("present master key: ")
}

// holdKeys keeps other rotations on the data folder away until release is called; a server may run. Stray files of a rotation that was killed are removed.
func holdKeys(dir string) (release func(), err error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the data folder: %w", err)
	}
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		err = errors.Join(err, folder.Close())
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, problem.New(problem.Locked, "another `eventful config` is changing the keys of %s", dir).WithHint("wait until it has ended")
		}
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	strays, _ := filepath.Glob(filepath.Join(dir, ".keys-*")) // the pattern is sound
	for _, s := range strays {
		_ = os.Remove(s) // it is only in the way
	}
	return func() { _ = folder.Close() }, nil
}
