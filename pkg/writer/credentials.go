package writer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strconv"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
)

// Credential is a break-glass credential: a NATS user with every right in the account of the logs.
type Credential struct {
	User    string // public key
	Role    string
	Issuer  string // public key that signed it
	Expires time.Time
	Taken   map[string]string // who took it, and what proves that: user, host, proved, proof
}

// RecordCredential records that a credential was issued, before it is handed out. The caller has checked who signed it. Recorded again, nothing is stored.
func (w *Writer) RecordCredential(ctx context.Context, c Credential) *problem.Problem {
	fields := map[string]string{"role": c.Role, "issuer": c.Issuer, "expires": strconv.FormatInt(c.Expires.Unix(), 10)}
	maps.Copy(fields, c.Taken)
	return w.recordCredential(ctx, operatorHere(c.Issuer), c.User, "credential-issued", fields)
}

// RecordUse records that somebody connected with a credential: from that host, as a program that calls itself client. It is for the
// process that writes the system log (LeadsSystem).
func (w *Writer) RecordUse(ctx context.Context, c Credential, host, client string) *problem.Problem {
	by := &token.Claims{ID: "keys", Issuer: c.Issuer, IdentifierType: "keys", IdentifierID: c.Issuer}
	return w.recordCredential(ctx, by, c.User, "credential-used", map[string]string{"role": c.Role, "host": host, "client": client})
}

func (w *Writer) recordCredential(ctx context.Context, by *token.Claims, user, eventType string, fields map[string]string) *problem.Problem {
	_, p := w.act(ctx, w.system, by, func(*submission) ([]aggregate.Change, *problem.Problem) {
		return oneEvent(schema.SystemCredential, user, eventType, fields), nil
	})
	return p
}

// RecordRefused records that somebody purges or retries a refused command of the inbox, with that id.
func (w *Writer) RecordRefused(ctx context.Context, by *token.Claims, id, eventType string, fields map[string]string) *problem.Problem {
	return w.actBy(ctx, by, func(*submission) ([]aggregate.Change, *problem.Problem) {
		return oneEvent(schema.SystemRefused, id, eventType, fields), nil
	})
}

// StreamChange is that somebody changed a stream of the site by the JetStream API, beside EventfulDB.
type StreamChange struct {
	Stream  string
	Action  string // create, update, purge, delete, restore, message-delete
	User    string // public key of the NATS user; or jetstream: a server that somebody had send something to its API
	Role    string // as the user's JWT calls itself
	Host    string
	Client  string // as the program calls itself
	Request string // JSON, its beginning
}

// RecordStreamChange records it; the actor is the NATS user. It is for the process that writes the system log (LeadsSystem).
func (w *Writer) RecordStreamChange(ctx context.Context, c StreamChange) *problem.Problem {
	by := &token.Claims{ID: "keys", Issuer: c.User, IdentifierType: "nats-user", IdentifierID: c.User}
	_, p := w.act(ctx, w.system, by, func(*submission) ([]aggregate.Change, *problem.Problem) {
		return oneEvent(schema.SystemStream, streamID(c.Stream), "stream-changed", map[string]string{
			"action": c.Action, "user": c.User, "role": c.Role, "host": c.Host, "client": c.Client, "request": c.Request,
		}), nil
	})
	return p
}

// streamID is the aggregate id of a stream: its name, or a digest of a name that is none: JetStream takes longer ones than EventfulDB, and other characters.
func streamID(name string) string {
	if event.CheckID(name) == nil {
		return name
	}
	digest := sha256.Sum256([]byte(name))
	return "sha256-" + hex.EncodeToString(digest[:])
}

// RecordMissedChanges records that calls of the JetStream API in an account were not heard, or their changes not recorded, as many as count. It is for the process that writes the
// system log (LeadsSystem).
func (w *Writer) RecordMissedChanges(ctx context.Context, account string, count int) *problem.Problem {
	_, p := w.act(ctx, w.system, streamWatch(), func(*submission) ([]aggregate.Change, *problem.Problem) {
		return oneEvent(schema.SystemStream, account, "changes-missed", map[string]string{"account": account, "count": strconv.Itoa(count)}), nil
	})
	return p
}

// RecordFoundChange records that a stream is not what it was, and that nobody was heard to change it: stream, action, and in place of a request its settings as they are. It is for the
// process that writes the system log (LeadsSystem).
func (w *Writer) RecordFoundChange(ctx context.Context, c StreamChange) *problem.Problem {
	_, p := w.act(ctx, w.system, streamWatch(), func(*submission) ([]aggregate.Change, *problem.Problem) {
		return oneEvent(schema.SystemStream, streamID(c.Stream), "change-found", map[string]string{"action": c.Action, "settings": c.Request}), nil
	})
	return p
}

// streamWatch is the actor of what is noticed of streams.
func streamWatch() *token.Claims {
	return &token.Claims{ID: "stream-watch", Issuer: "stream-watch", IdentifierType: "watch", IdentifierID: "streams"}
}
