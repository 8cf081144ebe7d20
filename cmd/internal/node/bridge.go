package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// bridge carries the server's log into ours, and keeps its first fatal message: the server reports that way what keeps it from starting.
type bridge struct {
	log    zerolog.Logger
	broken func(why string) // told what says that the store cannot be written

	mu    sync.Mutex // guards first
	first error
}

var _ server.Logger = (*bridge)(nil)

func newBridge(log zerolog.Logger, broken func(string)) *bridge {
	return &bridge{log: log.With().Str("component", "nats").Logger(), broken: broken}
}

// storeErrors are what nats-server 2.15 says, in these words, when it could not write a stream (which then takes nothing more) or turns JetStream off. It tells
// nobody in another way: the publisher gets no answer.
var storeErrors = []string{"critical write error", "resources, will be disabled", "disabling jetstream"}

func (b *bridge) look(format string, v []any) {
	message := fmt.Sprintf(format, v...)
	lower := strings.ToLower(message)
	if slices.ContainsFunc(storeErrors, func(words string) bool { return strings.Contains(lower, words) }) {
		b.broken(message)
	}
}

// debug reports whether debug messages are wanted. Trace messages, which repeat the protocol with its tokens, never are.
func (b *bridge) debug() bool { return b.log.GetLevel() <= zerolog.DebugLevel }

func (b *bridge) fatal() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.first
}

// Noticef is part of server.Logger, as are the others.
func (b *bridge) Noticef(format string, v ...any) { b.log.Info().Msgf(format, v...) }

// Warnf is part of server.Logger.
func (b *bridge) Warnf(format string, v ...any) {
	b.log.Warn().Msgf(format, v...)
	b.look(format, v)
}

// Errorf is part of server.Logger.
func (b *bridge) Errorf(format string, v ...any) {
	b.log.Error().Msgf(format, v...)
	b.look(format, v)
}

// Debugf is part of server.Logger.
func (b *bridge) Debugf(format string, v ...any) { b.log.Debug().Msgf(format, v...) }

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
