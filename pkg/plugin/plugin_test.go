package plugin_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
)

func kind() *plugin.Kind {
	return &plugin.Kind{Name: "sink", Options: []plugin.Option{
		{Name: "url", Help: "where to", Required: true},
		{Name: "size", Help: "how many", Form: plugin.Integer, Default: "10", Min: 1, Max: 100},
		{Name: "timeout", Help: "how long", Form: plugin.Duration, Min: 1, Max: 60_000},
		{Name: "mode", Help: "which", Form: plugin.Choice, Values: []string{"a", "b"}},
		{Name: "types", Help: "which of", Form: plugin.List, Values: []string{"x", "y"}},
		{Name: "tls", Help: "whether", Form: plugin.Boolean},
		{Name: "password", Help: "secret", Secret: true, Check: func(v string) error {
			if len(v) < 4 {
				return errors.New("too short")
			}
			return nil
		}},
	}, Check: func(s plugin.Settings) []error {
		if s.Options["mode"] != "a" && !s.Options.Bool("tls") {
			return []error{errors.New("this mode needs --tls")}
		}
		return nil
	}}
}

func TestOptionsAreComplete(t *testing.T) {
	got, err := kind().Examine(plugin.Settings{Options: plugin.Values{"url": "u", "timeout": "5s", "types": "x,y", "tls": "true"}})
	want := plugin.Values{"url": "u", "size": "10", "timeout": "5s", "types": "x,y", "tls": "true"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Fatalf("%v\n%s", err, diff)
	}
	if got.Int("size") != 10 || got.Duration("timeout") != 5*time.Second || !got.Bool("tls") || len(got.List("types")) != 2 || got.List("mode") != nil {
		t.Errorf("values are read wrongly: %v", got)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := kind().Examine(plugin.Settings{Options: plugin.Values{
		"size": "0", "timeout": "fast", "mode": "c", "types": "x,z", "tls": "yes", "password": "abc", "colour": "red", "more": "1",
	}}, plugin.Option{Name: "partitions", Help: "how many", Form: plugin.Integer})
	if err == nil {
		t.Fatal("everything was taken")
	}
	for _, want := range []string{"--url is missing", "--size", "--timeout", "--mode", "--types", "--tls", "--password: too short", "--colour", "--more", "--partitions", "mode needs --tls"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%s", want, err)
		}
	}
	if strings.Contains(err.Error(), "abc") {
		t.Error("the error holds the secret")
	}
	if _, err := kind().Examine(plugin.Settings{Options: plugin.Values{"url": "u", "mode": "b"}}); err == nil || !strings.Contains(err.Error(), "mode needs") {
		t.Errorf("got %v, want what Check says", err)
	}
}

func TestCloudEventIsJSON(t *testing.T) {
	occurred := event.Time(time.Date(2025, 12, 31, 23, 59, 59, 5, time.UTC).UnixNano())
	for _, value := range []string{"", "plain", "\"\\/\b\n\x00\u2028", "zwölf", "<&>", strings.Repeat("x", 1<<16)} {
		c := plugintest.Change("id/ä", 7, "name", value)
		c.Fields = append(c.Fields, event.Field{Name: "ward"})
		c.Meta.OccurredAt, c.Meta.Correlation = &occurred, "c\"1"
		line := plugin.AppendCloudEvent(nil, &c)
		if strings.ContainsAny(string(line), "\n\r") {
			t.Fatal("the line is broken")
		}
		var got struct {
			ID, Subject, Time, Type, Source, AggregateVersion, CorrelationID string
			Data                                                             struct {
				Fields map[string]*string
				State  map[string]string
			}
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		if got.ID != c.Leaf.String() || got.Subject != "patient/id/ä" || got.Time != "2025-12-31T23:59:59.000000005Z" || got.AggregateVersion != "7" ||
			got.CorrelationID != "c\"1" || got.Type != "patient.patient-updated" || got.Source != "/eventful/test/patient" {
			t.Errorf("got %+v", got)
		}
		if name := got.Data.Fields["name"]; name == nil || *name != value {
			t.Errorf("got %v, want %q", name, value)
		}
		if ward, there := got.Data.Fields["ward"]; !there || ward != nil {
			t.Error("an unset field must be null")
		}
		if got.Data.State["name"] != value {
			t.Errorf("got state %q", got.Data.State["name"])
		}
	}
}

func TestFieldsAreFound(t *testing.T) {
	c := plugintest.Change("a", 1, "name", "Ada", "ward", "7")
	if f, ok := c.Field("ward"); !ok || f.Value != "7" {
		t.Errorf("got %v %v", f, ok)
	}
	if _, ok := c.Field("none"); ok {
		t.Error("found a field that is not there")
	}
	if v, ok := c.State.Field("name"); !ok || v != "Ada" {
		t.Errorf("got %q %v", v, ok)
	}
	var zero plugin.Outcome
	if zero.Status != plugin.StatusRetry || len(plugin.All(3, plugin.Done())) != 3 {
		t.Error("the zero outcome must be retry")
	}
}

// Without the option the certificates are those of the system (nil), and what holds none is refused before it could stand for no certificate at all.
func TestCertificates(t *testing.T) {
	if plugin.CheckCertificates("-----BEGIN CERTIFICATE-----\n") == nil || plugin.CheckCertificates("") == nil {
		t.Error("what holds no certificate was taken")
	}
	if roots := (plugin.Values{}).Certificates("ca"); roots != nil {
		t.Errorf("without the option: got %v, want nil", roots)
	}
	if roots := (plugin.Values{"ca": "no certificate"}).Certificates("ca"); roots == nil {
		t.Error("with an option that was not checked: got nil, want a pool that trusts nobody")
	}
}
