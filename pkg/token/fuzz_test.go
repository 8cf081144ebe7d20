package token_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// FuzzCheckAppUpdate signs any claims as the operator would, so that they are read and not only their signature.
func FuzzCheckAppUpdate(f *testing.F) {
	pair, err := nkeys.FromRawSeed(nkeys.PrefixByteOperator, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		f.Fatal(err)
	}
	operatorID, err := pair.PublicKey()
	if err != nil {
		f.Fatal(err)
	}
	var ids []string
	for b := range 3 {
		account, err := nkeys.FromRawSeed(nkeys.PrefixByteAccount, bytes.Repeat([]byte{byte(b)}, 32))
		if err != nil {
			f.Fatal(err)
		}
		id, err := account.PublicKey()
		if err != nil {
			f.Fatal(err)
		}
		ids = append(ids, id)
	}
	claims := jwt.NewAccountClaims(ids[0])
	claims.SigningKeys.Add(ids[1])
	present, err := claims.Encode(pair)
	if err != nil {
		f.Fatal(err)
	}
	claims.SigningKeys.AddScopedSigner(new(token.ScopeTemplate(token.Key{ID: ids[2], Name: "k", Actions: []token.Action{token.ActionRead}})))
	added, err := claims.Encode(pair)
	if err != nil {
		f.Fatal(err)
	}
	header, _, _ := strings.Cut(present, ".")
	for _, text := range []string{present, added} {
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
		for _, list := range []string{"signing_keys", "exports", "imports"} {
			f.Add(bytes.Replace(payload, []byte(`"nats":{`), []byte(`"nats":{"`+list+`":[null],`), 1))
		}
		f.Add(bytes.Replace(payload, []byte(`"nats":{`), []byte(`"nats":{"mappings":{"a":[{"subject":"b","weight":200}]},"authorization":null,`), 1))
	}
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		signed := header + "." + base64.RawURLEncoding.EncodeToString(payload)
		signature, err := pair.Sign([]byte(signed))
		if err != nil {
			t.Fatal(err)
		}
		text := signed + "." + base64.RawURLEncoding.EncodeToString(signature)
		for _, two := range [][2]string{{present, text}, {text, present}, {text, text}, {present, string(payload)}} {
			var p *problem.Problem
			if err := token.CheckAppUpdate(two[0], two[1], operatorID); err != nil && !errors.As(err, &p) {
				t.Errorf("got %v, want a problem", err)
			}
		}
	})
}

// FuzzKeyOf holds that a key that is read is the same when it is written and read again.
func FuzzKeyOf(f *testing.F) {
	f.Add("A1", "name", "patient ward", "read write", "", "")
	f.Add("", "", "*", "admin", "18446744073709551615", "9223372036")
	f.Add("A1", "\xff", "\u00a0a\u2003b\x00", "x\ty", "-1", "9223372037")
	f.Fuzz(func(t *testing.T, id, name, aggregates, actions, limit, expiration string) {
		k, err := token.KeyOf(id, map[string]string{"name": name, "aggregates": aggregates, "actions": actions, "maxlimit": limit, "maxexpiration": expiration})
		if err != nil {
			return
		}
		if k.MaxExpiration < 0 {
			t.Errorf("got expiration %s", k.MaxExpiration)
		}
		again, err := token.KeyOf(id, k.Fields())
		if diff := cmp.Diff(k, again); err != nil || diff != "" {
			t.Errorf("key, %v (-want +got):\n%s", err, diff)
		}
	})
}

// FuzzReadOrder holds that no text makes ReadOrder fail in any way but with a problem, and that what passes is the operator's.
func FuzzReadOrder(f *testing.F) {
	o, stranger := newOperator(f), newOperator(f)
	account, now := newIssuer(f).id, time.Now()
	for _, seed := range [][]byte{o.seed, stranger.seed} {
		for _, order := range []token.Order{
			{Act: token.OrderRevokeToken, ID: "T"}, {Act: token.OrderRevokeKey, ID: "A"}, {Act: "unheard-of"},
			{Act: token.OrderUpdateKey, ID: "A", Version: 1 << 63, Key: &token.Key{Name: "n", MaxLimit: 1<<64 - 1, MaxExpiration: time.Hour}},
		} {
			text, err := order.Sign(seed, account, now)
			if err != nil {
				f.Fatal(err)
			}
			got, err := token.ReadOrder(text, o.id, account, now)
			if same := &seed[0] == &o.seed[0]; same != (err == nil) || same && (got.Act != order.Act || got.ID != order.ID || got.Version != order.Version) {
				f.Fatalf("got %+v, %v for %+v", got, err, order)
			}
			if order.Key != nil && err == nil && (got.Key.MaxLimit != order.Key.MaxLimit || got.Key.MaxExpiration != time.Hour || got.Key.Name != "n") {
				f.Fatalf("got %+v, want %+v", got.Key, order.Key)
			}
			f.Add(text)
		}
	}
	f.Add("")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := token.ReadOrder(text, o.id, account, now); err != nil {
			if p := problem.From(err); p.Code == problem.Internal || p.Hint == "" {
				t.Errorf("got %v, want a problem with a hint", err)
			}
		}
	})
}
