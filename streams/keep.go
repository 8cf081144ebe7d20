package streams

import (
	"slices"
	"strconv"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
)

// The durable inbox (docs/spec/subjects.md): its stream, and how many names the one consumer can have that it has. Each name but the first stands in for one
// that damaged files on the server keep from being used.
const (
	InboxStream    = "CMD_INBOX"
	InboxConsumers = 9
)

// InboxConsumerName is the n-th of them, from 1: engine, engine-2 …
func InboxConsumerName(n int) string {
	if n <= 1 {
		return "engine"
	}
	return "engine-" + strconv.Itoa(n)
}

// inboxMark stands before the subject of a command that goes through the inbox.
const inboxMark = "inbox."

// InboxSubject is where a command waits in the durable inbox: the subject that it has on its way to a writer, behind `inbox.`.
func InboxSubject(command string) string { return inboxMark + command }

// OfInbox is the inverse of InboxSubject.
func OfInbox(subject string) (command string, ok bool) { return strings.CutPrefix(subject, inboxMark) }

// StagedBucket is the name of the bucket of staged commits.
func StagedBucket(site string) (string, error) {
	return "STAGED_" + site, event.CheckSite(site)
}

// KeysBucket is the name of the bucket of field keys.
func KeysBucket(site string) (string, error) {
	return "KEYS_" + site, event.CheckSite(site)
}

// SnapshotBucket is the name of the bucket of snapshots.
func SnapshotBucket(site string) (string, error) {
	return "SNAP_" + site, event.CheckSite(site)
}

// CheckpointsBucket is the name of the bucket of the last checkpoint of each log.
func CheckpointsBucket(site string) (string, error) {
	return "CHECKPOINTS_" + site, event.CheckSite(site)
}

// CheckpointKey is the key of a log's last checkpoint.
func CheckpointKey(log string) string { return "log-" + log }

// RefusedStream is the stream of commands from the inbox that were refused, and its one subject.
func RefusedStream(site string) (stream, subject string, err error) {
	return "REFUSED_" + site, "refused." + site, event.CheckSite(site)
}

// StagedSettings are the settings of the stream behind the bucket of staged commits. Replicas is 1, 3 or 5; 0 means 1.
func StagedSettings(site string, replicas int) ([]Setting, error) {
	bucket, err := StagedBucket(site)
	if err != nil {
		return nil, err
	}
	return withRules(settingsOf("KV_"+bucket, "$KV."+bucket+".>", replicas,
		Setting{Name: "max_msgs_per_subject", Value: int64(1), Reason: "one value for each actor, the newest"},
		Setting{Name: "allow_rollup_hdrs", Value: true, Reason: "a bucket takes back a key by a rollup message"},
		Setting{Name: "deny_delete", Value: true, Reason: "values go by compare-and-set alone"},
		Setting{Name: "deny_purge", Value: false, Reason: "a bucket takes back a key by a purge of its subject"},
		Setting{Name: "allow_direct", Value: false, Reason: "the leader answers, so that whoever staged reads what he staged"},
	)), nil
}

// KeysSettings are the settings of the stream behind the bucket of field keys. Replicas is 1, 3 or 5; 0 means 1.
func KeysSettings(site string, replicas int) ([]Setting, error) {
	bucket, err := KeysBucket(site)
	if err != nil {
		return nil, err
	}
	return withRules(settingsOf("KV_"+bucket, "$KV."+bucket+".>", replicas,
		Setting{Name: "max_msgs_per_subject", Value: int64(1), Reason: "one key for each aggregate; it is made once and never changed"},
		Setting{Name: "discard_new_per_subject", Value: true, Reason: "a key that is there cannot be replaced by whatever is stored under its subject", Later: true},
		Setting{Name: "allow_rollup_hdrs", Value: false, Reason: "a rollup message takes keys back without overwriting them"},
		Setting{Name: "deny_delete", Value: false, Reason: "a key is destroyed by deleting its message, overwritten on every replica"},
		Setting{Name: "deny_purge", Value: true, Reason: "a purge takes keys back without overwriting them, and takes all of them"},
		Setting{Name: "allow_direct", Value: false, Reason: "the leader answers, so that nobody reads a key that was destroyed, or misses one that was made"},
	)), nil
}

// SnapshotSettings are the settings of the stream behind the bucket of snapshots. Replicas is 1, 3 or 5; 0 means 1.
func SnapshotSettings(site string, replicas int) ([]Setting, error) {
	bucket, err := SnapshotBucket(site)
	if err != nil {
		return nil, err
	}
	settings := withRules(settingsOf("KV_"+bucket, "$KV."+bucket+".>", replicas,
		Setting{Name: "max_msgs_per_subject", Value: int64(1), Reason: "the newest; older states are in the log"},
		Setting{Name: "allow_rollup_hdrs", Value: false, Reason: "a rollup message takes snapshots back without overwriting them"},
		Setting{Name: "deny_delete", Value: false, Reason: "snapshots of an aggregate that is forgotten are deleted, overwritten on every replica"},
		Setting{Name: "deny_purge", Value: true, Reason: "a purge takes snapshots back without overwriting them"},
		Setting{Name: "allow_direct", Value: false, Reason: "the leader answers, so that what was removed is not read any more"},
	))
	mode := Setting{Name: "persist_mode", Value: nil, Reason: "replicated streams have no async (nats-server 2.15.2); they are flushed once a raft entry", Free: true}
	if replicas <= 1 {
		mode.Value, mode.Reason = "async", "snapshots can be rebuilt, so they cost no flush"
	}
	return append(slices.DeleteFunc(settings, func(s Setting) bool { return s.Name == mode.Name }), mode), nil
}

// CheckpointsSettings are the settings of the stream behind the bucket of checkpoints. Replicas is 1, 3 or 5; 0 means 1.
func CheckpointsSettings(site string, replicas int) ([]Setting, error) {
	bucket, err := CheckpointsBucket(site)
	if err != nil {
		return nil, err
	}
	return withRules(settingsOf("KV_"+bucket, "$KV."+bucket+".>", replicas,
		Setting{Name: "max_msgs_per_subject", Value: int64(1), Reason: "one checkpoint for each log, the last"},
		Setting{Name: "allow_rollup_hdrs", Value: false, Reason: "a checkpoint is replaced by a later one and never taken back"},
		Setting{Name: "deny_delete", Value: true, Reason: "as allow_rollup_hdrs"},
		Setting{Name: "deny_purge", Value: true, Reason: "as allow_rollup_hdrs"},
		Setting{Name: "allow_direct", Value: false, Reason: "the leader answers, so that nobody goes on from an older checkpoint"},
	)), nil
}

// InboxBytes and RefusedBytes bound the durable inbox and the stream of refused commands: whoever may send there spends no budget, and could fill the disk. The server
// reserves them.
const (
	InboxBytes   = 1 << 30
	RefusedBytes = 1 << 30
)

// bounded puts a bound into the place of none. Streams that were made before there was one go on without it.
func bounded(settings []Setting, bytes int64, reason string) []Setting {
	at := slices.IndexFunc(settings, func(s Setting) bool { return s.Name == "max_bytes" })
	settings[at] = Setting{Name: "max_bytes", Value: bytes, Reason: reason, Later: true}
	return settings
}

// InboxSettings are the settings of the durable inbox, which lies in the account of its senders. Replicas is 1, 3 or 5; 0 means 1.
func InboxSettings(replicas int) ([]Setting, error) {
	settings := settingsOf(InboxStream, InboxSubject("cmd.>"), replicas,
		Setting{Name: "max_msgs_per_subject", Value: int64(-1), Reason: "every command counts"},
		Setting{Name: "allow_rollup_hdrs", Value: false, Reason: "a sender could remove what others sent"},
		Setting{Name: "deny_delete", Value: true, Reason: "a command goes when it is acknowledged and not before; a sender chooses where the server's answer goes"},
		Setting{Name: "deny_purge", Value: true, Reason: "as deny_delete"},
		Setting{Name: "allow_direct", Value: false, Reason: "the engine alone reads it"},
		Setting{Name: "duplicate_window", Value: int64(100_000_000), Reason: "the shortest there is (0.1 s): the command id finds duplicates, and a message id of one sender must not hide a command of another"},
	)
	settings[0] = Setting{Name: "retention", Value: "workqueue", Reason: "a command that was stored, or refused and noted, is gone"}
	return bounded(withRules(settings), InboxBytes, "senders cannot fill the disk; one that is full refuses what comes, and keeps what it has"), nil
}

// RefusedSettings are the settings of the stream of refused commands. Replicas is 1, 3 or 5; 0 means 1.
func RefusedSettings(site string, replicas int) ([]Setting, error) {
	name, subject, err := RefusedStream(site)
	if err != nil {
		return nil, err
	}
	return bounded(withRules(settingsOf(name, subject, replicas,
		Setting{Name: "max_msgs_per_subject", Value: int64(-1), Reason: "every refusal counts; there is one subject"},
		Setting{Name: "allow_rollup_hdrs", Value: false, Reason: "a rollup message would remove all others"},
		Setting{Name: "deny_delete", Value: false, Reason: "a person retries or drops one"},
		Setting{Name: "deny_purge", Value: false, Reason: "a person drops all"},
		Setting{Name: "allow_direct", Value: false, Reason: "the leader answers, so that a list holds what was just refused"},
		Setting{Name: "duplicate_window", Value: int64(86_400_000_000_000), Reason: "a day: a refusal that is noted again after a crash has the same message id"},
	)), RefusedBytes, "as of the inbox: a command that is refused and cannot be noted waits there"), nil
}

// settingsOf puts retention first, then what every stream is called by, then what is its own.
func settingsOf(name, subject string, replicas int, own ...Setting) []Setting {
	return append([]Setting{
		{Name: "retention", Value: "limits", Reason: "reading removes nothing"},
		{Name: "name", Value: name, Reason: "docs/spec/subjects.md"},
		{Name: "subjects", Value: []string{subject}, Reason: "docs/spec/subjects.md"},
		{Name: "num_replicas", Value: int64(max(replicas, 1)), Reason: "one on a single server, three or five in a cluster", Free: true},
	}, own...)
}

// withRules adds what holds for all streams besides the logs: nothing is lost that was acknowledged, and nobody but its writer adds to it.
func withRules(own []Setting) []Setting {
	return append(own, []Setting{
		{Name: "storage", Value: "file", Reason: "it survives the server"},
		{Name: "persist_mode", Value: nil, Reason: "async would override sync_interval always without a word"},
		{Name: "no_ack", Value: false, Reason: "an acknowledgement is the proof that a message is on disk"},
		{Name: "sealed", Value: false, Reason: "a sealed stream takes no writes"},
		{Name: "discard", Value: "new", Reason: "should a limit be set by mistake, new messages are refused and old ones stay"},
		{Name: "max_msgs", Value: int64(-1), Reason: "a limit removes messages"},
		{Name: "max_bytes", Value: int64(-1), Reason: "as max_msgs"},
		{Name: "max_age", Value: int64(0), Reason: "as max_msgs"},
		{Name: "max_msg_size", Value: int64(-1), Reason: "the server's max_payload is the one limit"},
		{Name: "allow_msg_ttl", Value: false, Reason: "a message with a lifetime would vanish"},
		{Name: "mirror_direct", Value: false, Reason: "else a mirror at another site answers for this stream"},
		{Name: "mirror", Value: nil, Reason: "it is written here"},
		{Name: "sources", Value: nil, Reason: "it is written here"},
		{Name: "subject_transform", Value: nil, Reason: "messages stay under their subject"},
		{Name: "republish", Value: nil, Reason: "what it holds is for the engines"},
		{Name: "allow_msg_counter", Value: false, Reason: "a counter stream changes payloads"},
		{Name: "allow_msg_schedules", Value: false, Reason: "the server itself must not append"},
		{Name: "allow_atomic", Value: false, Reason: "nothing needs batches"},
		{Name: "allow_batched", Value: false, Reason: "as allow_atomic"},
	}...)
}

// InboxSubjectsAbout are the subjects of the durable inbox on which a command about an aggregate comes: alone, and in a transaction, which may be about others.
func InboxSubjectsAbout(a event.AggregateID) (commands, transactions string, err error) {
	one, err := CommandSubject(a, "x")
	if err != nil {
		return "", "", err
	}
	return InboxSubject(strings.TrimSuffix(one, "x") + "*"), InboxSubject("cmd.*"), nil
}

// CanBeRebuilt says of a stream's name that what lies in it can be made from the logs again: the bucket of snapshots, which is not flushed.
func CanBeRebuilt(stream string) bool { return strings.HasPrefix(stream, "KV_SNAP_") }
