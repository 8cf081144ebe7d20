package main

import (
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/event"
)

// change flips one bit in the last byte of a field value of the event, in place, and says what it did.
func change(messages []*jetstream.RawStreamMsg, o options) (string, error) {
	for _, m := range messages {
		_, commits, err := event.DecodeBlock(m.Data, m.Sequence)
		if err != nil {
			return "", fmt.Errorf("decode message %d: %w", m.Sequence, err)
		}
		for _, c := range commits {
			if c.Aggregate == o.target && c.First <= o.version && o.version <= c.Last() {
				was, is, err := flip(c.Events[o.version-c.First].Payload)
				if err != nil {
					return "", fmt.Errorf("%s at version %d: %w", o.target, o.version, err)
				}
				return fmt.Sprintf("%s at version %d, in message %d: %s is now %s", o.target, o.version, m.Sequence, was, is), nil
			}
		}
	}
	return "", fmt.Errorf("%s has no version %d in this log", o.target, o.version)
}

// flip changes the payload's last byte, which is the last one of its last field's value. The payload shares the memory of its message, so the message
// changes too. The lowest bit keeps digits digits and letters letters.
func flip(payload []byte) (was, is string, err error) {
	before, err := event.DecodePayload(payload)
	if err != nil {
		return "", "", err
	}
	if len(before) == 0 || before[len(before)-1].Value == "" {
		return "", "", fmt.Errorf("the event has no value to change; choose another version")
	}
	payload[len(payload)-1] ^= 1
	after, err := event.DecodePayload(payload)
	if err != nil {
		return "", "", fmt.Errorf("the changed payload does not decode: %w", err)
	}
	last := len(after) - 1
	return before[last].Name + "=" + before[last].Value, after[last].Name + "=" + after[last].Value, nil
}
