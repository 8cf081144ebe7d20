// Package run is what the mains share: it starts the node and the engines in one process, and finds, watches and stops a running one.
package run

import (
	"runtime"
	"runtime/debug"
)

// release is set by the linker for release builds (-ldflags "-X …/cmd/internal/run.release=1.2.3").
var release string

// Build says which program this is.
type Build struct {
	Version  string `json:"version"`  // a release, a module version, or "devel"
	Commit   string `json:"commit"`   // of the source; empty if not known. "-dirty" behind it: with changes
	Go       string `json:"go"`       // version of the toolchain
	Platform string `json:"platform"` // for example linux/amd64
}

// Built reads what the linker and the toolchain recorded.
func Built() Build {
	b := Build{Version: release, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if v := info.Main.Version; b.Version == "" && v != "" && v != "(devel)" {
		b.Version = v
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Commit = s.Value[:min(12, len(s.Value))] + b.Commit
		case s.Key == "vcs.modified" && s.Value == "true":
			b.Commit += "-dirty"
		}
	}
	return b
}

// Version is the version in a word.
func Version() string { return Built().Version }
