package client_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// FuzzClaimsOf holds that what is read of a token can become a subject: the user has no character that means something there.
func FuzzClaimsOf(f *testing.F) {
	for _, seed := range []string{"", "..", "a.b.c", "e30.e30.e30", "e30.eyJzdWIiOiJVQSJ9.e30", "e30.eyJzdWIiOiI+In0.e30", "e30.eyJzdWIiOiJVQSIsImV4cCI6MX0.e30", "e30.eyJzdWIiOiJVQSIsImV4cCI6MWU5OX0.e30", "e30.bnVsbA.e30"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if user, _, err := client.ClaimsOf(token); err == nil && (user == "" || strings.ContainsAny(user, ".*> \t\r\n\x00")) {
			t.Errorf("got the user %q of %q", user, token)
		}
	})
}

// FuzzAnswers holds that whatever a server answers is an answer or a problem of the table.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", "[]", `{"command":"c","repeated":false,"commits":[{"type":"patient","id":"A","first-version":1,"version":1}],"time":"2026-01-02T03:04:05Z"}`,
		`{"commits":[null]}`, `{"time":"x"}`, `{"code":"conflict","status":409}`, `{"code":"new"}`, `{"code":1}`,
	} {
		f.Add([]byte(seed), "")
		f.Add([]byte(seed), "409")
		f.Add([]byte(seed), "503")
	}
	f.Fuzz(func(t *testing.T, data []byte, code string) {
		header := nats.Header{}
		if code != "" {
			header["Nats-Service-Error-Code"] = []string{code}
		}
		a, err := client.Answered(data, header)
		var p *problem.Problem
		switch {
		case err != nil && (!errors.As(err, &p) || p.Code == "" || p.Status == 0 && code == ""):
			t.Errorf("got %v, want a problem", err)
		case err == nil && a == nil:
			t.Error("got neither an answer nor a problem")
		}
	})
}
