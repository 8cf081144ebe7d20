package jetlog_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
)

func TestPeers(t *testing.T) {
	t.Parallel()
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	one, two := server.Store().Peers(), server.Store().Peers()
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := one.Call(soon, "patient", "barrier", nil); err == nil {
		t.Error("a call that nobody answers has an answer")
	}
	answer := func(name string) func(context.Context, string, []byte) []byte {
		return func(_ context.Context, verb string, body []byte) []byte {
			return []byte(name + " " + verb + " " + string(body))
		}
	}
	stop, err := two.Serve(soon, "patient", answer("two"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := one.Call(soon, "patient", "hand-back", []byte("x")); err != nil || string(got) != "two hand-back x" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := one.Call(soon, "ward", "barrier", nil); err == nil {
		t.Error("a call of another log was answered")
	}
	for _, bad := range []string{"", ">", "a.b", "Barrier"} {
		if _, err := one.Call(soon, "patient", bad, nil); err == nil {
			t.Errorf("verb %q was sent", bad)
		}
	}
	for name, p := range map[string]interface {
		Serve(context.Context, string, func(context.Context, string, []byte) []byte) (func(), error)
	}{"one": one, "two": two} {
		stop, err := p.Serve(soon, "", answer(name))
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
	}
	all, err := one.CallAll(soon, "standing", []byte("y"), 2)
	if err != nil || len(all) != 2 || !strings.HasSuffix(string(all[0]), " standing y") || string(all[0]) == string(all[1]) {
		t.Errorf("got %q, %v", all, err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if all, err := one.CallAll(short, "standing", nil, 3); err != nil || len(all) != 2 {
		t.Errorf("got %q, %v, want the two that there are", all, err)
	}
	stop()
	if _, err := one.Call(soon, "patient", "barrier", nil); err == nil {
		t.Error("a call was answered behind stop")
	}
}

// stop ends calls under way and waits for them.
func TestPeersStop(t *testing.T) {
	server := jetlogtest.StartServer(t, jetlogtest.Options{})
	p := server.Store().Peers()
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	began, ended := make(chan struct{}), atomic.Bool{}
	stop, err := p.Serve(soon, "patient", func(ctx context.Context, _ string, _ []byte) []byte {
		close(began)
		<-ctx.Done()
		ended.Store(true)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	called := make(chan struct{})
	go func() { defer close(called); _, _ = p.Call(soon, "patient", "barrier", nil) }()
	<-began
	stop()
	if !ended.Load() {
		t.Error("stop did not wait for a call under way")
	}
	<-called
}
