package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Folder is Objects in a folder of a file system that has hard links. Files are made with mode 0600 and flushed, folders with 0700.
type Folder struct {
	dir string
}

// temporary is what names of unfinished files end with; a crash can leave one, which nothing reads.
const temporary = ".unfinished"

// OpenFolder opens a folder; it is made with the first object.
func OpenFolder(dir string) (*Folder, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("open archive: the folder %.200q is not given from the root on", dir)
	}
	return &Folder{dir: dir}, nil
}

// String implements Objects.
func (f *Folder) String() string { return f.dir }

func (f *Folder) path(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	return filepath.Join(f.dir, filepath.FromSlash(name)), nil
}

// Create implements Objects: a complete file gets its name by a link, which fails where there is one.
func (f *Folder) Create(ctx context.Context, name string, data []byte) error {
	err := f.put(ctx, name, data, os.Link)
	if errors.Is(err, fs.ErrExist) {
		err = ErrExists
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	return nil
}

// Replace implements Objects.
func (f *Folder) Replace(ctx context.Context, name string, data []byte) error {
	if err := f.put(ctx, name, data, os.Rename); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	return nil
}

// put writes and flushes a file, gives it its name, and flushes the names.
func (f *Folder) put(ctx context.Context, name string, data []byte, settle func(from, to string) error) error {
	path, err := f.path(name)
	if err = errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := makeFolders(dir); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, "*"+temporary)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = settle(file.Name(), path)
	}
	if rest := os.Remove(file.Name()); !errors.Is(rest, fs.ErrNotExist) {
		err = errors.Join(err, rest)
	}
	if err != nil {
		return err
	}
	return syncFolder(dir)
}

// makeFolders is os.MkdirAll that flushes the names of what it makes.
func makeFolders(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for range 4 { // site, log, kind and the archive's own folder
		dir = filepath.Dir(dir)
		if err := syncFolder(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Read implements Objects.
func (f *Folder) Read(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	path, err := f.path(name)
	if err = errors.Join(err, ctx.Err()); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, absent(err))
	}
	defer func() { _ = file.Close() }() // it was read only
	data := make([]byte, length)
	if _, err := file.ReadAt(data, offset); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read %s from %d on: %w", name, offset, err)
	}
	return data, nil
}

func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}

// Size implements Objects.
func (f *Folder) Size(ctx context.Context, name string) (int64, error) {
	path, err := f.path(name)
	if err = errors.Join(err, ctx.Err()); err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", name, absent(err))
	}
	return info.Size(), nil
}

// List implements Objects.
func (f *Folder) List(ctx context.Context, prefix string) ([]string, error) {
	names := []string{}
	start := filepath.Join(f.dir, filepath.FromSlash(prefix[:strings.LastIndexByte(prefix, '/')+1]))
	err := filepath.WalkDir(start, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(f.dir, path)
		if name = filepath.ToSlash(name); err == nil && strings.HasPrefix(name, prefix) && !strings.HasSuffix(name, temporary) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	slices.Sort(names)
	return names, nil
}

// Remove implements Objects.
func (f *Folder) Remove(ctx context.Context, name string) error {
	path, err := f.path(name)
	if err = errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}
