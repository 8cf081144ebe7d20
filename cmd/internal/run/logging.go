package run

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
)

// maxLog is the size, in bytes, from which a server moves the log of its predecessors aside when it starts.
const maxLog = 32 << 20

// Field names of the log, in one place.
const (
	fieldSite   = "site"
	fieldHTTP   = "http"
	fieldNATS   = "nats"
	fieldEngine = "engine"
	fieldVer    = "version"
)

// Logger writes JSON lines with times in UTC to w.
func Logger(w io.Writer, level string) (zerolog.Logger, error) {
	l, err := zerolog.ParseLevel(level)
	if err != nil {
		return zerolog.Nop(), fmt.Errorf("log level: %w", err)
	}
	return zerolog.New(w).Level(l).Hook(utc{}), nil
}

// Console shows log lines to a person: JSON ones by field, others (of the Go runtime, say) as they are. A line must come in one Write.
func Console(w io.Writer, colour bool) io.Writer {
	return console{w, zerolog.ConsoleWriter{Out: w, NoColor: !colour, TimeFormat: time.DateTime, TimeLocation: time.UTC}}
}

type console struct {
	raw    io.Writer
	pretty zerolog.ConsoleWriter
}

// Write implements io.Writer.
func (c console) Write(line []byte) (int, error) {
	if json.Valid(line) {
		return c.pretty.Write(line)
	}
	return c.raw.Write(line)
}

type utc struct{}

func (utc) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format(time.RFC3339Nano))
}

// OpenLog opens the log file of a data folder to append to it (0600). A large one is moved aside first; one predecessor is kept.
func OpenLog(dir string) (*os.File, error) {
	path := LogPath(dir)
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, filepath.Join(dir, oldLogFile)); err != nil {
			return nil, notWritable(dir, err)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, notWritable(dir, err)
	}
	return f, nil
}
