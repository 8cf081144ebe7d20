package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

const (
	longestLine = 1 << 20 // in bytes; changes of the benchmark are shorter
	together    = 128     // acknowledgements that are written at once, if more lines wait
)

// runChild plays the program of a plugin of type process: it acknowledges each line, reads nothing of it but its id, and tells an address how many came, eight bytes
// each time that it writes acknowledgements. It ends with its input.
func runChild(in io.Reader, out io.Writer, address string) (err error) {
	watcher, err := net.Dial("tcp", address)
	if err != nil {
		return fmt.Errorf("reach the benchmark: %w", err)
	}
	defer func() { err = errors.Join(err, watcher.Close()) }()
	lines, acks := bufio.NewReaderSize(in, longestLine), bufio.NewWriterSize(out, 64<<10)
	for n := uint64(0); ; {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a change: %w", err)
		}
		if err := acknowledge(acks, line); err != nil {
			return err
		}
		n++
		if n < together && lines.Buffered() > 0 {
			continue
		}
		if err := acks.Flush(); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
		if _, err := watcher.Write(binary.BigEndian.AppendUint64(nil, n)); err != nil {
			return fmt.Errorf("tell the benchmark: %w", err)
		}
		n = 0
	}
}

// acknowledge writes the line that says of a change that it is done.
func acknowledge(acks *bufio.Writer, line []byte) error {
	_, rest, found := bytes.Cut(line, []byte(`"id":"`))
	id, _, ended := bytes.Cut(rest, []byte{'"'})
	if !found || !ended {
		return fmt.Errorf("no CloudEvent: %.80q", line)
	}
	for _, part := range [][]byte{[]byte(`{"id":"`), id, []byte("\",\"status\":\"done\"}\n")} {
		if _, err := acks.Write(part); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
	}
	return nil
}
