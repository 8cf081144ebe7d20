package e2e_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReencryptUnderKills kills the real command with SIGKILL at every third line that it prints (EVENTFUL_TORTURE: at each), the next run taking up what the last one left. Never may both folders start, and
// the site is the same afterwards: events, what is staged, what was refused.
func TestReencryptUnderKills(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i := range 20 {
		s.must("event:add", "patient/crp", "--id=P"+strconv.Itoa(i%4), "--crp=1."+strconv.Itoa(i))
	}
	s.must("aggregate:apply", "patient/crp", "--id=STAGED", "--crp=7")
	s.must("event:add", "ward/note", "--id=W", "--text=x", "--expected-version=9", "--inbox")
	until(t, "the inbox refused it", func() bool { return s.refusals() != "" })
	want := s.everything()
	s.stop()

	fresh, before := filepath.Join(s.root, "fresh"), s.dir
	line, every := 1, 3
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		every = 1
	}
	for ; s.killedAt(line, "store:reencrypt", "--to="+fresh); line += every {
		_, moved := os.Stat(filepath.Join(before, "moved-to"))
		_, taken := os.Stat(filepath.Join(fresh, "keys.json"))
		if moved != nil && taken == nil {
			t.Fatalf("killed at line %d: both folders start", line)
		}
	}
	if line < 10 {
		t.Errorf("it ended within %d lines, want 10 or more", line)
	}
	s.refused(4, "given up", "start")
	s.env = append(s.env, "EVENTFUL_DATA_DIR="+fresh)
	s.dir = fresh
	s.start()
	if diff := cmp.Diff(want, s.everything()); diff != "" {
		t.Errorf("the site (-before +after):\n%s", diff)
	}
	s.must("aggregate:commit")
	s.must("doctor")
	s.must("destroy", "--yes", "EVENTFUL_DATA_DIR="+before)
}

func (s *site) refusals() string { return s.must("inbox:refused", "-o", "ndjson") }

// everything is what people see of the site.
func (s *site) everything() []string {
	all := []string{s.must("aggregate:staged", "-o", "json"), s.refusals()}
	for _, id := range []string{"P0", "P1", "P2", "P3"} {
		all = append(all, s.must("aggregate:history", "patient/"+id, "-o", "json"), s.must("aggregate:get", "patient/"+id, "-o", "json"))
	}
	return all
}

// killedAt runs a command and kills it when it has printed so many lines to standard error; false: it ended well before.
func (s *site) killedAt(line int, args ...string) bool {
	s.t.Helper()
	cmd := s.command(args...)
	out, err := cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	seen, killed := "", false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		seen += lines.Text() + "\n"
		if line--; line == 0 {
			killed = cmd.Process.Kill() == nil
		}
	}
	if err := cmd.Wait(); err != nil && (!killed || cmd.ProcessState.Exited()) {
		s.t.Fatalf("%v: %v\n%s", args, err, seen)
	}
	return killed && !cmd.ProcessState.Exited()
}
