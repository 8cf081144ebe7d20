package jetlog

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// Error codes of nats-server 2.15 that a publish can be answered with and that prove that it stored nothing: the server gives each of them before it
// writes or proposes the message.
const (
	codeWrongLastSequence         = 10071 // from the stream's own check, with the sequence
	codeWrongLastSequenceConstant = 10164 // from the check against messages that are being replicated
	codeAccountResources          = 10002 // resource limits exceeded for account
	codeInsufficient              = 10023 // insufficient resources
	codeMemoryResources           = 10028 // insufficient memory resources available
	codeStorageResources          = 10047 // insufficient storage resources available
	codeMessageTooLarge           = 10054 // message size exceeds maximum allowed
	codeOtherStream               = 10060 // expected stream does not match
	codeHeaderTooLarge            = 10097 // header size exceeds maximum allowed
	codeSealed                    = 10109 // invalid operation on sealed stream
	codeTooManyRequests           = 10167 // the stream's queue is full
)

// codeStoreFailed is that a message was not stored, or that its store failed; the description of a stream that is full says so (nats-server, store.go, ErrMaxBytes).
const (
	codeStoreFailed = 10077
	fullWords       = "maximum bytes exceeded"
)

// Error codes of other requests.
const (
	codeNoSuitablePeers     = 10005 // too few servers are up for another replicated stream
	codeNotLeader           = 10009
	codeConsumerCreate      = 10012 // of a consumer: with any reason, among them that its files cannot be read
	codeNotEnabledInAccount = 10039
	codeStreamNotFound      = 10059
	codeConsumerStore       = 10104 // of a consumer of a replicated stream: its files cannot be read or written
)

// appendOutcome maps what a publish came back with to an error of eventlog, in this one place. What does not prove that nothing was stored is
// ErrUnknown: so are 10077 (the store failed: the message may lie on disk), a timeout, a lost connection, and "no responders", which a
// server also sends while the stream's leader changes and a former leader still has the message. A replicated stream compares with what is
// proposed, so ErrTaken says that this append stored nothing, not yet that the other message stays.
func appendOutcome(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, nats.ErrMaxPayload) { // nats.go refused to send it
		return fmt.Errorf("%w: %w", eventlog.ErrRefused, err)
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return fmt.Errorf("%w: %w", eventlog.ErrUnknown, err)
	}
	switch api.ErrorCode {
	case codeWrongLastSequence, codeWrongLastSequenceConstant:
		return fmt.Errorf("%w: %w", eventlog.ErrTaken, err)
	case codeAccountResources, codeInsufficient, codeMemoryResources, codeStorageResources,
		codeMessageTooLarge, codeOtherStream, codeHeaderTooLarge, codeSealed, codeTooManyRequests:
		return fmt.Errorf("%w: %w", eventlog.ErrRefused, err)
	}
	return fmt.Errorf("%w: %w", eventlog.ErrUnknown, err)
}

// keptOutcome is appendOutcome of a publish to a stream that has a bound: ErrFull, and nothing was stored.
func keptOutcome(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == codeStoreFailed && api.Description == fullWords {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return appendOutcome(err)
}

// readOutcome maps what any other request came back with. An error of the caller's context stays visible.
func readOutcome(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrMsgNotFound), errors.Is(err, eventlog.ErrNotFound):
		return fmt.Errorf("%w: %w", eventlog.ErrNotFound, err)
	case errors.Is(err, ErrSettings), errors.Is(err, ErrNewer), errors.Is(err, eventlog.ErrRewound):
		return err
	}
	return fmt.Errorf("%w: %w", eventlog.ErrUnavailable, err)
}

// passing tells whether a request may succeed if it is sent again: all requests sent by try can be repeated without harm.
func passing(err error) bool {
	for _, e := range []error{
		nats.ErrTimeout, context.DeadlineExceeded, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrConnectionReconnecting,
		nats.ErrReconnectBufExceeded, nats.ErrStaleConnection, jetstream.ErrNoStreamResponse, errStaleLeader,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && !notEnabled(err) &&
		(api.Code == http.StatusServiceUnavailable || api.ErrorCode == codeNotLeader || api.ErrorCode == codeNoSuitablePeers)
}

// notEnabled tells whether a server says that the account has no JetStream.
func notEnabled(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeNotEnabledInAccount
}

// noConsumerStore tells whether a consumer was not made for a reason that may lie in its files on the server.
func noConsumerStore(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeConsumerCreate || api.ErrorCode == codeConsumerStore)
}
