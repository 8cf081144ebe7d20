package token_test

import (
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// TestTheIDCoversTheTags: who holds an auth key makes no two tokens of one id that say different things.
func TestTheIDCoversTheTags(t *testing.T) {
	i := newIssuer(t)
	pair, err := nkeys.FromSeed(i.seed)
	if err != nil {
		t.Fatal(err)
	}
	base := i.mint(t, nil)
	again := func(change func(*jwt.UserClaims)) string {
		uc, err := jwt.DecodeUserClaims(base)
		if err != nil {
			t.Fatal(err)
		}
		change(uc)
		text, err := uc.Encode(pair)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	verify := func(text string) error {
		_, err := token.Verify(text, time.Now(), i.wide())
		if _, cached := token.NewCache(i.wide(), 2).Verify(text, time.Now()); (cached == nil) != (err == nil) {
			t.Errorf("got %v from the cache, %v without it", cached, err)
		}
		return err
	}
	if err := verify(again(func(*jwt.UserClaims) {})); err != nil {
		t.Errorf("as it was minted: got %v, want it accepted", err)
	}
	other := i.mint(t, func(c *token.Claims) { c.IdentifierID = "another" })
	swapped, err := jwt.DecodeUserClaims(other)
	if err != nil {
		t.Fatal(err)
	}
	isProblem(t, verify(again(func(uc *jwt.UserClaims) {
		tags := swapped.Tags
		for n, tag := range tags {
			if len(tag) > 6 && tag[:6] == "inbox:" {
				tags[n] = "inbox:" + uc.Subject[1:]
			}
		}
		uc.Tags = tags
	})), problem.Unauthenticated)
	older := again(func(uc *jwt.UserClaims) { uc.Name = "" })
	isProblem(t, verify(older), problem.Unauthenticated)
	isProblem(t, verify(again(func(uc *jwt.UserClaims) { uc.Name = "any" })), problem.Unauthenticated)
	if c, err := token.Shown(older, i.wide()); err != nil || c.ID == "" {
		t.Errorf("a token of an earlier version that is to be ended: got %+v, %v, want its claims", c, err)
	}
}
