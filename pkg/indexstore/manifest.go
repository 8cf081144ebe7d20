package indexstore

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	manifestName   = "manifest"
	manifestFormat = 1
)

// manifest is the content of the file of that name: a nonce, and this as JSON, sealed.
type manifest struct {
	Format   int            `json:"format"`
	Identity string         `json:"identity"`
	Note     []byte         `json:"note"`
	Next     uint64         `json:"next"`
	Runs     []runAbout     `json:"runs"`
	Contents []contentAbout `json:"contents"`
}

// readManifest gives the manifest of a folder; one that has none is new.
func readManifest(c Config) (m manifest, err error) {
	raw, err := os.ReadFile(filepath.Join(c.Dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{}, nil
	}
	if err != nil {
		return m, fmt.Errorf("read manifest: %w", err)
	}
	aead, err := fileCipher(c.Key, fileID{})
	if err != nil {
		return m, err
	}
	if len(raw) < nonceBytes {
		return m, fmt.Errorf("manifest has %d bytes: %w", len(raw), ErrDoubted)
	}
	plain, err := aead.Open(nil, raw[:nonceBytes], raw[nonceBytes:], nil)
	if err != nil {
		return m, fmt.Errorf("manifest: %w: %w", err, ErrDoubted)
	}
	if err := json.Unmarshal(plain, &m); err != nil {
		return m, fmt.Errorf("manifest: %w: %w", err, ErrDoubted)
	}
	if m.Format != manifestFormat {
		return m, fmt.Errorf("manifest has format %d, this program knows %d: %w", m.Format, manifestFormat, ErrDoubted)
	}
	if m.Identity != c.Identity {
		return m, fmt.Errorf("the store is %q, not %q: %w", m.Identity, c.Identity, ErrDoubted)
	}
	return m, nil
}

// install makes a version the current one: the manifest is replaced, then the version is shown to new views. A crash before the renaming leaves the
// old version, behind it the new one. The caller holds mu.
func (s *Store) install(next *version, note []byte) error {
	m := manifest{Format: manifestFormat, Identity: s.config.Identity, Note: note, Next: s.next}
	for _, r := range next.runs {
		m.Runs = append(m.Runs, r.runAbout)
	}
	for _, c := range next.contents {
		m.Contents = append(m.Contents, c.contentAbout)
	}
	if err := s.writeManifest(m); err != nil {
		return err
	}
	old := s.current
	next.users = 1
	for _, r := range next.runs {
		r.versions++
	}
	for _, c := range next.contents {
		*c.use++
	}
	s.current, s.note = next, note
	s.release(old)
	return nil
}

func (s *Store) writeManifest(m manifest) error {
	plain, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	return s.sealManifest(plain)
}

func (s *Store) sealManifest(plain []byte) error {
	aead, err := fileCipher(s.config.Key, fileID{})
	if err != nil {
		return err
	}
	raw := make([]byte, nonceBytes, nonceBytes+len(plain)+tagBytes)
	_, _ = rand.Read(raw) // it never fails: crypto/rand ends the process instead
	raw = aead.Seal(raw, raw[:nonceBytes], plain, nil)
	path := filepath.Join(s.config.Dir, manifestName)
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// syncManifest flushes the manifest, if there is one, and the names of the files.
func (s *Store) syncManifest() error {
	for _, path := range []string{filepath.Join(s.config.Dir, manifestName), s.config.Dir} {
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(file.Sync(), file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// release takes one user from a version; the caller holds mu. What no version needs any more is closed and removed.
func (s *Store) release(v *version) {
	if v.users--; v.users > 0 {
		return
	}
	for _, r := range v.runs {
		if r.versions--; r.versions == 0 {
			_ = r.file.Close() // it was read only
			_ = os.Remove(runPath(s.config.Dir, r.Number))
		}
	}
	for _, c := range v.contents {
		if *c.use--; *c.use == 0 {
			c.close()
			c.remove(s.config.Dir)
		}
	}
}
