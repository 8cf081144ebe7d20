package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/streams"
)

// The schema of the benchmark: one event of 256 bytes with fields of several types, each checked.
const (
	aggregateType = "item"
	schemaText    = `aggregate: item
fields:
  amount: {type: decimal}
  owner: {type: string, max-length: 64}
  text: {type: string, max-length: 1024}
events:
  changed: {fields: [amount, owner, text], required: [amount, owner]}
`
)

// owner is a field of every event.
const owner = "somebody with a name"

// payload is a JSON object of exactly that many bytes.
func payload(size int) []byte {
	return fmt.Appendf(nil, `{"amount":"1234.50","owner":%q,"text":%q}`, owner, filler(size))
}

// filler is a text that makes a payload as long as it shall be.
func filler(size int) string {
	return strings.Repeat("x", max(0, size-len(`{"amount":"1234.50","owner":"","text":""}`)-len(owner)))
}

// plain sends the same bytes to one subject: the baselines.
type plain struct {
	subject string
	data    []byte
}

func (p plain) next() *nats.Msg { return &nats.Msg{Subject: p.subject, Data: p.data} }

func (p plain) answered(m *nats.Msg) error {
	if bytes.Contains(m.Data, []byte(`"error"`)) {
		return errors.New(string(m.Data))
	}
	return nil
}

// books are the versions of the aggregates of one log, as its clients know them: an aggregate belongs to one client of a fleet.
type books struct {
	prefix   string // of ids
	versions []uint64
	token    string
	data     []byte
}

func newBooks(prefix string, aggregates int, token string, data []byte) *books {
	return &books{prefix, make([]uint64, aggregates), token, data}
}

// stored is the number of events that the books know of.
func (b *books) stored() (n uint64) {
	for _, v := range b.versions {
		n += v
	}
	return n
}

func (b *books) id(i int) string { return b.prefix + strconv.Itoa(i) }

// commands sends one event a command, with the expected version and, as pkg/client does, a command id of its own.
type commands struct {
	books    *books
	to       string // first token of the subject
	at, step int
	wanted   []byte
}

func (b *books) commands(i, of int) work { return &commands{books: b, to: "cmd", at: i, step: of} }

// bareCommands are the same requests to the bare pipeline, which reads their bodies alone.
func (b *books) bareCommands(i, of int) work {
	return &bareCommands{commands{books: b, to: "bare", at: i, step: of}}
}

type bareCommands struct{ commands }

func (c *bareCommands) answered(m *nats.Msg) error { return c.stored(m, []byte("stored")) }

func (c *commands) next() *nats.Msg {
	b := c.books
	v := strconv.FormatUint(b.versions[c.at], 10)
	c.wanted = append(append(c.wanted[:0], `"first-version":`...), strconv.FormatUint(b.versions[c.at]+1, 10)...)
	header := nats.Header{streams.HeaderToken: {b.token}, streams.HeaderExpected: {v}, streams.HeaderCommandID: {rand.Text()}}
	return &nats.Msg{Subject: c.to + "." + aggregateType + "." + b.id(c.at) + ".changed", Header: header, Data: b.data}
}

func (c *commands) answered(m *nats.Msg) error { return c.stored(m, c.wanted) }

func (c *commands) stored(m *nats.Msg, wanted []byte) error {
	if err := checkAnswer(m, wanted); err != nil {
		return err
	}
	c.books.versions[c.at]++
	if c.at += c.step; c.at >= len(c.books.versions) {
		c.at %= c.step
	}
	return nil
}

func checkAnswer(m *nats.Msg, wanted []byte) error {
	if code := m.Header.Get("Nats-Service-Error-Code"); code != "" || !bytes.Contains(m.Data, wanted) {
		return fmt.Errorf("the command was answered with %s %s, want %s", code, m.Data, wanted)
	}
	return nil
}

// commits sends commits of several events each, with the expected version; perMessage of them, of as many aggregates, in one transaction.
type commits struct {
	books              *books
	at, step           int
	events, perMessage int
	body, wanted       []byte
}

func (b *books) commits(events, perMessage int) func(i, of int) work {
	return func(i, of int) work {
		return &commits{books: b, at: i * perMessage, step: of * perMessage, events: events, perMessage: perMessage}
	}
}

func (c *commits) next() *nats.Msg {
	b := c.books
	c.body = append(c.body[:0], `{"commits":[`...)
	for k := range c.size() {
		if k > 0 {
			c.body = append(c.body, ',')
		}
		c.body = fmt.Appendf(c.body, `{"type":%q,"id":%q,"expected-version":"%d","events":[`, aggregateType, b.id(c.at+k), b.versions[c.at+k])
		for e := range c.events {
			if e > 0 {
				c.body = append(c.body, ',')
			}
			c.body = append(append(append(c.body, `{"event":"changed","fields":`...), b.data...), '}')
		}
		c.body = append(c.body, "]}"...)
	}
	c.body = append(c.body, "]}"...)
	c.wanted = append(c.wanted[:0], `"commits":[{`...)
	return &nats.Msg{Subject: "cmd." + aggregateType, Header: nats.Header{streams.HeaderToken: {b.token}, streams.HeaderCommandID: {rand.Text()}}, Data: c.body}
}

func (c *commits) size() int { return min(c.perMessage, len(c.books.versions)-c.at) }

func (c *commits) answered(m *nats.Msg) error {
	if err := checkAnswer(m, c.wanted); err != nil {
		return err
	}
	for k := range c.size() {
		c.books.versions[c.at+k] += uint64(c.events)
	}
	if c.at += c.step; c.at >= len(c.books.versions) {
		c.at %= c.step
	}
	return nil
}

// histories asks for the history of aggregates.
type histories struct {
	books  *books
	at     int
	step   int
	events int
}

func (b *books) histories(events int) func(i, of int) work {
	return func(i, of int) work { return &histories{b, i, of, events} }
}

func (h *histories) next() *nats.Msg {
	header := nats.Header{streams.HeaderToken: {h.books.token}}
	return &nats.Msg{Subject: "qry." + aggregateType + "." + h.books.id(h.at) + ".history", Header: header, Data: []byte(`{"from":1,"take":100}`)}
}

func (h *histories) answered(m *nats.Msg) error {
	if n := bytes.Count(m.Data, []byte(`"version":`)); n < h.events {
		return fmt.Errorf("the history of %s has %d events, want %d: %.300s", h.books.id(h.at), n, h.events, m.Data)
	}
	h.at = (h.at + h.step) % len(h.books.versions)
	return nil
}
