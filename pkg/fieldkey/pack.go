package fieldkey

import (
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/eventfuldb/eventful/pkg/event"
)

// leastPacked is the length from which on compressing is tried: a frame alone has nine bytes or more.
const leastPacked = 64

// packer compresses texts before they are sealed (zstd, RFC 8878). Safe for concurrent use.
type packer struct {
	in  *zstd.Encoder
	out *zstd.Decoder
}

func newPacker() (*packer, error) {
	in, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false), zstd.WithWindowSize(128<<10))
	if err != nil {
		return nil, fmt.Errorf("prepare compressing: %w", err)
	}
	out, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(event.MaxValueLen))
	if err != nil {
		return nil, fmt.Errorf("prepare decompressing: %w", err)
	}
	return &packer{in: in, out: out}, nil
}

// pack gives the text compressed if that is shorter.
func (p *packer) pack(text []byte) (packed []byte, shorter bool) {
	if len(text) < leastPacked {
		return nil, false
	}
	packed = p.in.EncodeAll(text, make([]byte, 0, len(text)))
	return packed, len(packed) < len(text)
}

func (p *packer) unpack(packed []byte) ([]byte, error) {
	text, err := p.out.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return text, nil
}
