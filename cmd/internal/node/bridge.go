package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// bridge carries the server's log into ours, and keeps its first fatal message: the server reports that way what keeps it from starting.
type bridge struct {
	log     zerolog.Logger
	broken  func(why string) // told what says that the store cannot be written
	refuser *refuser         // told how connections end; nil: nobody is

	mu    sync.Mutex // guards what follows
	first error
	since time.Time // when the present second of messages began
	lines int       // written in it
	left  int       // left out, and not told yet
}

// maxLines is how many warnings and errors of the server are written a second. Anybody who reaches the port causes one with each wrong CONNECT.
const maxLines = 20

var _ server.Logger = (*bridge)(nil)

func newBridge(log zerolog.Logger, broken func(string), r *refuser) *bridge {
	return &bridge{log: log.With().Str("component", "nats").Logger(), broken: broken, refuser: r}
}

// storeErrors are what nats-server 2.15 says, in these words, when it could not write a stream (which then takes nothing more) or turns JetStream off. It tells
// nobody in another way: the publisher gets no answer.
var storeErrors = []string{"critical write error", "resources, will be disabled", "disabling jetstream"}

// tell writes a warning or an error, if there are not too many; those that say that the store is broken always.
func (b *bridge) tell(level zerolog.Level, format string, v []any) {
	message := fmt.Sprintf(format, v...)
	lower := strings.ToLower(message)
	broken := slices.ContainsFunc(storeErrors, func(words string) bool { return strings.Contains(lower, words) })
	if allowed, left := b.allow(time.Now()); allowed || broken {
		if left > 0 {
			b.log.Warn().Int("messages", left).Msg("messages of nats-server were left out")
		}
		b.log.WithLevel(level).Msg(message)
	}
	if broken {
		b.broken(message)
	}
}

// allow counts one message, and gives how many were left out since the last that was allowed.
func (b *bridge) allow(now time.Time) (allowed bool, left int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.since) >= time.Second || now.Before(b.since) {
		b.since, b.lines = now, 0
	}
	if b.lines++; b.lines > maxLines {
		b.left++
		return false, 0
	}
	left, b.left = b.left, 0
	return true, left
}

// debug reports whether debug messages are wanted, which tell too how connections end. Trace messages, which repeat the protocol with its tokens, never are.
func (b *bridge) debug() bool { return b.log.GetLevel() <= zerolog.DebugLevel || b.refuser != nil }

func (b *bridge) fatal() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.first
}

// Noticef is part of server.Logger, as are the others.
func (b *bridge) Noticef(format string, v ...any) { b.log.Info().Msgf(format, v...) }

// Warnf is part of server.Logger.
func (b *bridge) Warnf(format string, v ...any) {
	b.tell(zerolog.WarnLevel, format, v)
}

// Errorf is part of server.Logger.
func (b *bridge) Errorf(format string, v ...any) {
	if !b.refuser.hears(format, v) {
		b.tell(zerolog.ErrorLevel, format, v)
	}
}

// Debugf is part of server.Logger.
func (b *bridge) Debugf(format string, v ...any) {
	b.refuser.hears(format, v)
	b.log.Debug().Msgf(format, v...)
}

// Tracef is part of server.Logger; nothing is written.
func (b *bridge) Tracef(string, ...any) {}

// Fatalf is part of server.Logger. It does not end the process: Start gives the message to its caller.
func (b *bridge) Fatalf(format string, v ...any) {
	b.log.Error().Msgf(format, v...)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.first == nil {
		b.first = fatalError(format, v)
	}
}

// fatalError keeps the error among the arguments in the chain, if there is one.
func fatalError(format string, v []any) error {
	message := fmt.Sprintf(format, v...)
	for _, arg := range v {
		if err, ok := arg.(error); ok {
			return &reason{message, err}
		}
	}
	return errors.New(message)
}

type reason struct {
	message string
	cause   error
}

func (r *reason) Error() string { return r.message }

func (r *reason) Unwrap() error { return r.cause }
