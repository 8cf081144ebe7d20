package streams

import (
	"fmt"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Role is what a NATS credential is for. An engine's connections have the role of the engine; a person gets others from `eventful creds`.
type Role string

// The roles (docs/deploy-security.md).
const (
	RoleWriter     Role = "writer"        // decides commands: the only one that may append to logs
	RoleProjector  Role = "projector"     // reads logs, answers queries
	RoleRunner     Role = "plugin-runner" // reads logs
	RoleArchiver   Role = "archiver"      // reads logs, and purges what is archived
	RoleClient     Role = "client"        // sends commands and queries, each with a token
	RoleKeyReader  Role = "key-reader"    // reads wrapped keys of encrypted fields, for a plugin-runner that hands these on
	RoleFeedReader Role = "feed-reader"   // reads the site's own feed, with stock NATS clients
	RoleDoctor     Role = "doctor"        // `eventful doctor` itself, with the keys of the site: nobody is given it
	RoleBreakGlass Role = "break-glass"   // everything in LOG, for a day at most
	RoleMender     Role = "mender"        // an engine that brings the accounts of an older site up to date, for a minute: nobody is given it
	RoleMaker      Role = "maker"         // a writer that makes one stream, for a minute: nobody is given it
)

// Roles are all of them, in the order of the documentation.
func Roles() []Role { return append(HandedOut(), RoleDoctor, RoleMender, RoleMaker) }

// HandedOut are those that people get credentials of.
func HandedOut() []Role {
	return []Role{RoleWriter, RoleProjector, RoleRunner, RoleArchiver, RoleKeyReader, RoleClient, RoleFeedReader, RoleBreakGlass}
}

// Names of the three accounts of a site.
const (
	AccountLOG = "LOG"
	AccountAPP = "APP"
	AccountSYS = "SYS"
)

// QueryGroup is the queue group of the processes that answer queries.
const QueryGroup = "eventful-projector"

// Permission is a subject, with wildcards, that a role may use, and why. A subscription may be for a queue group alone: its name stands behind the subject and a space.
type Permission struct{ Subject, Reason string }

// Permissions are what a role may do in an account. A user may subscribe to its own inboxes besides, below InboxPrefix of its public key. What is denied goes before
// what is allowed.
type Permissions struct{ Publish, Deny, Subscribe []Permission }

// Empty reports whether the role has no business in the account.
func (p Permissions) Empty() bool { return len(p.Publish) == 0 && len(p.Subscribe) == 0 }

// Installation is what permissions name: the site, the public ids of its accounts, and, for role maker alone, the stream that it makes.
type Installation struct{ Site, LOG, APP, Stream string }

// RolePermissions are those of several roles together, which one process may have. What one role may, the others do not take away.
func RolePermissions(i Installation, account string, roles ...Role) (all Permissions, err error) {
	if err := event.CheckSite(i.Site); err != nil {
		return all, err
	}
	for n, role := range roles {
		p := i.of(role, account)
		if !slices.Contains(Roles(), role) {
			return all, fmt.Errorf("role %.40q is none of %v", role, Roles())
		}
		if role == RoleMaker && (i.Stream == "" || plainPart(i.Stream) < len(i.Stream)) {
			return all, fmt.Errorf("role %s: %.80q is no name of a stream of EventfulDB", role, i.Stream)
		}
		deny := p.Deny
		if n > 0 {
			deny = both(all, p)
		}
		all = Permissions{append(all.Publish, p.Publish...), deny, append(all.Subscribe, p.Subscribe...)}
	}
	return all, nil
}

// both is what neither of two may: of two roles one of which denies nothing, nothing is denied, unless it may nothing either.
func both(a, b Permissions) []Permission {
	if len(a.Publish) == 0 {
		return b.Deny
	}
	if len(b.Publish) == 0 {
		return a.Deny
	}
	return slices.DeleteFunc(slices.Clone(a.Deny), func(p Permission) bool {
		return !slices.ContainsFunc(b.Deny, func(o Permission) bool { return o.Subject == p.Subject })
	})
}

func (s Installation) of(role Role, account string) Permissions {
	switch account {
	case AccountLOG:
		return s.inLog(role)
	case AccountAPP:
		return s.inApp(role)
	case AccountSYS:
		return inSys(role)
	}
	return Permissions{}
}

// AdvisoryAPI is where nats-server tells of each call of the JetStream API in an account, and who made it.
const AdvisoryAPI = "$JS.EVENT.ADVISORY.API"

// api is the prefix of the JetStream API.
const api = "$JS.API."

// reading is what reading logs takes. The API's wildcards stand for whole names, so what is not for readers is denied by name. Direct gets and consumers that are pulled are for
// nobody: the server answers them with an empty message too, wherever it is asked to, and an empty message to the API deletes or purges the stream that the subject names.
func (s Installation) reading() Permissions {
	return Permissions{
		Publish: []Permission{
			{api + "STREAM.NAMES", "which logs there are"},
			{api + "STREAM.INFO.*", "settings and bounds of a log"},
			{api + "STREAM.MSG.GET.*", "one block, from the leader"},
			{api + "CONSUMER.CREATE.>", "following a log, by consumers that push"},
			{api + "CONSUMER.DELETE.*.*", "a reader removes what it followed with"},
			{"$JS.FC.>", "following a log: how far the reader is"},
		},
		Deny: append(s.notForReaders(readingVerbs()...), s.unfollowed()...),
	}
}

func askServers() Permission {
	return Permission{AskServers, "whether every server flushes each write, and how full its store is"}
}

// unfollowed denies consumers of all that is no log. What a consumer brings is stored as it is, wherever its maker wants it: a role that may write to a stream and follow it could put
// blocks of its own making into a log.
func (s Installation) unfollowed() (all []Permission) {
	for _, stream := range s.beside() {
		all = append(all, denied(stream, "logs alone are followed: what a consumer brings is stored as it is wherever its maker wants it, in a log too", "CONSUMER.CREATE")...)
	}
	return all
}

// Keeps reports whether a stream of an account is one that EventfulDB keeps.
func (s Installation) Keeps(account, stream string) bool {
	if account == AccountAPP {
		return stream == InboxStream || stream == FeedStream
	}
	_, isLog := LogOf(s.Site, stream)
	return account == AccountLOG && (isLog || slices.Contains(s.beside(), stream))
}

// beside are the streams of LOG that hold no log.
func (s Installation) beside() []string {
	return append(s.private(), "KV_KEYS_"+s.Site, "KV_SNAP_"+s.Site, "KV_CHECKPOINTS_"+s.Site)
}

// private are those of them that are not for readers.
func (s Installation) private() []string {
	return []string{LeaseStream, "KV_STAGED_" + s.Site, "REFUSED_" + s.Site, "KV_POSITIONS_" + s.Site, "DEAD_" + s.Site}
}

func (s Installation) notForReaders(verbs ...string) (all []Permission) {
	for _, stream := range s.private() {
		all = append(all, denied(stream, "leases, staged and refused commands, and what plugins keep, are not for readers", verbs...)...)
	}
	return all
}

// withoutNames denies what lists the names in a bucket, and its settings with them: whoever knows a name can have an answer of the server stored there.
func (s Installation) withoutNames(more ...string) []Permission {
	return namesOf(append(s.private(), more...)...)
}

func namesOf(all ...string) (denied []Permission) {
	for _, stream := range all {
		denied = append(denied, Permission{api + "STREAM.INFO." + stream, "names in a bucket are for who writes it: JetStream stores its answers where the asker wants them"})
	}
	return denied
}

// withoutKeys are verbs that are denied to who reads the logs and neither the keys of encrypted fields nor snapshots.
func (s Installation) withoutKeys(verbs ...string) []Permission {
	return append(denied("KV_KEYS_"+s.Site, "keys of encrypted fields are for who decides and who answers", verbs...),
		denied("KV_SNAP_"+s.Site, "snapshots are for who answers", verbs...)...)
}

func denied(stream, reason string, verbs ...string) (all []Permission) {
	for _, verb := range verbs {
		all = append(all, Permission{api + verb + "." + stream, reason}, Permission{api + verb + "." + stream + ".>", reason})
	}
	return all
}

// readingVerbs are those calls of reading that name a stream and give its content, or end what does.
func readingVerbs() []string {
	return []string{"STREAM.MSG.GET", "CONSUMER.DELETE"}
}

func (s Installation) inLog(role Role) Permissions {
	switch role {
	case RoleWriter:
		return s.deciding()
	case RoleProjector:
		p := s.reading()
		p.Publish = append(p.Publish, askServers(), Permission{"$KV.SNAP_" + s.Site + ".>", "snapshots"},
			Permission{api + "STREAM.MSG.DELETE.KV_SNAP_" + s.Site, "of the snapshots that somebody asked for the oldest gives way"})
		p.Publish = append(p.Publish, Permission{StandingAnswers(s.Site), "how far it is, which an archiver asks"})
		p.Subscribe = append(p.Subscribe, Permission{StandingSubject(s.Site), "an archiver asks how far it is"})
		p.Deny = append(p.Deny, s.withoutNames()...)
		return p
	case RoleRunner:
		return s.running()
	case RoleArchiver:
		p := s.reading()
		p.Deny = append(append(p.Deny, s.withoutKeys(readingVerbs()...)...), s.withoutNames("KV_KEYS_"+s.Site, "KV_SNAP_"+s.Site)...)
		p.Publish = append(p.Publish,
			Permission{api + "STREAM.PURGE.*", "a prefix of a log that lies in verified segments: nobody else may"},
			Permission{StandingSubject(s.Site), "how far every projector is: no further is purged"},
			Permission{"eng." + s.Site + ".*.archive", "whoever writes the log keeps its state in the archive, and records it"})
		for _, stream := range s.beside() {
			p.Deny = append(p.Deny, Permission{api + "STREAM.PURGE." + stream, "logs alone are archived"})
		}
		p.Subscribe = []Permission{{StandingAnswers(s.Site), "how far every projector is"}}
		return p
	case RoleKeyReader:
		return Permissions{Publish: []Permission{
			{api + "STREAM.INFO.KV_KEYS_" + s.Site, "whether there are keys of encrypted fields"},
			{api + "STREAM.MSG.GET.KV_KEYS_" + s.Site, "the wrapped key of one aggregate: it opens with keys.json and its DEK alone"},
		}}
	case RoleDoctor:
		return Permissions{Publish: []Permission{
			{api + "STREAM.NAMES", "which logs there are"},
			{api + "STREAM.INFO.*", "settings and bounds of streams"},
			{api + "STREAM.MSG.GET.*", "the newest block of a log: its time and format; whether there is among the wrapped keys what is none"},
			askServers(),
		}, Deny: append(s.notForReaders("STREAM.MSG.GET"), denied("KV_SNAP_"+s.Site, "snapshots are for who answers", "STREAM.MSG.GET")...)}
	case RoleMaker:
		return s.making(AccountLOG)
	case RoleBreakGlass:
		return Permissions{Publish: []Permission{{">", "repairs that nothing else can make"}}, Subscribe: []Permission{{">", "as publishing"}}}
	}
	return Permissions{}
}

// making is what making one stream takes. Who makes a stream says what the server publishes by itself, wherever and to the API that deletes streams too; permissions cannot look into that
// (docs/adr/0015-makers.md).
func (s Installation) making(account string) (p Permissions) {
	p.Publish = []Permission{{api + "STREAM.CREATE." + s.Stream, "a stream that is missing; one that exists is not changed by it"}}
	if account == AccountAPP && s.Stream == FeedStream {
		p.Publish = append(p.Publish, Permission{api + "STREAM.UPDATE." + FeedStream, "the feed follows the configuration of its plugin"})
	}
	return p
}

// deciding is what writing logs takes.
func (s Installation) deciding() Permissions {
	p := s.reading()
	return Permissions{
		Publish: append(p.Publish, []Permission{
			askServers(),
			{"evt." + s.Site + ".*", "blocks: nobody else may"},
			{"$KV.LEASES.>", "who writes which log"},
			{"$KV.STAGED_" + s.Site + ".>", "staged commits"},
			{"$KV.KEYS_" + s.Site + ".>", "wrapped keys of encrypted fields"},
			{"$KV.CHECKPOINTS_" + s.Site + ".>", "the last signed checkpoint of each log"},
			{api + "STREAM.MSG.DELETE.KV_KEYS_" + s.Site, "a key that is forgotten is overwritten"},
			{api + "STREAM.MSG.DELETE.KV_SNAP_" + s.Site, "snapshots of an aggregate that is forgotten are overwritten"},
			{"refused." + s.Site, "what the inbox refused is noted"},
			{api + "STREAM.MSG.DELETE.REFUSED_" + s.Site, "and removed when a person has dealt with it"},
			{api + "STREAM.MSG.DELETE.DEAD_" + s.Site, "a parked change that a person drops"},
			{"run." + s.Site + ".*", "a plugin is tried by a plugin-runner"},
			{"eng." + s.Site + ".>", "calls between writers"},
			{"_INBOX.>", "answers to them"},
		}...),
		Subscribe: []Permission{
			{RunnerAnswers(s.Site), "whether a plugin that was tried reaches its target"},
			{"eng." + s.Site + ".>", "calls of other writers"},
			{AdvisoryAPI, "who changes, purges or deletes a stream is recorded"},
			{Connects(s.LOG), "who connects with a break-glass credential is recorded"},
		},
	}
}

// running is what delivering to plugins takes: reading logs, and keeping how far they are.
func (s Installation) running() Permissions {
	p := s.reading()
	own := []string{LeaseStream, "KV_POSITIONS_" + s.Site, "DEAD_" + s.Site}
	p.Deny = append(append(s.withoutKeys(readingVerbs()...), s.unfollowed()...), namesOf("KV_KEYS_"+s.Site, "KV_SNAP_"+s.Site)...)
	for _, stream := range s.private() {
		if !slices.Contains(own, stream) {
			p.Deny = append(p.Deny, denied(stream, "staged and refused commands are the writer's", readingVerbs()...)...)
			p.Deny = append(p.Deny, namesOf(stream)...)
		}
	}
	p.Publish = append(p.Publish, []Permission{
		askServers(),
		{PluginLeases(s.Site), "which process has which partition of which plugin"},
		{"$KV.POSITIONS_" + s.Site + ".>", "how far each partition is"},
		{"dead." + s.Site + ".*", "what a target refuses for good is parked"},
		{api + "STREAM.MSG.DELETE.DEAD_" + s.Site, "and removed when it was delivered after all"},
		{RunnerAnswers(s.Site), "answers to the writer, which has a plugin tried"},
	}...)
	p.Subscribe = []Permission{{"run." + s.Site + ".*", "a plugin is to be tried"}}
	return p
}

func (s Installation) inApp(role Role) Permissions {
	inbox := api + "STREAM.INFO." + InboxStream
	control := Permission{"$SRV.>", "PING, INFO and STATS of NATS micro services"}
	answers := Permission{"_INBOX.>", "answers"}
	switch role {
	case RoleWriter:
		return Permissions{
			Publish: []Permission{
				answers,
				{"cmd.>", "commands of the inbox and staged ones go to whoever writes their log"},
				{"adm.>", "an act that came while its log changed hands goes to its new writer"},
				{"qry._.audit", "the audit, which who administers asks as an act, is passed on to a projector"},
				{"qry._.archive", "archiving, likewise"},
				{"qry._.rebuild", "as the audit: an index is to be built anew"},
				{InboxSubject("cmd.>"), "a refused command that is tried again"},
				{LookUpAccount(s.APP), "the account APP as it is"},
				{UpdateAccount, "a new auth key or a revocation: the operator's signature counts"},
				{inbox, "settings of the inbox"},
				{api + "STREAM.MSG.GET." + InboxStream, "one waiting command"},
				{api + "CONSUMER.NAMES." + InboxStream, "each delivery ends the one before"},
				{api + "CONSUMER.DELETE." + InboxStream + ".*", "as CONSUMER.NAMES"},
				{api + "CONSUMER.CREATE." + InboxStream + ".>", "a delivery"},
				{api + "CONSUMER.MSG.NEXT." + InboxStream + ".*", "a delivery"},
				{"$JS.ACK." + InboxStream + ".>", "what was stored, or noted as refused, leaves the inbox"},
				{api + "STREAM.INFO." + FeedStream, "whose the feed is"},
			},
			Subscribe: []Permission{{"cmd.>", "commands"}, {"adm.>", "administrative acts"}, control, {AdvisoryAPI, "who changes or deletes the inbox is recorded"}},
		}
	case RoleProjector:
		return Permissions{Publish: []Permission{answers}, Subscribe: []Permission{{"qry.> " + QueryGroup, "queries, of which each projector gets its share: nobody only listens"}, control}}
	case RoleRunner:
		return Permissions{Publish: []Permission{
			{FeedIntake("*") + ">", "events, into the feed"},
			{api + "STREAM.INFO." + FeedStream, "whether the feed is there"},
			{api + "STREAM.MSG.DELETE." + FeedStream, "the dummy of a trial is taken out again"},
			{api + "STREAM.PURGE." + FeedStream, "what is forgotten leaves the feed"},
		}}
	case RoleFeedReader:
		return Permissions{Publish: []Permission{
			{api + "CONSUMER.CREATE." + FeedStream, "as the next, for clients that leave the name of a consumer to the server"},
			{api + "CONSUMER.CREATE." + FeedStream + ".>", "following the feed, by consumers that push"},
			{api + "CONSUMER.DELETE." + FeedStream + ".*", "a reader removes what it followed with"},
			{"$JS.FC." + FeedStream + ".>", "following the feed: how far the reader is"},
		}}
	case RoleClient:
		return Permissions{Publish: []Permission{
			{"cmd.>", "commands; each carries a token, which says what it may"},
			{InboxSubject("cmd.>"), "commands for the durable inbox, with a token too"},
			{"qry.>", "queries, with a token"},
			{"adm.>", "administrative acts, with a token"},
		}}
	case RoleMaker:
		return s.making(AccountAPP)
	case RoleDoctor:
		return Permissions{Publish: []Permission{{inbox, "settings of the inbox"}, {api + "STREAM.INFO." + FeedStream, "settings of the feed"}}}
	}
	return Permissions{}
}

// inSys: nobody asks there but who mends the accounts of an older site, since who asks may aim the answer at the API that removes every stream (docs/adr/0013-questions.md).
func inSys(role Role) Permissions {
	if role != RoleMender {
		return Permissions{}
	}
	return Permissions{Publish: []Permission{
		{LookUpAccount("*"), "an account as it is"},
		{UpdateAccount, "the same with the questions that engines ask: the operator's signature counts"},
	}}
}
