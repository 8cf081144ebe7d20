package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/token"
)

// Who may write, and knows the name of the inbox and the numbers of its letters, sends commands of his own under whatever id a letter without one could get. It is stored all the same.
func TestNobodyForeseesTheIDOfALetter(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	put := func(person, aggregate, text string) {
		t.Helper()
		jwt := s.mint(token.Claims{IdentifierType: "user", IdentifierID: person, Limit: 100})
		k := dialSocket(t, s.info().NATS, jwt)
		k.request("inbox.cmd.ward."+aggregate+".note", []header{{"Eventful-Token", jwt}}, `{`+text+`}`)
		if f := k.next(); !strings.Contains(string(f.body), `"seq":`) {
			t.Fatalf("got %+v, want that the inbox took it", f)
		}
	}
	eve := s.clientOf(s.mint(token.Claims{IdentifierType: "user", IdentifierID: "eve", Limit: 100}))
	put("eve", "E", `"text":"stored"`)
	put("eve", "E", `"nothing":"refused"`)
	s.inboxIsEmpty(eve)
	own := s.refusedCommands(eve)
	if len(own) != 1 {
		t.Fatalf("got %+v refused, want eve's", own)
	}
	seen, err := eve.Refused(ctx, own[0].Number)
	if err != nil || seen.Letter != 2 || seen.Inbox == "" {
		t.Fatalf("got %+v, %v, want letter 2 and the name of its inbox", seen, err)
	}
	for n := range 4 {
		id := fmt.Sprint("inbox-", seen.Inbox, "-", seen.Letter+uint64(n)+1)
		if _, err := eve.Command(ctx, client.Command{Aggregate: event.AggregateID{Type: "ward", ID: "E"}, Event: "note", Fields: client.Fields{"text": id}, Context: client.Context{CommandID: id}}); err != nil {
			t.Fatal(err)
		}
	}
	put("ada", "A", `"text":"first"`)
	put("ada", "A", `"text":"second"`)
	s.inboxIsEmpty(eve)
	if refused := s.refusedCommands(s.adminClient()); len(refused) != 1 {
		t.Errorf("got %d refused, want eve's alone: %+v", len(refused), refused[1:])
	}
	ids := map[string]bool{}
	for e, err := range eve.History(ctx, event.AggregateID{Type: "ward", ID: "A"}, client.Latest()) {
		if err != nil {
			t.Fatal(err)
		}
		ids[e.Command] = true
		if strings.Contains(e.Command, seen.Inbox) {
			t.Errorf("command id %q holds the name of the inbox", e.Command)
		}
	}
	if len(ids) != 2 {
		t.Errorf("got commands %v, want both of ada's letters", ids)
	}
}
