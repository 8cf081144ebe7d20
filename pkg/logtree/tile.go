package logtree

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
)

// CheckpointPath is where a folder of tiles has its checkpoint.
const CheckpointPath = "checkpoint"

// TilePath is where a tile of hashes lies, with slashes; width is 1 to 256.
func TilePath(level uint, index uint64, width int) string {
	return fmt.Sprintf("tile/%d/%s", level, indexPath(index, width))
}

// EntriesPath is where a bundle of entries lies.
func EntriesPath(index uint64, width int) string { return "tile/entries/" + indexPath(index, width) }

// indexPath writes an index in groups of three digits, all but the last behind an x, and a partial tile's width behind ".p/".
func indexPath(index uint64, width int) string {
	path := fmt.Sprintf("%03d", index%1000)
	for index /= 1000; index > 0; index /= 1000 {
		path = fmt.Sprintf("x%03d/%s", index%1000, path)
	}
	if width < TileWidth {
		path += fmt.Sprintf(".p/%d", width)
	}
	return path
}

// PartialFolder is the folder of the partial tiles that a full one at path replaces.
func PartialFolder(path string) string {
	if at := strings.Index(path, ".p/"); at >= 0 {
		return path[:at+2]
	}
	return path + ".p"
}

// EncodeHashes gives the bytes of a tile of hashes.
func EncodeHashes(hashes []event.Hash) []byte {
	out := make([]byte, 0, len(event.Hash{})*len(hashes))
	for i := range hashes {
		out = append(out, hashes[i][:]...)
	}
	return out
}

// DecodeHashes reads a tile of that many hashes. The error wraps ErrFormat.
func DecodeHashes(tile []byte, width int) ([]event.Hash, error) {
	const size = len(event.Hash{})
	if len(tile) != width*size {
		return nil, fmt.Errorf("a tile of %d bytes where %d hashes should be: %w", len(tile), width, ErrFormat)
	}
	out := make([]event.Hash, width)
	for i := range out {
		out[i] = event.Hash(tile[i*size : (i+1)*size])
	}
	return out, nil
}

// EncodeEntries gives the bytes of a bundle. An entry has at most 65,535 bytes, which no event exceeds.
func EncodeEntries(entries [][]byte) ([]byte, error) {
	var out []byte
	for _, e := range entries {
		if len(e) > math.MaxUint16 {
			return nil, fmt.Errorf("an entry of %d bytes: %w", len(e), ErrFormat)
		}
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(e))), e...)
	}
	return out, nil
}

// DecodeEntries reads a bundle of that many entries; they share its memory. The error wraps ErrFormat.
func DecodeEntries(bundle []byte, width int) ([][]byte, error) {
	out := make([][]byte, 0, width)
	for range width {
		if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
			return nil, fmt.Errorf("a bundle is cut behind %d of %d entries: %w", len(out), width, ErrFormat)
		}
		n := 2 + int(binary.BigEndian.Uint16(bundle))
		out, bundle = append(out, bundle[2:n:n]), bundle[n:]
	}
	if len(bundle) > 0 {
		return nil, fmt.Errorf("a bundle has %d bytes behind its %d entries: %w", len(bundle), width, ErrFormat)
	}
	return out, nil
}
