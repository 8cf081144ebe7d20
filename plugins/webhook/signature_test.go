package webhook_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
)

// verified is the check of docs/plugins-webhook.md, written down a second time.
func verified(secret string, r received) bool {
	given := regexp.MustCompile(`^t=([0-9]{1,12}),v1=([0-9a-f]{64})$`).FindStringSubmatch(r.header.Get("Eventful-Signature"))
	if given == nil {
		return false
	}
	at, err := strconv.ParseInt(given[1], 10, 64)
	if age := time.Now().Unix() - at; err != nil || age > 300 || age < -300 {
		return false
	}
	text := given[1] + "\n"
	for _, name := range slices.Sorted(maps.Keys(r.header)) {
		if strings.HasPrefix(name, "Ce-") {
			text += strings.ToLower(name) + ":" + r.header.Get(name) + "\n"
		}
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text + "\n"))
	mac.Write(r.body)
	want, err := hex.DecodeString(given[2])
	return err == nil && hmac.Equal(mac.Sum(nil), want)
}

// TestSignature: it covers the time, every attribute and the body.
func TestSignature(t *testing.T) {
	for _, mode := range []string{"structured", "binary"} {
		r := newReceiver(t, nil)
		p := open(t, plugin.Values{"url": r.URL, "mode": mode, "secret": secret, "allow-networks": loopback})
		if o := deliverOne(t, p); o.Status != plugin.StatusDone {
			t.Fatal(o.Err)
		}
		one := r.all()[0]
		if !verified(secret, one) || verified(secret+"x", one) {
			t.Fatalf("%s: the signature is wrong: %v", mode, one.header)
		}
		changed := received{one.header, bytes.Replace(one.body, []byte("Ada"), []byte("Eve"), 1)}
		if verified(secret, changed) {
			t.Errorf("%s: another body has the same signature", mode)
		}
		for name := range one.header {
			if strings.HasPrefix(name, "Ce-") {
				changed := received{one.header.Clone(), one.body}
				changed.header.Set(name, "2")
				if verified(secret, changed) {
					t.Errorf("%s has another value under the same signature", name)
				}
			}
		}
		later := received{one.header.Clone(), one.body}
		later.header.Set("Eventful-Signature", regexp.MustCompile(`t=\d+`).ReplaceAllStringFunc(one.header.Get("Eventful-Signature"), func(string) string { return fmt.Sprint("t=", time.Now().Unix()+1) }))
		if verified(secret, later) {
			t.Errorf("%s: another time has the same signature", mode)
		}
	}
}

// TestTheReceiverInPython is examples/plugins/webhook.py: it takes what is signed with its secret, in both modes, and nothing else.
func TestTheReceiverInPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is missing: the receiver is written in it")
	}
	dir := t.TempDir()
	kept, key := filepath.Join(dir, "kept"), filepath.Join(dir, "secret")
	if err := os.WriteFile(key, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	receiver := exec.Command(python, "../../examples/plugins/webhook.py", kept, key)
	receiver.Stderr = os.Stderr
	out, err := receiver.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := receiver.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = receiver.Process.Kill()
		_ = receiver.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address = strings.TrimSpace(address)
	for i, mode := range []string{"structured", "binary"} {
		p := open(t, plugin.Values{"url": address, "mode": mode, "secret": secret, "allow-networks": loopback})
		c := plugintest.Change("ä b", 1, "name", "Ada")
		c.Leaf[0] = byte(i)
		for range 2 {
			if o := p.Deliver(t.Context(), plugin.Batch{Changes: []plugin.Change{c}}); o[0].Status != plugin.StatusDone {
				t.Fatalf("%s: %v", mode, o[0].Err)
			}
		}
		if err := p.Test(t.Context()); err != nil {
			t.Error(err)
		}
	}
	text, err := os.ReadFile(kept)
	if want := strings.Repeat(`{"subject": "patient/\u00e4 b", "version": 1, "type": "patient-admitted", "fields": {"name": "Ada"}}`+"\n", 2); err != nil || string(text) != want {
		t.Errorf("got %s, %v, want %s", text, err, want)
	}
	p := open(t, plugin.Values{"url": address, "mode": "binary", "secret": secret, "allow-networks": loopback})
	for _, c := range []plugin.Change{plugintest.Forget("ä b"), plugintest.Change("C", 1, "name", "Cid")} {
		if o := p.Deliver(t.Context(), plugin.Batch{Changes: []plugin.Change{c}}); o[0].Status != plugin.StatusDone {
			t.Fatal(o[0].Err)
		}
	}
	if text, err := os.ReadFile(kept); err != nil || strings.Contains(string(text), "Ada") || strings.Count(string(text), "\n") != 3 || !strings.Contains(string(text), "Cid") {
		t.Errorf("got %s, %v, want it without what was forgotten, and what came behind that", text, err)
	}
	o := deliverOne(t, open(t, plugin.Values{"url": address, "secret": "another secret of some length", "allow-networks": loopback}))
	if o.Status != plugin.StatusRetry || !strings.Contains(o.Err.Error(), strconv.Itoa(http.StatusUnauthorized)) {
		t.Errorf("a wrong secret: got %s, %v", o.Status, o.Err)
	}
}
