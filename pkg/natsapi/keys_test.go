package natsapi_test

import (
	"errors"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/token"
)

// While the index of the system log cannot be read, a token is neither accepted nor called revoked: who asks is told to try again, which clients do by themselves.
func TestATokenIsNotWrongBecauseTheIndexIsAway(t *testing.T) {
	_, seed, err := token.NewAuthKey()
	if err != nil {
		t.Fatal(err)
	}
	account, _, err := token.NewAuthKey() // any public account key
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := token.MintAdmin(seed, account, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := projector.New(projector.Config{Store: eventlog.NewMemory(), Dir: t.TempDir(), Key: key, Site: site})
	if err != nil {
		t.Fatal(err)
	}
	if err := natsapi.AuthenticateBy(p, text); !errors.Is(err, &problem.Problem{Code: problem.Unavailable}) {
		t.Errorf("got %v, want unavailable", err)
	}
}
