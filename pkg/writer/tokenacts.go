package writer

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// operatorToken stands for the token of acts that the operator signed. No token has this id.
const operatorToken = "operator"

// Operator is who acts with the operator's signature, of which only the public key is recorded.
func Operator(public string) *token.Claims {
	return &token.Claims{ID: operatorToken, Issuer: public, IdentifierType: "operator", IdentifierID: public}
}

func isOperator(c *token.Claims) bool { return c.ID == operatorToken }

// actBy is act of the system log for what somebody asks for: whose token counts no more when it is decided is refused.
func (w *Writer) actBy(ctx context.Context, by *token.Claims, decide func(*submission) ([]aggregate.Change, *problem.Problem)) *problem.Problem {
	return w.actOnce(ctx, "", by, decide)
}

// actOnce is actBy under a command id, so that the act is stored once; empty: under a new one.
func (w *Writer) actOnce(ctx context.Context, id string, by *token.Claims, decide func(*submission) ([]aggregate.Change, *problem.Problem)) *problem.Problem {
	if id == "" {
		id = "act-" + randomHex()
	}
	_, p := w.put(ctx, w.system, &submission{command: aggregate.Command{ID: id}, claims: by, act: func(s *submission) ([]aggregate.Change, *problem.Problem) {
		if !isOperator(by) {
			if p := by.Recheck(w.sys); p != nil {
				return nil, p
			}
		}
		return decide(s)
	}})
	return p
}

// RecordToken records that a token was issued, by the auth key that signed it; the token itself is not stored. A repeat changes nothing. The predecessor is the token that was refreshed
// by it, if any: one of the same auth key and actor, which has no other successor.
func (w *Writer) RecordToken(ctx context.Context, by, issued *token.Claims, predecessor string) *problem.Problem {
	if by.IdentifierType != token.AuthKeyType || by.IdentifierID != issued.Issuer {
		return problem.New(problem.Forbidden, "the token was issued by %s, not by %s", issued.Issuer, by.Actor()).WithHint("use the auth key that signed it")
	}
	return w.actBy(ctx, by, func(*submission) ([]aggregate.Change, *problem.Problem) {
		known, p := w.recorded(issued.ID, issued.User)
		switch {
		case p != nil:
			return nil, p
		case known == issued.ID:
			return nil, nil
		case known != "":
			return nil, problem.New(problem.Conflict, "token %s has the same user as token %s", issued.ID, known).WithHint("make the token with token:generate: each has a user of its own")
		}
		if p := w.maySucceed(issued, predecessor); p != nil {
			return nil, p
		}
		fields := issuedFields(issued)
		fields["predecessor"] = predecessor
		return oneEvent(typeToken, issued.ID, eventIssued, fields), nil
	})
}

// maySucceed says why a token may not take the place of a refreshed one.
func (w *Writer) maySucceed(issued *token.Claims, predecessor string) *problem.Problem {
	if predecessor == "" {
		return nil
	}
	end := w.sys.endedAs(predecessor)
	switch {
	case end == nil || end.Why != endedRefreshed || end.Issuer != issued.Issuer:
		return problem.New(problem.Conflict, "token %.80s is not refreshed by auth key %s", predecessor, issued.Issuer).WithHint("begin with `eventful token:refresh`")
	case end.Successor != "":
		return problem.New(problem.Conflict, "token %s was refreshed before: token %s has its budget", predecessor, end.Successor)
	}
	return nil
}

// recorded gives the id of the token that was recorded with this id, else of the one with this user; empty: none was.
func (w *Writer) recorded(tokenID, user string) (string, *problem.Problem) {
	t, err := w.system.issued(tokenID)
	if err == nil && t != nil {
		return t.ID, nil
	}
	var id []byte
	if err == nil {
		id, err = w.system.kept(keyUser + user)
	}
	if err != nil {
		return "", unreadableRecord(err)
	}
	return string(id), nil
}

func unreadableRecord(err error) *problem.Problem {
	return problem.New(problem.Unavailable, "what is recorded of tokens cannot be read: %v", err).WithHint("try again in a moment")
}

func issuedFields(c *token.Claims) map[string]string {
	actions, only := make([]string, len(c.Actions)), make([]string, len(c.AggregateIDs))
	for i, a := range c.Actions {
		actions[i] = string(a)
	}
	for i, id := range c.AggregateIDs {
		only[i] = id.Type + "/" + id.ID
	}
	return map[string]string{
		"identifiertype": c.IdentifierType, "identifierid": c.IdentifierID, "issuer": c.Issuer, "user": c.User,
		"issued": fmt.Sprint(c.IssuedAt.Unix()), "expires": fmt.Sprint(c.Expires.Unix()), "limit": decimal(c.Limit),
		"aggregates": strings.Join(c.Aggregates, " "), "actions": strings.Join(actions, " "), "only": strings.Join(only, "\n"),
	}
}

// Revoked is what came of ending a token or an auth key.
type Revoked struct {
	ID       string `json:"id"`
	Repeated bool   `json:"repeated"` // it was ended before
}

// RevokeToken ends a token for ever: shown, or by its id if it was recorded. by holds a token of the auth key that issued it, or of one that may administer every type,
// or is the operator. Behind Confirm no event of it is stored any more.
func (w *Writer) RevokeToken(ctx context.Context, by *token.Claims, id string, shown *token.Claims) (Revoked, *problem.Problem) {
	answer := Revoked{ID: id}
	p := w.actBy(ctx, by, func(*submission) ([]aggregate.Change, *problem.Problem) {
		t, p := w.ending(id, shown)
		if p == nil && !mayEnd(by, t.Issuer) {
			p = mayNotEnd(by, "the token of auth key "+t.Issuer)
		}
		if p != nil {
			return nil, p
		}
		if answer.Repeated = w.sys.Ended(id); answer.Repeated {
			return nil, nil
		}
		if now := w.cfg.Now(); t.Expires <= now.Unix() {
			return nil, problem.New(problem.Conflict, "token %s expired at %s", id, time.Unix(t.Expires, 0).UTC().Format(time.RFC3339)).WithHint("nothing is to be done: it is refused for that")
		}
		return oneEvent(typeToken, id, eventRevoked, t.fields(endedRevoked)), nil
	})
	if p != nil {
		return Revoked{}, p // the act may still be decided: answer is not ours to read
	}
	return answer, nil
}

// ending is what is to be recorded when the token is ended.
func (w *Writer) ending(id string, shown *token.Claims) (*endedToken, *problem.Problem) {
	rec, err := w.system.issued(id)
	switch {
	case err != nil:
		return nil, unreadableRecord(err)
	case rec != nil:
		t := &endedToken{User: rec.User, Issuer: rec.Issuer, Expires: rec.Expires, Limit: rec.Limit}
		if shown != nil {
			t.User = shown.User
		}
		return t, nil
	case shown == nil:
		return nil, problem.New(problem.NotFound, "no token %.80q is recorded", id).WithHint("show the token itself: `eventful token:revoke --token=- < FILE`")
	}
	t := &endedToken{User: shown.User, Issuer: shown.Issuer, Expires: shown.Expires.Unix(), Limit: shown.Limit}
	// Whoever holds an auth key can sign a token with another's user: what was recorded keeps its connections.
	if other, p := w.recorded(id, shown.User); p != nil {
		return nil, p
	} else if other != "" {
		t.User = ""
	}
	return t, nil
}

func (t *endedToken) fields(why string) map[string]string {
	return map[string]string{"ended": why, "issuer": t.Issuer, "user": t.User, "expires": strconv.FormatInt(t.Expires, 10), "limit": decimal(t.Limit)}
}

// mayEnd reports whether somebody may end what belongs to an auth key.
func mayEnd(by *token.Claims, key string) bool {
	return isOperator(by) || by.IdentifierType == token.AuthKeyType && by.IdentifierID == key || by.AllowsAll(token.ActionAdmin)
}

func mayNotEnd(by *token.Claims, what string) *problem.Problem {
	return problem.New(problem.Forbidden, "%s may not end %s", by.Actor(), what).
		WithHint("use the auth key that it belongs to, one that may administer every type, or the master key: --master-key-file")
}
