package run

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

// changes are the calls of the JetStream API that make a stream, or change one which is there, by what stands between "STREAM." and the stream's name.
func changes() map[string]string {
	return map[string]string{"CREATE": actionCreate, "UPDATE": actionUpdate, "PURGE": actionPurge, "DELETE": "delete", "RESTORE": "restore", "MSG.DELETE": actionMessage}
}

// Actions that are asked for.
const (
	actionCreate  = "create"
	actionUpdate  = "update"
	actionPurge   = "purge"
	actionMessage = "message-delete"
)

// kindJetStream is what a server calls itself as the client of a call: somebody had it send something to the API.
const kindJetStream = "JetStream"

// maxChangeRequest is how much of a call's body is recorded, in bytes.
const maxChangeRequest = 2 << 10

// apiCall is the part that is read of what nats-server tells of a call.
type apiCall struct {
	Subject  string `json:"subject"`
	Request  string `json:"request"`
	Response string `json:"response"`
	Client   struct {
		User    string `json:"user"`
		NameTag string `json:"name_tag"`
		Host    string `json:"host"`
		Name    string `json:"name"`
		Kind    string `json:"kind"`
	} `json:"client"`
}

// streamWatch hears of calls of the JetStream API in one account.
type streamWatch struct {
	account  string
	nc       *nats.Conn
	secret   string // stands in the settings of the feed, and is recorded nowhere
	messages int    // that wait to be looked at, at most
	bytes    int    // … and their size
	every    time.Duration
}

// watch is one with the limits that a flood takes: most calls are looked at within a microsecond.
func watch(account string, nc *nats.Conn) streamWatch {
	return streamWatch{account: account, nc: nc, messages: 1 << 20, bytes: 256 << 20, every: time.Minute}
}

// maxRecording is how many changes are on their way into the system log at once.
const maxRecording = 4096

// watchStreams records who changes the streams of an account beside EventfulDB. Every writer hears of it; the one that writes the system log records it. What could not be heard or
// recorded is counted, and recorded as missing: at once, and then every minute while it goes on.
func (e Engines) watchStreams(ctx context.Context, w *writer.Writer, s streamWatch) error {
	heard, known := make(chan writer.StreamChange), changes()
	sub, err := s.nc.Subscribe(streams.AdvisoryAPI, func(m *nats.Msg) {
		if change, ok := s.changeOf(m.Data, known); ok && !(change.Action == actionMessage && e.usual(s.account, change)) {
			select {
			case heard <- change:
			case <-ctx.Done():
			}
		}
	})
	if err == nil {
		err = sub.SetPendingLimits(s.messages, s.bytes)
	}
	if err != nil {
		return fmt.Errorf("watch changes of streams: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only if the connection is closed
	e.recordChanges(ctx, w, s, heard, sub)
	return nil
}

// watchApp watches the streams of APP: inbox and feed.
func (e Engines) watchApp(ctx context.Context, c *connections, w *writer.Writer) (err error) {
	s := watch(string(keyring.APP), c.inbox)
	if s.secret, err = Intake(e.Secrets); err != nil {
		return err
	}
	return e.watchStreams(ctx, w, s)
}

func (e Engines) recordChanges(ctx context.Context, w *writer.Writer, s streamWatch, heard <-chan writer.StreamChange, sub *nats.Subscription) {
	var recording sync.WaitGroup
	defer recording.Wait()
	busy := make(chan struct{}, maxRecording)
	look := time.NewTicker(s.every / 60)
	defer look.Stop()
	var left, told int // changes that were not recorded, and messages not heard
	var last time.Time
	known := newComparison(s, e.Site)
	e.compare(ctx, known)
	for {
		select {
		case change := <-heard:
			if known.changed[change.Stream] = true; e.usual(s.account, change) {
				continue
			}
			select {
			case busy <- struct{}{}:
				recording.Go(func() { e.recordChange(ctx, w, change); <-busy })
			default:
				left++
			}
		case <-look.C:
			dropped, err := sub.Dropped()
			if missed := left + dropped - told; err == nil && missed > 0 && time.Since(last) > s.every {
				told, last, known.missed = told+missed, time.Now(), true
				recording.Go(func() { e.recordMissed(ctx, w, s.account, missed) })
			}
			if found := e.compare(ctx, known); len(found) > 0 {
				recording.Go(func() { e.recordFound(ctx, w, found) })
			}
		case <-ctx.Done():
			return
		}
	}
}

// compare gives what changed while nothing was heard.
func (e Engines) compare(ctx context.Context, known *comparison) []writer.StreamChange {
	found, err := known.look(ctx)
	if err != nil && ctx.Err() == nil {
		e.Log.Debug().Err(err).Msg("streams could not be compared with what they were, and are looked at again")
	}
	return found
}

// aboutChange reports whether a call may have changed a stream. Most did not, and some hold whole messages, which take long to decode. The text that is looked for stands in no value:
// there its quotes are escaped.
func aboutChange(data []byte, known map[string]string) bool {
	_, subject, ok := bytes.Cut(data, []byte(`"subject":"`))
	subject, _, ended := bytes.Cut(subject, []byte(`"`))
	_, verb, api := bytes.Cut(subject, []byte(".API.STREAM."))
	at := bytes.LastIndexByte(verb, '.')
	return ok && ended && api && at >= 0 && known[string(verb[:at])] != ""
}

// hidden is a text without the secret.
func (s streamWatch) hidden(text string) string {
	if s.secret == "" {
		return text
	}
	return strings.ReplaceAll(text, s.secret, "<secret>")
}

// changeOf reads a call that changed a stream.
func (s streamWatch) changeOf(data []byte, known map[string]string) (c writer.StreamChange, ok bool) {
	if !aboutChange(data, known) {
		return c, false
	}
	var call apiCall
	if json.Unmarshal(data, &call) != nil {
		return c, false
	}
	call.Request = s.hidden(call.Request)
	_, verb, ok := strings.Cut(call.Subject, ".API.STREAM.")
	at := strings.LastIndexByte(verb, '.')
	if !ok || at < 0 {
		return c, false
	}
	c = writer.StreamChange{Stream: verb[at+1:], Action: known[verb[:at]], User: call.Client.User, Role: call.Client.NameTag, Host: call.Client.Host, Client: call.Client.Name,
		Request: call.Request[:min(len(call.Request), maxChangeRequest)]}
	if call.Client.User == "" && call.Client.Kind == kindJetStream {
		c.User, c.Role = strings.ToLower(kindJetStream), kindJetStream
	}
	var outcome struct {
		Error json.RawMessage `json:"error"`
		Made  bool            `json:"did_create"`
	}
	if c.Action == "" || c.User == "" || json.Unmarshal([]byte(call.Response), &outcome) != nil || outcome.Error != nil || c.Action == actionCreate && !outcome.Made {
		return c, false
	}
	c.Request = strings.ToValidUTF8(c.Request, "")
	return c, true
}

func (e Engines) recordChange(ctx context.Context, w *writer.Writer, c writer.StreamChange) {
	ctx, cancel := context.WithTimeout(ctx, usePatience)
	defer cancel()
	log := e.Log.With().Str("stream", c.Stream).Str("action", c.Action).Str("user", c.User).Str("host", c.Host).Logger()
	log.Warn().Msg("somebody changed a stream")
	if p := whileLeading(ctx, w, func() *problem.Problem { return w.RecordStreamChange(ctx, c) }); p != nil {
		log.Error().Err(p).Msg("the change of a stream could not be recorded")
	}
}

func (e Engines) recordFound(ctx context.Context, w *writer.Writer, found []writer.StreamChange) {
	ctx, cancel := context.WithTimeout(ctx, usePatience)
	defer cancel()
	for _, c := range found {
		log := e.Log.With().Str("stream", c.Stream).Str("action", c.Action).Logger()
		log.Warn().Msg("a stream was changed while the connection that hears of changes was away")
		if p := whileLeading(ctx, w, func() *problem.Problem { return w.RecordFoundChange(ctx, c) }); p != nil {
			log.Error().Err(p).Msg("the change of a stream could not be recorded")
		}
	}
}

func (e Engines) recordMissed(ctx context.Context, w *writer.Writer, account string, count int) {
	ctx, cancel := context.WithTimeout(ctx, usePatience)
	defer cancel()
	log := e.Log.With().Str("account", account).Int("count", count).Logger()
	log.Error().Msg("calls of the JetStream API were not heard: changes of streams may be missing in the audit")
	if p := whileLeading(ctx, w, func() *problem.Problem { return w.RecordMissedChanges(ctx, account, count) }); p != nil {
		log.Error().Err(p).Msg("that changes of streams may be missing could not be recorded")
	}
}
