package jetlog

import "errors"

// Reasons to refuse a stream, a server or a message; errors wrap them.
var (
	// ErrSettings: the stream of a log exists with other settings than package streams says. Each difference is named.
	ErrSettings = errors.New("stream has other settings than the topology says")
	// ErrNewer: the stream of a log was made by a newer version of EventfulDB.
	ErrNewer = errors.New("stream has a newer topology")
	// ErrNotSynced: a JetStream server acknowledges messages before they are on disk.
	ErrNotSynced = errors.New("server does not sync every write")
	// ErrFull: the inbox, or the stream of refused commands, has no room; nothing was stored.
	ErrFull = errors.New("stream is full")
	// ErrSilent: a majority of the cluster's servers answered, and not all.
	ErrSilent = errors.New("not every server of the cluster answered")
)
