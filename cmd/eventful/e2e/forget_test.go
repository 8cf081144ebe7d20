package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/internal/disktest"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/logtree"
)

// secretSchema is a type with encrypted fields, one of them unique, and a ward beside it in the same log.
const secretSchema = `aggregate: patient
fields:
  name: {pii: true, max-length: 60}
  email: {pii: true, unique: true}
  note: {pii: true}
events:
  came: {fields: [name, email, note, ward]}
---
aggregate: ward
log: patient
events:
  note: {fields: [text]}
`

// newSecretSite is a running site with that schema, where plugins may run one program.
func newSecretSite(t *testing.T) *site {
	t.Helper()
	s := configuredSite(t)
	s.program("refusing", refusing)
	s.env = append(s.env, "EVENTFUL_ARCHIVE="+s.cold())
	s.put("secret.yaml", secretSchema)
	s.open(filepath.Join(s.root, "secret.yaml"), "--log-level=trace")
	return s
}

// forms are the ways in which a text could stand somewhere: plain, in hexadecimal, in base64 wherever it begins, and as a Go byte slice prints.
func forms(what, text string) map[string]string {
	out := map[string]string{what: text, what + " in hexadecimal": hex.EncodeToString([]byte(text)), what + " in bytes": strings.Trim(fmt.Sprint([]byte(text)), "[]")}
	for shift := range 3 {
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			whole := encoding.EncodeToString([]byte(strings.Repeat("x", shift) + text))
			out[fmt.Sprintf("%s in %s %d", what, name, shift)] = whole[(8*shift+5)/6 : len(whole)-2]
		}
	}
	return out
}

// connections are those of an engine in both accounts.
func (s *site) connections() map[keyring.Account]*nats.Conn {
	s.t.Helper()
	_, secrets := s.secrets()
	out := map[keyring.Account]*nats.Conn{}
	for _, account := range []keyring.Account{keyring.LOG, keyring.APP} {
		text, seed, err := secrets.EngineUser(account, "test")
		if err != nil {
			s.t.Fatal(err)
		}
		nc, err := nats.Connect(s.info().NATS, nats.UserJWTAndSeed(text, string(seed)), nats.ReconnectBufSize(-1))
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(nc.Close)
		out[account] = nc
	}
	return out
}

// streamsHold looks into every message of every stream and bucket, as JetStream's API gives it: decrypted. It gives the names of those that it read.
func (s *site) streamsHold(secrets map[string]string) (names map[string]uint64) {
	s.t.Helper()
	names = map[string]uint64{}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, nc := range s.connections() {
		js, err := jetstream.New(nc)
		if err != nil {
			s.t.Fatal(err)
		}
		all := js.ListStreams(ctx)
		for info := range all.Info() {
			stream, err := js.Stream(ctx, info.Config.Name)
			if err != nil {
				s.t.Fatal(err)
			}
			names[info.Config.Name] = info.State.Msgs
			for sequence := info.State.FirstSeq; sequence <= info.State.LastSeq && sequence > 0; sequence++ {
				m, err := stream.GetMsg(ctx, sequence)
				if errors.Is(err, jetstream.ErrMsgNotFound) {
					continue
				}
				if err != nil {
					s.t.Fatal(err)
				}
				s.nothingHolds(fmt.Sprintf("%s, message %d", info.Config.Name, sequence), fmt.Appendf(nil, "%s %v %s", m.Subject, m.Header, m.Data), secrets)
			}
		}
		if all.Err() != nil {
			s.t.Fatal(all.Err())
		}
		nc.Close()
	}
	return names
}

// proofHolds proves the newest event of an aggregate with its content: sealed values stay sealed in it.
func (s *site) proofHolds(aggregate string, secrets map[string]string) {
	s.t.Helper()
	var state client.State
	s.ask(&state, "aggregate:get", aggregate)
	text := s.must("log:prove", state.Hash, "--content")
	s.put("event.tlog-proof", text)
	proof, err := logtree.ParseProof([]byte(text))
	if err != nil || len(proof.Payload) == 0 {
		s.t.Fatalf("got %s, %v, want a proof with content", text, err)
	}
	s.nothingHolds("proof", []byte(text), secrets)
	s.nothingHolds("content of a proof", proof.Payload, secrets)
	s.nothingHolds("entry of a proof", proof.Entry, secrets)
}

type certificate struct {
	Aggregate     string `json:"aggregate"`
	KeyCommitment string `json:"key-commitment"`
	Forgotten     struct{ Position, Hash string }
	Done          struct{ Position, Hash string }
	Staged        int
	Refused       int
	Repeated      bool
}

// TestForgottenDataIsNowhere writes canaries into encrypted fields, and has them read, staged, refused and exported; then it forgets them and looks everywhere.
func TestForgottenDataIsNowhere(t *testing.T) {
	t.Parallel()
	s := newSecretSite(t)
	canaries := map[string]string{"name": "Canary Ada Lovelace 4711", "email": "canary-4711@example.org", "note": strings.Repeat("a canary that is compressed 4711 ", 30)}
	secrets := map[string]string{}
	for what, text := range canaries {
		for form, in := range forms(what, text[:min(len(text), 32)]) {
			secrets[form] = in
		}
	}
	body, err := json.Marshal(map[string]string{"name": canaries["name"], "email": canaries["email"], "note": canaries["note"], "ward": "7"})
	if err != nil {
		t.Fatal(err)
	}
	s.put("body.json", string(body))
	s.refusingPlugin(filepath.Join(s.root, "refusing"))
	s.must("plugin:config", "feed", "--type=nats") // which is given no values of encrypted fields
	s.must("plugin:enable", "feed")
	s.shell(string(body), "event:add", "patient/came", "--id=A", "--data=-")
	s.shell(string(body), "aggregate:apply", "patient/came", "--id=A", "--data=-", "--dry-run")
	for _, want := range canaries {
		if out := s.must("aggregate:get", "patient/A"); !strings.Contains(out, want) {
			t.Fatalf("got %s, want the values", out)
		}
	}
	s.shell(`{"name":`+quoted(canaries["name"])+`}`, "aggregate:apply", "patient/came", "--id=A", "--data=-")
	s.must("aggregate:apply", "ward/note", "--id=7", "--text=stays")
	c := s.client()
	about := event.AggregateID{Type: "patient", ID: "A"}
	bad := client.Command{Aggregate: about, Event: "came", Fields: client.Fields{"name": canaries["name"], "nothing": canaries["note"]}}
	if _, err := c.Enqueue(context.Background(), bad); err != nil {
		t.Fatal(err)
	}
	s.inboxIsEmpty(c)
	refused := s.refusedCommands(c)
	if len(refused) != 1 {
		t.Fatalf("got %d refused commands, want 1", len(refused))
	}
	s.must("event:add", "patient/came", "--id=A", "--name=another", "--email=other@example.org")
	s.must("aggregate:rollback", "patient/A", "--to=1") // which carries the values on, as they are sealed
	if out := s.must("aggregate:get", "patient/A"); !strings.Contains(out, canaries["name"]) || !strings.Contains(out, "rolled back") {
		t.Fatalf("got %s, want the values back", out)
	}
	s.must("aggregate:snapshot", "patient/A", "--comment=what is forgotten later")
	s.must("aggregate:archive", "patient/A", "--comment=out of the hot tier, and back")
	if out := s.must("aggregate:get", "patient/A"); !strings.Contains(out, canaries["name"]) || !strings.Contains(out, "archived") {
		t.Fatalf("got %s, want the values of an archived aggregate", out)
	}
	s.must("event:archive", "--log=patient")
	s.archiveHolds(secrets)
	export := s.must("aggregate:export", "patient/A")
	s.nothingHolds("export", []byte(export), secrets)
	s.put("export.json", export)
	s.proofHolds("patient/A", secrets)
	s.must("log:export", "patient", filepath.Join(s.root, "tiles"))
	for _, path := range files(t, filepath.Join(s.root, "tiles")) {
		if text, err := os.ReadFile(path); err == nil {
			s.nothingHolds(path, text, secrets)
		}
	}
	until(t, "the plugin was given the values, and parked them", func() bool { return s.parked() > 0 })
	until(t, "the feed has the events", func() bool { return s.feed() > 2 })
	names := s.streamsHold(secrets) // sealed wherever it lies
	for _, want := range []string{"KV_KEYS_" + s.info().Site, "KV_STAGED_" + s.info().Site, "REFUSED_" + s.info().Site, "KV_SNAP_" + s.info().Site, "KV_CHECKPOINTS_" + s.info().Site, "KV_POSITIONS_" + s.info().Site, "DEAD_" + s.info().Site, "EVT_" + s.info().Site + "_patient"} {
		if names[want] == 0 {
			t.Errorf("stream %s holds nothing: got %v", want, names)
		}
	}
	s.filesHold(secrets)
	s.must("aggregate:restore", "patient/A", "--comment=back")

	s.refused(2, "1 staged event", "data:forget", "patient/A")
	s.refused(5, "auth key", "data:forget", "patient/A", "--yes", "EVENTFUL_AUTH_KEY=")
	if _, err := s.client().Forget(context.Background(), about); !errors.Is(err, client.ErrForbidden) {
		t.Errorf("with an access token: got %v, want it forbidden", err)
	}
	var cert, again certificate
	s.ask(&cert, "data:forget", "patient/A", "--yes")
	s.ask(&again, "data:forget", "patient/A", "--yes")
	if cert.Staged != 1 || cert.Refused != 1 || cert.Repeated || !again.Repeated || again.Done != cert.Done || len(cert.KeyCommitment) != 64 {
		t.Errorf("got %+v, then %+v", cert, again)
	}
	s.refused(3, "no encrypted value", "data:forget", "patient/never", "--yes")
	var auditor struct{ Token string }
	var key struct {
		AuthKey string `json:"auth-key"`
	}
	s.ask(&key, "token:generate", "--auth-key", "--name=audit", "--aggregates=eventful-forgotten,eventful-certificate", "--actions=read,verify,admin", "EVENTFUL_MASTER_KEY="+masterKey)
	s.ask(&auditor, "token:generate", "--expiration=600", "--identifierType=user", "--identifierId=auditor", "--aggregates=eventful-forgotten,eventful-certificate", "--actions=read,verify", "EVENTFUL_AUTH_KEY="+key.AuthKey)
	var said bytes.Buffer
	for _, args := range [][]string{
		{"aggregate:get", "patient/A"}, {"aggregate:history", "patient/A", "-o", "json"}, {"aggregate:export", "patient/A"}, {"aggregate:verify", "patient/A"}, {"aggregate:staged"}, {"inbox:refused"},
		{"event:get", cert.Forgotten.Hash, "EVENTFUL_TOKEN=" + auditor.Token}, {"event:get", cert.Done.Hash, "EVENTFUL_TOKEN=" + auditor.Token}, {"status"}, {"logs"}, {"doctor"}, {"schema:show", "patient"},
		{"plugin:list"}, {"plugin:show", "refusing"}, {"plugin:parked", "refusing", "-o", "json"}, {"plugin:logs", "refusing"},
	} {
		o := s.run(args...)
		said.WriteString(args[0] + "\n" + o.stdout + o.stderr)
		if o.status != 0 {
			t.Errorf("%v: got exit status %d: %s", args, o.status, o.stderr)
		}
	}
	s.nothingHolds("output", said.Bytes(), secrets)
	for _, want := range []string{"shredded", cert.KeyCommitment, "data-forgotten", "forget-done"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("%q is nowhere in\n%.3000s", want, said.String())
		}
	}
	if left := s.streamsHold(secrets)["KV_SNAP_"+s.info().Site]; left != 0 {
		t.Errorf("got %d snapshots, want none", left)
	}
	if n := len(s.refusedCommands(c)); n != 0 {
		t.Errorf("got %d refused commands, want none", n)
	}
	s.shell(`{"email":`+quoted(canaries["email"])+`}`, "event:add", "patient/came", "--id=Z", "--data=-") // it is free again
	s.must("data:forget", "patient/Z", "--yes")
	s.must("event:add", "patient/came", "--id=A", "--name=written again")
	if out := s.must("aggregate:get", "patient/A"); !strings.Contains(out, "written again") || !strings.Contains(out, "shredded") {
		t.Errorf("got %s, want the new name, and the rest shredded", out)
	}
	s.must("plugin:parked", "refusing", "retry", "--all")
	until(t, "what was parked reaches the plugin without the values", func() bool { return s.parked() == 0 })
	s.must("aggregate:commit") // what was staged for others
	s.must("event:archive", "--log=patient")
	s.archiveHolds(secrets)
	s.stop()
	remove(t, filepath.Join(s.root, "body.json"))
	s.filesHold(secrets)
	s.start()
	if out := s.must("aggregate:history", "patient/A"); !strings.Contains(out, "name=(shredded)") {
		t.Errorf("behind a restart: got %s", out)
	}
	s.must("aggregate:verify", "--all")
	if out, err := exec.Command("python3", "../../../docs/spec/verify.py", filepath.Join(s.root, "export.json")).CombinedOutput(); err != nil && !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("the export from before: %v\n%s", err, out)
	}
}

func quoted(s string) string {
	b, _ := json.Marshal(s) // a string always can be
	return string(b)
}

// shell runs a command with standard input, which must end well.
func (s *site) shell(stdin string, args ...string) string {
	s.t.Helper()
	cmd := s.command(args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestForgetUnderKills kills the server at any moment of forgetting: the same command goes on from there, and each act stands once.
func TestForgetUnderKills(t *testing.T) {
	t.Parallel()
	rounds := 4
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		rounds = 40
	}
	random := rand.New(rand.NewPCG(disktest.Seed(t), 5))
	s := newSecretSite(t)
	for round := range rounds {
		id := fmt.Sprint("K", round)
		s.must("event:add", "patient/came", "--id="+id, "--name=secret", "--email="+id+"@example.org")
		before := s.commitment(id)
		job := s.background("data:forget", "patient/"+id, "--yes")
		pause := time.NewTimer(time.Duration(random.IntN(120)) * time.Millisecond)
		select {
		case <-pause.C:
		case <-job.done:
		}
		was := s.kill()
		job.kill()
		s.again(was)
		var cert certificate
		s.ask(&cert, "data:forget", "patient/"+id, "--yes")
		if cert.KeyCommitment != before {
			t.Errorf("round %d: got a certificate about the key %s, want %s", round, cert.KeyCommitment, before)
		}
		out := s.must("aggregate:get", "patient/"+id)
		if strings.Contains(out, "secret") || !strings.Contains(out, "shredded") {
			t.Errorf("round %d: got %s", round, out)
		}
		s.must("event:add", "patient/came", "--id=heir"+id, "--email="+id+"@example.org")
	}
	s.removesUnstoredUnderKills(random, rounds)
	c := s.client()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if report, err := c.VerifyAll(ctx, client.Progress(nil)); err != nil || len(report.Failed) > 0 {
		t.Errorf("got %+v, %v", report, err)
	}
	if acts := strings.Count(s.must("audit:list", "-o", "json", "EVENTFUL_TOKEN="), `"forget-done"`); acts != rounds {
		t.Errorf("got %d certificates, want %d", acts, rounds)
	}
}

// removesUnstoredUnderKills forgets, under kills, aggregates of which nothing but a staged command is there: it is on record before it is removed, and at the end it is gone.
func (s *site) removesUnstoredUnderKills(random *rand.Rand, rounds int) {
	s.t.Helper()
	for round := range rounds {
		id := fmt.Sprint("patient/U", round)
		s.must("aggregate:apply", "patient/came", "--id=U"+fmt.Sprint(round), "--name=secret")
		job := s.background("data:forget", id, "--yes")
		pause := time.NewTimer(time.Duration(random.IntN(120)) * time.Millisecond)
		select {
		case <-pause.C:
		case <-job.done:
		}
		was := s.kill()
		job.kill()
		s.again(was)
		if o := s.run("data:forget", id, "--yes"); o.status != 0 && o.status != 3 { // 3: all of it had been done
			s.t.Errorf("round %d: got exit status %d: %s", round, o.status, o.stderr)
		}
		if out := s.must("aggregate:staged"); strings.Contains(out, id) {
			s.t.Errorf("round %d: still staged: %s", round, out)
		}
	}
	if acts := strings.Count(s.must("audit:list", "-o", "json", "EVENTFUL_TOKEN="), `"unstored-removed"`); acts < rounds {
		s.t.Errorf("got %d records of what was removed, want one a round at least, %d", acts, rounds)
	}
}

// commitment is that of the key under which a patient's newest commit is sealed.
func (s *site) commitment(id string) string {
	s.t.Helper()
	var out struct {
		Commits []struct{ Commit []byte }
	}
	s.must("aggregate:get", "patient/"+id) // which waits for the index
	s.ask(&out, "aggregate:export", "patient/"+id)
	c, err := event.DecodeCommit(out.Commits[len(out.Commits)-1].Commit)
	if err != nil {
		s.t.Fatal(err)
	}
	return hex.EncodeToString(c.KeyCommitment)
}
