package e2e_test

import (
	"context"
	"testing"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// A letter that the inbox took before its token was revoked, and that is decided afterwards, since the writer of its log stands still meanwhile, is refused, and the refusal
// is kept for its sender. What the same token stored before stays.
func TestALetterFromBeforeTheRevocation(t *testing.T) {
	t.Parallel()
	w := newWriters(t, 2, "patient")
	until(t, "both writers follow", func() bool { return w.sharing().followed(2, 2) })
	var system, other *engine
	until(t, "two writers share the logs", func() bool {
		if system, other = w.leader("eventful"), w.leader("patient"); system == other {
			w.run("writer:resign", "patient", "--account="+w.account)
		}
		return system != other
	})
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	eve := token.Claims{IdentifierType: "user", IdentifierID: "eve", Limit: 10}
	leaked := w.mint(eve)
	sender := w.clientOf(leaked)
	if _, err := sender.Command(ctx, letter("before")); err != nil {
		t.Fatal(err)
	}
	other.pause()
	defer other.resume()
	if _, err := sender.Enqueue(ctx, letter("waiting")); err != nil {
		t.Fatalf("the inbox did not take the letter: %v", err)
	}
	w.revoke("--account="+w.account, "--timeout=25s", "--token="+leaked)
	again := w.clientOf(w.mint(eve)) // the same person
	w.inboxIsEmpty(again)
	refused := w.refusedCommands(again)
	if len(refused) != 1 || refused[0].Command != "waiting" || refused[0].Problem.Code != problem.Unauthenticated || refused[0].Actor != "user:eve" {
		t.Errorf("got %+v refused, want the letter, as unauthenticated", refused)
	}
	other.resume()
	until(t, "both writers follow again", func() bool { return w.sharing().followed(2, 2) })
	state, err := again.Get(ctx, target(0), client.Latest())
	if err != nil || state.Version != 1 {
		t.Errorf("got version %d, %v, want 1: what was stored before", state.Version, err)
	}
	w.verify()
}

func letter(id string) client.Command {
	return client.Command{Aggregate: target(0), Event: "note", Fields: client.Fields{"text": id}, Context: client.Context{CommandID: id}}
}
