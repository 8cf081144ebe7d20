package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// keepCheckpoint writes the checkpoint of a log to a file. One that is there is a witness: it is replaced only by a checkpoint whose tree is shown to begin with its own.
func (a *app) keepCheckpoint(ctx context.Context, c *client.Client, newest client.Checkpoint, to string) error {
	kept, err := a.keptCheckpoint(newest, to)
	if err != nil {
		return err
	}
	if kept != nil {
		if newest, err = extended(ctx, c, newest, *kept, to); err != nil {
			return err
		}
	}
	mode := fs.FileMode(0o644) // it holds no secret
	if info, err := os.Stat(to); err == nil {
		mode = info.Mode().Perm()
	}
	if err := put(to, []byte(newest.Note), mode); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.errOut, "wrote %s: %s of log %s\n", filepath.Base(to), counted(newest.Size, "event"), newest.Log)
	return err
}

// keptCheckpoint is the checkpoint of the same log in a file; nil: there is no file.
func (a *app) keptCheckpoint(newest client.Checkpoint, to string) (*logtree.Checkpoint, error) {
	text, err := readNamed(to)
	if errors.Is(err, &problem.Problem{Code: problem.NotFound}) {
		return nil, nil
	}
	var c logtree.Checkpoint
	if err == nil {
		c, err = logtree.Open(text, newest.Key)
	}
	var found *problem.Problem
	switch {
	case err == nil:
		return &c, nil
	case errors.As(err, &found):
		err = errors.New(found.Detail)
	case !errors.Is(err, logtree.ErrFormat) && !errors.Is(err, logtree.ErrSignature):
		return nil, err
	}
	return nil, problem.New(problem.Malformed, "%s holds no checkpoint of log %s, and was left as it is: %v", to, newest.Log, err).
		WithHint("give another file. If it was a checkpoint of this log when it was kept, file or site have another key since: `eventful log:verify FILE --policy=POLICY`, with the policy of that time, tells which")
}

// extended gives the newest checkpoint of a log, which extends one that was kept: its tree begins with that. Else it is a problem that says how it does not.
func extended(ctx context.Context, c *client.Client, newest client.Checkpoint, kept logtree.Checkpoint, name string) (client.Checkpoint, error) {
	now, err := logtree.Open([]byte(newest.Note), newest.Key)
	if err != nil {
		return newest, refuted("the checkpoint of log %s: %v", newest.Log, err)
	}
	var hashes []event.Hash
	if now.Size != kept.Size {
		answer, err := c.CheckpointSince(ctx, newest.Log, kept.Size)
		if err != nil {
			return newest, err
		}
		newest.Note, newest.Size = answer.Note, answer.Size
		if now, err = logtree.Open([]byte(answer.Note), newest.Key); err != nil {
			return newest, refuted("the checkpoint of log %s: %v", newest.Log, err)
		}
		for _, h := range answer.Consistency {
			if len(h) != len(event.Hash{}) {
				return newest, problem.New(problem.Internal, "a hash of %d bytes in the answer", len(h))
			}
			hashes = append(hashes, event.Hash(h))
		}
	}
	if now.Size < kept.Size {
		return newest, contradicted(name, "TRUNCATED: it vouches for the first %d events of log %s, of which %d are signed now: events that were there are gone", kept.Size, newest.Log, now.Size)
	}
	if err := logtree.CheckConsistency(kept, now, hashes); err != nil {
		return newest, contradicted(name, "FORKED: the first %d events of log %s were others when it was signed: %v", kept.Size, newest.Log, err)
	}
	return newest, nil
}

// contradicted is that a log does not extend a checkpoint that was kept.
func contradicted(name, format string, args ...any) *problem.Problem {
	return refuted("%s, which was left as it is, contradicts the log: %s", name, fmt.Sprintf(format, args...)).
		WithHint("keep that file: it shows that history was cut or rewritten, or an old backup put back. `eventful aggregate:verify --all --checkpoint=FILE` says more; give --to another file for what is signed now")
}
