package e2e_test

import (
	"context"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/snapshot"
)

// snapshots are those of a site, for somebody who holds its key file and the DEK.
func (s *site) snapshots() *snapshot.Snapshots {
	s.t.Helper()
	_, secrets := s.secrets()
	cfg := snapshot.Config{Site: s.info().Site}
	var err error
	if cfg.Wrap, err = secrets.Derived("snapshots"); err != nil {
		s.t.Fatal(err)
	}
	if cfg.Name, err = secrets.Derived("names of snapshots"); err != nil {
		s.t.Fatal(err)
	}
	store, err := jetlog.New(s.connections()[keyring.LOG], cfg.Site, jetlog.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	if cfg.Bucket, err = store.Snapshots(); err != nil {
		s.t.Fatal(err)
	}
	out, err := snapshot.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// TestSnapshotEditedInKV: who holds every key changes a snapshot where it lies. The log proves, and aggregate:verify names the snapshot and ends with 7.
func TestSnapshotEditedInKV(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, value := range []string{"1", "2", "3"} {
		s.must("event:add", "patient/crp", "--id=A", "--crp="+value)
	}
	s.must("aggregate:snapshot", "patient/A", "2", "--comment=at two")
	s.must("aggregate:snapshot", "patient/A", "--comment=at three")
	s.must("aggregate:verify", "patient/A")
	about := event.AggregateID{Type: "patient", ID: "A"}
	found, err := s.snapshots().List(context.Background(), "patient", about)
	if err != nil || len(found) != 3 {
		t.Fatalf("got %+v, %v, want one by number and two that were asked for", found, err)
	}
	edited := found[0].Snapshot // at two
	edited.Fields[0].Value = "9"
	if err := s.snapshots().Put(context.Background(), edited); err != nil {
		t.Fatal(err)
	}
	o := s.run("aggregate:verify", "patient/A")
	if o.status != 7 || !strings.Contains(o.stdout+o.stderr, `the snapshot at version 2 lies: its field "crp" differs`) || !strings.Contains(o.stderr, "hint: the log is as it was written") {
		t.Errorf("got exit status %d: %s%s", o.status, o.stdout, o.stderr)
	}
	if out := s.must("aggregate:get", "patient/A", "2"); !strings.Contains(out, "  crp          2") && !strings.Contains(out, "2\n") {
		t.Errorf("got %s", out)
	}
	for _, args := range [][]string{{"--all"}, {"--type=patient"}} {
		o := s.run(append([]string{"aggregate:verify"}, args...)...)
		if o.status != 7 || !strings.Contains(o.stderr, `patient/A at version 2 (log patient, sequence 0): TAMPERED: the snapshot at version 2 lies: its field "crp" differs`) || !strings.Contains(o.stderr, "hint: the log is as it was written") {
			t.Errorf("%s: got exit status %d: %s%s", args, o.status, o.stdout, o.stderr)
		}
	}
	s.must("aggregate:snapshot", "patient/A", "2", "--comment=taken anew")
	s.must("aggregate:verify", "patient/A")
	var report client.Report
	if s.ask(&report, "aggregate:verify", "--type=patient"); len(report.Failed) > 0 || len(report.Logs) != 1 || report.Logs[0].Snapshots != 1 || report.Logs[0].Unchecked != "" {
		t.Errorf("got %+v, want the snapshots of one aggregate looked at", report)
	}
}
