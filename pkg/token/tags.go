package token

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Names of tags (docs/spec/tokens.md, section 2). Besides these, each action is the name of a tag with a type as its value.
const (
	tagFormat  = "eventful"
	tagIDType  = "idtype"
	tagID      = "id"
	tagLimit   = "limit"
	tagOnly    = "only"
	tagQuery   = "query"
	tagImport  = "import"
	tagAdm     = "adm"
	tagInbox   = "inbox"
	tagVersion = "1"
)

var (
	actions        = []Action{ActionWrite, ActionRead, ActionVerify, ActionArchive, ActionAdmin}
	lower          = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
	identifierType = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	inboxName      = regexp.MustCompile(`^[A-Z2-7]{26,55}$`) // 130 bits or more; a user's public key without its first letter in tokens of earlier versions
)

// tags is the one set of tags that says what c says.
func (c *Claims) tags() []string {
	list := []string{
		tagFormat + ":" + tagVersion,
		tagIDType + ":" + encode(c.IdentifierType),
		tagID + ":" + encode(c.IdentifierID),
		tagLimit + ":" + encode(strconv.FormatUint(c.Limit, 10)),
	}
	for _, a := range c.Actions {
		for _, t := range c.Aggregates {
			list = append(list, string(a)+":"+t)
		}
	}
	for _, id := range c.AggregateIDs {
		list = append(list, tagOnly+":"+encode(id.Type+"/"+id.ID))
	}
	list = append(list, c.gates()...)
	return append(list, tagInbox+":"+c.Inbox)
}

// digestMark begins the claim `name` of a token, which the token's id covers, as it does not cover the tags themselves.
const digestMark = "tags:"

// tagsDigest stands for a set of tags in the claim `name` (docs/spec/tokens.md, section 1).
func tagsDigest(tags []string) string {
	sorted := slices.Clone(tags)
	slices.Sort(sorted)
	sum := sha256.Sum256([]byte(strings.Join(sorted, "\n")))
	return digestMark + lower.EncodeToString(sum[:])
}

// gates are the tags that open subjects which name no type.
func (c *Claims) gates() []string {
	var list []string
	switch {
	case slices.Contains(c.Actions, ActionRead):
		list = append(list, tagQuery+":"+All)
	case slices.Contains(c.Actions, ActionVerify):
		list = append(list, tagQuery+":verify")
	}
	if slices.Contains(c.Actions, ActionWrite) {
		list = append(list, tagImport+":"+All)
	}
	if slices.Contains(c.Actions, ActionAdmin) {
		list = append(list, tagAdm+":"+All)
	}
	return list
}

// readTags fills c from tags; they must be exactly those that tags would make of the result.
func (c *Claims) readTags(tags []string) error {
	if !slices.Contains(tags, tagFormat+":"+tagVersion) {
		return fmt.Errorf("it is of no format that this version knows (tag %s:%s)", tagFormat, tagVersion)
	}
	for _, tag := range tags {
		name, value, _ := strings.Cut(tag, ":")
		if err := c.readTag(name, value); err != nil {
			return fmt.Errorf("tag %s: %w", name, err)
		}
	}
	if p := c.check(); p != nil {
		return fmt.Errorf("%s", p.Detail)
	}
	want, got := c.tags(), slices.Clone(tags)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		return fmt.Errorf("its tags are not the ones that its claims have")
	}
	return nil
}

func (c *Claims) readTag(name, value string) (err error) {
	switch name {
	case tagIDType:
		c.IdentifierType, err = decode(value)
	case tagID:
		c.IdentifierID, err = decode(value)
	case tagLimit:
		var text string
		if text, err = decode(value); err == nil {
			c.Limit, err = strconv.ParseUint(text, 10, 64)
		}
	case tagInbox:
		if c.Inbox = value; !inboxName.MatchString(value) {
			err = errors.New("it is no name of an inbox")
		}
	case tagOnly:
		var text string
		if text, err = decode(value); err == nil {
			kind, id, _ := strings.Cut(text, "/")
			c.AggregateIDs = append(c.AggregateIDs, event.AggregateID{Type: kind, ID: id})
		}
	default:
		c.readAction(Action(name), value)
	}
	return err
}

// readAction takes a right; any other tag is left to the comparison in readTags.
func (c *Claims) readAction(a Action, aggregateType string) {
	if !slices.Contains(actions, a) {
		return
	}
	if !slices.Contains(c.Actions, a) {
		c.Actions = append(c.Actions, a)
	}
	if !slices.Contains(c.Aggregates, aggregateType) {
		c.Aggregates = append(c.Aggregates, aggregateType)
	}
}

// check says what is wrong with claims as such, without regard to an auth key. The clock has no part in it.
func (c *Claims) check() *problem.Problem {
	if !identifierType.MatchString(c.IdentifierType) {
		return problem.New(problem.Malformed, "identifier type %.80q does not fit", c.IdentifierType).
			WithHint("use 1 to 64 of A-Z a-z 0-9 . _ -")
	}
	if IsReservedKind(c.IdentifierType) {
		return problem.New(problem.Malformed, "identifier type %.80q belongs to EventfulDB itself", c.IdentifierType).WithHint("use another one, for example user or service")
	}
	if !isActor(c.Actor()) || c.IdentifierID == "" {
		return problem.New(problem.Malformed, "identifier id %.80q does not fit", c.IdentifierID).
			WithHint("type and id make at most %d bytes of UTF-8 without control characters, and the id is not empty", event.MaxActorLen)
	}
	if p := CheckRights(c.Aggregates, c.Actions); p != nil {
		return p
	}
	if p := c.checkOnly(); p != nil {
		return p
	}
	return c.checkAdmin()
}

// IsReservedKind reports whether actors of this identifier type are EventfulDB's own, so that no token names one: its acts would look like the operator's or a
// server's in the audit. Case does not count. AuthKeyType is not among them: checkAdmin holds who takes it.
func IsReservedKind(identifierType string) bool {
	kind := strings.ToLower(identifierType)
	if kind == AuthKeyType {
		return identifierType != AuthKeyType
	}
	return kind == "operator" || kind == "nats-user" || kind == "keys" || strings.HasPrefix(kind, event.Reserved)
}

// isActor holds the rule of docs/spec/log.md, section 2.
func isActor(s string) bool {
	return len(s) <= event.MaxActorLen && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// checkOnly checks the single aggregates a token is bound to.
func (c *Claims) checkOnly() *problem.Problem {
	for i, id := range c.AggregateIDs {
		if err := id.Check(); err != nil {
			return problem.New(problem.Malformed, "%s", err).WithHint("name an aggregate as type/id")
		}
		if slices.Contains(c.AggregateIDs[:i], id) {
			return problem.New(problem.Malformed, "aggregate %s/%s is named twice", id.Type, id.ID).WithHint("name it once")
		}
		if !slices.Contains(c.Aggregates, id.Type) && !slices.Contains(c.Aggregates, All) {
			return problem.New(problem.Malformed, "aggregate %s/%s is of a type that the token does not have", id.Type, id.ID).
				WithHint("add its type to the token's aggregates")
		}
	}
	return nil
}

// checkAdmin holds the rule that administration is for the token that an auth key makes for itself, and that one for nothing else.
func (c *Claims) checkAdmin() *problem.Problem {
	if c.IdentifierType != AuthKeyType && !slices.Contains(c.Actions, ActionAdmin) {
		return nil
	}
	self := c.IdentifierType == AuthKeyType && c.IdentifierID == c.Issuer && c.Limit == 0 &&
		slices.Equal(c.Actions, []Action{ActionAdmin}) && slices.Equal(c.Aggregates, []string{All}) && len(c.AggregateIDs) == 0
	if !self {
		return problem.New(problem.Malformed, "identifier type %q and action %q belong to the token that an auth key makes for itself", AuthKeyType, ActionAdmin).
			WithHint("use another identifier type and the actions write, read, verify, archive")
	}
	return nil
}

// Check says what is wrong with name and rights of an auth key that is to be added, or nil. Keys that were added before are not held to it.
func (k Key) Check() *problem.Problem {
	if k.Name == "" || len(k.Name) > MaxNameLen || !utf8.ValidString(k.Name) || strings.ContainsFunc(k.Name, unicode.IsControl) {
		return problem.New(problem.Malformed, "the name %.80q of the auth key does not fit", k.Name).
			WithHint("use 1 to %d bytes of UTF-8 without control characters", MaxNameLen)
	}
	return CheckRights(k.Aggregates, k.Actions)
}

// CheckRights says what is wrong with the rights of a token or an auth key, or nil: at least one aggregate type, or All alone, and at least one
// known action, each once; reserved types cannot be written.
func CheckRights(aggregates []string, acts []Action) *problem.Problem {
	if len(aggregates) == 0 || len(acts) == 0 {
		return problem.New(problem.Malformed, "no aggregate type or no action is named").WithHint("name at least one of each; * stands for all types")
	}
	for i, t := range aggregates {
		if err := event.CheckType(t); err != nil && (t != All || len(aggregates) != 1) {
			return problem.New(problem.Malformed, "%s", err).WithHint("name aggregate types, or * alone for all of them")
		}
		if slices.Contains(aggregates[:i], t) {
			return problem.New(problem.Malformed, "aggregate type %s is named twice", t).WithHint("name it once")
		}
		if event.IsReserved(t) && slices.Contains(acts, ActionWrite) {
			return problem.New(problem.Malformed, "aggregate type %s is reserved and cannot be written", t).WithHint("leave it out, or ask for read")
		}
	}
	for i, a := range acts {
		if !slices.Contains(actions, a) || slices.Contains(acts[:i], a) {
			return problem.New(problem.Malformed, "action %.80q is unknown or named twice", a).WithHint("actions are write, read, verify, archive, admin")
		}
	}
	return nil
}

func encode(s string) string { return lower.EncodeToString([]byte(s)) }

func decode(s string) (string, error) {
	b, err := lower.DecodeString(s)
	if err != nil {
		return "", fmt.Errorf("not lower-case base32 without padding: %w", err)
	}
	return string(b), nil
}
