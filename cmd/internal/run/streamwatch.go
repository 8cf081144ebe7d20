package run

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

// changes are the calls of the JetStream API that change a stream which is there, by what stands between "STREAM." and the stream's name.
func changes() map[string]string {
	return map[string]string{"UPDATE": "update", "PURGE": "purge", "DELETE": "delete", "RESTORE": "restore", "MSG.DELETE": "message-delete"}
}

// maxChangeRequest is how much of a call's body is recorded, in bytes.
const maxChangeRequest = 2 << 10

// engineName is how the users of engines in the server's own process call themselves (node.ConnAs).
const engineName = "engine"

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
	} `json:"client"`
}

// watchStreams records who changes the streams of an account beside EventfulDB. Every writer hears of it; the one that writes the system log records it.
func (e Engines) watchStreams(ctx context.Context, nc *nats.Conn, w *writer.Writer) error {
	heard := make(chan *nats.Msg, 1024)
	sub, err := nc.ChanSubscribe(streams.AdvisoryAPI, heard)
	if err != nil {
		return fmt.Errorf("watch changes of streams: %w", err)
	}
	known := changes()
	var recording sync.WaitGroup
	defer recording.Wait()
	defer func() { _ = sub.Unsubscribe() }() // fails only if the connection is closed
	for {
		select {
		case m := <-heard:
			if change, ok := changeOf(m.Data, known); ok && !e.usual(change) {
				recording.Go(func() { e.recordChange(ctx, w, change) })
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// changeOf reads a call that changed a stream.
func changeOf(data []byte, known map[string]string) (c writer.StreamChange, ok bool) {
	if !slices.ContainsFunc(slices.Collect(maps.Keys(known)), func(verb string) bool { return bytes.Contains(data, []byte(".API.STREAM."+verb+".")) }) {
		return c, false // the others are many, and some hold whole messages, which take long to decode
	}
	var call apiCall
	if json.Unmarshal(data, &call) != nil {
		return c, false
	}
	_, verb, ok := strings.Cut(call.Subject, ".API.STREAM.")
	at := strings.LastIndexByte(verb, '.')
	if !ok || at < 0 {
		return c, false
	}
	c = writer.StreamChange{Stream: verb[at+1:], Action: known[verb[:at]], User: call.Client.User, Role: call.Client.NameTag, Host: call.Client.Host, Client: call.Client.Name,
		Request: call.Request[:min(len(call.Request), maxChangeRequest)]}
	var outcome struct {
		Error json.RawMessage `json:"error"`
	}
	if c.Action == "" || c.User == "" || json.Unmarshal([]byte(call.Response), &outcome) != nil || outcome.Error != nil {
		return c, false
	}
	c.Request = strings.ToValidUTF8(c.Request, "")
	return c, true
}

// usual reports whether a change is what writers do by themselves: they remove single messages of the streams beside the logs.
func (e Engines) usual(c writer.StreamChange) bool {
	_, isLog := streams.LogOf(e.Site, c.Stream)
	return c.Action == "message-delete" && !isLog && (c.Role == engineName || c.Role == string(streams.RoleWriter))
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
