package streams_test

import (
	"testing"

	"github.com/eventfuldb/eventful/streams"
)

func TestKeptSettings(t *testing.T) {
	staged, err := streams.StagedSettings("north", 3)
	if err != nil {
		t.Fatal(err)
	}
	inbox, err := streams.InboxSettings(0)
	if err != nil {
		t.Fatal(err)
	}
	refused, err := streams.RefusedSettings("north", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		settings []streams.Setting
		want     map[string]any
	}{
		{staged, map[string]any{"name": "KV_STAGED_north", "max_bytes": int64(-1), "num_replicas": int64(3), "max_msgs_per_subject": int64(1), "allow_direct": false, "retention": "limits"}},
		{inbox, map[string]any{"name": "CMD_INBOX", "num_replicas": int64(1), "retention": "workqueue", "deny_delete": true, "deny_purge": true, "allow_rollup_hdrs": false, "no_ack": false, "max_bytes": int64(1 << 30)}},
		{refused, map[string]any{"name": "REFUSED_north", "retention": "limits", "deny_delete": false, "max_age": int64(0), "discard": "new", "max_bytes": int64(1 << 30)}},
	} {
		seen := map[string]any{}
		for _, s := range c.settings {
			if _, twice := seen[s.Name]; twice || s.Reason == "" {
				t.Errorf("%s: %s stands twice (%v) or has no reason", c.want["name"], s.Name, twice)
			}
			seen[s.Name] = s.Value
		}
		for name, want := range c.want {
			if got := seen[name]; got != want {
				t.Errorf("%s: %s: got %v, want %v", c.want["name"], name, got, want)
			}
		}
	}
	for _, site := range []string{"", "*", "a.b", "North"} {
		if _, err := streams.StagedSettings(site, 1); err == nil {
			t.Errorf("staged commits of site %q: got nil, want an error", site)
		}
		if _, err := streams.RefusedSettings(site, 1); err == nil {
			t.Errorf("refused commands of site %q: got nil, want an error", site)
		}
	}
}

func TestInboxSubjects(t *testing.T) {
	if got := streams.InboxSubject("cmd.patient.A.crp"); got != "inbox.cmd.patient.A.crp" {
		t.Errorf("got %s", got)
	}
	for subject, want := range map[string]string{"inbox.cmd.patient": "cmd.patient", "inbox.": ""} {
		if got, ok := streams.OfInbox(subject); !ok || got != want {
			t.Errorf("%s: got %s, %v, want %s", subject, got, ok, want)
		}
	}
	if got, ok := streams.OfInbox("cmd.patient"); ok {
		t.Errorf("got %s of no inbox subject", got)
	}
	if got, err := streams.ParseTransactionSubject("cmd.patient"); err != nil || got != "patient" {
		t.Errorf("got %s, %v, want patient", got, err)
	}
	for _, bad := range []string{"cmd", "cmd.", "cmd.*", "cmd.>", "cmd.Patient", "cmd.a.b", "qry.patient", "inbox.cmd.patient"} {
		if got, err := streams.ParseTransactionSubject(bad); err == nil {
			t.Errorf("%s: got %s, want an error", bad, got)
		}
	}
}
