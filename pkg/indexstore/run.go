package indexstore

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sort"
)

// pageBytes is the size of a page before it is sealed; one entry alone may be larger.
const pageBytes = 4 << 10

// writeBytes is what a run's writer gathers before it writes.
const writeBytes = 256 << 10

// runAbout is what the manifest says of a run: a file of sealed pages with the fences behind them.
type runAbout struct {
	Number  uint64 `json:"number"`
	ID      fileID `json:"id"`
	Level   int    `json:"level"` // times that it was merged
	Entries uint64 `json:"entries"`
	Empty   uint64 `json:"empty,omitempty"`  // entries without a value
	Pages   int64  `json:"pages"`            // bytes of pages; the fences follow
	Fences  int64  `json:"fences,omitempty"` // where the fences begin, if a filter stands before them
	Size    int64  `json:"size"`
}

func runPath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%08d.run", number))
}

// run is a sorted run that is open. It never changes; its file is closed, and removed if it is obsolete, when nobody uses it any more.
type run struct {
	runAbout
	file   *os.File
	aead   cipher.AEAD
	fences fences
	filter filter // empty: there is none

	versions int // that hold it; guarded by Store.mu
}

// fences hold the first key and the offset of each page.
type fences struct {
	keys    []byte // one behind the other
	ends    []uint32
	offsets []int64 // one more than pages: the end of the last one
}

func (f *fences) add(key []byte, offset int64) {
	f.keys = append(f.keys, key...)
	f.ends = append(f.ends, uint32(len(f.keys)))
	f.offsets = append(f.offsets, offset)
}

func (f *fences) key(i int) []byte {
	if i == 0 {
		return f.keys[:f.ends[0]]
	}
	return f.keys[f.ends[i-1]:f.ends[i]]
}

// page gives the page in which a key stands if it is there: the last one that does not begin above it. -1: all pages begin above it.
func (f *fences) page(key []byte) int {
	return sort.Search(len(f.ends), func(i int) bool { return bytes.Compare(f.key(i), key) > 0 }) - 1
}

func (f *fences) encode() []byte {
	b := make([]byte, 0, len(f.keys)+8*len(f.ends))
	last := int64(0)
	for i := range f.ends {
		key := f.key(i)
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
		b = binary.AppendUvarint(b, uint64(f.offsets[i]-last))
		last = f.offsets[i]
	}
	return b
}

func parseFences(b []byte, end int64) (f fences, err error) {
	last := int64(0)
	for len(b) > 0 {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return f, fmt.Errorf("fences: length of a key: %w", ErrDoubted)
		}
		key := b[n : n+int(length)]
		b = b[n+int(length):]
		delta, n := binary.Uvarint(b)
		if n <= 0 || end < last || delta > uint64(end-last) {
			return f, fmt.Errorf("fences: offset of a page: %w", ErrDoubted)
		}
		last += int64(delta)
		f.add(key, last)
		b = b[n:]
	}
	f.offsets = append(f.offsets, end)
	return f, nil
}

// openRun reads the fences of a run; its pages are checked whenever they are read.
func openRun(dir string, key []byte, about runAbout) (*run, error) {
	what := fmt.Sprintf("open run %d", about.Number)
	fences := max(about.Fences, about.Pages)
	if about.Pages < 0 || about.Size < 0 || about.Size-tagBytes < fences || fences > about.Pages && fences-tagBytes < about.Pages {
		return nil, fmt.Errorf("%s: %d bytes with %d of pages: %w", what, about.Size, about.Pages, ErrDoubted)
	}
	aead, err := fileCipher(key, about.ID)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(runPath(dir, about.Number))
	if err != nil {
		return nil, unreadable(what, err)
	}
	r := &run{runAbout: about, file: file, aead: aead}
	raw, err := r.unsealEnd(fences)
	if err == nil {
		r.fences, err = parseFences(raw, about.Pages)
	}
	if err == nil && fences > about.Pages {
		r.filter, err = r.unseal(about.Pages, fences)
	}
	if err != nil {
		_ = file.Close() // opened for reading only
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return r, nil
}

// unsealEnd reads the fences, if the file is as long as the manifest says.
func (r *run) unsealEnd(fences int64) ([]byte, error) {
	info, err := r.file.Stat()
	if err != nil {
		return nil, fmt.Errorf("run %d: %w", r.Number, err)
	}
	if info.Size() < r.Size {
		return nil, fmt.Errorf("%d bytes, it had %d: %w", info.Size(), r.Size, ErrDoubted)
	}
	return r.unseal(fences, r.Size)
}

// unseal reads one sealed part of the file.
func (r *run) unseal(from, to int64) ([]byte, error) {
	raw := make([]byte, to-from)
	if _, err := r.file.ReadAt(raw, from); err != nil {
		return nil, unreadable(fmt.Sprintf("read run %d at %d", r.Number, from), err)
	}
	nonce := offsetNonce(from)
	plain, err := r.aead.Open(raw[:0], nonce[:], raw, nil)
	if err != nil {
		return nil, fmt.Errorf("run %d at %d: %w: %w", r.Number, from, err, ErrDoubted)
	}
	return plain, nil
}

// page reads one page, from the cache if it is there.
func (r *run) page(c *cache, i int) ([]byte, error) {
	at := pageAt{r.Number, i}
	if page := c.get(at); page != nil {
		return page, nil
	}
	page, err := r.unseal(r.fences.offsets[i], r.fences.offsets[i+1])
	if err == nil {
		c.put(at, page)
	}
	return page, err
}

// runWriter writes a run from entries in ascending order.
type runWriter struct {
	about  runAbout
	dir    string
	file   *os.File
	aead   cipher.AEAD
	page   pageBuilder
	sealed []byte // what is not written yet
	begin  int64  // offset of sealed
	fences fences
	filter *filterBuilder // nil: the run gets none
}

func createRun(dir string, key []byte, number uint64, level int) (*runWriter, error) {
	id := newFileID()
	aead, err := fileCipher(key, id)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(runPath(dir, number), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create run: %w", err)
	}
	return &runWriter{about: runAbout{Number: number, ID: id, Level: level}, dir: dir, file: file, aead: aead, sealed: make([]byte, 0, writeBytes+2*pageBytes)}, nil
}

func (w *runWriter) add(key, value []byte) error {
	w.page.add(key, value)
	w.about.Entries++
	if len(value) == 0 {
		w.about.Empty++
	}
	if w.filter != nil {
		w.filter.add(key)
	}
	if len(w.page.data) < pageBytes {
		return nil
	}
	return w.endPage()
}

func (w *runWriter) endPage() error {
	if len(w.page.data) == 0 {
		return nil
	}
	w.fences.add(w.page.first, w.end())
	w.seal(w.page.data)
	w.page.reset()
	if len(w.sealed) < writeBytes {
		return nil
	}
	return w.write()
}

func (w *runWriter) end() int64 { return w.begin + int64(len(w.sealed)) }

func (w *runWriter) seal(plain []byte) {
	nonce := offsetNonce(w.end())
	w.sealed = w.aead.Seal(w.sealed, nonce[:], plain, nil)
}

func (w *runWriter) write() error {
	if _, err := w.file.WriteAt(w.sealed, w.begin); err != nil {
		return fmt.Errorf("write run %d: %w", w.about.Number, err)
	}
	w.begin, w.sealed = w.end(), w.sealed[:0]
	return nil
}

// finish writes what is left and gives the run, open for reading.
func (w *runWriter) finish() (*run, error) {
	if err := w.endPage(); err != nil {
		return nil, err
	}
	w.about.Pages = w.end()
	var f filter
	if w.filter != nil {
		f = w.filter.finish()
		w.seal(f)
		w.about.Fences = w.end()
	}
	w.seal(w.fences.encode())
	if err := w.write(); err != nil {
		return nil, err
	}
	w.about.Size = w.begin
	w.fences.offsets = append(w.fences.offsets, w.about.Pages)
	return &run{runAbout: w.about, file: w.file, aead: w.aead, fences: w.fences, filter: f}, nil
}

// abandon removes what was written.
func (w *runWriter) abandon() {
	_ = w.file.Close()
	_ = os.Remove(runPath(w.dir, w.about.Number)) // else the next Open does it
}
