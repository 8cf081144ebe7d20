package indexstore

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

// maxContent is the size from which on a further file of records is begun.
const maxContent = 1 << 30

// MaxRecord is the length of a record at most.
const MaxRecord = 64 << 20

// Location says where a record lies.
type Location struct {
	File   uint64
	Offset uint64
	Length uint32 // of the record as it was given
}

// Append appends the form in which a location stands in values of entries.
func (l Location) Append(b []byte) []byte {
	b = binary.AppendUvarint(b, l.File)
	b = binary.AppendUvarint(b, l.Offset)
	return binary.AppendUvarint(b, uint64(l.Length))
}

// ParseLocation is the inverse of Append; rest is what lies behind it. The error wraps ErrDoubted.
func ParseLocation(b []byte) (l Location, rest []byte, err error) {
	var numbers [3]uint64
	for i := range numbers {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return l, nil, fmt.Errorf("location of a record: %w", ErrDoubted)
		}
		numbers[i], b = v, b[n:]
	}
	if numbers[2] > MaxRecord || numbers[1] > 1<<62 {
		return l, nil, fmt.Errorf("location of a record of %d bytes: %w", numbers[2], ErrDoubted)
	}
	return Location{numbers[0], numbers[1], uint32(numbers[2])}, b, nil
}

// sealed is what the record takes in its file.
func (l Location) sealed() int64 { return nonceBytes + int64(l.Length) + tagBytes }

// contentAbout is what the manifest says of a file of records. What lies behind Size does not count.
type contentAbout struct {
	Number uint64 `json:"number"`
	ID     fileID `json:"id"`
	Size   int64  `json:"size"`

	Freed  int64     `json:"freed,omitempty"`  // bytes of records that were given up since the file was written, or compacted
	Stored uint64    `json:"stored,omitempty"` // number of the file that holds it since it was compacted
	Held   int64     `json:"held,omitempty"`   // bytes of that file
	Kept   *runAbout `json:"kept,omitempty"`   // leads from offsets to that file
}

// bytes is what it takes on disk.
func (a *contentAbout) bytes() int64 {
	if a.Kept == nil {
		return a.Size
	}
	return a.Held + a.Kept.Size
}

func (a *contentAbout) path(dir string) string {
	if a.Kept == nil {
		return contentPath(dir, a.Number)
	}
	return contentPath(dir, a.Stored)
}

func contentPath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%08d.records", number))
}

// content is an open file of records: for each one its nonce and its sealed bytes.
type content struct {
	contentAbout
	file *os.File
	aead cipher.AEAD
	kept *run // of a compacted one
	use  *int // versions that hold file; guarded by Store.mu
}

func openContent(dir string, key []byte, about contentAbout, flags int) (*content, error) {
	aead, err := fileCipher(key, about.ID)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("open records %d", about.Number)
	file, err := os.OpenFile(about.path(dir), os.O_RDWR|flags, 0o600)
	if err != nil {
		return nil, unreadable(what, err)
	}
	c := &content{contentAbout: about, file: file, aead: aead, use: new(int)}
	size := about.Size
	if about.Kept != nil {
		size = about.Held
	}
	info, err := file.Stat()
	if err == nil && info.Size() < size {
		err = fmt.Errorf("%d bytes, it had %d: %w", info.Size(), size, ErrDoubted)
	}
	if err == nil && about.Kept != nil {
		c.kept, err = openRun(dir, key, *about.Kept)
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return c, nil
}

// read gives a record, in memory of its own.
func (c *content) read(pages *cache, l Location) ([]byte, error) {
	at := int64(l.Offset)
	if c.kept != nil {
		var err error
		if at, err = c.moved(pages, l); err != nil {
			return nil, err
		}
	}
	raw := make([]byte, l.sealed())
	if _, err := c.file.ReadAt(raw, at); err != nil {
		return nil, unreadable(fmt.Sprintf("read records %d at %d", c.Number, l.Offset), err)
	}
	sealed := raw[nonceBytes:]
	plain, err := c.aead.Open(sealed[:0], raw[:nonceBytes], sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("records %d at %d: %w: %w", c.Number, l.Offset, err, ErrDoubted)
	}
	return plain, nil
}
