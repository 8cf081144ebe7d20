package jetlog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
)

func openInbox(t *testing.T, s *jetlogtest.Server) *jetlog.Inbox {
	t.Helper()
	i, err := s.Store().Inbox(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// A delivery begins with the oldest letter that is not acknowledged, in order, at once, whatever another delivery has in its hands; and that one ends.
func TestDeliveryBeginsAnew(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	i := openInbox(t, s)
	for n := range 10 {
		if seq, err := i.Put(t.Context(), "cmd.patient.A.crp", nil, []byte{byte(n)}); err != nil || seq != uint64(n+1) {
			t.Fatalf("put: got %d, %v", seq, err)
		}
	}
	first, err := i.Deliver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Stop()
	for n := range 5 {
		if l := next(t, first); l.Sequence != uint64(n+1) || l.Data[0] != byte(n) || l.Subject != "inbox.cmd.patient.A.crp" {
			t.Fatalf("got letter %d on %s, want %d", l.Sequence, l.Subject, n+1)
		} else if n == 1 { // out of order: the others wait
			if err := l.Ack.Done(); err != nil {
				t.Fatal(err)
			}
		}
	}
	poll(t, "letter 2 is gone", func() bool { n, _, err := i.Waiting(t.Context()); return err == nil && n == 9 })
	second, err := openInbox(t, s).Deliver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Stop()
	for _, want := range []uint64{1, 3, 4, 5, 6, 7, 8, 9, 10} {
		l := next(t, second)
		if l.Sequence != want {
			t.Fatalf("got letter %d, want %d", l.Sequence, want)
		}
		if err := l.Ack.Done(); err != nil {
			t.Fatal(err)
		}
	}
	for {
		if _, err = first.Next(t.Context()); err != nil {
			break
		}
	}
	if !errors.Is(err, jetlog.ErrDelivery) {
		t.Errorf("the first delivery: got %v, want ErrDelivery", err)
	}
	poll(t, "the inbox is empty", func() bool { n, oldest, err := i.Waiting(t.Context()); return err == nil && n == 0 && oldest.IsZero() })
	if _, err := i.Read(t.Context(), 1); !errors.Is(err, eventlog.ErrNotFound) {
		t.Errorf("read a letter that is gone: got %v, want ErrNotFound", err)
	}
}

// What the server keeps of the consumer may be damaged: the letters need none of it. A file that cannot be read keeps the server from making a consumer of that
// name ever again, one that is damaged otherwise may bring its old state back.
func TestDamagedConsumer(t *testing.T) {
	for _, file := range []string{"o.dat", "meta.inf", "meta.sum"} {
		t.Run(file, func(t *testing.T) {
			s := jetlogtest.StartServer(t, jetlogtest.Options{})
			i := openInbox(t, s)
			if _, err := i.Put(t.Context(), "cmd.patient.A.crp", nil, []byte("one")); err != nil {
				t.Fatal(err)
			}
			for _, damaged := range []string{"engine", "engine-2"} {
				takeAndLeave(t, i)
				s.Stop()
				flip(t, filepath.Join(s.Dir(), "jetstream", "LOG", "streams", "CMD_INBOX", "obs", damaged, file))
				s.Start()
				i = openInbox(t, s)
				takeAndLeave(t, i)
				if file != "o.dat" {
					return // the first name serves on
				}
			}
		})
	}
}

// takeAndLeave takes the first letter in a delivery and acknowledges nothing.
func takeAndLeave(t *testing.T, i *jetlog.Inbox) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	d, err := i.Deliver(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	if l := next(t, d); l.Sequence != 1 {
		t.Fatalf("got letter %d, want the first", l.Sequence)
	}
}

// flip changes one byte in the beginning of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[0] ^= 0xff
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, d *jetlog.Delivery) *jetlog.Letter {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l, err := d.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

func TestRefusedStream(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	r, err := s.Store().Refused(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "a", "c"} {
		if err := r.Add(t.Context(), id, []byte("data of "+id)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := r.Count(t.Context()); err != nil || n != 3 {
		t.Errorf("got %d, %v, want 3: one was added again", n, err)
	}
	if err := r.Remove(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(t.Context(), 2); err != nil {
		t.Errorf("remove again: got %v, want nil", err)
	}
	at, id, data, err := r.Next(t.Context(), 2)
	if err != nil || at != 3 || id != "c" || string(data) != "data of c" {
		t.Errorf("got %d, %q, %q, %v, want the third", at, id, data, err)
	}
	if _, _, _, err := r.Next(t.Context(), 4); !errors.Is(err, eventlog.ErrNotFound) {
		t.Errorf("behind the last: got %v, want ErrNotFound", err)
	}
	if err := r.Add(t.Context(), "large", make([]byte, 2<<20)); !errors.Is(err, eventlog.ErrRefused) {
		t.Errorf("too large: got %v, want ErrRefused", err)
	}
}

// A sender chooses where the server's acknowledgement goes. Aimed at the JetStream API, it must not take a command out of the inbox, nor keep the engine from it:
// with strict checks of API requests, which are the default, and without.
func TestAimedAcknowledgements(t *testing.T) {
	for _, lax := range []bool{false, true} {
		t.Run(fmt.Sprint("lax ", lax), func(t *testing.T) { aim(t, lax) })
	}
}

func aim(t *testing.T, lax bool) {
	app, system := server.NewAccount("APP"), server.NewAccount("SYS")
	may := &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"inbox.cmd.patient.>"}}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.u.>"}}}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), NoJetStreamStrict: lax, SystemAccount: "SYS",
		Accounts: []*server.Account{app, system},
		Users:    []*server.User{{Username: "engine", Password: "x", Account: app}, {Username: "sender", Password: "x", Account: app, Permissions: may}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	if app, err = s.LookupAccount("APP"); err != nil {
		t.Fatal(err)
	}
	if err := app.EnableJetStream(nil, nil); err != nil {
		t.Fatal(err)
	}
	engine, err := jetlog.Connect(s.ClientURL(), nats.UserInfo("engine", "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	store, err := jetlog.New(engine, jetlogtest.Site, jetlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	i, err := store.Inbox(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sender, err := nats.Connect(s.ClientURL(), nats.UserInfo("sender", "x"), nats.NoReconnect(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	sent := uint64(0)
	send := func(reply string) {
		t.Helper()
		if err := sender.PublishMsg(&nats.Msg{Subject: "inbox.cmd.patient.A.crp", Reply: reply}); err != nil {
			t.Fatal(err)
		}
		sent++
	}
	for range 5 {
		send("")
	}
	for _, verb := range []string{
		"STREAM.PURGE.CMD_INBOX", "STREAM.DELETE.CMD_INBOX", "STREAM.UPDATE.CMD_INBOX", "STREAM.MSG.DELETE.CMD_INBOX", "STREAM.CREATE.other", "CONSUMER.CREATE.CMD_INBOX",
		"CONSUMER.DURABLE.CREATE.CMD_INBOX.mine", "CONSUMER.CREATE.CMD_INBOX.mine", "CONSUMER.MSG.NEXT.CMD_INBOX.engine", "CONSUMER.DELETE.CMD_INBOX.engine",
	} {
		send("$JS.API." + verb)
	}
	if err := sender.FlushTimeout(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	poll(t, "all is there", func() bool { n, _, err := i.Waiting(t.Context()); return err == nil && n >= sent })
	d, err := i.Deliver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	for n := uint64(1); n <= 5; n++ {
		if l := next(t, d); l.Sequence != n {
			t.Fatalf("got letter %d, want %d", l.Sequence, n)
		}
	}
	// While a delivery runs.
	for _, verb := range []string{"CONSUMER.DELETE.CMD_INBOX.engine", "CONSUMER.PAUSE.CMD_INBOX.engine", "STREAM.PURGE.CMD_INBOX", "CONSUMER.CREATE.CMD_INBOX"} {
		send("$JS.API." + verb)
	}
	for n := uint64(6); n <= sent; n++ {
		if l := next(t, d); l.Sequence != n {
			t.Fatalf("got letter %d, want %d", l.Sequence, n)
		}
	}
	if n, _, err := i.Waiting(t.Context()); err != nil || n != sent {
		t.Errorf("got %d letters, %v, want all %d", n, err, sent)
	}
	js, err := jetstream.New(engine)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Stream(t.Context(), "other"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("a stream was made: %v", err)
	}
	if sender.LastError() != nil {
		t.Errorf("the sender was refused: %v", sender.LastError())
	}
	send("$JS.ACK.CMD_INBOX.engine.1.1.1.0.0") // the server itself refuses this one
	if err := sender.FlushTimeout(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	if n, _, err := i.Waiting(t.Context()); err != nil || n != sent-1 || !errors.Is(sender.LastError(), nats.ErrPermissionViolation) {
		t.Errorf("an aimed acknowledgement: got %d letters, %v, %v, want it refused", n, err, sender.LastError())
	}
}

func TestKeptSettingsAreChecked(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	openInbox(t, s)
	js, err := jetstream.New(s.Conn())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "CMD_INBOX")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxMsgs = 5
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Store().Inbox(t.Context()); !errors.Is(err, jetlog.ErrSettings) {
		t.Errorf("got %v, want ErrSettings", err)
	}
}
