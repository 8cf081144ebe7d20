package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// Sentinels for errors.Is, one for each code of docs/spec/commands.md, section 6. The error itself is a *problem.Problem with what happened, to
// what, and what to do next.
var (
	ErrMalformed          error = &problem.Problem{Code: problem.Malformed}
	ErrInvalid            error = &problem.Problem{Code: problem.Invalid}
	ErrTooLarge           error = &problem.Problem{Code: problem.TooLarge}
	ErrUnauthenticated    error = &problem.Problem{Code: problem.Unauthenticated}
	ErrForbidden          error = &problem.Problem{Code: problem.Forbidden}
	ErrBudgetSpent        error = &problem.Problem{Code: problem.BudgetSpent}
	ErrNotFound           error = &problem.Problem{Code: problem.NotFound}
	ErrConflict           error = &problem.Problem{Code: problem.Conflict}
	ErrCommandIDReused    error = &problem.Problem{Code: problem.CommandIDReused}
	ErrLocked             error = &problem.Problem{Code: problem.Locked}
	ErrUnavailable        error = &problem.Problem{Code: problem.Unavailable}
	ErrNoSpace            error = &problem.Problem{Code: problem.NoSpace}
	ErrUnknownOutcome     error = &problem.Problem{Code: problem.UnknownOutcome}
	ErrDamaged            error = &problem.Problem{Code: problem.Damaged}
	ErrVerificationFailed error = &problem.Problem{Code: problem.VerificationFailed}
	ErrInternal           error = &problem.Problem{Code: problem.Internal}
)

// Headers of a NATS service error (nats.go micro).
const (
	headerServiceError     = "Nats-Service-Error"
	headerServiceErrorCode = "Nats-Service-Error-Code"
	headerStatus           = "Status"
	statusNoResponders     = "503"
)

// refusal is the problem that an answer carries, or nil where it is no error.
func refusal(m *nats.Msg) *problem.Problem {
	if len(m.Data) == 0 && m.Header.Get(headerStatus) == statusNoResponders {
		return problem.New(problem.Unavailable, "no engine answers on this subject").
			WithHint("is the engine running? `eventful status` shows it; after a start it takes a moment")
	}
	code := m.Header.Get(headerServiceErrorCode)
	if code == "" && m.Header.Get(headerServiceError) == "" {
		return nil
	}
	if len(m.Data) > 0 {
		return problem.Decode(m.Data)
	}
	return problem.New(problem.Internal, "the service refused with status %.20s: %.200s", code, m.Header.Get(headerServiceError))
}

// forbiddenSubject finds the subject in a server's permission violation, for example
// `Permissions Violation for Publish to "cmd.patient.A.crp"`; ok is false for another error.
func forbiddenSubject(err error) (subject string, publish, ok bool) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return "", false, false
	}
	text := err.Error()
	open := strings.IndexByte(text, '"')
	if open < 0 {
		return "", false, false
	}
	quoted, err := strconv.QuotedPrefix(text[open:])
	if err != nil {
		return "", false, false
	}
	subject, err = strconv.Unquote(quoted)
	return subject, strings.Contains(text[:open], "for Publish to"), err == nil
}

func forbidden(subject string, admin bool) *problem.Problem {
	if admin && strings.HasPrefix(subject, "adm.") { // the server lets every auth key with admin send there
		return problem.New(problem.Forbidden, "this auth key lacks the action admin, so it may not send to %s", subject).
			WithHint("issuing, listing and revoking tokens takes admin: use another auth key, or have it given with `eventful token:update PUBLIC-ID --actions=…,admin`, which takes the master key")
	}
	return problem.New(problem.Forbidden, "the token may not send to %s", subject).
		WithHint("the token that opened the connection names other aggregate types or actions; `eventful token:generate` makes one that fits")
}

// publishFailure maps what nats.go says of a publish that did not leave this process.
func publishFailure(err error, size int) *problem.Problem {
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return problem.New(problem.TooLarge, "a request of %d bytes is larger than the server takes", size).
			WithHint("a field value has at most 1,048,576 bytes, and the server's max_payload bounds the whole request")
	case errors.Is(err, nats.ErrBadSubject):
		return problem.New(problem.Malformed, "the request has no valid subject")
	case errors.Is(err, nats.ErrHeadersNotSupported), errors.Is(err, nats.ErrBadHeaderMsg):
		return problem.New(problem.Internal, "send a request: %v", err)
	}
	return problem.New(problem.Unavailable, "the server is not connected: %v", err).WithHint("is it running? `eventful status` shows it")
}

// authFailures are the server's words, in lower case, for a user or an account that it does not accept, or accepts no longer. Those of nats.go differ
// from them for the expired and the revoked, so errors.Is does not find what came while connecting.
var authFailures = []string{"authorization violation", "authentication expired", "authentication revoked"}

func isAuthFailure(err error) bool {
	if err == nil {
		return false
	}
	text := strings.ToLower(err.Error())
	return slices.ContainsFunc(authFailures, func(words string) bool { return strings.Contains(text, words) })
}

// notAccepted: admin, where an auth key signed the token for itself.
func notAccepted(err error, admin bool) *problem.Problem {
	if admin {
		return problem.New(problem.Unauthenticated, "the server did not accept the auth key (%v)", err).
			WithHint("it may be revoked, or of another installation; give another one (EVENTFUL_AUTH_KEY[_FILE], --auth-key-file, `eventful token:auth`), which `eventful token:generate --auth-key` makes with the master key")
	}
	return problem.New(problem.Unauthenticated, "the server did not accept the token (%v)", err).
		WithHint("it may be expired, revoked, or of another installation; `eventful token:generate` makes a new one")
}

func connectFailure(url string, err error, admin bool) error {
	if isAuthFailure(err) {
		p := notAccepted(err, admin)
		p.Detail = "connect to " + url + ": " + p.Detail
		return p
	}
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		return problem.New(problem.Unavailable, "connect to %s: the server's certificate is not trusted: %v", url, err).
			WithHint("name the PEM file of the CA that signed it, on the command line with --tls-ca or EVENTFUL_TLS_CA, in Go with Options.TLS; do not go on if you do not know it")
	}
	if strings.Contains(err.Error(), "remote error: tls: internal error") { // how a server refuses an address: crypto/tls has no other alert, and no type, for it
		return problem.New(problem.Unavailable, "connect to %s: the server ended the TLS handshake: %v", url, err).
			WithHint("it refuses an address for some seconds after too many connections from there were not authenticated: wait, and look for the program with a wrong or expired token; its log names the address")
	}
	return problem.New(problem.Unavailable, "connect to %s: %v", url, err).WithHint("is the server running? `eventful status` shows it, `eventful start` starts it")
}

// checkURL refuses the address of the HTTP port, which nats.go would take for a NATS server that does not answer, and one that holds a secret: addresses get into logs and
// errors. Such a one is not repeated.
func checkURL(urls string) error {
	for _, url := range strings.Split(urls, ",") {
		if strings.ContainsAny(url, "@?#") {
			return problem.New(problem.Malformed, "the address of a NATS server holds more than host and port").
				WithHint("give nats://host:port alone; a token goes into Options.Token, on the command line into EVENTFUL_TOKEN or EVENTFUL_TOKEN_FILE")
		}
		scheme, _, found := strings.Cut(strings.ToLower(strings.TrimSpace(url)), "://")
		if found && (scheme == "http" || scheme == "https") {
			return problem.New(problem.Malformed, "connect to %s: that is no address of a NATS server", url).
				WithHint("give its nats:// address, for example nats://127.0.0.1:7070; `eventful status` shows it")
		}
	}
	return nil
}

// interrupted is the end of a request whose context ended: the last problem if there was one, and the context's error.
func interrupted(ctx context.Context, p *problem.Problem) error {
	return fmt.Errorf("%w (%w)", p, context.Cause(ctx))
}
