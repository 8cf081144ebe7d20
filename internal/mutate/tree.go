package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// tree is the copy that mutants are made in.
type tree struct{ dir string }

// moduleRoot is the folder of go.mod, here or above.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the tree: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("there is no go.mod here or above")
		}
		dir = filepath.Dir(dir)
	}
}

// fit holds that every text of the table stands exactly once in its file.
func fit(root string, chosen []mutant) error {
	var problems []error
	for _, m := range chosen {
		for _, e := range m.edits {
			if _, _, err := e.apply(root); err != nil {
				problems = append(problems, fmt.Errorf("mutant %s: %w", m.name, err))
			}
		}
	}
	return errors.Join(problems...)
}

// apply gives the file as it is and as it would be.
func (e edit) apply(root string) (before, after string, err error) {
	content, err := os.ReadFile(filepath.Join(root, e.file))
	if err != nil {
		return "", "", err
	}
	if n := strings.Count(string(content), e.from); n != 1 {
		return "", "", fmt.Errorf("%s has %d times, not once, the text %q", e.file, n, e.from)
	}
	return string(content), strings.Replace(string(content), e.from, e.to, 1), nil
}

// copyTree copies what go build and the tests need into a temporary folder.
func copyTree(root string) (*tree, error) {
	dir, err := os.MkdirTemp("", "eventful-mutate-")
	if err != nil {
		return nil, err
	}
	t := &tree{dir}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && slices.Contains([]string{".git", "bin", ".eventful"}, name):
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(dir, name), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), content, 0o644)
	})
	if err != nil {
		t.remove()
		return nil, fmt.Errorf("copy the tree: %w", err)
	}
	return t, nil
}

func (t *tree) remove() { _ = os.RemoveAll(t.dir) } // a temporary folder

// sound holds that the tests pass without a mutant; else that they fail would show nothing.
func (t *tree) sound(ctx context.Context, chosen []mutant) error {
	tests := map[string][]string{}
	for _, m := range chosen {
		for _, s := range m.tests {
			tests[s.pkg] = append(tests[s.pkg], s.run)
		}
	}
	for pkg, runs := range tests {
		for _, run := range slices.Compact(slices.Sorted(slices.Values(runs))) {
			failed, out, err := t.test(ctx, suite{pkg, run})
			if err != nil {
				return err
			}
			if failed {
				return fmt.Errorf("%s %s fails without a mutant:\n%s", pkg, run, out)
			}
		}
	}
	return nil
}

// try applies a mutant, runs its suites, and takes it back.
func (t *tree) try(ctx context.Context, m mutant) (results []result, err error) {
	for _, e := range m.edits {
		before, after, err := e.apply(t.dir)
		if err != nil {
			return nil, fmt.Errorf("mutant %s: %w", m.name, err)
		}
		path := filepath.Join(t.dir, e.file)
		defer func() { err = errors.Join(err, os.WriteFile(path, []byte(before), 0o644)) }() // the last edit is taken back first
		if err := os.WriteFile(path, []byte(after), 0o644); err != nil {
			return nil, fmt.Errorf("mutant %s: %w", m.name, err)
		}
	}
	for _, s := range m.tests {
		began := time.Now()
		failed, _, err := t.test(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("mutant %s: %w", m.name, err)
		}
		results = append(results, result{suite: s, failed: failed, took: time.Since(began)})
	}
	return results, nil
}

// test runs a suite; an error says that it was not the tests that failed. A mutant may make a test hang: then it failed.
func (t *tree) test(ctx context.Context, s suite) (failed bool, out string, err error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-failfast", "-timeout=90s", "-run", "^"+s.run+"$", "./"+s.pkg)
	cmd.Dir = t.dir
	raw, err := cmd.CombinedOutput()
	out = string(raw)
	var exit *exec.ExitError
	switch {
	case err == nil && strings.Contains(out, "no tests to run"):
		return false, out, fmt.Errorf("%s has no test %s", s.pkg, s.run)
	case err == nil:
		return false, out, nil
	case ctx.Err() != nil:
		return false, out, ctx.Err()
	case errors.As(err, &exit) && (strings.Contains(out, "--- FAIL") || strings.Contains(out, "panic: ")):
		return true, out, nil
	}
	return false, out, fmt.Errorf("%s does not run: %w\n%s", s, err, out)
}
