package reencrypt

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/cmd/internal/space"
)

// partSize is how much of a snapshot goes in one message, in bytes.
const partSize = 512 << 10

// answer is what the two requests of the JetStream API have in common that begin a snapshot and a restore (nats-server, jetstream_api.go).
type answer struct {
	Error   *jetstream.APIError `json:"error"`
	Config  json.RawMessage     `json:"config"`
	State   json.RawMessage     `json:"state"`
	Deliver string              `json:"deliver_subject"`
}

func ask(ctx context.Context, nc *nats.Conn, subject string, request any) (a answer, err error) {
	text, err := json.Marshal(request)
	if err != nil {
		return a, fmt.Errorf("encode a request: %w", err)
	}
	m, err := nc.RequestWithContext(ctx, subject, text)
	if err != nil {
		return a, fmt.Errorf("%s: %w", subject, err)
	}
	return a, a.read(subject, m.Data)
}

func (a *answer) read(subject string, text []byte) error {
	if err := json.Unmarshal(text, a); err != nil {
		return fmt.Errorf("%s: decode the answer: %w", subject, err)
	}
	if a.Error != nil {
		return fmt.Errorf("%s: %w", subject, a.Error)
	}
	return nil
}

// transfer takes a snapshot at one server, its checksums checked, and restores it at the other, part by part. A restore that does not end leaves no stream.
func (s streamCopy) transfer(ctx context.Context) error {
	from, to, stream := s.from.conn, s.to.conn, s.wanted.Config.Name
	inbox := nats.NewInbox()
	parts, err := from.SubscribeSync(inbox)
	if err != nil {
		return fmt.Errorf("wait for the snapshot: %w", err)
	}
	defer func() { _ = parts.Unsubscribe() }()
	if err := parts.SetPendingLimits(-1, -1); err != nil {
		return err
	}
	snapshot, err := ask(ctx, from, "$JS.API.STREAM.SNAPSHOT."+stream, map[string]any{"deliver_subject": inbox, "chunk_size": partSize, "jsck": true})
	if err != nil {
		return err
	}
	restore, err := ask(ctx, to, "$JS.API.STREAM.RESTORE."+stream, map[string]any{"config": snapshot.Config, "state": snapshot.State})
	if err != nil {
		return err
	}
	for done := uint64(0); ; {
		part, err := parts.NextMsgWithContext(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errEnded, err)
		}
		if len(part.Data) == 0 {
			if status := part.Header.Get("Status"); status != "" && status != "204" {
				return fmt.Errorf("%w: %s %s", errEnded, status, part.Header.Get("Description"))
			}
			break
		}
		if err := hand(ctx, to, restore.Deliver, part); err != nil {
			return err
		}
		done += uint64(len(part.Data))
		s.meter.at("  copied %s", space.Format(done))
	}
	end, err := to.RequestWithContext(ctx, restore.Deliver, nil) // the answer comes when the stream is encrypted and served
	if err != nil {
		return fmt.Errorf("end the restore: %w", err)
	}
	return new(answer).read("end the restore", end.Data)
}

// hand gives one part to the restoring server, and then leave for the next one.
func hand(ctx context.Context, to *nats.Conn, subject string, part *nats.Msg) error {
	m, err := to.RequestWithContext(ctx, subject, part.Data)
	if err != nil {
		return fmt.Errorf("restore a part: %w", err)
	}
	if len(m.Data) > 0 {
		if err := new(answer).read("restore a part", m.Data); err != nil {
			return err
		}
	}
	if part.Reply == "" {
		return nil // the last one
	}
	if err := part.Respond(nil); err != nil {
		return fmt.Errorf("ask for the next part: %w", err)
	}
	return nil
}
