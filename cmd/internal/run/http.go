package run

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/inbox"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// health is the HTTP port: /livez (the process runs), /readyz (commands are accepted, and those of the inbox delivered) and /metrics (Prometheus).
type health struct {
	server   *http.Server
	listener net.Listener
	scheme   string // of its URL
	ready    atomic.Bool
	guard    atomic.Pointer[space.Watcher] // of the writer; nil: none here
	writer   atomic.Pointer[writer.Writer] // nil: none here
	inbox    atomic.Pointer[inbox.Inbox]   // nil: none here
}

// accepts reports whether commands are accepted by every way, and else why not.
func (h *health) accepts() (bool, string) {
	if !h.ready.Load() {
		return false, "not ready"
	}
	if guard := h.guard.Load(); guard != nil {
		if p := guard.Check(); p != nil {
			return false, Refusing + p.Detail
		}
	}
	if w := h.writer.Load(); w != nil {
		if err := w.Lapsed(); err != nil {
			return false, Lapsed + err.Error()
		}
		if err := w.Stopped(); err != nil {
			return false, Stopped + err.Error()
		}
	}
	if i := h.inbox.Load(); i != nil {
		if err := i.Fault(); err != nil {
			return false, Undelivered + err.Error()
		}
	}
	return true, "ok"
}

// Refusing is how /readyz begins when everything is up and writes are refused; the reason stands behind it.
const Refusing = "writes are refused: "

// Lapsed is how /readyz begins while the writer cannot reach the leases under which it writes; the reason stands behind it.
const Lapsed = "not ready: "

// Stopped is how /readyz begins while no log takes commands; the reasons stand behind it, one a line.
const Stopped = "no log takes commands: "

// Undelivered is how /readyz begins while everything is up but commands of the durable inbox are not delivered; the reason stands behind it.
const Undelivered = "not all ready: "

// newRegistry is a metrics registry of our own, so that nothing an imported package registers globally shows up.
func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := Built()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "eventful_build_info",
		Help:        "Always 1; the labels say which program runs.",
		ConstLabels: prometheus.Labels{"version": build.Version, "commit": build.Commit, "go": build.Go},
	})
	info.Set(1)
	r.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// listenHTTP takes the port, so that a port in use shows before anything else is started. Requests are answered once serve runs.
func listenHTTP(host string, port int, protection *tls.Config, registry *prometheus.Registry) (*health, error) {
	listener, err := listen(host, port)
	if err != nil {
		return nil, err
	}
	h := &health{listener: listener, scheme: "http://"}
	if protection != nil {
		protection = protection.Clone()
		protection.NextProtos = []string{"h2", "http/1.1"}
		h.listener, h.scheme = tls.NewListener(listener, protection), "https://"
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "eventful_ready", Help: "1 while commands are accepted, and those of the durable inbox are delivered.",
	}, func() float64 {
		if ok, _ := h.accepts(); ok {
			return 1
		}
		return 0
	}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plainText(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", h.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	h.server = &http.Server{Handler: withoutQuery(mux), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	return h, nil
}

// withoutQuery refuses requests with a query: no page takes one, and a token in an address gets into the logs of whatever lies between. It is not repeated.
func withoutQuery(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" || r.URL.ForceQuery || r.URL.User != nil {
			plainText(w, http.StatusBadRequest, "no query is taken here; a token never belongs into an address\n")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (h *health) readyz(w http.ResponseWriter, _ *http.Request) {
	ok, text := h.accepts()
	status := http.StatusServiceUnavailable
	if ok {
		status = http.StatusOK
	}
	plainText(w, status, text+"\n")
}

func plainText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // the client is gone: nobody to tell
}

func (h *health) url() string { return h.scheme + h.listener.Addr().String() }

// serve answers until ctx ends; open requests get two seconds more.
func (h *health) serve(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- h.server.Serve(h.listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	h.ready.Store(false)
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := h.server.Shutdown(late)
	if errors.Is(err, context.DeadlineExceeded) {
		err = h.server.Close()
	}
	<-failed
	return err
}

// listen takes the port; in use or forbidden it is a *problem.Problem that names the flag to change.
func listen(host string, port int) (net.Listener, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, problem.New(problem.Unavailable, "HTTP port %s is taken by another program", address).
			WithHint("stop the other program, or choose another port with --port")
	case errors.Is(err, syscall.EACCES):
		return nil, problem.New(problem.Invalid, "HTTP port %s may not be opened by this user", address).
			WithHint("choose one above 1023 with --port")
	}
	return nil, problem.New(problem.Invalid, "HTTP port %s cannot be opened: %v", address, err).
		WithHint("--host must be an address of this machine")
}
