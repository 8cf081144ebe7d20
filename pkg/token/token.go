// Package token says who may do what: access tokens, the auth keys that issue them, and the checks of both.
//
// An access token is a user JWT of NATS (jwt/v2), signed by an auth key, which is a scoped signing key of the account APP. What each claim and
// tag carries is docs/spec/tokens.md. The NATS server reads the same tags through the template of the auth key (ScopeTemplate), so a token reaches
// its own subjects only; Verify is the check that every door makes besides. The package is pure: the clock comes in, but for the
// issue time that jwt/v2 writes itself. All functions are safe for concurrent use.
package token

import (
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Action is what a token may do with aggregates of a type. The set is closed; the words go over the wire.
type Action string

const (
	ActionWrite   Action = "write"   // send commands and record imports
	ActionRead    Action = "read"    // every query, verification included
	ActionVerify  Action = "verify"  // verify only
	ActionArchive Action = "archive" // move between tiers
	ActionAdmin   Action = "admin"   // acts on schemas and tokens; only in the token that an auth key makes for itself
)

// All stands in a list of aggregate types for every type that is not reserved.
const All = "*"

// AuthKeyType is the identifier type of the token that an auth key signs for itself (docs/spec/commands.md, section 8).
const AuthKeyType = "auth-key"

// Limits of a token.
const (
	MaxSize      = 16 << 10         // bytes of the JWT
	MaxAuthKey   = 60 * time.Second // lifetime of a token of identifier type auth-key
	MaxClockSkew = 60 * time.Second // how far in the future a token may have been issued
	MaxNameLen   = 128              // bytes of an auth key's name
)

// Claims is what a token says. Mint fills ID, User, Issuer, Account and IssuedAt; Verify fills all.
type Claims struct {
	ID             string // jti
	User           string // user public key
	Inbox          string `json:"-"` // its inbox is _INBOX.U<Inbox>.>: a secret, so that nobody else's token can name it; Mint makes it
	Issuer         string // public id of the auth key
	Account        string // public id of the account APP
	IdentifierType string // 1 to 64 of A-Z a-z 0-9 . _ -
	IdentifierID   string // the actor is type:id, at most 256 bytes
	Aggregates     []string
	Actions        []Action
	AggregateIDs   []event.AggregateID // if any: these aggregates only
	Limit          uint64              // events that may be stored; 0: none
	IssuedAt       time.Time
	NotBefore      time.Time // zero: at once
	Expires        time.Time // whole seconds
}

// Actor is the name under which events are stored: "<identifier type>:<identifier id>".
func (c *Claims) Actor() string { return c.IdentifierType + ":" + c.IdentifierID }

// Allows reports whether the token may do a on aggregates of the type, all of them or some: where it names aggregates, ask AllowsAggregate.
// Reading includes verifying. Reserved types are never written, and read only where they are named.
func (c *Claims) Allows(a Action, aggregateType string) bool {
	if !c.has(a) || (a == ActionWrite && event.IsReserved(aggregateType)) {
		return false
	}
	if slices.Contains(c.Aggregates, aggregateType) {
		return aggregateType != All
	}
	return slices.Contains(c.Aggregates, All) && !event.IsReserved(aggregateType)
}

// Covers reports whether the token may do anything at all with aggregates of the type, or some of them.
func (c *Claims) Covers(aggregateType string) bool {
	return slices.ContainsFunc(c.Actions, func(a Action) bool { return c.Allows(a, aggregateType) })
}

// AllowsAggregate reports whether the token may do a on this one aggregate.
func (c *Claims) AllowsAggregate(a Action, id event.AggregateID) bool {
	return c.Allows(a, id.Type) && (len(c.AggregateIDs) == 0 || slices.Contains(c.AggregateIDs, id))
}

// AllowsAll reports whether the token may do a on every aggregate of every type that is not reserved; administering is always of everything.
func (c *Claims) AllowsAll(a Action) bool {
	return c.has(a) && slices.Contains(c.Aggregates, All) && len(c.AggregateIDs) == 0
}

func (c *Claims) has(a Action) bool { return hasAction(c.Actions, a) }

func hasAction(actions []Action, a Action) bool {
	return slices.Contains(actions, a) || (a == ActionVerify && slices.Contains(actions, ActionRead))
}

// Keys knows the auth keys of the site, and which tokens were ended before their time. It must be safe for concurrent use.
type Keys interface {
	// Key gives the auth key with this public id; ok is false for a key that was never added.
	Key(publicID string) (Key, bool)

	// Ended reports whether the token with this id was revoked, or refreshed. It is asked in each Verify of a Cache, so it must be cheap.
	Ended(tokenID string) bool
}

// Key is an auth key: an issuer with rights and ceilings.
type Key struct {
	ID            string // public id: the public key of a scoped signing key
	Name          string
	Aggregates    []string
	Actions       []Action
	MaxLimit      uint64        // the largest write budget of one token; 0: no ceiling
	MaxExpiration time.Duration // the longest lifetime of one token; 0: no ceiling
	Revoked       bool
}

// covers reports whether the key may issue this right. A key for All covers every type, reserved ones only by name.
func (k Key) covers(a Action, aggregateType string) bool {
	if !hasAction(k.Actions, a) {
		return false
	}
	if slices.Contains(k.Aggregates, aggregateType) {
		return true
	}
	return slices.Contains(k.Aggregates, All) && !event.IsReserved(aggregateType)
}
