package natsapi_test

import (
	"testing"

	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// FuzzReadCommand holds that a request is refused with a reason that is the sender's, or is a command that goes where its subject says and that can be checked.
func FuzzReadCommand(f *testing.F) {
	for _, subject := range []string{"cmd.patient.A.crp", "cmd.patient", "cmd.patient.=2E=2E.crp", "cmd.", "cmd", "cmd.patient.A", "cmd.patient.A.crp.x", "cmd._.A.crp", "qry.patient.A.get"} {
		for _, body := range []string{
			``, `{}`, `{"crp":1.10}`, `{"crp":1,"crp":2}`, `[]`, `{"commits":[]}`, `{"commits":[{"type":"patient","id":"A","events":[{"event":"crp","fields":{"crp":"1"}}]}]}`,
			`{"commits":[{"type":"ward","id":"A","expected-version":"3","events":[]}]}`, `{"commits":null}`, `{"commits":[null]}`,
		} {
			f.Add(subject, "3", "2014-10-22T11:27:00Z", []byte(body))
			f.Add(subject, "", "", []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, subject, expected, occurred string, body []byte) {
		sent := map[string][]string{}
		for name, value := range map[string]string{streams.HeaderExpected: expected, streams.HeaderOccurredAt: occurred} {
			if value != "" {
				sent[name] = []string{value}
			}
		}
		r, p := natsapi.ReadCommand(subject, sent, body)
		if p != nil {
			if p.Code != problem.Malformed && p.Code != problem.TooLarge && p.Code != problem.Invalid {
				t.Errorf("got %v, want malformed, invalid or too large", p)
			}
			return
		}
		r.Command.ID = "c"
		if problems := r.Command.Check(); len(problems) > 0 {
			return
		}
		r.Command.Digest("user:ada")
		if want, err := streams.TransactionSubject(r.Command.Changes[0].Aggregate.Type); err != nil || subject != want && subject != commandSubject(t, r.Command.Changes[0].Aggregate.String(), subject) {
			t.Errorf("subject %q is read as a command on %s: %v", subject, r.Command.Changes[0].Aggregate, err)
		}
	})
}

// commandSubject is the subject, if it parses to the aggregate.
func commandSubject(t *testing.T, aggregate, subject string) string {
	t.Helper()
	if a, _, err := streams.ParseCommandSubject(subject); err == nil && a.String() == aggregate {
		return subject
	}
	return ""
}
