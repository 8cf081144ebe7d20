package e2e_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// file is a path in the folder of the site.
func (s *site) file(name string) string { return filepath.Join(s.root, name) }

// added writes an event and gives its hash: the receipt.
func (s *site) added(id string) string {
	s.t.Helper()
	var answer client.Answer
	s.ask(&answer, "event:add", "patient/crp", "--id="+id, "--crp=21.0", "--unit=mg/l")
	return answer.Commits[0].Hashes[0]
}

// covered keeps a checkpoint of the log that vouches for an event, as somebody elsewhere would.
func (s *site) covered(hash, name string) string {
	s.t.Helper()
	s.must("log:prove", hash, "--to="+s.file(name+".tlog-proof")) // waits until it is covered
	s.must("log:checkpoint", "patient", "--to="+s.file(name))
	return "--checkpoint=" + s.file(name)
}

// program is the one of docs/proofs.md that checks a proof without EventfulDB.
func program(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/proofs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```python\n")
	code, _, ended := strings.Cut(rest, "```\n")
	if !found || !ended {
		t.Fatal("docs/proofs.md has no program")
	}
	path := filepath.Join(t.TempDir(), "check.py")
	if err := os.WriteFile(path, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestProofWithoutEventfulDB: a receipt becomes a proof that Python and openssl confirm, and that no change survives, there and with log:verify.
func TestProofWithoutEventfulDB(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.added("A")
	hash := s.added("A")
	s.added("B")
	s.must("log:prove", hash[:12], "--content", "--to="+s.file("proof"))
	if err := os.WriteFile(s.file("policy"), []byte(s.must("log:checkpoint", "--keys")), 0o600); err != nil {
		t.Fatal(err)
	}
	out := s.must("log:verify", s.file("proof"), "--policy="+s.file("policy"))
	for _, want := range []string{"OK_UNWITNESSED", "patient/A", "user:ada", "21.0", hash} {
		if !strings.Contains(out, want) {
			t.Errorf("log:verify says %s, want %q", out, want)
		}
	}
	proof, err := os.ReadFile(s.file("proof"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(proof), "\n")
	wrongs := map[string]string{
		"another index": strings.Replace(string(proof), "index 1\n", "index 0\n", 1), "another size": strings.Replace(string(proof), "\n"+lines[len(lines)-5]+"\n", "\n9\n", 1),
		"a hash less": strings.Replace(string(proof), lines[3]+"\n", "", 1), "another checkpoint": string(proof[:len(proof)-9]) + "AAAAAAA=\n",
	}
	python, err := exec.LookPath("python3")
	if err != nil && os.Getenv("REQUIRE_PYTHON") != "1" {
		t.Log("there is no python3: its part is left out")
	}
	check := program(t)
	if python != "" {
		out, err := exec.Command(python, check, s.file("proof"), s.file("policy")).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "crp of patient/A, version 2, by user:ada") || !strings.Contains(string(out), "crp = 21.0") {
			t.Errorf("the program says %s (%v)", out, err)
		}
	}
	for name, wrong := range wrongs {
		if wrong == string(proof) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if err := os.WriteFile(s.file("wrong"), []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := s.run("log:verify", s.file("wrong"), "--policy="+s.file("policy")); got.status != 7 {
			t.Errorf("%s: got %+v, want exit status 7", name, got)
		}
		if python != "" {
			var exit *exec.ExitError
			if out, err := exec.Command(python, check, s.file("wrong"), s.file("policy")).CombinedOutput(); !errors.As(err, &exit) {
				t.Errorf("%s: the program says %s", name, out)
			}
		}
	}
}

// TestRestoredBackups: the whole data folder of yesterday is put back. The site itself cannot know; a checkpoint that somebody kept, and an export, show it, before and
// behind new writes.
func TestRestoredBackups(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.covered(s.added("A"), "first")
	s.must("log:export", "patient", s.file("tiles"))
	s.stop()
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	s.start()
	kept := s.covered(s.added("A"), "kept")
	s.must("log:export", "patient", s.file("tiles"))
	if out := s.must("aggregate:verify", "patient/A", kept, first, "-o", "json"); !strings.Contains(out, `"verdict": "OK",`) {
		t.Errorf("got %s, want OK", out)
	}
	if out := s.must("aggregate:verify", "patient/A", first, "-o", "json"); !strings.Contains(out, `"verdict": "OK_UNWITNESSED",`) {
		t.Errorf("with a checkpoint that is too old: got %s, want OK_UNWITNESSED", out)
	}
	s.stop()
	remove(t, s.dir)
	if err := os.CopyFS(s.dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"keys.json", "config.toml"} {
		if err := os.Chmod(filepath.Join(s.dir, secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	s.must("aggregate:verify", "--all", first)
	for _, args := range [][]string{{"aggregate:verify", "patient/A", kept}, {"aggregate:verify", "--all", kept}, {"log:export", "patient", s.file("tiles")}} {
		s.refused(7, "TRUNCATED", args...)
	}
	s.covered(s.added("A"), "forked")
	s.covered(s.added("A"), "forked")
	for _, args := range [][]string{{"aggregate:verify", "patient/A", kept}, {"aggregate:verify", "--all", kept}, {"log:export", "patient", s.file("tiles")}} {
		s.refused(7, "FORKED", args...)
	}
	s.must("log:export", "patient", s.file("other"))
	if err := os.WriteFile(s.file("policy"), []byte(s.must("log:checkpoint", "--keys")), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused(7, "FORKED", "log:verify", "--tiles="+s.file("other"), "--policy="+s.file("policy"), "--since="+s.file("kept"))
	s.must("log:verify", "--tiles="+s.file("other"), "--policy="+s.file("policy"), "--since="+s.file("first"))
}

// TestAPutBackStreamIsNotSigned: the stream of a log alone is put back. Nothing is signed of it any more; status, doctor and verification name it.
func TestAPutBackStreamIsNotSigned(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.covered(s.added("A"), "first")
	s.stop()
	streams, err := filepath.Glob(filepath.Join(s.dir, "jetstream", "jetstream", "*", "streams", "EVT_*_patient"))
	if err != nil || len(streams) != 1 {
		t.Fatalf("got the streams %v, %v; want that of patient", streams, err)
	}
	backup, whole := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "whole")
	if err := os.CopyFS(backup, os.DirFS(streams[0])); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.covered(s.added("A"), "kept")
	size := s.must("log:checkpoint", "patient")
	s.stop()
	if err := os.CopyFS(whole, os.DirFS(streams[0])); err != nil {
		t.Fatal(err)
	}
	remove(t, streams[0])
	if err := os.CopyFS(streams[0], os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	remove(t, filepath.Join(s.dir, "state")) // the writer's own memory of what it wrote
	s.start()
	until(t, "status names it", func() bool { return strings.Contains(s.must("status"), "no checkpoints are signed: TRUNCATED") })
	s.refused(7, "TRUNCATED", "aggregate:verify", "patient/A")
	s.refused(7, "TRUNCATED", "aggregate:verify", "--all")
	if got := s.run("doctor"); got.status != 1 || !strings.Contains(got.stdout+got.stderr, "contradicts an earlier one") {
		t.Errorf("got %+v, want exit status 1 and the log named", got)
	}
	lost := s.added("A")
	s.added("A")
	s.refused(7, "not under the last checkpoint", "log:prove", lost)
	s.refused(7, "FORKED", "aggregate:verify", "--all")
	if got := s.must("log:checkpoint", "patient"); got != size {
		t.Errorf("something was signed: %s, want %s as before", got, size)
	}
	s.refused(7, "does not hold the block of its last checkpoint", "log:checkpoint", "patient", "--to="+s.file("first"))
	s.stop()
	remove(t, streams[0])
	if err := os.CopyFS(streams[0], os.DirFS(whole)); err != nil {
		t.Fatal(err)
	}
	remove(t, filepath.Join(s.dir, "state"))
	s.start()
	s.covered(s.added("A"), "again")
	s.must("aggregate:verify", "--all", "--checkpoint="+s.file("kept"), "--checkpoint="+s.file("first"))
}

// TestRewrittenStream: an administrator with every key writes the stream of a log anew, from an event in the middle on, with every hash recomputed, and removes what the
// writer remembers. The log agrees with itself; what was signed of it names it, with and without a checkpoint that somebody kept.
func TestRewrittenStream(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := configuredIn(t, root, filepath.Join(root, "data"), "EVENTFUL_SITE="+verifytest.Site)
	s.openWithSchema()
	s.added("A")
	first := s.covered(s.added("B"), "first")
	s.added("A")
	kept := s.covered(s.added("A"), "kept")
	s.stop()
	var original [][]byte
	s.admin("patient", func(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream) {
		original = s.messages(ctx, stream)
		_, log, b := verifytest.Memory(t, "patient")
		b.Resume(original[:len(original)-2])
		for range 3 {
			b.Block(verifytest.Commit{Aggregate: event.AggregateID{Type: "patient", ID: "A"}, Actor: "user:eve", Events: []verifytest.Event{{Type: "crp"}}})
		}
		s.rewrite(ctx, js, stream, verifytest.Messages(t, log))
	})
	remove(t, filepath.Join(s.dir, "state"))
	s.start()
	s.refused(7, "FORKED", "aggregate:verify", "--all")
	s.refused(7, "FORKED", "aggregate:verify", "patient/A")
	s.refused(7, "FORKED", "aggregate:verify", "patient/A", kept)
	if got := s.run("aggregate:verify", "--all", first); got.status != 7 || strings.Count(got.stdout, "FORKED") == 0 {
		t.Errorf("got %+v", got)
	}
	until(t, "status names it", func() bool { return strings.Contains(s.must("status"), "no checkpoints are signed: ") })
	s.stop()
	s.admin("patient", func(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream) {
		s.rewrite(ctx, js, stream, original)
	})
	remove(t, filepath.Join(s.dir, "state"))
	s.start()
	s.covered(s.added("A"), "again")
	s.must("aggregate:verify", "--all", kept, first)
}

// messages are those of a stream, from the first.
func (s *site) messages(ctx context.Context, stream jetstream.Stream) (all [][]byte) {
	s.t.Helper()
	for sequence := uint64(1); sequence <= stream.CachedInfo().State.LastSeq; sequence++ {
		m, err := stream.GetMsg(ctx, sequence)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, m.Data)
	}
	return all
}

// rewrite deletes a stream and writes it again.
func (s *site) rewrite(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream, messages [][]byte) {
	s.t.Helper()
	config := stream.CachedInfo().Config
	if err := js.DeleteStream(ctx, config.Name); err != nil {
		s.t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, config); err != nil {
		s.t.Fatal(err)
	}
	for _, m := range messages {
		if _, err := js.Publish(ctx, config.Subjects[0], m); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestKeptCheckpointFile: log:checkpoint --to replaces a file that holds an older checkpoint of the log, and leaves every other one as it is.
func TestKeptCheckpointFile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	kept := s.file("kept")
	s.covered(s.added("A"), "kept")
	first := s.read(kept)
	s.must("log:checkpoint", "patient", "--to="+kept) // the same one again
	if got := s.read(kept); got != first {
		t.Errorf("got %s, want it as it was: %s", got, first)
	}
	for range 5 {
		s.added("B")
	}
	s.covered(s.added("A"), "kept")
	newest := s.read(kept)
	if newest == first || !strings.Contains(newest, "\n7\n") {
		t.Errorf("got %s, want the checkpoint of 7 events", newest)
	}
	_, secrets := s.secrets()
	seed, err := secrets.Derived("log tree checkpoints")
	if err != nil {
		t.Fatal(err)
	}
	sign := func(site, log string, size uint64) string {
		note, err := logtree.NewKey(site, seed).Sign(log, size, event.Hash{1})
		if err != nil {
			t.Fatal(err)
		}
		return string(note)
	}
	site := s.info().Site
	for name, c := range map[string]struct {
		status int
		text   string
		file   string
	}{
		"a larger tree":          {7, "TRUNCATED: it vouches for the first 9 events", sign(site, "patient", 9)},
		"a tree of other events": {7, "FORKED: the first 3 events", sign(site, "patient", 3)},
		"another root":           {7, "FORKED: the first 7 events", sign(site, "patient", 7)},
		"another log":            {2, "no checkpoint of log patient", sign(site, "ward", 3)},
		"another site":           {2, "no checkpoint of log patient", sign("elsewhere", "patient", 3)},
		"another size":           {2, "not signed", strings.Replace(newest, "\n7\n", "\n6\n", 1)},
		"rubbish":                {2, "no checkpoint of log patient", "rubbish\n"},
		"nothing":                {2, "no checkpoint of log patient", ""},
	} {
		if err := os.WriteFile(s.file("other"), []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		if o := s.run("log:checkpoint", "patient", "--to="+s.file("other")); o.status != c.status || !strings.Contains(o.stderr, c.text) || !strings.Contains(o.stderr, "hint: ") {
			t.Errorf("%s: got %+v, want exit status %d, %q and a hint", name, o, c.status, c.text)
		}
		if got := s.read(s.file("other")); got != c.file {
			t.Errorf("%s: the file holds %s now, want %s", name, got, c.file)
		}
	}
	s.refused(2, "no file of at most", "log:checkpoint", "patient", "--to="+s.root)
	left, err := filepath.Glob(s.file("*.new*"))
	if err != nil || len(left) > 0 {
		t.Errorf("got %v, %v, want no file left over", left, err)
	}
}

func (s *site) read(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// TestCheckpointsUnderKills: whenever the server is killed, the log goes on to extend everything that was signed of it.
func TestCheckpointsUnderKills(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var kept []string
	for round := range 5 {
		load := s.write(round)
		name := s.file("kept-" + strconv.Itoa(round))
		until(t, "a checkpoint", func() bool { return s.run("log:checkpoint", "ward", "--to="+name).status == 0 })
		kept = append(kept, "--checkpoint="+name)
		info := s.kill()
		load.stop()
		s.again(info)
	}
	last := s.covered(s.added("Z"), "last")
	s.must(append([]string{"aggregate:verify", "--all", last}, kept...)...)
}

// TestWhoMayProve: an auditor's token proves events of the aggregates that it names, and of no others; checkpoints are of the logs of its types.
func TestWhoMayProve(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	own, other := s.added("A"), s.added("B")
	s.must("event:add", "ward/note", "--id=W", "--text=x")
	c := s.clientOf(s.mint(token.Claims{Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionVerify}, AggregateIDs: []event.AggregateID{{Type: "patient", ID: "A"}}}))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if p, err := c.Prove(ctx, own, false); err != nil || p.ID != "A" || p.Log != "patient" {
		t.Errorf("its own aggregate: got %+v, %v", p, err)
	}
	for name, hash := range map[string]string{"another aggregate": other, "nothing": strings.Repeat("0", 64)} {
		if p, err := c.Prove(ctx, hash, false); !errors.Is(err, &problem.Problem{Code: problem.NotFound}) {
			t.Errorf("%s: got %+v, %v, want not_found", name, p, err)
		}
	}
	if p, err := c.Prove(ctx, own, true); !errors.Is(err, &problem.Problem{Code: problem.Forbidden}) {
		t.Errorf("content with verify alone: got %+v, %v, want forbidden", p, err)
	}
	if logs, err := c.Checkpoints(ctx, ""); err != nil || len(logs) != 1 || logs[0].Log != "patient" {
		t.Errorf("got the checkpoints %+v, %v, want that of patient", logs, err)
	}
	if _, err := c.Checkpoints(ctx, "ward"); !errors.Is(err, &problem.Problem{Code: problem.NotFound}) {
		t.Errorf("another log: got %v, want not_found", err)
	}
	if _, err := c.Entries(ctx, "patient", 0, 1); !errors.Is(err, &problem.Problem{Code: problem.Forbidden}) {
		t.Errorf("entries: got %v, want forbidden", err)
	}
}

// TestBadProofs: what people get wrong is refused, said, and stores nothing.
func TestBadProofs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	hash := s.added("A")
	s.covered(hash, "kept")
	if err := os.WriteFile(s.file("policy"), []byte(s.must("log:checkpoint", "--keys")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.file("rubbish"), []byte("rubbish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	policy := "--policy=" + s.file("policy")
	for _, c := range []struct {
		status int
		text   string
		args   []string
	}{
		{3, "no event", []string{"log:prove", strings.Repeat("a", 64)}}, {2, "digits", []string{"log:prove", "ab"}}, {2, "hexadecimal", []string{"log:prove", "xyzw"}},
		{3, "no log", []string{"log:checkpoint", "nobody"}}, {3, "no log", []string{"log:checkpoint", "../x"}}, {2, "--to", []string{"log:checkpoint", "--to=" + s.file("x")}},
		{3, "no log", []string{"log:export", "nobody", s.file("t")}},
		{2, "--policy", []string{"log:verify", s.file("kept")}}, {2, "policy", []string{"log:verify", s.file("kept"), "--policy=" + s.file("rubbish")}}, {3, "no file", []string{"log:verify", s.file("none"), policy}},
		{2, "checkpoint", []string{"log:verify", s.file("rubbish"), policy}}, {2, "FILE", []string{"log:verify", s.file("kept"), "--tiles=" + s.file("t"), policy}}, {2, "--since", []string{"log:verify", s.file("kept"), "--since=" + s.file("kept"), policy}},
		{3, "checkpoint", []string{"log:verify", "--tiles=" + s.file("none"), policy}}, {2, "checkpoint", []string{"aggregate:verify", "patient/A", "--checkpoint=" + s.file("rubbish")}},
		{2, "no file", []string{"log:verify", s.root, policy}},
	} {
		s.refused(c.status, c.text, c.args...)
	}
	s.must("log:verify", s.file("kept"), policy)
	c := s.client()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for name, bounds := range map[string][2]uint64{"none": {0, 0}, "backwards": {1, 0}, "beyond the end": {0, 1 << 40}, "far beyond": {1<<64 - 2, 1<<64 - 1}} {
		if got, err := c.Entries(ctx, "patient", bounds[0], bounds[1]); !errors.Is(err, client.ErrMalformed) {
			t.Errorf("entries, %s: got %d, %v, want malformed", name, len(got), err)
		}
	}
	if _, err := c.Entries(ctx, "no log", 0, 1); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("entries of no log: got %v, want not_found", err)
	}
	kept := s.must("log:checkpoint", "patient")
	if _, err := c.VerifyAll(ctx, nil, slices.Repeat([]string{kept}, 65)...); !errors.Is(err, &problem.Problem{Code: problem.TooLarge}) {
		t.Errorf("65 checkpoints: got %v, want too_large", err)
	}
	if r, err := c.VerifyAll(ctx, nil, slices.Repeat([]string{kept}, 64)...); err != nil || len(r.Failed) > 0 {
		t.Errorf("64 checkpoints: got %+v, %v", r, err)
	}
	other := strings.Replace(s.must("log:checkpoint", "patient"), "/patient", "/ward", 1)
	if err := os.WriteFile(s.file("other"), []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused(2, "not signed", "aggregate:verify", "--all", "--checkpoint="+s.file("other"))
	s.refused(7, "not signed", "log:verify", s.file("other"), policy)
}

// TestALogThatVanishes: the stream of a log is deleted while the server runs. What the index was built from says that there was a log.
func TestALogThatVanishes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.covered(s.added("A"), "first")
	js, err := jetstream.New(s.connections()[keyring.LOG])
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := js.Stream(ctx, "EVT_"+s.info().Site+"_patient")
	if err != nil {
		t.Fatal(err)
	}
	original := s.messages(ctx, stream)
	if err := js.DeleteStream(ctx, stream.CachedInfo().Config.Name); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--all"}, {"--type=patient"}, {"patient/A"}} {
		s.refused(7, "TRUNCATED", append([]string{"aggregate:verify"}, args...)...)
	}
	if _, err := js.CreateStream(ctx, stream.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	for _, m := range original {
		if _, err := js.Publish(ctx, stream.CachedInfo().Config.Subjects[0], m); err != nil {
			t.Fatal(err)
		}
	}
	s.stop()
	remove(t, filepath.Join(s.dir, "state"))
	s.start()
}
