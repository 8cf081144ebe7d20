package keyring

import (
	"fmt"
	"slices"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/streams"
)

// Asking gives the JWT of an account with every question to the servers that it is to ask, or, being SYS, to answer (docs/adr/0013-questions.md), signed with the operator's signing key. What
// else stands in it stays. changed is false where it has them already; it is given back as it is. text must be the present JWT of that account of this site.
func (s *Secrets) Asking(a Account, text string) (updated string, changed bool, err error) {
	claims, err := jwt.DecodeAccountClaims(text)
	if err != nil {
		return "", false, fmt.Errorf("read account %s: %w", a, err)
	}
	if claims.Subject != s.Accounts[a].ID {
		return "", false, fmt.Errorf("read account %s: it is %s, and not this site's", a, claims.Subject)
	}
	if !s.ask(a, claims) {
		return text, false, nil
	}
	operator, err := nkeys.FromSeed(s.OperatorSigningSeed)
	if err != nil {
		return "", false, fmt.Errorf("read the operator's signing key: %w", err)
	}
	if updated, err = claims.Encode(operator); err != nil {
		return "", false, fmt.Errorf("sign account %s: %w", a, err)
	}
	return updated, true, nil
}

// ask adds what is missing, and tells whether anything was.
func (s *Secrets) ask(a Account, claims *jwt.AccountClaims) (changed bool) {
	in := streams.Installation{LOG: s.Accounts[LOG].ID, APP: s.Accounts[APP].ID}
	for _, q := range in.Questions() {
		switch string(a) {
		case string(SYS):
			changed = export(claims, q) || changed
		case q.Account:
			changed = bringIn(claims, q, s.Accounts[SYS].ID) || changed
		}
	}
	return changed
}

func export(claims *jwt.AccountClaims, q streams.Question) bool {
	wanted := &jwt.Export{Name: q.Subject, Subject: jwt.Subject(q.Subject), Type: typeOf(q)}
	if !q.Told {
		wanted.ResponseType = jwt.ResponseTypeSingleton
	}
	if q.Many {
		wanted.ResponseType = jwt.ResponseTypeStream
	}
	if slices.ContainsFunc(claims.Exports, func(e *jwt.Export) bool { return e.Subject == wanted.Subject && e.Type == wanted.Type }) {
		return false
	}
	claims.Exports.Add(wanted)
	return true
}

func bringIn(claims *jwt.AccountClaims, q streams.Question, from string) bool {
	wanted := &jwt.Import{Name: q.Subject, Subject: jwt.Subject(q.Subject), Account: from, Type: typeOf(q)}
	if slices.ContainsFunc(claims.Imports, func(i *jwt.Import) bool {
		return i.Subject == wanted.Subject && i.Type == wanted.Type && i.Account == from
	}) {
		return false
	}
	claims.Imports.Add(wanted)
	return true
}

func typeOf(q streams.Question) jwt.ExportType {
	if q.Told {
		return jwt.Stream
	}
	return jwt.Service
}
