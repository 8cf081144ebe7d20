package token

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// Acts that the operator orders (docs/spec/tokens.md, section 6).
const (
	OrderRevokeToken = "token.revoke"
	OrderRevokeKey   = "key.revoke"
	OrderUpdateKey   = "key.update"
)

// MaxOrder is how long an order holds.
const MaxOrder = 60 * time.Second

const (
	orderFormat = "1"
	orderData   = "eventful"
)

// Order is one act that is proved by the operator's signature, which only the master key makes, instead of an auth key's.
type Order struct {
	Act     string // one of the constants
	ID      string // of the token or the auth key
	Key     *Key   // of OrderUpdateKey: name, rights and ceilings as they are to be
	Version uint64 // of OrderUpdateKey: the version of the key's record that it changes, so that an order holds once
}

// orderText is an order as it stands in the JWT.
type orderText struct {
	Format        string   `json:"v"`
	Act           string   `json:"act"`
	ID            string   `json:"id"`
	Version       uint64   `json:"version,omitempty,string"`
	Name          string   `json:"name,omitempty"`
	Aggregates    []string `json:"aggregates,omitempty"`
	Actions       []Action `json:"actions,omitempty"`
	MaxLimit      uint64   `json:"max-limit,omitempty,string"`
	MaxExpiration uint64   `json:"max-expiration,omitempty,string"` // seconds
}

// Sign makes the order's JWT for a site, which its account APP names.
func (o Order) Sign(operatorSeed []byte, account string, now time.Time) (string, error) {
	operator, err := nkeys.FromSeed(operatorSeed)
	if err != nil {
		return "", fmt.Errorf("read operator seed: %w", err)
	}
	t := orderText{Format: orderFormat, Act: o.Act, ID: o.ID, Version: o.Version}
	if k := o.Key; k != nil {
		t.Name, t.Aggregates, t.Actions, t.MaxLimit, t.MaxExpiration = k.Name, k.Aggregates, k.Actions, k.MaxLimit, uint64(k.MaxExpiration/time.Second)
	}
	c := jwt.NewGenericClaims(account)
	c.Expires = now.Add(MaxOrder).Unix()
	c.Data[orderData] = t
	text, err := c.Encode(operator)
	if err != nil {
		return "", fmt.Errorf("sign order %s: %w", o.Act, err)
	}
	return text, nil
}

// ReadOrder checks an order: the operator's signature (the public key of its identity), that it is for this account, and that it was made within
// MaxOrder. The error is a *problem.Problem. Whether it fits what is asked for is the caller's to check.
func ReadOrder(text, operator, account string, now time.Time) (Order, error) {
	const hint = "make it anew with the master key of this site, and compare the clocks of client and server"
	if text == "" || len(text) > MaxSize {
		return Order{}, badOrder("it has %d bytes, 1 to %d are accepted", len(text), MaxSize).WithHint(hint)
	}
	if p := checkEncoding(text); p != nil {
		return Order{}, badOrder("%s", p.Detail).WithHint(hint)
	}
	c, err := jwt.DecodeGeneric(text)
	if err != nil {
		return Order{}, badOrder("%.200s", err).WithHint(hint)
	}
	switch {
	case c.Issuer != operator || c.Subject != account:
		return Order{}, badOrder("it is not signed by this site's operator, or for another site").WithHint(hint)
	case now.Unix() >= c.Expires, time.Unix(c.IssuedAt, 0).Sub(now) > MaxClockSkew, c.Expires-c.IssuedAt > int64((MaxOrder+MaxClockSkew)/time.Second):
		return Order{}, badOrder("it was made at %s and holds for %s", time.Unix(c.IssuedAt, 0).UTC().Format(time.RFC3339), MaxOrder).WithHint(hint)
	}
	return readOrder(c.Data[orderData])
}

func badOrder(format string, args ...any) *problem.Problem {
	return problem.New(problem.Unauthenticated, "the order is refused: "+format, args...)
}

func readOrder(data any) (Order, error) {
	raw, err := json.Marshal(data)
	t := orderText{}
	if err == nil {
		err = json.Unmarshal(raw, &t)
	}
	const longest = uint64(1<<63-1) / uint64(time.Second)
	if err != nil || t.Format != orderFormat || t.MaxExpiration > longest {
		return Order{}, badOrder("it is of no format that this version knows").WithHint("use an eventful of the server's version")
	}
	o := Order{Act: t.Act, ID: t.ID, Version: t.Version}
	if t.Act == OrderUpdateKey {
		o.Key = &Key{ID: t.ID, Name: t.Name, Aggregates: t.Aggregates, Actions: t.Actions, MaxLimit: t.MaxLimit, MaxExpiration: time.Duration(t.MaxExpiration) * time.Second}
	}
	return o, nil
}
