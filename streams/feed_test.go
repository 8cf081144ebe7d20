package streams_test

import (
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/streams"
)

func TestFeedSubject(t *testing.T) {
	for _, test := range []struct{ aggregate, id, event, want string }{
		{"patient", "A.1/*>", "crp", "event.patient.A=2E1=2F=2A=3E.crp"}, {"eventful-test", "dummy", "plugin-tested", "event.eventful-test.dummy.plugin-tested"},
		{"patient", "A", "eventful-forgotten", "event.patient.A.eventful-forgotten"},
		{"patient", "", "crp", ""}, {"pat.ient", "A", "crp", ""}, {"*", "A", "crp", ""}, {"patient", "A", ">", ""}, {"patient", "A", "", ""}, {"patient", "A", "a b", ""},
	} {
		got, err := streams.FeedSubject(event.AggregateID{Type: test.aggregate, ID: test.id}, test.event)
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%v: got %q, %v", test, got, err)
		}
		if err == nil && !strings.HasPrefix(got, strings.TrimSuffix(streams.FeedSubjects, ">")) {
			t.Errorf("%q is not in the feed", got)
		}
	}
}
