package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/internal/disktest"
	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/archive/archivetest"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
)

// cold is the folder of the site's archive, where it has one.
func (s *site) cold() string { return filepath.Join(s.root, "cold") }

// archiveHolds looks into every message and every state of the archive, decrypted.
func (s *site) archiveHolds(secrets map[string]string) {
	s.t.Helper()
	keys, err := keyring.Load(filepath.Join(s.dir, "keys.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	opened, err := keys.Open([]byte(dataKey))
	if err != nil {
		s.t.Fatal(err)
	}
	key, err := opened.Derived("archive")
	if err != nil {
		s.t.Fatal(err)
	}
	folder, err := archive.OpenFolder(s.cold())
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := archive.New(archive.Config{Objects: folder, Site: keys.Site(), Key: key[:]})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx := context.Background()
	last, err := a.Last(ctx, "patient")
	if err != nil || last == 0 {
		s.t.Fatalf("got an archive up to %d, %v", last, err)
	}
	for sequence := uint64(1); sequence <= last; sequence++ {
		m, err := a.Get(ctx, "patient", sequence)
		if err != nil {
			s.t.Fatal(err)
		}
		s.nothingHolds(fmt.Sprintf("archive, message %d", sequence), m.Data, secrets)
	}
	kept, err := a.ListSnapshots(ctx, "patient")
	if err != nil || len(kept) == 0 {
		s.t.Fatalf("got %d states in the archive, %v", len(kept), err)
	}
	for _, k := range kept {
		err := a.ReadSnapshot(ctx, "patient", k, func(eventlog.Snapshot) error { return nil }, func(key, value []byte) error {
			s.nothingHolds("state in the archive", append(append([]byte(nil), key...), value...), secrets)
			return nil
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestKillDuringArchive kills the server again and again while events are written and archived, in a folder and in a bucket. Every event is there once in the end, also for a writer
// and a projector that lost all they had.
func TestKillDuringArchive(t *testing.T) {
	t.Parallel()
	for _, place := range []string{"folder", "bucket"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			s := configuredSite(t)
			if place == "folder" {
				s.env = append(s.env, "EVENTFUL_ARCHIVE="+s.cold())
			} else {
				at := archivetest.StartS3(t)
				s.put("keys", archivetest.AccessKey+"\n"+archivetest.SecretKey+"\n")
				s.env = append(s.env, "EVENTFUL_ARCHIVE=s3+http://"+at+"/cold", "EVENTFUL_ARCHIVE_KEYS="+filepath.Join(s.root, "keys"))
			}
			s.openWithSchema()
			s.killWhileArchiving(archiveKills())
		})
	}
}

// archiveKills is how often the server is killed.
func archiveKills() int {
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		return 40
	}
	return 4
}

func (s *site) killWhileArchiving(rounds int) {
	s.t.Helper()
	random := rand.New(rand.NewPCG(disktest.Seed(s.t), 6))
	events := 0
	for range rounds {
		var lines strings.Builder
		for range 40 {
			events++
			fmt.Fprintf(&lines, "{\"id\":\"P%d\",\"what\":\"note\",\"text\":\"%d\"}\n", events%7, events)
		}
		s.put("rows.ndjson", lines.String())
		s.put("mapping.yaml", "id: id\nevent: {column: what}\nfields: {text: text}\n")
		s.must("data:import", "rows.ndjson", "--aggregate=patient", "--mapping=mapping.yaml")
		running := s.background("event:archive", "--all")
		<-time.NewTimer(time.Duration(random.IntN(700)) * time.Millisecond).C // the moment of the kill is the test's chance
		was := s.kill()
		running.kill()
		s.again(was)
	}
	s.must("event:archive", "--all")
	s.stop()
	for _, lost := range []string{"state", "index"} {
		if err := os.RemoveAll(filepath.Join(s.dir, lost)); err != nil {
			s.t.Fatal(err)
		}
	}
	s.start()
	seen := map[string]int{}
	for id := range 7 {
		var page []struct {
			Fields map[string]string `json:"fields"`
		}
		s.ask(&page, "aggregate:history", fmt.Sprintf("patient/P%d", id), "--take=0")
		for _, e := range page {
			seen[e.Fields["text"]]++
		}
	}
	for n := 1; n <= events; n++ {
		if seen[fmt.Sprint(n)] != 1 {
			s.t.Errorf("event %d is there %d times", n, seen[fmt.Sprint(n)])
		}
	}
	s.must("aggregate:verify", "--all")
}
