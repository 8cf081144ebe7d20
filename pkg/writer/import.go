package writer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// importBatch is how many bytes of a state from the archive are written at once.
const importBatch = 4 << 20

// takeOver fills an empty state from the newest one in the archive that a record of the log names and that is this engine's own. Without any it stays empty, and the log is read from its
// start. A crash leaves a state that is marked as unfinished, and so doubted.
func (e *engine) takeOver(ctx context.Context) error {
	if e.cfg.Snapshots == nil || e.distrust {
		return nil
	}
	if _, last, err := e.log.Bounds(ctx); err != nil || last == 0 {
		return err // a new log: the archive, which may be slow, is not asked
	}
	all, err := e.cfg.Snapshots.ListSnapshots(ctx, e.name)
	if err != nil {
		e.logger.Warn().Err(err).Msg("archive could not be asked for a state")
		return nil
	}
	for _, k := range all {
		began := time.Now()
		switch err := e.takeOne(ctx, k); {
		case err == nil:
			e.imported = true
			e.logger.Info().Uint64("sequence", k.Sequence).Dur("took", time.Since(began)).Msg("state was taken over from the archive")
			return nil
		case errors.Is(err, eventlog.ErrUnavailable), ctx.Err() != nil:
			return errors.Join(fmt.Errorf("take over the state of sequence %d from the archive: %w", k.Sequence, err), e.removeState())
		default:
			e.logger.Warn().Err(err).Uint64("sequence", k.Sequence).Msg("state in the archive was not taken over")
			if err := errors.Join(e.removeState(), e.openStore()); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeOne fills the state from one in the archive.
func (e *engine) takeOne(ctx context.Context, k eventlog.KeptSnapshot) error {
	if err := e.recorded(ctx, k); err != nil {
		return err
	}
	to := &importing{store: e.st.store}
	err := e.cfg.Snapshots.ReadSnapshot(ctx, e.name, k, func(s eventlog.Snapshot) error {
		if s.Kind != stateKind() || !bytes.Equal(s.Mark, e.mark()) {
			return errors.New("it is of another format, key, or set of unique fields")
		}
		return to.begin()
	}, to.put)
	if err == nil {
		err = to.end()
	}
	if err == nil {
		e.st, err = loadState(e.st.store, e.st.window, e.st.hasher)
	}
	return err
}

// recorded holds that the log itself names a state. The record lies behind what may be purged.
func (e *engine) recorded(ctx context.Context, k eventlog.KeptSnapshot) error {
	at, err := event.ParsePosition(k.Record)
	if err != nil {
		return fmt.Errorf("position of its record: %w", err)
	}
	_, commits, err := e.readBlock(ctx, at.Sequence, at.Block)
	if err != nil {
		return fmt.Errorf("read its record: %w", err)
	}
	if int(at.Index) >= len(commits) || commits[at.Index].Aggregate != (event.AggregateID{Type: typeArchive, ID: e.name}) {
		return fmt.Errorf("%s is no record of it", k.Record)
	}
	c := commits[at.Index]
	fields, err := fieldsOf(&c.Events[len(c.Events)-1])
	if err != nil {
		return err
	}
	if fields["digest"] != k.Digest || fields["state"] != k.Name || fields["sequence"] != decimal(k.Sequence) {
		return fmt.Errorf("the record at %s names another state", k.Record)
	}
	return nil
}

// importing writes a state that comes from elsewhere. Until it is whole it bears a mark.
type importing struct {
	store  *statestore.Store
	keys   [][]byte
	values [][]byte
	size   int
}

func (i *importing) begin() error {
	return i.store.Update(func(b *statestore.Batch) error { b.Set([]byte(keyUnfinished), []byte{1}); return nil })
}

func (i *importing) put(key, value []byte) error {
	i.keys, i.values, i.size = append(i.keys, key), append(i.values, value), i.size+len(key)+len(value)
	if i.size < importBatch {
		return nil
	}
	return i.flush(false)
}

func (i *importing) end() error { return i.flush(true) }

func (i *importing) flush(last bool) error {
	err := i.store.Update(func(b *statestore.Batch) error {
		for n := range i.keys {
			b.Set(i.keys[n], i.values[n])
		}
		if last {
			b.Delete([]byte(keyUnfinished))
		}
		return nil
	})
	i.keys, i.values, i.size = nil, nil, 0
	return err
}
