package projector

import "github.com/eventfuldb/eventful/pkg/event"

// The answers of docs/spec/commands.md, section 7. Times are RFC 3339 in UTC with up to nine fractional digits; hashes, roots and ids are
// lower-case hexadecimal; positions are in their text form.

// State is an aggregate folded up to a version.
type State struct {
	Type       string            `json:"type"`
	ID         string            `json:"id"`
	Version    uint64            `json:"version"`
	Fields     map[string]string `json:"fields"` // unset fields are left out
	Deleted    bool              `json:"deleted"`
	Archived   bool              `json:"archived,omitempty"` // now, whatever the Version: it is locked (aggregate:archive)
	Root       string            `json:"root"`               // of the aggregate tree at Version
	Hash       string            `json:"hash"`               // leaf hash of the event at Version
	Time       string            `json:"time"`               // writer time of that event
	OccurredAt string            `json:"occurred-at,omitempty"`
	Actor      string            `json:"actor"` // who wrote that event

	// RolledBack is the id of the rollback whose event is the one at Version; empty: another event made the state.
	RolledBack string `json:"rolled-back,omitempty"`

	// Shredded are fields that have a value whose key is gone, in ascending order; they are not in Fields.
	Shredded []string `json:"shredded,omitempty"`
}

// Event is one event as history shows it.
type Event struct {
	Version       uint64 `json:"version"`
	Event         string `json:"event"`
	Fields        Fields `json:"fields"`
	Actor         string `json:"actor"`
	Token         string `json:"token"`
	Issuer        string `json:"issuer"`
	OccurredAt    string `json:"occurred-at,omitempty"`
	Time          string `json:"time"`
	Hash          string `json:"hash"`
	Position      string `json:"position"`
	Commit        string `json:"commit"`
	Command       string `json:"command"`
	SchemaVersion uint64 `json:"schema-version"`

	// Shredded are fields that have a value whose key is gone, in ascending order; they are not in Fields.
	Shredded []string `json:"shredded,omitempty"`
}

// Fields are those of an event in ascending order of names; in JSON they are an object, with null for a field that the event unsets.
type Fields []event.Field

// History is one page of an aggregate's events. Cursor is the version to go on from, in decimal; empty on the last page.
type History struct {
	Events []Event `json:"events"`
	Cursor string  `json:"cursor"`
}

// NamedEvent is an event together with its aggregate.
type NamedEvent struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Event
	Correlation string `json:"correlation,omitempty"`
	Causation   string `json:"causation,omitempty"`
}

// Summary is one aggregate in a list.
type Summary struct {
	Type    string `json:"type"`
	ID      string `json:"id"`
	Version uint64 `json:"version"`
	Root    string `json:"root"`
	Deleted bool   `json:"deleted"`
	Time    string `json:"time"` // writer time of the newest commit

	Archived string `json:"archived,omitempty"` // since when it is archived; empty: it is not
	Comment  string `json:"comment,omitempty"`  // why it was archived
}

// List is one page of aggregates. Cursor goes into the next call as it is; empty on the last page.
type List struct {
	Aggregates []Summary `json:"aggregates"`
	Cursor     string    `json:"cursor"`
}

// ExportedCommit is a commit as it is stored, with what it must hash to.
type ExportedCommit struct {
	Position string   `json:"position"`
	Commit   []byte   `json:"commit"` // base64 in JSON
	Leaves   []string `json:"leaves"`
}

// Export is one page of an aggregate's stored commits (docs/spec/log.md, section 9). Version and Root are the newest; on the last page they are
// those of its last commit. Cursor is the version to go on from, in decimal; empty on the last page.
type Export struct {
	Site    string           `json:"site"`
	Log     string           `json:"log"`
	Type    string           `json:"type"`
	ID      string           `json:"id"`
	Version uint64           `json:"version"`
	Root    string           `json:"root"`
	Commits []ExportedCommit `json:"commits"`
	Cursor  string           `json:"cursor"`
}

// SnapshotInfo is a stored snapshot.
type SnapshotInfo struct {
	Version   uint64 `json:"version"`        // 0: not known, of one that cannot be read
	Hash      string `json:"hash,omitempty"` // leaf hash of the event at Version
	Taken     string `json:"taken,omitempty"`
	Requested bool   `json:"requested"` // somebody asked for it; else it was taken by number
	Comment   string `json:"comment,omitempty"`
	Actor     string `json:"actor,omitempty"` // who asked
	Error     string `json:"error,omitempty"` // why it cannot be read
}

// LogStatus is how far the index of one log has come.
type LogStatus struct {
	Log       string `json:"log"`
	State     string `json:"state"`      // "starting", "following", "retrying", "paused" (no room on the disk), "stopped" (a newer format; ends with the program)
	Indexed   uint64 `json:"indexed"`    // last sequence in the index
	Last      uint64 `json:"last"`       // last sequence of the log when it was last asked
	LagEvents uint64 `json:"lag-events"` // events stored and not yet in the index, when it was last asked
	// LagSeconds is how much later the newest block of the log was written than the newest one in the index, then.
	LagSeconds float64 `json:"lag-seconds"`
	Error      string  `json:"error,omitempty"`
}
