package run

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Tail shows the end of a log file.
type Tail struct {
	Path   string
	Lines  int  // how many lines from the end; 0: all
	Follow bool // go on as lines are added
}

// Copy writes line by line to w, a line in one call of Write. With Follow it returns nil when ctx ends, and a file that was
// moved aside or cut is read on from the start of the new one.
func (t Tail) Copy(ctx context.Context, w io.Writer) error {
	f, err := os.Open(t.Path)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	defer func() { f.Close() }()
	if err := seekLines(f, t.Lines); err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	rest, tick := bufio.NewReader(f), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	var part []byte
	for {
		line, err := rest.ReadBytes('\n')
		part = append(part, line...)
		if err == nil || !t.Follow && len(part) > 0 {
			if _, err := w.Write(part); err != nil {
				return fmt.Errorf("show the log: %w", err)
			}
			part = nil
		}
		switch {
		case err == nil:
			continue
		case !errors.Is(err, io.EOF):
			return fmt.Errorf("read the log: %w", err)
		case !t.Follow:
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if next := t.replaced(f); next != nil {
			_ = f.Close() // only read
			f = next
			rest.Reset(f)
		}
	}
}

// replaced opens the file that now has the name, if it is another one or was cut.
func (t Tail) replaced(f *os.File) *os.File {
	old, err := f.Stat()
	if err != nil {
		return nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil
	}
	now, err := os.Stat(t.Path)
	if err != nil || os.SameFile(old, now) && now.Size() >= at {
		return nil
	}
	next, err := os.Open(t.Path)
	if err != nil {
		return nil
	}
	return next
}

// seekLines puts f at the beginning of its n-th line from the end.
func seekLines(f *os.File, n int) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if n == 0 {
		end = 0
	}
	chunk := make([]byte, 32<<10)
	for at, found := end, 0; at > 0; {
		size := min(at, int64(len(chunk)))
		at -= size
		if _, err := f.ReadAt(chunk[:size], at); err != nil {
			return err
		}
		for i := bytes.LastIndexByte(chunk[:size], '\n'); i >= 0; i = bytes.LastIndexByte(chunk[:i], '\n') {
			if at+int64(i)+1 == end { // the newline that ends the last line
				continue
			}
			if found++; found == n {
				_, err := f.Seek(at+int64(i)+1, io.SeekStart)
				return err
			}
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
