package webhook_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
)

// TestStatuses: what speaks of the change parks it, what speaks of the receiver or the way to it comes again.
func TestStatuses(t *testing.T) {
	var status atomic.Int64
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) })
	p := open(t, plugin.Values{"url": r.URL, "allow-networks": loopback, "park-status": "404,503"})
	for want, statuses := range map[plugin.Status][]int{
		plugin.StatusDone:  {200, 201, 202, 204, 299},
		plugin.StatusPark:  {400, 404, 409, 413, 415, 422, 431, 451, 499, 503},
		plugin.StatusRetry: {300, 301, 302, 304, 307, 308, 399, 401, 402, 403, 405, 407, 408, 410, 421, 423, 425, 429, 500, 501, 502, 504, 599},
	} {
		for _, one := range statuses {
			status.Store(int64(one))
			if o := deliverOne(t, p); o.Status != want || o.Status != plugin.StatusDone && !strings.Contains(o.Err.Error(), strconv.Itoa(one)) {
				t.Errorf("%d: got %s, %v, want %s", one, o.Status, o.Err, want)
			}
		}
	}
}

// TestRetryAfter: the receiver's pause is kept to, within an hour, and the rest of the batch is not tried before it.
func TestRetryAfter(t *testing.T) {
	after := ""
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", after)
		w.WriteHeader(http.StatusTooManyRequests)
	})
	p := open(t, plugin.Values{"url": r.URL, "allow-networks": loopback, "requests": "1"})
	for _, test := range []struct {
		text      string
		low, high time.Duration
	}{
		{"", 0, 0}, {"7", 7 * time.Second, 7 * time.Second}, {"soon", 0, 0}, {"-1", 0, 0}, {"999999", time.Hour, time.Hour}, {strings.Repeat("9", 40), 0, 0},
		{time.Now().Add(40 * time.Minute).UTC().Format(http.TimeFormat), 30 * time.Minute, 40 * time.Minute}, {time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), 0, 0},
	} {
		after = test.text
		if o := deliverOne(t, p); o.Status != plugin.StatusRetry || o.After < test.low || o.After > test.high {
			t.Errorf("%q: got %s after %s", test.text, o.Status, o.After)
		}
	}
	after = "9"
	before := len(r.all())
	var changes []plugin.Change
	for i := range 50 {
		changes = append(changes, plugintest.Change(fmt.Sprint("a", i), 1))
	}
	for i, o := range p.Deliver(t.Context(), plugin.Batch{Changes: changes}) {
		if o.Status != plugin.StatusRetry || o.After != 9*time.Second {
			t.Errorf("change %d: got %s after %s", i, o.Status, o.After)
		}
	}
	if n := len(r.all()) - before; n != 1 {
		t.Errorf("got %d requests of 50 although the receiver asked for a pause", n)
	}
}

// TestOnePoisonedChange: a change that the receiver always fails at holds up no other one.
func TestOnePoisonedChange(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, request *http.Request) {
		if strings.Contains(request.Header.Get("Ce-Subject"), "bad") {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, "line one\n\x1b[31mline two "+strings.Repeat("x", 1000))
		}
	})
	p := open(t, plugin.Values{"url": r.URL, "mode": "binary", "allow-networks": loopback})
	changes := []plugin.Change{plugintest.Change("bad", 1)}
	for i := range 100 {
		changes = append(changes, plugintest.Change(fmt.Sprint("a", i), 1))
	}
	for i, o := range p.Deliver(t.Context(), plugin.Batch{Changes: changes}) {
		if (o.Status == plugin.StatusDone) != (i > 0) {
			t.Errorf("change %d: got %s, %v", i, o.Status, o.Err)
		}
		if i == 0 && (!strings.Contains(o.Err.Error(), `"line one [31mline two xx`) || len(o.Err.Error()) > 400) {
			t.Errorf("got %v", o.Err)
		}
	}
}

// TestReceiversThatMisbehave hold no call for longer than a request may take, and lose nothing.
func TestReceiversThatMisbehave(t *testing.T) {
	for how, answer := range map[string]func(net.Conn){
		"closes":       func(net.Conn) {},
		"garbage":      func(c net.Conn) { fmt.Fprint(c, "hello there\r\n\r\n") },
		"hangs":        func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) },
		"half":         func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 50") },
		"long headers": func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 204 x\r\nA: "+strings.Repeat("a", 1<<20)+"\r\n\r\n") },
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p := open(t, plugin.Values{"url": "http://" + listen(t, answer) + "/canary-path", "allow-networks": loopback, "request-timeout": "500ms"})
			began := time.Now()
			o := deliverOne(t, p)
			if o.Status != plugin.StatusRetry || o.Err == nil || strings.Contains(o.Err.Error(), "canary") {
				t.Errorf("got %s, %v", o.Status, o.Err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("the call took %s", took)
			}
		})
	}
}

// TestAnAnswerWithoutEnd: the status has said it all, and the body is not read to an end that never comes.
func TestAnAnswerWithoutEnd(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, request *http.Request) {
		for request.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	p := open(t, plugin.Values{"url": r.URL, "allow-networks": loopback})
	if o := deliverOne(t, p); o.Status != plugin.StatusDone {
		t.Errorf("got %s, %v", o.Status, o.Err)
	}
}

// listen answers each request on a connection of its own by what answer writes, and then closes it.
func listen(t *testing.T, answer func(net.Conn)) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	l := server.Listener
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				answer(c)
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String()
}
