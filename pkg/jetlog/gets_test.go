package jetlog_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
)

// However many ask for messages at once, few requests of one connection are under way: a server cuts off who does not take what waits for him.
func TestGetsAtOnceAreBounded(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	proxy := s.Proxy()
	nc, err := jetlog.Connect(proxy.URL(), nats.UserInfo("log", "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	store, err := jetlog.New(nc, jetlogtest.Site, jetlog.Options{RequestTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	log, err := store.Create(t.Context(), "patient")
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Append(0, []byte("a block")).Err(); err != nil {
		t.Fatal(err)
	}
	watch := s.Conn()
	asked, err := watch.SubscribeSync("$JS.API.STREAM.MSG.GET.>")
	if err = errors.Join(err, watch.Flush()); err != nil {
		t.Fatal(err)
	}
	proxy.HoldAnswers()
	outcomes := make(chan error, jetlog.MaxGets)
	for range jetlog.MaxGets {
		go func() {
			_, err := log.Get(t.Context(), 1)
			outcomes <- err
		}()
	}
	for range jetlog.MaxGets {
		if _, err := asked.NextMsg(20 * time.Second); err != nil {
			t.Fatalf("requests to the server: %v", err)
		}
	}
	late, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := log.Get(late, 2); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v from one more, want that it waits", err)
	}
	proxy.Release()
	for range jetlog.MaxGets {
		if err := <-outcomes; err != nil {
			t.Error(err)
		}
	}
	if _, err := log.Get(t.Context(), 1); err != nil {
		t.Errorf("behind them: %v", err)
	}
	m, err := asked.NextMsg(20 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(m.Data), `"seq":2`) {
		t.Errorf("the server was asked while %d requests were under way", jetlog.MaxGets)
	}
}
