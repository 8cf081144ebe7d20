package streams_test

import (
	"os"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/streams"
)

var installation = streams.Installation{Site: "ward", LOG: "ALOG", APP: "AAPP", Stream: "the-stream"}

func permissions(t *testing.T, account string, roles ...streams.Role) streams.Permissions {
	t.Helper()
	p, err := streams.RolePermissions(installation, account, roles...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestRolesAreDocumented: docs/deploy-security.md names every permission of every role, and why.
func TestRolesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/deploy-security.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range streams.Roles() {
		for _, account := range []string{streams.AccountLOG, streams.AccountAPP, streams.AccountSYS} {
			p := permissions(t, account, role)
			for _, one := range append(append(p.Publish, p.Subscribe...), p.Deny...) {
				subject := strings.NewReplacer("ward", "<site>", "ALOG", "<LOG>", "AAPP", "<APP>", "the-stream", "<stream>").Replace(one.Subject)
				if one.Reason == "" {
					t.Errorf("%s in %s: %s has no reason", role, account, one.Subject)
				}
				if !strings.Contains(string(text), "`"+subject+"`") {
					t.Errorf("%s in %s: docs/deploy-security.md does not name `%s`", role, account, subject)
				}
			}
		}
	}
}

// TestNobodyRemovesLogs: no role of every day may delete, change, restore or purge a log, or append to one, save the archiver and the writer.
func TestNobodyRemovesLogs(t *testing.T) {
	for _, role := range streams.Roles() {
		if role == streams.RoleBreakGlass {
			continue
		}
		for _, one := range permissions(t, streams.AccountLOG, role).Publish {
			for _, verb := range []string{"STREAM.DELETE", "STREAM.UPDATE", "STREAM.RESTORE", "STREAM.MSG.DELETE.*", "STREAM.MSG.DELETE.EVT"} {
				if strings.Contains(one.Subject, verb) {
					t.Errorf("%s may use %s", role, one.Subject)
				}
			}
			if strings.Contains(one.Subject, "PURGE") && role != streams.RoleArchiver || strings.HasPrefix(one.Subject, "evt.") && role != streams.RoleWriter || one.Subject == ">" || one.Subject == "$JS.API.>" {
				t.Errorf("%s may use %s", role, one.Subject)
			}
		}
	}
}

// TestOneStreamIsMadeAtATime: nobody may make or change streams but a maker, and that one of a name that is told. The feed alone may be changed.
func TestOneStreamIsMadeAtATime(t *testing.T) {
	for _, stream := range []string{"EVT_ward_patient", streams.FeedStream} {
		for _, role := range streams.Roles() {
			for _, account := range []string{streams.AccountLOG, streams.AccountAPP, streams.AccountSYS} {
				p, err := streams.RolePermissions(streams.Installation{Site: "ward", LOG: "ALOG", APP: "AAPP", Stream: stream}, account, role)
				if err != nil {
					t.Fatal(err)
				}
				for _, one := range p.Publish {
					if !strings.Contains(one.Subject, "STREAM.CREATE") && !strings.Contains(one.Subject, "STREAM.UPDATE") {
						continue
					}
					feed := account == streams.AccountAPP && stream == streams.FeedStream && one.Subject == "$JS.API.STREAM.UPDATE.FEED"
					if role != streams.RoleMaker || one.Subject != "$JS.API.STREAM.CREATE."+stream && !feed {
						t.Errorf("%s in %s may use %s", role, account, one.Subject)
					}
				}
			}
		}
	}
	for _, bad := range []string{"", "*", ">", "a.b", "EVT_ward_*"} {
		if p, err := streams.RolePermissions(streams.Installation{Site: "ward", Stream: bad}, streams.AccountLOG, streams.RoleMaker); err == nil {
			t.Errorf("maker of %q: got %v, want an error", bad, p)
		}
	}
}

// TestRolesTogether: what one role may, another one in the same process does not take away; what neither may, both may not.
func TestRolesTogether(t *testing.T) {
	if p := permissions(t, streams.AccountLOG, streams.RoleProjector, streams.RoleWriter); len(p.Deny) != 0 {
		t.Errorf("projector and writer: got %v, want nothing denied", p.Deny)
	}
	if p := permissions(t, streams.AccountLOG, streams.RoleProjector, streams.RoleClient); len(p.Deny) == 0 {
		t.Error("projector and client: got nothing denied, want what is denied to the projector")
	}
	alone := permissions(t, streams.AccountLOG, streams.RoleProjector).Deny
	if both := permissions(t, streams.AccountLOG, streams.RoleProjector, streams.RoleArchiver).Deny; len(both) != len(alone) {
		t.Errorf("projector and archiver: got %d denied, want the projector's %d", len(both), len(alone))
	}
	if p := permissions(t, streams.AccountAPP, streams.RoleArchiver); !p.Empty() {
		t.Errorf("archiver in APP: got %v, want nothing", p)
	}
	if _, err := streams.RolePermissions(installation, streams.AccountLOG, "admin"); err == nil {
		t.Error("an unknown role: got no error")
	}
	if _, err := streams.RolePermissions(streams.Installation{Site: "a.b"}, streams.AccountLOG, streams.RoleWriter); err == nil {
		t.Error("a site with a dot: got no error")
	}
}

// TestNobodyAnswersForJetStream: who may publish to inboxes in LOG, and knows or guesses the one where a writer waits for an acknowledgement, has the writer acknowledge what no stream holds.
// The writer alone may, who could append to the log himself.
func TestNobodyAnswersForJetStream(t *testing.T) {
	for _, role := range streams.Roles() {
		for _, one := range permissions(t, streams.AccountLOG, role).Publish {
			first, _, _ := strings.Cut(one.Subject, ".")
			if (first == "_INBOX" || first == "*" || first == ">") && role != streams.RoleWriter && role != streams.RoleBreakGlass {
				t.Errorf("%s may use %s", role, one.Subject)
			}
		}
	}
}
