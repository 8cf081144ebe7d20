package node

import (
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// bridge carries the server's log into ours, and keeps its first fatal message: the server reports that way what keeps it from starting.
type bridge struct {
	log zerolog.Logger

	mu    sync.Mutex // guards first
	first error
}

var _ server.Logger = (*bridge)(nil)

func newBridge(log zerolog.Logger) *bridge {
	return &bridge{log: log.With().Str("component", "nats").Logger()}
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
func (b *bridge) Warnf(format string, v ...any) { b.log.Warn().Msgf(format, v...) }

// Errorf is part of server.Logger.
func (b *bridge) Errorf(format string, v ...any) { b.log.Error().Msgf(format, v...) }

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
