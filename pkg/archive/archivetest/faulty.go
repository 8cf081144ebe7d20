package archivetest

import (
	"context"
	"sync"

	"github.com/eventfuldb/eventful/pkg/archive"
)

// Faulty is a place whose steps fail as a test says. It is safe for concurrent use.
type Faulty struct {
	archive.Objects

	mu   sync.Mutex // guards fail
	fail func(step, name string) (before, after error)
}

// NewFaulty makes one that does not fail yet.
func NewFaulty(o archive.Objects) *Faulty { return &Faulty{Objects: o} }

// SetFault makes f decide about every step (create, replace, read, size, list, remove): an error before it is done, or one behind it. nil ends it.
func (f *Faulty) SetFault(fail func(step, name string) (before, after error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *Faulty) at(step, name string) (before, after error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		return nil, nil
	}
	return f.fail(step, name)
}

func (f *Faulty) do(step, name string, do func() error) error {
	before, after := f.at(step, name)
	if before != nil {
		return before
	}
	if err := do(); err != nil {
		return err
	}
	return after
}

// Create implements archive.Objects.
func (f *Faulty) Create(ctx context.Context, name string, data []byte) error {
	return f.do("create", name, func() error { return f.Objects.Create(ctx, name, data) })
}

// Replace implements archive.Objects.
func (f *Faulty) Replace(ctx context.Context, name string, data []byte) error {
	return f.do("replace", name, func() error { return f.Objects.Replace(ctx, name, data) })
}

// Read implements archive.Objects.
func (f *Faulty) Read(ctx context.Context, name string, offset, length int64) (data []byte, err error) {
	err = f.do("read", name, func() (err error) { data, err = f.Objects.Read(ctx, name, offset, length); return err })
	return data, err
}

// Size implements archive.Objects.
func (f *Faulty) Size(ctx context.Context, name string) (size int64, err error) {
	err = f.do("size", name, func() (err error) { size, err = f.Objects.Size(ctx, name); return err })
	return size, err
}

// List implements archive.Objects.
func (f *Faulty) List(ctx context.Context, prefix string) (names []string, err error) {
	err = f.do("list", prefix, func() (err error) { names, err = f.Objects.List(ctx, prefix); return err })
	return names, err
}

// Remove implements archive.Objects.
func (f *Faulty) Remove(ctx context.Context, name string) error {
	return f.do("remove", name, func() error { return f.Objects.Remove(ctx, name) })
}
