package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/cmd/internal/doctor"
	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/plugin"
	feednats "github.com/eventfuldb/eventful/plugins/nats"
)

// logState is a log in the writer's answer (adm.server.status).
type logState struct {
	Log      string `json:"log"`
	State    string `json:"state"`
	Lost     bool   `json:"shortened"`
	Error    string `json:"error"`
	Unsigned string `json:"unsigned"`
	Indexed  uint64 `json:"indexed"`
	Lag      uint64 `json:"lag-events"`
}

// installation is a data folder with a running nats-server and one log of one block; the writer's answers are the test's.
func installation(t *testing.T, answers ...[]logState) doctor.Config {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	keys, secrets, err := keyring.CreateWithCost(filepath.Join(dir, run.KeyFile), "ward", []byte("a master key of a test"), []byte("a DEK of a test, another one"),
		keyring.Cost{Memory: 64, Time: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Start(t.Context(), node.Config{StoreDir: filepath.Join(dir, "jetstream"), ResolverDir: filepath.Join(dir, "accounts"), Host: "127.0.0.1",
		Keyring: keys, Secrets: secrets, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Shutdown)
	writeBlock(t, n)
	for _, store := range []string{run.StateDir(dir, "patient"), run.IndexDir(dir, "patient")} {
		if err := errors.Join(os.MkdirAll(store, 0o700), os.WriteFile(filepath.Join(store, "lock"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return doctor.Config{DataDir: dir, Version: "1.0.0", Running: &run.Info{Format: 1, PID: 1, Version: "1.0.0"}, URL: n.ClientURL(), Keys: keys, Secrets: secrets,
		Now: time.Now, Limits: space.Limits{Bytes: 1 << 30, Percent: 5}, Look: usage(1<<40, 1<<41, nil), Status: writerOf(answers)}
}

// writerOf answers one after the other, the last one again and again; without any the log is served and indexed.
func writerOf(answers [][]logState) func(context.Context, any) error {
	if len(answers) == 0 {
		answers = [][]logState{{{Log: "patient", State: "serving", Indexed: 1}}}
	}
	return func(_ context.Context, into any) error {
		text, err := json.Marshal(map[string]any{"logs": answers[0]})
		if err != nil {
			return err
		}
		answers = answers[min(1, len(answers)-1):]
		return json.Unmarshal(text, into)
	}
}

func writeBlock(t *testing.T, n *node.Node) {
	t.Helper()
	nc, err := n.Conn(keyring.LOG, jetlog.ConnectOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	store, err := jetlog.New(nc, "ward", jetlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log, err := store.Create(t.Context(), "patient")
	if err != nil {
		t.Fatal(err)
	}
	block := event.Block{Header: event.Header{ID: event.ID16{1}, Epoch: 1, Time: event.Time(time.Now().UnixNano())}}
	if err := log.Append(0, block.Encode()).Err(); err != nil {
		t.Fatal(err)
	}
}

// findings are the checks with one, each with its detail; every finding must say what to do.
func findings(t *testing.T, c doctor.Config) (found []string) {
	t.Helper()
	for _, r := range doctor.Examine(t.Context(), c) {
		if r.Outcome != doctor.Finding {
			continue
		}
		if r.Remedy == "" {
			t.Errorf("%s: %s: got no remedy", r.Check, r.Detail)
		}
		found = append(found, r.Check+": "+r.Detail)
	}
	return found
}

func TestFindings(t *testing.T) {
	late, early := func() time.Time { return time.Now().Add(-90 * time.Minute) }, func() time.Time { return time.Now().Add(time.Hour) }
	tests := map[string]struct {
		change  func(*doctor.Config)
		answers [][]logState
		want    []string // beginnings of the findings, in order
	}{
		"healthy":         {},
		"clock behind":    {change: func(c *doctor.Config) { c.Now = late }, want: []string{"clock: the clock of server eventful-ward is 1h", "clock: the clock of this machine is 1h"}},
		"clock ahead":     {change: func(c *doctor.Config) { c.Now = early }, want: []string{"clock: the clock of server eventful-ward is "}},
		"less than 1 GiB": {change: disk(usage(1<<30-1, 1<<31, nil)), want: []string{"disk: the disk of the data folder has 1024.0 MiB free of 2.0 GiB, and 1.0 GiB must stay free: no writer refuses writes for that"}},
		"less, and refused": {change: func(c *doctor.Config) {
			c.Look, c.Status = usage(1<<30-1, 1<<31, nil), statusOf(`"refusing":"the disk of the data folder"`)
		}, want: []string{"disk: the disk of the data folder has 1024.0 MiB free of 2.0 GiB, and 1.0 GiB must stay free: writes are refused", "disk: the writer refuses"}},
		"less than 5 %":      {change: disk(usage(4<<30, 100<<30, nil)), want: []string{"disk: the disk of the data folder has 4.0 GiB free of 100.0 GiB, and 5.0 GiB must stay free"}},
		"read-only":          {change: disk(usage(1<<40, 1<<41, syscall.EROFS)), want: []string{"disk: the data folder cannot be written: read-only file system"}},
		"guard is off":       {change: func(c *doctor.Config) { c.Status = statusOf(`"disks":[{"folder":"logs","limit":0}]`) }, want: []string{"disk: the guard is off"}},
		"writes are refused": {change: func(c *doctor.Config) { c.Status = statusOf(`"refusing":"the disk of the logs is full"`) }, want: []string{"disk: the writer refuses writes: the disk of the logs is full"}},
		"the inbox waits": {change: func(c *doctor.Config) {
			c.Status = statusOf(`"inbox":"commands of the inbox are not delivered: no store"`)
		}, want: []string{"inbox: commands of the inbox are not delivered: no store"}},
		"another version":             {change: func(c *doctor.Config) { c.Version = "1.0.1" }, want: []string{"versions: the server is eventful 1.0.0, and this is eventful 1.0.1"}},
		"in the clear":                {change: func(c *doctor.Config) { c.Host = "0.0.0.0" }, want: []string{"tls: the server listens on 0.0.0.0 without TLS"}},
		"no certificate":              {change: func(c *doctor.Config) { c.Certificate = filepath.Join(c.DataDir, run.KeyFile) }, want: []string{"tls: read certificate: "}},
		"recovering":                  {answers: [][]logState{{{Log: "patient", State: "recovering"}}}, want: []string{"writer: log patient is recovering"}},
		"damaged":                     {answers: [][]logState{{{Log: "patient", State: "stopped", Error: "the log is damaged"}}}, want: []string{"writer: log patient is stopped: the log is damaged"}},
		"lost its end":                {answers: [][]logState{{{Log: "patient", State: "serving", Lost: true, Error: "block 7 is gone"}}}, want: []string{"writer: log patient has lost acknowledged events: block 7 is gone"}},
		"contradicts what was signed": {answers: [][]logState{{{Log: "patient", State: "serving", Unsigned: "FORKED: another block"}}}, want: []string{"writer: no checkpoints of log patient are signed, as it contradicts an earlier one: FORKED: another block"}},
		"index far behind":            {answers: [][]logState{{{Log: "patient", State: "serving", Lag: 1e6}}, {{Log: "patient", State: "serving", Indexed: 2, Lag: 1e6}}}, want: []string{"index: the index of log patient is 1000000 events behind"}},
		"index stands still":          {answers: [][]logState{{{Log: "patient", State: "serving", Indexed: 1, Lag: 5}}}, want: []string{"index: the index of log patient stands still, 5 events behind"}},
		"index moves":                 {answers: [][]logState{{{Log: "patient", State: "serving", Indexed: 1, Lag: 5}}, {{Log: "patient", State: "serving", Indexed: 2, Lag: 4}}}},
		"local stores are gone":       {answers: [][]logState{{{Log: "bed", State: "serving"}}}, want: []string{"stores: the ", "stores: the "}},
		"no writer":                   {change: nobody, want: []string{"writer: no writer answered: nobody"}},
		"no writer anywhere": {change: func(c *doctor.Config) {
			nobody(c)
			c.Running.NoEngines = true
		}, want: []string{"writer: no writer answered: nobody"}},
		"the keys do not open": {change: func(c *doctor.Config) {
			c.Keys, c.Secrets, c.KeyError = nil, nil, &doctor.Problem{Detail: "the DEK is missing", Remedy: "give it"}
		}, want: []string{"keys: the DEK is missing"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := installation(t, test.answers...)
			if test.change != nil {
				test.change(&c)
			}
			got := findings(t, c)
			if !slices.EqualFunc(got, test.want, strings.HasPrefix) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// The answering writer leads nothing: what counts is whether any that lives serves the log.
func TestFindingsOfTheSite(t *testing.T) {
	tests := map[string]struct {
		state, log string // of patient in the answering process; of it in the site's view, a JSON object
		more       string // logs of the site
		want       []string
	}{
		"another writer serves it":   {state: "serving", log: `"state":"serving","member":"b"`},
		"served a moment ago":        {state: "standby", log: `"state":"serving","member":"b","standbys":[{"member":"a"}]`},
		"free":                       {state: "recovering", log: `"state":"free","member":"b"`, want: []string{"writer: log patient has no writer"}},
		"nobody's":                   {state: "recovering", log: `"state":""`, want: []string{"writer: log patient has no writer"}},
		"of a writer that is gone":   {state: "serving", log: `"state":"serving","member":"c"`, want: []string{"writer: log patient has no writer"}},
		"is taken over":              {state: "recovering", log: `"state":"taking","member":"b"`, want: []string{"writer: log patient is taking: "}},
		"stopped where it is led":    {state: "stopped", log: `"state":"serving","member":"a"`, want: []string{"writer: log patient is stopped: "}},
		"a standby stopped":          {state: "serving", log: `"state":"serving","member":"a","standbys":[{"member":"b","error":"no room"}]`, want: []string{"writer: log patient is served, and not followed by writer two:8: no room"}},
		"a log it knows nothing of":  {state: "serving", log: `"state":"serving","member":"b"`, more: `,{"log":"bed","state":"free"}`, want: []string{"writer: log bed has no writer"}},
		"another one that is served": {state: "serving", log: `"state":"serving","member":"b"`, more: `,{"log":"bed","state":"serving","member":"a"}`},
	}
	c := installation(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c.Status = func(_ context.Context, into any) error {
				return json.Unmarshal([]byte(`{"logs":[{"log":"patient","state":"`+test.state+`","indexed":1}],"writers":{"members":[`+
					`{"id":"a","host":"one","pid":7},{"id":"b","host":"two","pid":8}],"logs":[{"log":"patient",`+test.log+`}`+test.more+`]}}`), into)
			}
			if got := findings(t, c); !slices.EqualFunc(got, test.want, strings.HasPrefix) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// What a writer found when it started it goes by until it ends: the remedies of a lost end say that it has to be started again.
func TestALostEndEndsWithAStart(t *testing.T) {
	c := installation(t, []logState{{Log: "patient", State: "serving", Lost: true, Error: "block 7 is gone", Unsigned: "TRUNCATED"}})
	n := 0
	for _, r := range doctor.Examine(t.Context(), c) {
		if r.Outcome != doctor.Finding {
			continue
		}
		if n++; !strings.Contains(r.Remedy, "start the writer again") {
			t.Errorf("%s: got the remedy %q, want the start in it", r.Detail, r.Remedy)
		}
	}
	if n != 2 {
		t.Errorf("got %d findings, want 2", n)
	}
}

// A writer whose disk is nearly full refuses the commands of its logs, or has handed them over, whichever writer answers doctor.
func TestAWriterWithoutRoomIsFound(t *testing.T) {
	c := installation(t)
	c.Status = statusOf(`"writers":{"members":[{"id":"a","host":"one","pid":7},{"id":"b","host":"two","pid":8,"leads":1,"refusing":"the disk is full"},{"id":"c","host":"three","pid":9,"refusing":"the disk is full too"}],"logs":[{"log":"patient","state":"serving","member":"b"}]}`)
	want := []string{"disk: writer two:8 refuses the commands of its logs: the disk is full", "disk: writer three:9 has no room, and writes no log: the disk is full too"}
	if got := findings(t, c); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What lies among the keys of encrypted fields and is none is named; a key is not.
func TestStrangersAmongKeys(t *testing.T) {
	c := installation(t)
	text, seed, err := c.Secrets.EngineUser(keyring.LOG, "test")
	if err != nil {
		t.Fatal(err)
	}
	nc, err := jetlog.Connect(c.URL, nats.UserJWTAndSeed(text, string(seed)))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	store, err := jetlog.New(nc, "ward", jetlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := store.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), "a", keyring.Seal([32]byte{1}, "x", make([]byte, 32)), 0); err != nil {
		t.Fatal(err)
	}
	if got := findings(t, c); len(got) > 0 {
		t.Errorf("with a key: got %q, want nothing", got)
	}
	if err := nc.PublishRequest("$JS.API.STREAM.NAMES", "$KV.KEYS_ward.b", nil); err != nil { // the server's answer is stored
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		if value, _, err := b.Get(t.Context(), "b"); err != nil || time.Now().After(end) {
			t.Fatalf("got %q, %v, want the answer of the server", value, err)
		} else if len(value) > 0 {
			break
		}
	}
	if got := findings(t, c); len(got) != 1 || !strings.HasPrefix(got[0], "streams: message 2 of the keys of encrypted fields is none of EventfulDB's") {
		t.Errorf("with junk: got %q, want it named", got)
	}
}

// TestFeed: the feed that a writer makes is as it must be, however it is configured; one that somebody changed is named, without the secret in its subjects.
func TestFeed(t *testing.T) {
	c := installation(t)
	text, seed, err := c.Secrets.EngineUser(keyring.APP, "test")
	if err != nil {
		t.Fatal(err)
	}
	connect := func() (*nats.Conn, error) { return nats.Connect(c.URL, nats.UserJWTAndSeed(text, string(seed))) }
	nc, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	intake, err := run.Intake(c.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	feed := plugin.Settings{Name: "feed", Site: "ward", Options: plugin.Values{"max-age": "24h", "max-bytes": "1000000", "replicas": "1", "duplicate-window": "1m", "stream": "FEED"}}
	if err := (feednats.Site{Intake: intake, Maker: connect}).Make(t.Context(), nc, feed, func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if got := findings(t, c); len(got) > 0 {
		t.Errorf("with the feed: got %q, want nothing", got)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "FEED")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.RePublish = &jetstream.RePublish{Source: ">", Destination: "cmd.>"}
	config.Subjects, config.SubjectTransform.Source = append(config.Subjects, "event.>"), ">"
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	got := findings(t, c)
	if len(got) != 1 || !strings.HasPrefix(got[0], "streams: check FEED: ") {
		t.Fatalf("changed: got %q, want one finding of the streams", got)
	}
	for _, want := range []string{"republish is ", "subjects is [feed.<secret>.> event.>]", "subject_transform is "} {
		if !strings.Contains(got[0], want) || strings.Contains(got[0], intake) {
			t.Errorf("changed: got %q, want %q in it, and no secret", got[0], want)
		}
	}
}

func nobody(c *doctor.Config) {
	c.Status = func(context.Context, any) error { return errors.New("nobody") }
}

func usage(free, total uint64, unwritable error) func(string) (space.Usage, error) {
	return func(string) (space.Usage, error) {
		return space.Usage{Free: free, Total: total, Unwritable: unwritable}, nil
	}
}

func disk(look func(string) (space.Usage, error)) func(*doctor.Config) {
	return func(c *doctor.Config) { c.Look = look }
}

// statusOf is a writer that serves every log, with more to say.
func statusOf(more string) func(context.Context, any) error {
	return func(_ context.Context, into any) error {
		return json.Unmarshal([]byte(`{"logs":[{"log":"patient","state":"serving","indexed":1}],`+more+`}`), into)
	}
}
