package e2e_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

func TestPortsTaken(t *testing.T) {
	t.Parallel()
	s := configuredSite(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	s.refused(6, port+" is taken", "start", "--port="+port, "--nats-port=0")
	s.refused(6, port+" is taken", "start", "--port=0", "--nats-port="+port)
	if s.running() {
		t.Error("got a running server, want none")
	}
	s.start()
	s.stop()
}

func TestDataFolderInUse(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	was := s.info()
	s.refused(4, "runs on", "start", "--port=0", "--nats-port=0")
	s.refused(4, "runs on", "start", "--foreground", "--port=0", "--nats-port=0")
	if got := s.info(); got != was {
		t.Errorf("got server %+v, want still %+v", got, was)
	}
	s.must("event:add", "patient/registered", "--id=A")
	s.stop()

	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if o := s.run("start", "--port=0", "--nats-port=0"); o.status == 0 || !strings.Contains(o.stderr, "error: ") || !strings.Contains(o.stderr, "hint: ") {
		t.Errorf("start on a folder that another process holds: got exit status %d\n%s", o.status, o.stderr)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// Another process holds the store alone: a copy of the binary that knows no lock of ours.
	if f, err = os.OpenFile(filepath.Join(s.dir, "jetstream", "lock"), os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	s.refused(4, "in use", "start", "--port=0", "--nats-port=0")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNotWritable puts files where folders are wanted, since permissions do not bind root, under whom tests may run.
func TestNotWritable(t *testing.T) {
	t.Parallel()
	s := configuredSite(t)
	s.put("file", "")
	s.refused(1, "file", "config", "--generate", "--data-dir="+filepath.Join(s.root, "file"))
	s.refused(1, "file", "config", "--generate", "--data-dir="+filepath.Join(s.root, "file", "data"))
	for _, name := range []string{"jetstream", "accounts", "state", "index"} {
		path := filepath.Join(s.dir, name)
		remove(t, path) // an earlier start may have made it
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if o := s.run("start", "--port=0", "--nats-port=0"); o.status == 0 || o.status > 7 || strings.Count(o.stderr, "error: ") != 1 || !strings.Contains(o.stderr, name) {
			t.Errorf("%s is a file: got exit status %d with\n%s\nwant one error that names it", name, o.status, o.stderr)
		}
		if s.running() {
			t.Fatalf("%s is a file: got a running server, want none", name)
		}
		remove(t, path)
	}
	s.start()
	s.stop()
}

func TestWrongKeysAndVersions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must("event:add", "patient/crp", "--id=A", "--crp=1")
	s.refused(5, "master key", "token:generate", "--auth-key", "EVENTFUL_MASTER_KEY=another-master-key-altogether")
	s.refused(5, "auth key", "token:generate", "--expiration=60", "--identifierType=user", "--identifierId=x", "EVENTFUL_AUTH_KEY=SAANOTAKEY")
	s.stop()
	start := []string{"start", "--port=0", "--nats-port=0"}
	s.refused(5, "the DEK does not open", append(start, "EVENTFUL_DEK=another-data-key-altogether")...)
	s.changed("config.toml", "format = 1", "format = 2", func() { s.refused(1, "format", start...) })
	s.changed("keys.json", `"version": 1`, `"version": 2`, func() { s.refused(1, "version 2", start...) })
	s.changed("keys.json", `"site": "`, `"site": "x`, func() { s.refused(4, "belongs to site", start...) })
	s.start()
	if out := s.must("aggregate:get", "patient/A", "-o", "json"); !strings.Contains(out, `"crp": "1"`) {
		t.Errorf("got %s, want what was written", out)
	}
}

// changed runs with a changed file in the data folder.
func (s *site) changed(name, from, to string, run func()) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), from) != 1 {
		s.t.Fatalf("%s: got %s (%v), want %q in it once", path, text, err, from)
	}
	for _, content := range []string{strings.Replace(string(text), from, to, 1), string(text)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			s.t.Fatal(err)
		}
		if content != string(text) {
			run()
		}
	}
}

// admin does something to the stream of a log as an administrator who holds the DEK can, while no engine runs.
func (s *site) admin(log string, do func(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream)) {
	s.t.Helper()
	s.start("--no-engines")
	keys, secrets := s.secrets()
	text, seed, err := secrets.EngineUser(keyring.LOG, "test")
	if err != nil {
		s.t.Fatal(err)
	}
	nc, err := nats.Connect(s.info().NATS, nats.UserJWTAndSeed(text, string(seed)))
	if err != nil {
		s.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	name, err := streams.Stream(keys.Site(), log)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		s.t.Fatal(err)
	}
	do(ctx, js, stream)
	s.stop()
}

// appended appends a message to a log.
func (s *site) appended(log string, data func(newest []byte) []byte) {
	s.t.Helper()
	s.admin(log, func(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream) {
		info := stream.CachedInfo()
		newest, err := stream.GetMsg(ctx, info.State.LastSeq)
		if err != nil {
			s.t.Fatal(err)
		}
		if _, err := js.Publish(ctx, newest.Subject, data(newest.Data)); err != nil {
			s.t.Fatal(err)
		}
	})
}

func TestNewerTopology(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must("event:add", "patient/crp", "--id=A", "--crp=1")
	set := func(version int) {
		s.admin("patient", func(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream) {
			config := stream.CachedInfo().Config
			config.Metadata[streams.TopologyKey] = strconv.Itoa(version)
			if _, err := js.UpdateStream(ctx, config); err != nil {
				t.Fatal(err)
			}
		})
	}
	s.stop()
	set(streams.TopologyVersion + 1)
	o := s.run("start", "--port=0", "--nats-port=0")
	if o.status == 0 || !strings.Contains(o.stderr, "topology 2, this program knows 1") || !strings.Contains(o.stderr, "hint: ") {
		t.Errorf("got exit status %d with\n%s\nwant the version named, and a hint", o.status, o.stderr)
	}
	set(streams.TopologyVersion)
	s.start()
	s.must("event:add", "patient/crp", "--id=A", "--crp=2", "--expected-version=1")
}

func TestNewerLogFormat(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must("event:add", "patient/crp", "--id=A", "--crp=1")
	s.stop()
	s.appended("patient", func(newest []byte) []byte { newest[3]++; return newest })
	o := s.run("start", "--port=0", "--nats-port=0")
	if o.status == 0 || !strings.Contains(o.stderr, "version 2") || !strings.Contains(o.stderr, "hint: ") {
		t.Errorf("got exit status %d with\n%s\nwant the version named, and a hint", o.status, o.stderr)
	}
	if s.running() {
		t.Error("got a running server, want none")
	}
	s.admin("patient", func(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream) { rewind(t, ctx, js, stream) })
	s.start()
	s.must("event:add", "patient/crp", "--id=A", "--crp=2", "--expected-version=1")
}

// rewind makes the log anew without its newest message.
func rewind(t *testing.T, ctx context.Context, js jetstream.JetStream, stream jetstream.Stream) {
	t.Helper()
	info := stream.CachedInfo()
	var kept []*jetstream.RawStreamMsg
	for seq := uint64(1); seq < info.State.LastSeq; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, m)
	}
	if err := js.DeleteStream(ctx, info.Config.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, info.Config); err != nil {
		t.Fatal(err)
	}
	for _, m := range kept {
		if _, err := js.Publish(ctx, m.Subject, m.Data); err != nil {
			t.Fatal(err)
		}
	}
}

// TestVoidBlock: a block that does not continue the one before is skipped, and named.
func TestVoidBlock(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must("event:add", "patient/crp", "--id=A", "--crp=1")
	s.stop()
	s.appended("patient", bytes.Clone)
	s.start()
	s.must("event:add", "patient/crp", "--id=A", "--crp=2", "--expected-version=1")
	report, err := s.client().VerifyType(context.Background(), "patient", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Logs) != 1 || report.Logs[0].Void != 1 || report.Events != 2 || len(report.Failed) > 0 {
		t.Errorf("got %+v, want two events and one void stretch", report)
	}
	if out := s.must("aggregate:verify", "--all"); !strings.Contains(out, "OK") {
		t.Errorf("got %s, want OK", out)
	}
}

// TestDamage: what does not decode is named, the rest is read on, and the log takes no writes; other logs do.
func TestDamage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.refuted = true
	s.must("event:add", "patient/crp", "--id=A", "--crp=1", "--command-id=first")
	s.stop()
	s.appended("patient", func([]byte) []byte { return []byte("no block") })
	for range 2 {
		s.start()
		s.refused(6, "damage", "event:add", "patient/crp", "--id=A", "--crp=2", "--timeout=2s")
		s.must("event:add", "ward/note", "--id=A", "--text=x")
		if out := s.must("aggregate:get", "patient/A", "-o", "json"); !strings.Contains(out, `"crp": "1"`) {
			t.Errorf("got %s, want what was written", out)
		}
		s.must("aggregate:verify", "patient/A")
		s.refused(7, "log patient, sequence", "aggregate:verify", "--all")
		s.stop()
		remove(t, filepath.Join(s.dir, "state"))
		remove(t, filepath.Join(s.dir, "index"))
	}
}

// TestStopLosesNothing stops the server under load, cleanly and by restart.
func TestStopLosesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	load := s.write(0)
	until(t, "some commands are stored", func() bool { return load.answered() >= 200 })
	was := s.info()
	s.stop()
	if log := s.log(); strings.Contains(log, `"level":"error"`) || strings.Contains(log, "panic") || !strings.Contains(log, "server stopped") {
		t.Errorf("got log\n%s\nwant a clean end", log)
	}
	s.again(was)
	before := load.answered()
	until(t, "more commands are stored", func() bool { return load.answered() >= before+200 })
	s.must("restart")
	if now := s.info(); now.NATS != was.NATS || now.Site != was.Site || now.PID == was.PID {
		t.Errorf("got %+v behind a restart, want the addresses of %+v and a new process", now, was)
	}
	before = load.answered()
	until(t, "still more commands are stored", func() bool { return load.answered() >= before+200 })
	load.stop()
	s.checkWritten(load.sent, load.acked)
	s.seed()
	want := s.answers()
	s.must("restart")
	if diff := cmp.Diff(want, s.answers()); diff != "" {
		t.Errorf("answers behind a restart (-want +got):\n%.3000s", diff)
	}
}

func (s *site) log() string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "eventful.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// TestSecretsStaySecret looks for every secret in logs, process, data folder and output, after success and failure at the most talkative level.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.stop()
	s.start("--log-level=trace")
	const value = "canary-value-of-a-patient"
	secrets := map[string]string{"master key": masterKey, "DEK": dataKey, "auth key": s.authKey, "token": s.token, "token's signature": s.token[len(s.token)-80:], "value": value}
	var said bytes.Buffer
	for _, args := range [][]string{
		{"event:add", "patient/note", "--id=A", "--text=" + value}, {"event:add", "patient/crp", "--id=A", "--crp=" + value}, {"event:add", "patient/note", "--id=A", "--age=" + value},
		{"token:generate", "--auth-key", "EVENTFUL_MASTER_KEY=" + masterKey + "x"}, {"start", "EVENTFUL_DEK=" + dataKey + "x"},
		{"event:add", "patient/registered", "--id=B", "EVENTFUL_TOKEN=" + s.token + "x"}, {"event:add", "patient/registered", "--id=B", "EVENTFUL_TOKEN=x" + s.token},
		{"schema:list", "EVENTFUL_AUTH_KEY=" + s.authKey + "x"}, {"config", "show"}, {"status"}, {"logs"},
	} {
		o := s.run(args...)
		said.WriteString(o.stdout + o.stderr)
	}
	k := dialSocket(t, s.info().NATS, s.token)
	k.request("cmd.patient.A.note", []header{{"Eventful-Token", s.token}, {"Eventful-Token", s.token}}, `{"text":"`+value+`"}`)
	checkFrame(t, k.next(), k.inbox+".1", problem.Malformed)
	_, refusal := tryDial(t, s.info().NATS, s.token+"x")
	said.WriteString(refusal.text)
	s.nothingHolds("output", said.Bytes(), secrets)
	for _, name := range []string{"cmdline", "environ"} {
		if text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.info().PID), name)); err == nil {
			s.nothingHolds(name+" of the process", text, secrets)
		}
	}
	s.filesHold(secrets)
	if _, err := s.client().VerifyAll(context.Background(), client.Progress(nil)); err != nil {
		t.Fatal(err)
	}
	s.stop()
	s.filesHold(secrets)
}

func (s *site) nothingHolds(what string, text []byte, secrets map[string]string) {
	s.t.Helper()
	for name, secret := range secrets {
		if i := bytes.Index(text, []byte(secret)); i >= 0 {
			s.t.Errorf("%s holds the %s: …%.300q", what, name, text[max(0, i-100):])
		}
	}
}

// filesHold looks into every file of the data folder.
func (s *site) filesHold(secrets map[string]string) {
	s.t.Helper()
	for _, path := range files(s.t, s.dir) {
		info, err := os.Stat(path)
		if err != nil || info.IsDir() {
			continue // it went away while we looked
		}
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		s.nothingHolds(path, text, secrets)
		if info.Mode().Perm()&0o077 != 0 && filepath.Dir(path) == s.dir && filepath.Base(path) != "lock" {
			s.t.Errorf("%s: got mode %s, want it for its owner only", path, info.Mode())
		}
	}
}
