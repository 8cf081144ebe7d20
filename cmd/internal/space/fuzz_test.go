package space_test

import (
	"testing"

	"github.com/eventfuldb/eventful/cmd/internal/space"
)

// FuzzParse holds that a size is refused, or is a number of bytes whose plain text is read the same.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "0", "1073741824", "512MiB", "1GiB", "1.5 GiB", "-1", "1e3", "NaN", "Inf", "1e400GiB", "16EiB", "7.99EiB", "0x10", "1_000", " 3 KiB "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := space.Parse(text)
		if err != nil {
			return
		}
		if n > 1<<63-1 {
			t.Errorf("%q is read as %d, more than a file system can have", text, n)
		}
		space.Format(n)
	})
}
