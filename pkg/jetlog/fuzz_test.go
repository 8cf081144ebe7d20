package jetlog_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
)

// FuzzAcknowledgement holds that an append has succeeded only where the answer names its stream, domain and sequence, and that all else is one of the three
// outcomes that an append can have besides.
func FuzzAcknowledgement(f *testing.F) {
	for _, seed := range []string{
		`{"stream":"EVT_test_patient","seq":8}`, `{"stream":"EVT_test_patient","seq":8,"duplicate":true}`, `{"stream":"EVT_test_patient","domain":"north","seq":8}`,
		`{"stream":"EVT_test_patient","seq":9}`, `{"stream":"OTHER","seq":8}`, `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 9"}}`,
		`{"error":{"code":400,"err_code":10164},"stream":"EVT_test_patient","seq":8}`, `{"error":{"err_code":10077}}`, `{"error":null}`, `{"error":{}}`, `{}`, `null`, `[]`, ``, `{"seq":8}`,
		`{"stream":"EVT_test_patient","seq":8}{}`, `{"stream":"EVT_test_patient","seq":8.0}`, `{"stream":"EVT_test_patient","seq":-8}`, `{"STREAM":"EVT_test_patient","Seq":8}`,
	} {
		f.Add([]byte(seed), "", "")
		f.Add([]byte(seed), "north", "503")
	}
	f.Fuzz(func(t *testing.T, data []byte, domain, status string) {
		const expected = 7
		err := jetlog.Acknowledge("EVT_test_patient", domain, expected, &nats.Msg{Data: data, Header: nats.Header{"Status": {status}}})
		if err != nil {
			if !errors.Is(err, eventlog.ErrTaken) && !errors.Is(err, eventlog.ErrRefused) && !errors.Is(err, eventlog.ErrUnknown) {
				t.Errorf("got %v, want taken, refused or unknown", err)
			}
			return
		}
		var ack struct {
			jetstream.PubAck
			Error *jetstream.APIError `json:"error"`
		}
		if err := json.Unmarshal(data, &ack); err != nil || ack.Error != nil || ack.Stream != "EVT_test_patient" || ack.Domain != domain || ack.Sequence != expected+1 || ack.Duplicate {
			t.Errorf("%s is taken for the acknowledgement of sequence %d, domain %q: %v", data, expected+1, domain, err)
		}
	})
}
