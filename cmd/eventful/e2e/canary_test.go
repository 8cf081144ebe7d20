package e2e_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
)

// TestCanaries has every kind of secret pass through the site in every way that there is: keys that are given, made and replaced, tokens that are kept, refreshed, revoked and
// put where they do not belong, payloads that are stored, staged, queued and refused. Then it looks for them: in the output of all commands, the log, the HTTP port, the
// command lines of all processes, the server's environment, the data folder, the user's folder.
func TestCanaries(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.stop()
	s.start("--log-level=trace")
	c := &canaries{site: s, secrets: map[string]string{"master key": masterKey, "DEK": dataKey, "auth key": s.authKey, "token": s.token, "token's signature": s.token[len(s.token)-80:]}}
	c.payloads()
	c.tokens()
	c.keys()
	c.addresses()
	c.search()
	s.must("restart")
	c.search()
	s.stop()
	c.search()
}

type canaries struct {
	*site
	secrets map[string]string
	said    bytes.Buffer
}

// say runs a command whatever it ends with, and keeps what it says.
func (c *canaries) say(args ...string) outcome {
	c.t.Helper()
	o := c.run(args...)
	c.said.WriteString(o.stdout + o.stderr)
	return o
}

// file is a secret in a file of its owner, outside the data folder, which is removed before the search.
func (c *canaries) file(name, secret string) string {
	c.t.Helper()
	path := filepath.Join(c.root, name)
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.secrets[name] = secret
	return path
}

func (c *canaries) payloads() {
	for name, text := range map[string]string{"stored": "canary-stored", "refused": "canary-refused", "staged": "canary-staged", "queued": "canary-queued", "queued in vain": "canary-vain"} {
		c.secrets["payload "+name] = text
	}
	client, ctx := c.client(), context.Background()
	for id, text := range map[string]string{"A": "canary-stored", "B": "canary-queued"} {
		c.put(ctx, client, id, text, id == "B")
	}
	c.say("event:add", "patient/crp", "--id=A", "--crp=1", "--unit=canary-refused")
	c.put(ctx, client, "C", "canary-vain", true)
	o := c.run("aggregate:apply", "patient/note", "--id=D", "--text=canary-staged")
	if o.status != 0 {
		c.t.Fatalf("stage: %s", o.stderr)
	}
	c.inboxIsEmpty(client)
}

func (c *canaries) put(ctx context.Context, with *client.Client, id, text string, queued bool) {
	c.t.Helper()
	cmd := client.Command{Aggregate: event.AggregateID{Type: "patient", ID: id}, Event: "note", Fields: client.Fields{"text": text}}
	if text == "canary-vain" {
		cmd.Fields = client.Fields{"age": text}
	}
	var err error
	if queued {
		_, err = with.Enqueue(ctx, cmd)
	} else {
		_, err = with.Command(ctx, cmd)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *canaries) tokens() {
	var made struct {
		Token string `json:"token"`
		ID    string `json:"id"`
	}
	generate := []string{"token:generate", "--expiration=3600", "--limit=5", "--identifierType=user", "--identifierId=ben"}
	c.ask(&made, generate...)
	c.secrets["second token"] = made.Token
	c.ask(&made, "token:refresh", made.ID, "--expiration=60", "--limit=1")
	c.secrets["refreshed token"] = made.Token
	kept := c.command("token:auth", "--keep-alive")
	kept.Stdin = strings.NewReader(made.Token)
	if out, err := kept.CombinedOutput(); err != nil {
		c.t.Fatalf("token:auth: %v\n%s", err, out)
	}
	c.must("aggregate:get", "patient/A", "EVENTFUL_TOKEN=") // shows the payload, as it is to
	c.say("token:show", made.ID)
	c.say("token:list")
	c.say("token:revoke", "--token="+made.ID)
	c.say("event:add", "patient/registered", "--id=E", "EVENTFUL_TOKEN="+made.Token)
	creds := filepath.Join(c.root, "ben.creds")
	c.ask(&made, append(generate, "--creds="+creds)...)
	c.secrets["token of a file"] = made.Token
	c.opens(creds, made.Token)
	text, err := os.ReadFile(creds)
	if err != nil {
		c.t.Fatal(err)
	}
	_, seed, _ := strings.Cut(string(text), "SEED-----\n")
	c.secrets["seed of a user"], _, _ = strings.Cut(seed, "\n")
	if err := os.Remove(creds); err != nil || len(c.secrets["seed of a user"]) < 50 {
		c.t.Fatalf("the seed was not found: %v", err)
	}
}

// opens holds that a stock client gets in with the file, and reads.
func (c *canaries) opens(creds, text string) {
	c.t.Helper()
	nc, err := nats.Connect(c.info().NATS, nats.UserCredentials(creds), nats.CustomInboxPrefix(inboxOf(text)))
	if err != nil {
		c.t.Fatal(err)
	}
	defer nc.Close()
	answer, err := nc.RequestMsg(&nats.Msg{Subject: "qry.patient.A.get", Header: nats.Header{"Eventful-Token": {text}}}, patience)
	if err != nil || !bytes.Contains(answer.Data, []byte("canary-stored")) {
		c.t.Errorf("a stock client with a file of credentials: got %v, %v", answer, err)
	}
}

// keys replaces both secrets while the server runs, and gives wrong ones.
func (c *canaries) keys() {
	dek, master := c.file("fresh DEK", "canary-fresh-data-key"), c.file("fresh master key", "canary-fresh-master-key")
	wrong := c.file("wrong secret", "canary-wrong-secret-of-all")
	c.say("config", "--rotate-dek", "--dek-file="+wrong, "--new-dek-file="+dek)
	c.said.WriteString(c.must("config", "--rotate-dek", "--new-dek-file="+dek))
	c.said.WriteString(c.must("config", "--rotate-master-key", "--new-master-key-file="+master, "EVENTFUL_MASTER_KEY="+masterKey))
	c.say("token:generate", "--auth-key", "--master-key-file="+wrong)
	c.say("start", "EVENTFUL_DEK=canary-wrong-secret-of-all")
	c.say("config", "show", "--origin")
	var page struct{ Acts []struct{ Event string } }
	until(c.t, "what config did is entered", func() bool {
		c.ask(&page, "audit:list", "--aggregate=eventful-config")
		return len(page.Acts) == 3
	})
	c.say("audit:list", "-o", "json", "--all")
	c.say("status")
	c.say("doctor")
	c.say("logs")
	for _, path := range []string{dek, master, wrong} {
		if err := os.Remove(path); err != nil {
			c.t.Fatal(err)
		}
	}
}

// addresses puts tokens into URLs: NATS addresses are refused without being repeated, the HTTP port answers as ever and repeats nothing.
func (c *canaries) addresses() {
	host := strings.TrimPrefix(c.info().NATS, "nats://")
	for _, url := range []string{"nats://" + c.token + "@" + host, "nats://ada:" + c.token + "@" + host, "nats://" + host + "/?token=" + c.token, "nats://" + host + "#" + c.token} {
		for _, args := range [][]string{{"schema:list", "--server=" + url}, {"schema:list", "EVENTFUL_SERVER=" + url}} {
			if o := c.say(args...); o.status != 2 || !strings.Contains(o.stderr, "EVENTFUL_TOKEN_FILE") {
				c.t.Errorf("a token in the address of the server: got exit status %d, %.300s, want 2", o.status, o.stderr)
			}
		}
		if _, err := client.Connect(context.Background(), client.Options{URL: url, Token: client.Static(c.token)}); err == nil {
			c.t.Error("a client connected with a token in its address")
		} else {
			c.said.WriteString(err.Error())
		}
	}
	for _, path := range []string{"/livez?token=", "/readyz?access_token=", "/metrics?jwt=", "/metrics?name[]=", "/", "/cmd/patient?token=", "/%2a?token="} {
		answer, err := http.Get(c.info().HTTP + path + c.token)
		if err != nil {
			c.t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		want := http.StatusBadRequest // a token in an address is refused
		if path == "/" {
			want = http.StatusNotFound
		}
		if err != nil || answer.StatusCode != want {
			c.t.Errorf("%s…: got %s, %v, want %d", path, answer.Status, err, want)
		}
		c.said.Write(body)
		for name, values := range answer.Header {
			c.said.WriteString(name + strings.Join(values, " "))
		}
	}
}

func (c *canaries) search() {
	c.t.Helper()
	c.nothingHolds("output", c.said.Bytes(), c.secrets)
	c.filesHold(c.secrets)
	for _, path := range files(c.t, c.root) {
		if text, err := os.ReadFile(path); err == nil && filepath.Base(path) != "dek" { // it is kept there for start
			c.nothingHolds(path, text, c.secrets)
		}
	}
	if c.running() {
		page, err := http.Get(c.info().HTTP + "/metrics")
		if err != nil {
			c.t.Fatal(err)
		}
		defer page.Body.Close()
		text, err := io.ReadAll(page.Body)
		if err != nil || len(text) < 1000 {
			c.t.Errorf("metrics: got %d bytes, %v", len(text), err)
		}
		c.nothingHolds("metrics", text, c.secrets)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		c.t.Fatal(err)
	}
	if c.running() {
		processes = append(processes, filepath.Join("/proc", strconv.Itoa(c.info().PID), "environ"))
	}
	for _, path := range processes {
		if text, err := os.ReadFile(path); err == nil { // it may be gone
			c.nothingHolds(path, text, c.secrets)
		}
	}
}
