package streams

import (
	"fmt"
	"strconv"
	"strings"
)

// LeaseStream is the stream of the KV bucket LEASES, which says which process writes which log.
const LeaseStream = "KV_LEASES"

const leasePrefix = "$KV.LEASES."

// LeaseSubjects are the subjects of all records of a bucket that was born at that number.
func LeaseSubjects(birth uint64) string { return leasePrefix + strconv.FormatUint(birth, 10) + ".>" }

// LeaseBirth is the inverse of LeaseSubjects; ok is false for subjects of anything else.
func LeaseBirth(subjects []string) (birth uint64, ok bool) {
	if len(subjects) != 1 {
		return 0, false
	}
	text, _ := strings.CutPrefix(subjects[0], leasePrefix)
	birth, err := strconv.ParseUint(strings.TrimSuffix(text, ".>"), 10, 64)
	return birth, err == nil && birth > 0 && LeaseSubjects(birth) == subjects[0]
}

// LeaseSubject is the subject of one record: a key is tokens of A-Z a-z 0-9 _ - between dots.
func LeaseSubject(birth uint64, key string) (string, error) {
	for token := range strings.SplitSeq(key, ".") {
		if token == "" || plainPart(token) < len(token) {
			return "", fmt.Errorf("lease key %.80q is not made of tokens between dots", key)
		}
	}
	return leasePrefix + strconv.FormatUint(birth, 10) + "." + key, nil
}

// LeaseKey is the inverse of LeaseSubject; ok is false for any other subject.
func LeaseKey(birth uint64, subject string) (key string, ok bool) {
	key, ok = strings.CutPrefix(subject, leasePrefix+strconv.FormatUint(birth, 10)+".")
	if !ok {
		return "", false
	}
	_, err := LeaseSubject(birth, key)
	return key, err == nil
}

// LeaseSettings are the settings of the bucket's stream. Replicas is 1, 3 or 5, as those of the logs; 0 means 1. The birth is a number that is
// higher than that of every bucket before it, and than the number of messages that any of them held: microseconds since 1970.
func LeaseSettings(replicas int, birth uint64) []Setting {
	return []Setting{
		{Name: "name", Value: LeaseStream, Reason: "a KV bucket is a stream with this name"},
		{Name: "subjects", Value: []string{LeaseSubjects(birth)}, Reason: "who still writes to a bucket that was lost does not reach the next one", Free: true},
		{Name: "first_seq", Value: int64(birth + 1), Reason: "as subjects: a revision of a bucket that was lost is none of the next one", Free: true},
		{Name: "num_replicas", Value: int64(max(replicas, 1)), Reason: "as the logs: who can write a log can take its lease", Free: true},
		{Name: "storage", Value: "memory", Reason: "a renewal must not cost a flush; if all servers restart every lease is gone, which the fence makes harmless"},
		{Name: "retention", Value: "limits", Reason: "reading removes nothing"},
		{Name: "discard", Value: "new", Reason: "should a limit be set by mistake, records stay"},
		{Name: "max_msgs_per_subject", Value: int64(1), Reason: "nobody asks what a lease was before"},
		{Name: "max_msgs", Value: int64(-1), Reason: "a limit would remove a lease that is held"},
		{Name: "max_bytes", Value: int64(-1), Reason: "as max_msgs"},
		{Name: "max_age", Value: int64(0), Reason: "a record with a lifetime needs the servers' clock to agree with the owner's, and tells nobody when it goes"},
		{Name: "allow_msg_ttl", Value: false, Reason: "as max_age"},
		{Name: "deny_delete", Value: true, Reason: "a record ends by a message that says so: those who watch must see it"},
		{Name: "deny_purge", Value: true, Reason: "as deny_delete; a bucket of an older version allows it, and is used as it is", Free: true},
		{Name: "allow_rollup_hdrs", Value: false, Reason: "records change by compare-and-set alone"},
		{Name: "allow_direct", Value: false, Reason: "a replica that is behind must not answer; the leader does"},
		{Name: "mirror", Value: nil, Reason: "leases of this site are made here"},
		{Name: "sources", Value: nil, Reason: "as mirror"},
		{Name: "subject_transform", Value: nil, Reason: "a record stays under its key"},
		{Name: "no_ack", Value: false, Reason: "a lease counts when it is acknowledged"},
		{Name: "sealed", Value: false, Reason: "a sealed stream takes no records"},
	}
}
