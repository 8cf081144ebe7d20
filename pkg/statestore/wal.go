package statestore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
)

// walHeader is the length of what stands before the entries of a write-ahead log: data key id (8 bytes) and base IV (12 bytes).
const walHeader = 20

// checkWALs reads the write-ahead logs that a killed process left. Badger ends reading one at the first entry that it cannot read, and goes on with
// the next file: damage in an older one would leave out batches in the middle. The newest may end anywhere, as the process was killed while
// it wrote; what stands before is the store at an earlier position, and that is right.
func checkWALs(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return err
	}
	slices.SortFunc(paths, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }) // numbers of five digits or more
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := checkWAL(data, i == len(paths)-1); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// checkWAL goes through the entries of one file.
func checkWAL(data []byte, newest bool) error {
	for at := walHeader; at < len(data); {
		length, state := walEntry(data[at:])
		switch {
		case state == walSound:
			at += length
		case state == walEnd && zero(data[at:]), state != walAbsurd && newest:
			return nil
		default:
			return fmt.Errorf("the entry at byte %d cannot be read: %w", at, ErrDoubted)
		}
	}
	return nil
}

// State of one entry.
const (
	walSound  = "sound"
	walBroken = "broken"
	walEnd    = "end"    // key and value length are 0
	walAbsurd = "absurd" // lengths that this package never wrote; Badger would reserve memory for them
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// walEntry judges the entry at the start of data: meta (2 bytes), key length, value length and expiry as unsigned LEB128, key, value, CRC-32C
// over all of it, big-endian. Key and value are encrypted; the checksum is over the encrypted bytes.
func walEntry(data []byte) (length int, state string) {
	at := min(2, len(data))
	var lengths [3]uint64
	for i := range lengths {
		v, n := binary.Uvarint(data[at:])
		switch {
		case n == 0:
			return 0, walBroken // the file ends
		case n < 0:
			return 0, walAbsurd
		}
		lengths[i], at = v, at+n
	}
	key, value := lengths[0], lengths[1]
	switch {
	case key == 0 && value == 0:
		return 0, walEnd
	case key > 1<<16 || value > maxBatchBytes:
		return 0, walAbsurd
	}
	at += int(key + value)
	if at+crc32.Size > len(data) || crc32.Checksum(data[:at], castagnoli) != binary.BigEndian.Uint32(data[at:]) {
		return 0, walBroken
	}
	return at + crc32.Size, walSound
}

func zero(data []byte) bool { return len(bytes.TrimLeft(data, "\x00")) == 0 }
