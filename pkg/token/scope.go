package token

import (
	"slices"

	"github.com/nats-io/jwt/v2"
)

// role names the version of the template in the account's JWT.
const role = "eventful-1"

// ScopeTemplate is the scoped signing key by which the NATS server knows an auth key: what users that it signed may publish and subscribe to,
// with types taken from their tags. docs/spec/tokens.md, section 4, says which tag opens what, and how far a forged tag would reach.
func ScopeTemplate(k Key) jwt.UserScope {
	scope := *jwt.NewUserScope()
	scope.Key, scope.Role, scope.Description = k.ID, role, k.Name
	scope.Template.BearerToken = true
	scope.Template.Pub.Allow = publish(k.Actions)
	scope.Template.Sub.Allow = []string{"_INBOX.U{{tag(" + tagInbox + ")}}.>"}
	return scope
}

// publish lists what users of a key with these actions may send to. A missing tag turns a template into an invalid subject, which the server drops.
func publish(acts []Action) []string {
	list := []string{"adm.server.status", "adm.schema.list", "adm.schema.show"}
	if slices.Contains(acts, ActionWrite) {
		list = append(list, "cmd.{{tag(write)}}", "cmd.{{tag(write)}}.>", "inbox.cmd.{{tag(write)}}", "inbox.cmd.{{tag(write)}}.>",
			"adm.import.{{tag(import)}}", "adm.staged.{{tag(import)}}", "adm.inbox.{{tag(import)}}")
	}
	if slices.Contains(acts, ActionRead) {
		list = append(list, "qry.{{tag(read)}}.>")
	}
	if hasAction(acts, ActionVerify) {
		list = append(list, "qry.{{tag(verify)}}.verify", "qry.{{tag(verify)}}.*.verify", "qry._.{{tag(query)}}", "qry._.checkpoint", "qry._.prove", "qry._.entries")
	}
	if slices.Contains(acts, ActionAdmin) {
		list = append(list, "adm.*.{{tag(adm)}}")
	}
	return list
}
