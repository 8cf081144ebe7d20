package client_test

import (
	"context"
	"encoding/json"
	"net"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// site is a NATS server in operator mode with one account, whose scoped signing key makes bearer users as EventfulDB's auth keys do.
type site struct {
	t       *testing.T
	server  *server.Server
	options *server.Options
	account nkeys.KeyPair
	signer  nkeys.KeyPair
	engine  *nats.Conn
}

func newSite(t *testing.T) *site {
	t.Helper()
	operator, account, signer := keyPair(t, nkeys.CreateOperator), keyPair(t, nkeys.CreateAccount), keyPair(t, nkeys.CreateAccount)
	scope := jwt.NewUserScope()
	scope.Key, scope.Role = public(t, signer), "writer"
	scope.Template.BearerToken = true
	scope.Template.Pub.Allow.Add("cmd.patient.>", "cmd.patient", "inbox.cmd.patient.>", "inbox.cmd.patient", "qry.>", "adm.>")
	scope.Template.Sub.Allow.Add("_INBOX.{{subject()}}.>")
	claims := jwt.NewAccountClaims(public(t, account))
	claims.SigningKeys.AddScopedSigner(scope)
	text, err := claims.Encode(operator)
	check(t, err)
	trusted, err := jwt.DecodeOperatorClaims(encodeOperator(t, operator))
	check(t, err)
	resolver := &server.MemAccResolver{}
	check(t, resolver.Store(public(t, account), text))
	s := &site{t: t, account: account, signer: signer}
	s.options = &server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, TrustedOperators: []*jwt.OperatorClaims{trusted}, AccountResolver: resolver}
	s.start()
	t.Cleanup(func() {
		s.engine.Close()
		s.server.Shutdown()
		s.server.WaitForShutdown()
	})
	return s
}

// start runs the server and connects the engine; after a shutdown it comes back on the same port.
func (s *site) start() {
	s.t.Helper()
	var err error
	s.server, err = server.NewServer(s.options.Clone())
	check(s.t, err)
	go s.server.Start()
	if !s.server.ReadyForConnections(10 * time.Second) {
		s.t.Fatal("the server is not ready")
	}
	user := keyPair(s.t, nkeys.CreateUser)
	claims := jwt.NewUserClaims(public(s.t, user))
	text, err := claims.Encode(s.account)
	check(s.t, err)
	s.engine, err = nats.Connect(s.server.ClientURL(), nats.UserJWT(func() (string, error) { return text, nil }, user.Sign))
	check(s.t, err)
}

// restart cuts every connection and comes back on the same port.
func (s *site) restart() {
	s.t.Helper()
	s.options.Port = s.server.Addr().(*net.TCPAddr).Port
	s.engine.Close()
	s.server.Shutdown()
	s.server.WaitForShutdown()
	s.start()
}

// token makes a bearer token of a new user.
func (s *site) token() string { return s.tokenUntil(time.Time{}) }

// tokenUntil makes one that expires; zero: never.
func (s *site) tokenUntil(expires time.Time) string {
	s.t.Helper()
	claims := jwt.NewUserClaims(public(s.t, keyPair(s.t, nkeys.CreateUser)))
	claims.SetScoped(true)
	claims.IssuerAccount = public(s.t, s.account)
	if !expires.IsZero() {
		claims.Expires = expires.Unix()
	}
	text, err := claims.Encode(s.signer)
	check(s.t, err)
	return text
}

func (s *site) connect(change func(*client.Options)) *client.Client {
	s.t.Helper()
	o := client.Options{URL: s.server.ClientURL(), Token: client.Static(s.token())}
	if change != nil {
		change(&o)
	}
	c, err := client.Connect(s.t.Context(), o)
	check(s.t, err)
	s.t.Cleanup(c.Close)
	return c
}

// answer makes the engine answer a subject.
func (s *site) answer(subject string, handle nats.MsgHandler) {
	s.t.Helper()
	_, err := s.engine.Subscribe(subject, handle)
	check(s.t, err)
	check(s.t, s.engine.Flush())
}

func respond(t *testing.T, m *nats.Msg, value any) {
	t.Helper()
	body, err := json.Marshal(value)
	check(t, err)
	check(t, m.Respond(body))
}

func respondMore(t *testing.T, m *nats.Msg, value any) {
	t.Helper()
	body, err := json.Marshal(value)
	check(t, err)
	check(t, m.RespondMsg(&nats.Msg{Header: nats.Header{"Eventful-More": {"1"}}, Data: body}))
}

func refuse(t *testing.T, m *nats.Msg, p *problem.Problem) {
	t.Helper()
	body, err := json.Marshal(p)
	check(t, err)
	header := nats.Header{"Nats-Service-Error": {p.Title}, "Nats-Service-Error-Code": {"400"}}
	check(t, m.RespondMsg(&nats.Msg{Header: header, Data: body}))
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func keyPair(t *testing.T, make func() (nkeys.KeyPair, error)) nkeys.KeyPair {
	t.Helper()
	kp, err := make()
	check(t, err)
	return kp
}

func public(t *testing.T, kp nkeys.KeyPair) string {
	t.Helper()
	key, err := kp.PublicKey()
	check(t, err)
	return key
}

func encodeOperator(t *testing.T, operator nkeys.KeyPair) string {
	t.Helper()
	text, err := jwt.NewOperatorClaims(public(t, operator)).Encode(operator)
	check(t, err)
	return text
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
