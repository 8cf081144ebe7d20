package e2e_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"

	"github.com/eventfuldb/eventful/streams"
)

// socket speaks the NATS client protocol and nothing else: text lines over TCP, as docs.nats.io describes them.
type socket struct {
	t     *testing.T
	conn  net.Conn
	in    *bufio.Reader
	inbox string
	sent  int
}

// frame is something that the server said. Op is MSG, HMSG, PONG, -ERR, or closed.
type frame struct {
	op, subject, text string
	header            http.Header
	body              []byte
}

// header is one line of a message header.
type header struct{ name, value string }

// dialSocket connects with a bearer token and subscribes to the token's inbox.
func dialSocket(t *testing.T, url, jwt string) *socket {
	t.Helper()
	k, first := tryDial(t, url, jwt)
	if first.op != "PONG" {
		t.Fatalf("got %s %s, want the connection accepted", first.op, first.text)
	}
	k.write("SUB %s.* 1\r\n", k.inbox)
	return k
}

// tryDial connects and gives the server's answer to the first PING.
func tryDial(t *testing.T, url, jwt string) (*socket, frame) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	k := &socket{t: t, conn: conn, in: bufio.NewReader(conn), inbox: inboxOf(jwt)}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if line, err := k.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "INFO {") {
		t.Fatalf("got %q (%v), want INFO", line, err)
	}
	k.write("CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"jwt\":%q}\r\nPING\r\n", jwt)
	return k, k.next()
}

// inboxOf is the inbox prefix of a token; of what is no token, something.
func inboxOf(jwt string) string {
	var claims struct {
		Subject string `json:"sub"`
		NATS    struct {
			Tags []string `json:"tags"`
		} `json:"nats"`
	}
	parts := strings.Split(jwt, ".")
	if len(parts) == 3 {
		if text, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil && json.Unmarshal(text, &claims) == nil {
			return streams.TokenInboxPrefix(claims.Subject, claims.NATS.Tags)
		}
	}
	return "_INBOX.nobody"
}

func (k *socket) write(format string, args ...any) {
	k.t.Helper()
	if _, err := fmt.Fprintf(k.conn, format, args...); err != nil {
		k.t.Fatal(err)
	}
}

// request sends a message with headers; the answer comes to the subject that it gives.
func (k *socket) request(subject string, headers []header, body string) (reply string) {
	k.t.Helper()
	k.sent++
	reply = k.inbox + "." + strconv.Itoa(k.sent)
	if err := k.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		k.t.Fatal(err)
	}
	block := "NATS/1.0\r\n"
	for _, h := range headers {
		block += h.name + ": " + h.value + "\r\n"
	}
	block += "\r\n"
	k.write("HPUB %s %s %d %d\r\n%s%s\r\n", subject, reply, len(block), len(block)+len(body), block, body)
	return reply
}

// next reads what the server says next; a PING is answered on the way.
func (k *socket) next() frame {
	k.t.Helper()
	for {
		line, err := k.in.ReadString('\n')
		if err != nil {
			if !isClosed(err) {
				k.t.Fatalf("read from the server: %v", err)
			}
			return frame{op: "closed", text: line}
		}
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
			k.t.Fatal("the server sent an empty line")
		case words[0] == "PING":
			k.write("PONG\r\n")
		case words[0] == "INFO" || words[0] == "+OK":
		case words[0] == "MSG" || words[0] == "HMSG":
			return k.message(words)
		default:
			return frame{op: words[0], text: strings.TrimSpace(line[len(words[0]):])}
		}
	}
}

func isClosed(err error) bool {
	var broken *net.OpError
	return errors.Is(err, io.EOF) || errors.As(err, &broken) && !broken.Timeout()
}

// message reads the rest of `MSG subject sid [reply] size` or `HMSG subject sid [reply] headers size`.
func (k *socket) message(words []string) frame {
	k.t.Helper()
	f := frame{op: words[0], subject: words[1], header: http.Header{}}
	size, err := strconv.Atoi(words[len(words)-1])
	if err != nil {
		k.t.Fatal(err)
	}
	data := make([]byte, size+2)
	if _, err := io.ReadFull(k.in, data); err != nil {
		k.t.Fatal(err)
	}
	data = data[:size]
	if f.op == "HMSG" {
		n, err := strconv.Atoi(words[len(words)-2])
		if err != nil {
			k.t.Fatal(err)
		}
		status, rest, _ := strings.Cut(string(data[:n]), "\r\n")
		f.text = strings.TrimSpace(strings.TrimPrefix(status, "NATS/1.0"))
		lines, err := textproto.NewReader(bufio.NewReader(strings.NewReader(rest))).ReadMIMEHeader()
		if err != nil {
			k.t.Fatal(err)
		}
		f.header, data = http.Header(lines), data[n:]
	}
	f.body = data
	return f
}

// TestPlainProtocol writes and reads over a TCP socket, as a client in any language can.
func TestPlainProtocol(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	k := dialSocket(t, s.info().NATS, s.token)
	who := header{"Eventful-Token", s.token}

	reply := k.request("cmd.patient.A=2E1.crp", []header{who, {"Eventful-Expected-Version", "none"}, {"Eventful-Occurred-At", "2014-10-22T11:27:00+02:00"}}, `{"crp": 21.0, "unit": "mg/l"}`)
	f := k.next()
	var answer client.Answer
	if err := json.Unmarshal(f.body, &answer); err != nil || f.subject != reply || len(answer.Commits) != 1 {
		t.Fatalf("got %s on %s, want an answer on %s", f.body, f.subject, reply)
	}
	got := answer.Commits[0]
	if got.Type != "patient" || got.ID != "A.1" || got.Version != 1 || len(got.Hashes) != 1 || len(got.Root) != 64 || got.Position == "" {
		t.Errorf("got commit %+v, want patient/A.1 at version 1", got)
	}

	k.request("qry.patient.A=2E1.get", []header{who, {"Eventful-Wait-For", got.Position}}, "")
	var state client.State
	if f = k.next(); json.Unmarshal(f.body, &state) != nil {
		t.Fatalf("got %s, want a state", f.body)
	}
	if diff := cmp.Diff(map[string]string{"crp": "21.0", "unit": "mg/l"}, state.Fields); diff != "" || state.Root != got.Root || state.Actor != "user:ada" {
		t.Errorf("got state %+v (-want +got):\n%s", state, diff)
	}
	if at := time.Date(2014, 10, 22, 9, 27, 0, 0, time.UTC); state.OccurredAt == nil || !state.OccurredAt.Equal(at) {
		t.Errorf("got occurred-at %v, want %v", state.OccurredAt, at)
	}

	k.request("cmd.patient", []header{who}, `{"commits":[{"type":"patient","id":"A.1","expected-version":"1","events":[{"event":"note","fields":{"text":"x"}},{"event":"died"}]}]}`)
	if f = k.next(); json.Unmarshal(f.body, &answer) != nil || len(answer.Commits) != 1 || answer.Commits[0].Version != 3 {
		t.Errorf("got %s, want a transaction up to version 3", f.body)
	}
	k.request("cmd.patient.A=2E1.crp", []header{who, {"Eventful-Expected-Version", "1"}}, `{"crp": 1}`)
	f = k.next()
	if f.header.Get("Nats-Service-Error-Code") != "409" || f.header.Get("Nats-Service-Error") == "" || !strings.Contains(string(f.body), `"code":"conflict"`) {
		t.Errorf("got %s with %v, want a service error 409", f.body, f.header)
	}

	// NATS micro services answer under $SRV to whoever may ask; users may not.
	k.request("$SRV.PING", nil, "")
	if f = k.next(); f.op != "-ERR" || !strings.Contains(f.text, "Permissions Violation") {
		t.Errorf("$SRV.PING: got %s %s, want a permissions violation", f.op, f.text)
	}
}

// pythonClient is what README shows for nats-py, shortened.
const pythonClient = `
import asyncio, base64, json, os, nats
token = os.environ["EVENTFUL_TOKEN"]
body = token.split(".")[1]
tags = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["nats"]["tags"]
inbox = next(tag for tag in tags if tag.startswith("inbox:"))[6:]

async def main():
    nc = await nats.connect(os.environ["NATS_URL"], user_jwt_cb=lambda: bytearray(token.encode()),
                            signature_cb=lambda nonce: b"", inbox_prefix=("_INBOX.U" + inbox).encode())
    headers = {"Eventful-Token": token, "Eventful-Command-Id": "from-python"}
    answer = await nc.request("cmd.patient.PY.crp", b'{"crp": 1.10}', headers=headers, timeout=10)
    print(json.loads(answer.data)["commits"][0]["version"])
    await nc.close()

asyncio.run(main())
`

// TestPython does the same with nats-py, where that is installed.
func TestPython(t *testing.T) {
	t.Parallel()
	if err := exec.Command("python3", "-c", "import nats").Run(); err != nil {
		t.Skip("python3 with nats-py is not installed here")
	}
	s := newSite(t)
	cmd := exec.Command("python3", "-c", pythonClient)
	cmd.Env = append(os.Environ(), "EVENTFUL_TOKEN="+s.token, "NATS_URL="+s.info().NATS)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "1" {
		t.Fatalf("got %s (%v), want version 1", out, err)
	}
	state, err := s.client().Get(context.Background(), event.AggregateID{Type: "patient", ID: "PY"}, client.Latest())
	if err != nil || state.Fields["crp"] != "1.10" {
		t.Errorf("got %+v (%v), want crp 1.10", state, err)
	}
}
