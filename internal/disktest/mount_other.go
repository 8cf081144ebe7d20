//go:build !linux

package disktest

import (
	"math/rand/v2"
	"testing"
)

// Alone cannot do here what it does on Linux.
func Alone(t *testing.T, required string) bool {
	t.Helper()
	CannotRun(t, required, "mount namespaces are Linux's")
	return false
}

// Image is as on Linux; Alone has skipped the test before there is one.
type Image struct{}

// Device is as on Linux; Alone has skipped the test before there is one.
type Device struct{}

func Tmpfs(*testing.T, string, int64) string       { return "" }
func NewImage(*testing.T, string, int64) *Image    { return &Image{} }
func NewDevice(*testing.T, string, int64) *Device  { return &Device{} }
func Fill(*testing.T, string, int64) (free func()) { return func() {} }
func (*Image) Mount(string) string                 { return "" }
func (*Device) Mount() string                      { return "" }
func (*Device) Cut(*rand.Rand) *Image              { return &Image{} }
