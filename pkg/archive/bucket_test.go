package archive_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/archive/archivetest"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

func openBucket(t *testing.T, at string) *archive.Bucket {
	t.Helper()
	address, err := archive.ParseBucket("s3+http://" + at)
	if err != nil {
		t.Fatal(err)
	}
	b, err := archive.OpenBucket(address, archivetest.AccessKey, archivetest.SecretKey)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestBucketConforms(t *testing.T) {
	at := archivetest.StartS3(t)
	n := 0
	archivetest.Run(t, func(t *testing.T) archive.Objects {
		n++
		return openBucket(t, fmt.Sprintf("%s/some/prefix-%d", at, n))
	})
}

func TestBucketAddresses(t *testing.T) {
	want := archive.BucketAddress{Host: "s3.example.org:9000", Bucket: "logs", Prefix: "a/b", Region: "eu-1", TLS: true}
	if got, err := archive.ParseBucket("s3://s3.example.org:9000/logs/a/b/?region=eu-1"); got != want || err != nil {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "s3://", "s3://host", "s3://host/", "http://host/bucket", "s3://key:secret@host/bucket", "s3://host/bucket/../x", "s3://host/bucket?regoin=x", "s3://host/bucket#x", "s3://%"} {
		if got, err := archive.ParseBucket(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %+v, %v, want an error without the secret", bad, got, err)
		}
	}
}

func TestWrongKeysAreNamed(t *testing.T) {
	address, err := archive.ParseBucket("s3+http://" + archivetest.StartS3(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err := archive.OpenBucket(address, archivetest.AccessKey, "other-secret")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Create(t.Context(), "a/b", []byte("x")); err == nil || errors.Is(err, archive.ErrExists) || strings.Contains(err.Error(), "other-secret") {
		t.Errorf("got %v, want the refusal of the server", err)
	}
}

// faultyProxy stands before a real server, and makes its answers fail.
type faultyProxy struct {
	mode atomic.Value // of string: "", "500", "half", "slow"
	real *httputil.ReverseProxy
}

func (p *faultyProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch p.mode.Load() {
	case "500":
		http.Error(w, "no", http.StatusInternalServerError)
	case "slow":
		select {
		case <-r.Context().Done():
		case <-time.After(5 * time.Second):
		}
	case "half":
		rec := httptest.NewRecorder()
		p.real.ServeHTTP(rec, r)
		w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2]) // the reader is to fail
	default:
		p.real.ServeHTTP(w, r)
	}
}

// A server that answers 500, half or not at all: each is told as what can be tried again, nothing is taken for the archive, and behind it all is there.
func TestABucketThatFails(t *testing.T) {
	at := archivetest.StartS3(t)
	host, bucket, _ := strings.Cut(at, "/")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	p := &faultyProxy{real: &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", host, r.In.Host // Host stays: it is signed
	}}}
	p.mode.Store("")
	proxy := httptest.NewServer(p)
	defer proxy.Close()
	address, err := archive.ParseBucket("s3+http://" + proxy.Listener.Addr().String() + "/" + bucket)
	if err != nil {
		t.Fatal(err)
	}
	b, err := archive.OpenBucketFor(address, archivetest.AccessKey, archivetest.SecretKey, 1500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	f := newFixture(t, 100)
	f.cfg.Objects = b
	for _, mode := range []string{"500", "half", "slow"} {
		p.mode.Store(mode)
		if err := extend(t.Context(), open(t, f.cfg), f.log, 60); err == nil {
			t.Errorf("%s: got no error", mode)
		}
	}
	p.mode.Store("")
	if err := extend(t.Context(), open(t, f.cfg), f.log, 60); err != nil {
		t.Fatal(err)
	}
	f.store.Purge("patient", 60)
	l := f.joined(t)
	for _, mode := range []string{"500", "half", "slow"} {
		p.mode.Store(mode)
		if _, err := l.Get(t.Context(), 5); !errors.Is(err, eventlog.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", mode, err)
		}
	}
	p.mode.Store("")
	wantVerified(t, l, 100)
}
