package streams

import (
	"fmt"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Names of what plugins need beside the logs (docs/spec/plugins.md).

// PositionsBucket is the name of the bucket of how far partitions are.
func PositionsBucket(site string) (string, error) {
	return "POSITIONS_" + site, event.CheckSite(site)
}

// DeadStream is the stream of parked changes of all plugins, and its subjects.
func DeadStream(site string) (stream, subjects string, err error) {
	return "DEAD_" + site, "dead." + site + ".*", event.CheckSite(site)
}

// DeadSubject is `dead.<site>.<plugin>`: the parked changes of one plugin.
func DeadSubject(site, plugin string) (string, error) {
	if err := event.CheckSite(site); err != nil {
		return "", err
	}
	if plugin == "" || plainPart(plugin) < len(plugin) {
		return "", fmt.Errorf("%.60q is no name of a plugin", plugin)
	}
	return "dead." + site + "." + plugin, nil
}

// PluginLeases are the subjects of the leases of partitions in a bucket of leases; `*` stands for its birth.
func PluginLeases(site string) string { return leasePrefix + "*." + PluginLeasePrefix + site + ".>" }

// PluginLeasePrefix stands before the keys of leases of partitions and of the processes that share them, so that they and those of writers are apart.
const PluginLeasePrefix = "plugins."

// PluginLeaseKey is the inverse of putting PluginLeasePrefix before a key.
func PluginLeaseKey(key string) (string, bool) { return strings.CutPrefix(key, PluginLeasePrefix) }

// RunnerSubject is `run.<site>.<verb>`: what is asked of any one plugin-runner.
func RunnerSubject(site, verb string) (string, error) {
	if !engineVerb.MatchString(verb) {
		return "", fmt.Errorf("verb %.80q is not %s", verb, engineVerb)
	}
	return "run." + site + "." + verb, event.CheckSite(site)
}

// PositionsSettings are the settings of the stream behind the bucket of how far partitions are. Replicas is 1, 3 or 5; 0 means 1.
func PositionsSettings(site string, replicas int) ([]Setting, error) {
	bucket, err := PositionsBucket(site)
	if err != nil {
		return nil, err
	}
	return withRules(settingsOf("KV_"+bucket, "$KV."+bucket+".>", replicas,
		Setting{Name: "max_msgs_per_subject", Value: int64(1), Reason: "one value for each partition, the newest"},
		Setting{Name: "allow_rollup_hdrs", Value: true, Reason: "a bucket takes back a key by a rollup message"},
		Setting{Name: "deny_delete", Value: true, Reason: "values go by compare-and-set alone"},
		Setting{Name: "deny_purge", Value: false, Reason: "a bucket takes back a key by a purge of its subject"},
		Setting{Name: "allow_direct", Value: false, Reason: "the leader answers, so that who takes a partition over begins where the last one ended"},
	)), nil
}

// DeadSettings are the settings of the stream of parked changes. Replicas is 1, 3 or 5; 0 means 1.
func DeadSettings(site string, replicas int) ([]Setting, error) {
	name, subjects, err := DeadStream(site)
	if err != nil {
		return nil, err
	}
	return withRules(settingsOf(name, subjects, replicas,
		Setting{Name: "max_msgs_per_subject", Value: int64(-1), Reason: "every parked change counts; there is a subject for each plugin"},
		Setting{Name: "allow_rollup_hdrs", Value: false, Reason: "a rollup message would remove all others"},
		Setting{Name: "deny_delete", Value: false, Reason: "one that was retried, or that a person drops, goes"},
		Setting{Name: "deny_purge", Value: true, Reason: "they go one by one"},
		Setting{Name: "allow_direct", Value: false, Reason: "the leader answers, so that a list holds what was just parked"},
		Setting{Name: "duplicate_window", Value: int64(86_400_000_000_000), Reason: "a day: a change that is parked again after a crash has the same message id"},
	)), nil
}

// FeedSubjects are all subjects of the public feed.
const FeedSubjects = feed + ">"

const feed = "event."

// FeedStream is the stream of the site's own feed, in the account of people and services.
const FeedStream = "FEED"

// feedIntakes stands before what only engines know in the subjects that FeedStream takes.
const feedIntakes = "feed."

// FeedIntake is `feed.<secret>.`: what stands in the place of `event.` in the subjects under which FeedStream takes events.
func FeedIntake(secret string) string { return feedIntakes + secret + "." }

// FeedSettings are the settings of the site's own feed, but for what its plugin's configuration says: how many events it keeps, where, and how long the server knows one again. The intake is
// of FeedIntake.
func FeedSettings(intake string) []Setting {
	return []Setting{
		{Name: "name", Value: FeedStream, Reason: "docs/spec/plugins.md"},
		{Name: "subjects", Value: []string{intake + ">"}, Reason: "subjects that only engines know: whoever may send into the inbox can have an answer of the server stored under any that he can name"},
		{Name: "subject_transform", Value: map[string]any{"src": intake + ">", "dest": FeedSubjects}, Reason: "events are stored under their own subjects"},
		{Name: "storage", Value: "file", Reason: "the feed survives the server"},
		{Name: "retention", Value: "limits", Reason: "reading removes nothing"},
		{Name: "discard", Value: "old", Reason: "the oldest events give way: the logs have them"},
		{Name: "allow_direct", Value: false, Reason: "direct gets are answered emptily, wherever the answer is asked to"},
		{Name: "no_ack", Value: false, Reason: "an event is delivered when it is on disk"},
		{Name: "sealed", Value: false, Reason: "a sealed stream takes no events"},
		{Name: "deny_delete", Value: false, Reason: "the dummy of a trial is taken out again"},
		{Name: "deny_purge", Value: false, Reason: "what is forgotten leaves the feed"},
		{Name: "allow_rollup_hdrs", Value: false, Reason: "a rollup message would remove others"},
		{Name: "allow_msg_ttl", Value: false, Reason: "a message with a lifetime would vanish"},
		{Name: "mirror", Value: nil, Reason: "it is written here"},
		{Name: "sources", Value: nil, Reason: "as mirror"},
		{Name: "republish", Value: nil, Reason: "who has a stream republish can have the server send anything in APP"},
		{Name: "allow_msg_counter", Value: false, Reason: "a counter stream changes what is stored"},
		{Name: "allow_msg_schedules", Value: false, Reason: "the server itself must not send anything"},
	}
}

// FeedSubject is `event.<type>.<id>.<event>`: where the public feed has an event. Event types of EventfulDB itself, and of what is not stored, are allowed.
func FeedSubject(a event.AggregateID, eventType string) (string, error) {
	return fedUnder(feed, a, eventType)
}

// FeedIntakeSubject is `feed.<secret>.<type>.<id>.<event>`: where FeedStream takes what it stores under FeedSubject.
func FeedIntakeSubject(secret string, a event.AggregateID, eventType string) (string, error) {
	return fedUnder(FeedIntake(secret), a, eventType)
}

func fedUnder(prefix string, a event.AggregateID, eventType string) (string, error) {
	if err := checkFed(a); err != nil {
		return "", err
	}
	if eventType == "" || plainPart(eventType) < len(eventType) {
		return "", fmt.Errorf("%.80q is no event type", eventType)
	}
	return prefix + a.Type + "." + Escape(a.ID) + "." + eventType, nil
}

func checkFed(a event.AggregateID) error {
	if a.Type == "" || plainPart(a.Type) < len(a.Type) || a.ID == "" {
		return fmt.Errorf("%.80q is no aggregate", a.String())
	}
	return nil
}

// FeedAggregate are the subjects of one aggregate's events in the public feed: `event.<type>.<id>.*`.
func FeedAggregate(a event.AggregateID) (string, error) {
	if err := checkFed(a); err != nil {
		return "", err
	}
	return feed + a.Type + "." + Escape(a.ID) + ".*", nil
}

// IsFeedAggregate reports whether subjects are what FeedAggregate gives: those of the events of one aggregate, and no others.
func IsFeedAggregate(subjects string) bool {
	parts, err := split(subjects, strings.TrimSuffix(feed, "."), 4)
	if err == nil {
		_, err = aggregateOf(parts[1], parts[2])
	}
	return err == nil && parts[3] == "*"
}
