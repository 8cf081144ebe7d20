package writer_test

import (
	"fmt"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// replace puts something else where the only key lies, as whoever may ask JetStream could while streams let a value be replaced.
func (s *sealing) replace(value []byte) {
	s.t.Helper()
	for place := range s.bucket.Values() {
		_, revision, err := s.bucket.Get(s.t.Context(), place)
		if err == nil {
			err = s.bucket.Put(s.t.Context(), place, value, revision)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestALostKeyIsForgotten: junk in the place of a key holds up nobody: the aggregate is written on under a new key, or its lost key is forgotten.
func TestALostKeyIsForgotten(t *testing.T) {
	for _, written := range []bool{false, true} {
		t.Run(fmt.Sprint("written again: ", written), func(t *testing.T) {
			s := newSealing(t, eventlog.NewMemory(), fmt.Sprintf(personSchema, true, true, true))
			s.must(change(s.jwt, "", person("A", "name", "Ada", "email", "a@example.org")))
			lost := fmt.Sprintf("%x", s.people("A")[0].KeyCommitment)
			s.replace([]byte(`{"type":"io.nats.jetstream.api.v1.stream_info_response"}`))
			s.again()
			want := lost
			if written {
				s.must(change(s.jwt, "", person("A", "name", "Again", "email", "b@example.org")))
				want = fmt.Sprintf("%x", s.people("A")[1].KeyCommitment)
			}
			cert := s.forget("A")
			if cert.KeyCommitment != want || len(s.bucket.Values()) != 0 {
				t.Errorf("got a certificate about %s and %d keys, want about %s and none", cert.KeyCommitment, len(s.bucket.Values()), want)
			}
			recorded := map[string]bool{}
			forgotten, _ := s.records("A")
			for _, c := range forgotten {
				fields, err := event.DecodePayload(c.Events[0].Payload)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range fields {
					recorded[f.Value] = recorded[f.Value] || f.Name == "commitment"
				}
			}
			if !recorded[lost] || !recorded[want] {
				t.Errorf("got on record %v, want %s and %s", recorded, lost, want)
			}
			again := s.forget("A")
			if !again.Repeated || again.KeyCommitment == "" {
				t.Errorf("again: got %+v, want the certificate again", again)
			}
			s.must(change(s.jwt, "", person("A", "name", "New", "email", "a@example.org")))
		})
	}
}
