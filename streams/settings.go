package streams

// TopologyVersion is the version of names and settings in this package; each stream carries it. It only goes up, and a stream with a higher one is refused by name.
const TopologyVersion = 1

// TopologyKey is the metadata key under which a stream carries its topology version.
const TopologyKey = "eventful.topology"

// Setting is one setting of a stream: its name in the JetStream API, its value, and why it is so. A nil value means: not set.
type Setting struct {
	Name   string
	Value  any // string, bool, int64, []string, a map of strings as JSON has it, or nil
	Reason string
	// Free marks what an operator may change later; it counts only when the stream is made.
	Free bool
	// Later marks what came when streams had been made without it: such a stream goes on as it is, and doctor names it.
	Later bool
}

// LogSettings are the settings of a log's stream. Replicas is 1, 3 or 5; 0 means 1.
func LogSettings(site, log string, replicas int) ([]Setting, error) {
	name, err := Stream(site, log)
	if err != nil {
		return nil, err
	}
	subject, err := Subject(site, log)
	if err != nil {
		return nil, err
	}
	settings := []Setting{
		{Name: "name", Value: name, Reason: "one stream for each log"},
		{Name: "subjects", Value: []string{subject}, Reason: "one subject, so the server keeps no index of subjects"},
		{Name: "num_replicas", Value: int64(max(replicas, 1)), Reason: "one on a single server, three or five in a cluster", Free: true},
	}
	return append(settings, fixedLogSettings()...), nil
}

func fixedLogSettings() []Setting {
	return []Setting{
		{Name: "storage", Value: "file", Reason: "a log survives the server"},
		{Name: "persist_mode", Value: nil, Reason: "async would override sync_interval always without a word"},
		{Name: "no_ack", Value: false, Reason: "an acknowledgement is the proof that a block is on disk"},
		{Name: "sealed", Value: false, Reason: "a sealed stream takes no writes"},

		{Name: "retention", Value: "limits", Reason: "reading removes nothing"},
		{Name: "discard", Value: "new", Reason: "should a limit be set by mistake, new blocks are refused and old ones stay"},
		{Name: "max_msgs", Value: int64(-1), Reason: "a limit removes events, or takes the place of a block in flight"},
		{Name: "max_bytes", Value: int64(-1), Reason: "as max_msgs"},
		{Name: "max_age", Value: int64(0), Reason: "as max_msgs"},
		{Name: "max_msgs_per_subject", Value: int64(-1), Reason: "as max_msgs; there is one subject"},
		{Name: "max_msg_size", Value: int64(-1), Reason: "the server's max_payload is the one limit"},
		{Name: "max_consumers", Value: int64(-1), Reason: "any number of readers"},
		{Name: "allow_msg_ttl", Value: false, Reason: "a message with a lifetime would vanish"},
		{Name: "allow_rollup_hdrs", Value: false, Reason: "a rollup message would remove all others"},
		{Name: "deny_delete", Value: true, Reason: "no event is removed from the middle"},
		{Name: "deny_purge", Value: false, Reason: "the archive purges a prefix that lies in segments; by permission, nobody else"},

		{Name: "allow_direct", Value: true, Reason: "a block is read from any replica in 0.1 ms"},
		{Name: "mirror_direct", Value: false, Reason: "else a mirror at another site answers direct gets of this log"},
		{Name: "mirror", Value: nil, Reason: "the log is written here"},
		{Name: "sources", Value: nil, Reason: "sources change sequences"},
		{Name: "subject_transform", Value: nil, Reason: "blocks stay under their subject"},
		{Name: "republish", Value: nil, Reason: "the nats plugin republishes events; blocks are for the engines"},
		{Name: "allow_msg_counter", Value: false, Reason: "a counter stream changes payloads"},
		{Name: "allow_msg_schedules", Value: false, Reason: "the server itself must not append"},
		{Name: "allow_atomic", Value: false, Reason: "a block is one message; nothing needs batches"},
		{Name: "allow_batched", Value: false, Reason: "as allow_atomic"},
	}
}
