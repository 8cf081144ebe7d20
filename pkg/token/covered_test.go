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
	again := func(change func(*jwt.UserClaims)) (*token.Claims, error) {
		uc, err := jwt.DecodeUserClaims(base)
		if err != nil {
			t.Fatal(err)
		}
		change(uc)
		text, err := uc.Encode(pair)
		if err != nil {
			t.Fatal(err)
		}
		return token.Verify(text, time.Now(), i.wide())
	}
	if c, err := again(func(*jwt.UserClaims) {}); err != nil || !c.Covered {
		t.Errorf("as it was minted: got %+v, %v, want a token whose id covers its tags", c, err)
	}
	other := i.mint(t, func(c *token.Claims) { c.IdentifierID = "another" })
	swapped, err := jwt.DecodeUserClaims(other)
	if err != nil {
		t.Fatal(err)
	}
	_, err = again(func(uc *jwt.UserClaims) {
		tags := swapped.Tags
		for n, tag := range tags {
			if len(tag) > 6 && tag[:6] == "inbox:" {
				tags[n] = "inbox:" + uc.Subject[1:]
			}
		}
		uc.Tags = tags
	})
	isProblem(t, err, problem.Unauthenticated)
	c, err := again(func(uc *jwt.UserClaims) { uc.Name = "" })
	if err != nil || c.Covered {
		t.Errorf("a token of an earlier version: got %+v, %v, want one that is accepted, and not covered", c, err)
	}
}
