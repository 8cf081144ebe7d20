package reencrypt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/cmd/internal/reencrypt"
	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

const patience = time.Minute

// canary stands in every message; no file may hold it.
const canary = "CANARY-of-the-messages"

var (
	master = []byte("correct horse battery staple")
	dek    = []byte("ein ganz anderer Schlüssel")
)

// newSite is a data folder whose store holds streams of every kind that a site has, with gaps, headers and a first sequence that is not 1; and what copies it.
func newSite(t *testing.T) reencrypt.Config {
	t.Helper()
	root := t.TempDir()
	from := filepath.Join(root, "from")
	if err := os.MkdirAll(from, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := keyring.CreateWithCost(filepath.Join(from, run.KeyFile), "ward", master, dek, keyring.Cost{Memory: 64, Time: 1, Threads: 1}); err != nil {
		t.Fatal(err)
	}
	within(t, from, run.KeyFile, func(ctx context.Context, js map[keyring.Account]jetstream.JetStream) {
		fill(ctx, t, js[keyring.LOG], js[keyring.APP])
	})
	return reencrypt.Config{
		From: from, To: filepath.Join(root, "to"), DEK: dek, Look: space.Look, Log: zerolog.Nop(),
		Keep: func() error { return nil }, Progress: func(string, ...any) {},
	}
}

func fill(ctx context.Context, t *testing.T, logs, app jetstream.JetStream) {
	t.Helper()
	for _, c := range []jetstream.StreamConfig{
		{Name: "CUT", Subjects: []string{"cut"}, FirstSeq: 1000, DenyDelete: true, AllowDirect: true, Metadata: map[string]string{"eventful.topology": "1"}},
		{Name: "KV_BUCKET", Subjects: []string{"$KV.BUCKET.>"}, MaxMsgsPerSubject: 1, AllowRollup: true},
		{Name: "EMPTIED", Subjects: []string{"emptied"}},
		{Name: "NEVER", Subjects: []string{"never"}},
	} {
		c.Storage, c.Discard = jetstream.FileStorage, jetstream.DiscardNew
		if _, err := logs.CreateStream(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := app.CreateStream(ctx, jetstream.StreamConfig{Name: "CMD_INBOX", Subjects: []string{"inbox.>"}, Retention: jetstream.WorkQueuePolicy}); err != nil {
		t.Fatal(err)
	}
	if _, err := app.CreateConsumer(ctx, "CMD_INBOX", jetstream.ConsumerConfig{Durable: "engine", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		m := &nats.Msg{Subject: "cut", Data: fmt.Appendf(bytes.Repeat([]byte("x"), 50_000), "%s %d", canary, i), Header: nats.Header{"Kind": {"a", "b"}, "n": {fmt.Sprint(i)}}}
		publish(ctx, t, logs, m)
		publish(ctx, t, logs, &nats.Msg{Subject: fmt.Sprintf("$KV.BUCKET.%d", i%7), Data: []byte(canary)}) // leaves gaps
		publish(ctx, t, logs, &nats.Msg{Subject: "emptied"})
		publish(ctx, t, app, &nats.Msg{Subject: "inbox.cmd.x", Data: []byte(canary)})
	}
	emptied, err := logs.Stream(ctx, "EMPTIED")
	if err == nil {
		err = emptied.Purge(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func publish(ctx context.Context, t *testing.T, js jetstream.JetStream, m *nats.Msg) {
	t.Helper()
	if _, err := js.PublishMsg(ctx, m); err != nil {
		t.Fatal(err)
	}
}

// within runs a server on a folder for as long as do takes.
func within(t *testing.T, dir, keyFile string, do func(context.Context, map[keyring.Account]jetstream.JetStream)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	keys, err := keyring.Load(filepath.Join(dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := keys.Open(dek)
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Start(ctx, node.Config{
		StoreDir: run.StoreDir(dir), ResolverDir: run.AccountsDir(dir), Host: "127.0.0.1", Keyring: keys, Secrets: secrets, Log: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Shutdown()
	js := map[keyring.Account]jetstream.JetStream{}
	for _, account := range []keyring.Account{keyring.LOG, keyring.APP} {
		nc, err := n.Conn(account)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if js[account], err = jetstream.New(nc); err != nil {
			t.Fatal(err)
		}
	}
	do(ctx, js)
}

// content is every message of a folder's streams as text, with what the streams are like.
func content(t *testing.T, dir, keyFile string) (all []string) {
	t.Helper()
	within(t, dir, keyFile, func(ctx context.Context, js map[keyring.Account]jetstream.JetStream) {
		for _, account := range []keyring.Account{keyring.LOG, keyring.APP} {
			list := js[account].ListStreams(ctx)
			for info := range list.Info() {
				c := info.Config
				all = append(all, fmt.Sprint(account, c.Name, c.Subjects, c.Retention, c.Discard, c.FirstSeq, c.DenyDelete, c.AllowDirect, c.MaxMsgsPerSubject, info.State.LastSeq, info.State.Consumers))
				for sequence := uint64(1); sequence <= info.State.LastSeq; sequence++ {
					stream, err := js[account].Stream(ctx, c.Name)
					if err != nil {
						t.Fatal(err)
					}
					m, err := stream.GetMsg(ctx, sequence)
					if errors.Is(err, jetstream.ErrMsgNotFound) {
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, fmt.Sprint(m.Subject, m.Sequence, m.Time, m.Header, len(m.Data), string(m.Data[max(0, len(m.Data)-50):])))
				}
			}
		}
	})
	return all
}

func reencrypted(t *testing.T, c reencrypt.Config) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return reencrypt.Run(ctx, c)
}

func TestEverythingIsCopied(t *testing.T) {
	c := newSite(t)
	want := content(t, c.From, run.KeyFile)
	if err := reencrypted(t, c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, content(t, c.To, run.KeyFile)); diff != "" {
		t.Errorf("content (-old +new):\n%s", diff)
	}
	sealed(t, c.To)
	if gone, err := run.MovedTo(c.From); err != nil || gone != c.To {
		t.Errorf("the old folder says it went to %q (%v), want %q", gone, err, c.To)
	}
	old, err := os.ReadFile(filepath.Join(c.From, run.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.To, "old.json"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := opened(t, c.To, "old.json"); !errors.Is(err, &problem.Problem{Code: problem.Unavailable}) {
		t.Errorf("the new store under the old key: got %v, want that it was encrypted with another", err)
	}
}

// sealed: no file below a folder holds the canary.
func sealed(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(canary)) {
			t.Errorf("%s holds a message in the clear", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// opened is why a server does not start on a store with the key file of that name.
func opened(t *testing.T, dir, keyFile string) error {
	t.Helper()
	keys, err := keyring.Load(filepath.Join(dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := keys.Open(dek)
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Start(t.Context(), node.Config{
		StoreDir: run.StoreDir(dir), ResolverDir: run.AccountsDir(dir), Host: "127.0.0.1", Keyring: keys, Secrets: secrets, Log: zerolog.Nop(),
	})
	if err == nil {
		n.Shutdown()
	}
	return err
}

// TestACopyThatDiffersIsFound changes one message of a copy that was cut short, at the same sequence, and one stream that then has another bound.
func TestACopyThatDiffersIsFound(t *testing.T) {
	c := newSite(t)
	keep := c.Keep
	c.Keep = func() error { return errors.New("cut short") }
	if err := reencrypted(t, c); err == nil {
		t.Fatal("got no error, want the one of Keep")
	}
	if gone, err := run.MovedTo(c.From); err != nil || gone != "" || run.Configured(c.To) {
		t.Fatalf("the old folder was given up (%q, %v)", gone, err)
	}
	within(t, c.To, "keys.copying", func(ctx context.Context, js map[keyring.Account]jetstream.JetStream) {
		if err := js[keyring.APP].DeleteStream(ctx, "CMD_INBOX"); err != nil {
			t.Fatal(err)
		}
		publish(ctx, t, js[keyring.LOG], &nats.Msg{Subject: "never"})
	})
	c.Keep = keep
	if err := reencrypted(t, c); err != nil {
		t.Fatalf("streams that are not whole are copied again: got %v", err)
	}

	c = newSite(t)
	c.Keep = func() error { return errors.New("cut short") }
	_ = reencrypted(t, c) // the one of Keep, as above
	within(t, c.To, "keys.copying", func(ctx context.Context, js map[keyring.Account]jetstream.JetStream) {
		stream, err := js[keyring.LOG].Stream(ctx, "CUT")
		if err != nil {
			t.Fatal(err)
		}
		config := stream.CachedInfo().Config
		if err := js[keyring.LOG].DeleteStream(ctx, "CUT"); err != nil {
			t.Fatal(err)
		}
		if _, err := js[keyring.LOG].CreateStream(ctx, config); err != nil {
			t.Fatal(err)
		}
		for range 40 {
			publish(ctx, t, js[keyring.LOG], &nats.Msg{Subject: "cut", Data: []byte("another")})
		}
	})
	c.Keep = keep
	if err := reencrypted(t, c); !errors.Is(err, &problem.Problem{Code: problem.Damaged}) {
		t.Errorf("other messages at the same sequences: got %v, want %v", err, problem.Damaged)
	}
	if gone, err := run.MovedTo(c.From); err != nil || gone != "" || run.Configured(c.To) {
		t.Errorf("the old folder was given up (%q, %v)", gone, err)
	}
}

func TestRefusals(t *testing.T) {
	c := newSite(t)
	full := func(string) (space.Usage, error) { return space.Usage{Free: 1 << 20, Total: 1 << 40}, nil }
	other := filepath.Join(filepath.Dir(c.To), "other")
	if err := os.MkdirAll(filepath.Join(other, "something"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, one := range map[string]struct {
		change func(*reencrypt.Config)
		want   problem.Code
	}{
		"no room":             {func(c *reencrypt.Config) { c.Look = full }, problem.NoSpace},
		"less than the limit": {func(c *reencrypt.Config) { c.Limits.Bytes = 1 << 60 }, problem.NoSpace},
		"not empty":           {func(c *reencrypt.Config) { c.To = other }, problem.Conflict},
		"inside":              {func(c *reencrypt.Config) { c.To = filepath.Join(c.From, "new") }, problem.Malformed},
		"itself":              {func(c *reencrypt.Config) { c.To = c.From }, problem.Malformed},
		"around":              {func(c *reencrypt.Config) { c.To = filepath.Dir(c.From) }, problem.Malformed},
		"wrong DEK":           {func(c *reencrypt.Config) { c.DEK = master }, problem.Unauthenticated},
		"not configured":      {func(c *reencrypt.Config) { c.From = other }, problem.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			changed := c
			one.change(&changed)
			if err := reencrypted(t, changed); !errors.Is(err, &problem.Problem{Code: one.want}) {
				t.Errorf("got %v, want %v", err, one.want)
			}
		})
	}
	lock, err := run.Acquire(c.From)
	if err != nil {
		t.Fatal(err)
	}
	if err := reencrypted(t, c); !errors.Is(err, &problem.Problem{Code: problem.Locked}) {
		t.Errorf("while a server runs: got %v, want %v", err, problem.Locked)
	}
	if err := errors.Join(lock.Release(), os.MkdirAll(run.StateDir(c.From, "patient.lost-20260101T000000Z"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := reencrypted(t, c); !errors.Is(err, &problem.Problem{Code: problem.Damaged}) {
		t.Errorf("a log that lost its end: got %v, want %v", err, problem.Damaged)
	}
}
