package opensearch_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/internal/opensearchtest"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
	"github.com/eventfuldb/eventful/plugins/opensearch"
)

// On a node with the security plugin: TLS with its own CA, basic authentication, and what an operator reads if one of them is wrong.
func TestSecured(t *testing.T) {
	node := opensearchtest.StartSecure(t)
	address := "https://" + node.Addr
	right := []string{"ca", string(node.CA), "username", opensearchtest.Writer, "password", opensearchtest.WriterPassword}
	p := open(t, settings(t, address, right...))
	done(t, p, plugintest.Change("A", 1, "name", "Ada"))
	done(t, p, plugintest.Change("A", 1, "name", "late"), plugintest.Delete("B", 2))
	if err := p.Test(t.Context()); err != nil {
		t.Errorf("test of the plugin: %v", err)
	}
	next := settings(t, address, right...)
	next.Generation = 1
	renewed := open(t, next)
	if err := renewed.(plugin.Rebuilder).Publish(t.Context()); err != nil {
		t.Errorf("publish as a user with few rights: %v", err)
	}
	for want, options := range map[string][]string{
		"signed by nobody who is trusted here": {"username", opensearchtest.Writer, "password", opensearchtest.WriterPassword},
		"does not take the credentials":        {"ca", string(node.CA), "username", opensearchtest.Writer, "password", "Wrong-Harbour-62"},
		"answered 401":                         {"ca", string(node.CA)},
		"do not allow this":                    append([]string{"mapping", "types: patient\ntarget: forbidden"}, right...),
	} {
		s := settings(t, address, options...)
		if want == "do not allow this" {
			s.Name = "other"
			s.Options["mapping"] = "types: patient\ntarget: forbidden"
		}
		_, err := opensearch.Kind().Open(t.Context(), s)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Harbour") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	lostRights(t, node, renewed)
}

// lostRights: a password that is changed while the plugin runs costs no change.
func lostRights(t *testing.T, node *opensearchtest.Secure, p plugin.Plugin) {
	account := func(password string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPut, "https://"+node.Addr+"/_plugins/_security/api/internalusers/"+opensearchtest.Writer, strings.NewReader(`{"password": "`+password+`", "backend_roles": ["writer"]}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.SetBasicAuth(opensearchtest.Admin, opensearchtest.AdminPassword)
		res, err := node.Client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil || res.StatusCode/100 != 2 {
			t.Fatalf("change the password: %d %v", res.StatusCode, err)
		}
	}
	account("Zt4-Lantern-Moss-88")
	o := deliver(t, p, plugintest.Change("C", 1, "name", "Cid"))
	if o[0].Status != plugin.StatusRetry || !strings.Contains(o[0].Err.Error(), "401") {
		t.Errorf("with a password that is wrong by now: got %s %v", o[0].Status, o[0].Err)
	}
	account(opensearchtest.WriterPassword)
	done(t, p, plugintest.Change("C", 1, "name", "Cid"))
}

// gate stands before the real node and lets requests in that allow says yes to, as a gateway with API keys does.
func gate(t *testing.T, address string, allow func(*http.Request) bool) string {
	t.Helper()
	to, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !allow(r) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestAPIKey(t *testing.T) {
	address := gate(t, shared(t), func(r *http.Request) bool { return r.Header.Get("Authorization") == "ApiKey a2V5OnNlY3JldA==" })
	done(t, open(t, settings(t, address, "api-key", "a2V5OnNlY3JldA==")), plugintest.Change("A", 1, "name", "Ada"))
	if _, err := opensearch.Kind().Open(t.Context(), settings(t, address, "api-key", "wrong")); err == nil || !strings.Contains(err.Error(), "do not allow this") {
		t.Errorf("a wrong key: got %v", err)
	}
}

func TestSigV4(t *testing.T) {
	address := gate(t, shared(t), func(r *http.Request) bool { return signed(t, r, "SECRET/key+1") })
	right := []string{"aws-region", "eu-central-1", "aws-access-key-id", "AKIDEXAMPLE", "aws-secret-access-key", "SECRET/key+1", "aws-session-token", "session"}
	p := open(t, settings(t, address, right...))
	done(t, p, plugintest.Change("Ä /?&", 1, "name", "Ada"), plugintest.Delete("B", 1))
	if err := p.Test(t.Context()); err != nil {
		t.Error(err)
	}
	right[5] = "wrong"
	if _, err := opensearch.Kind().Open(t.Context(), settings(t, address, right...)); err == nil || !strings.Contains(err.Error(), "do not allow this") {
		t.Errorf("a wrong secret: got %v", err)
	}
}
