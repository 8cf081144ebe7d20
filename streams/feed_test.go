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

func TestFeedOfOneAggregate(t *testing.T) {
	of, err := streams.FeedAggregate(event.AggregateID{Type: "patient", ID: "A.1/*>"})
	if err != nil || !streams.IsFeedAggregate(of) {
		t.Errorf("%q, %v: got that it is not of one aggregate", of, err)
	}
	for _, subjects := range []string{"", "event.>", "event.patient.>", "event.patient.*.*", "event.*.A.*", "event.patient.A.crp", "event.patient.A.>", "feed.patient.A.*", "event.patient..*", "event.patient.a b.*"} {
		if streams.IsFeedAggregate(subjects) {
			t.Errorf("%q: got that it is of one aggregate alone", subjects)
		}
	}
	intake, err := streams.FeedIntakeSubject("s3cret", event.AggregateID{Type: "patient", ID: "A.1"}, "crp")
	if want := "feed.s3cret.patient.A=2E1.crp"; err != nil || intake != want {
		t.Errorf("got %q, %v, want %q", intake, err, want)
	}
}
