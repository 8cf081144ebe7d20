package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/eventfuldb/eventful/pkg/registry"
)

// opened is a checkpoint that this process may write.
type opened struct {
	saver saver
	point Checkpoint
}

// claim takes the checkpoint over under a higher epoch; one that does not exist begins where the layout before ended.
func (t *tenant) claim(ctx context.Context, p *registry.Plugin, layout int) (*opened, error) {
	bucket, err := t.e.cfg.Checkpoints(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the checkpoints: %w", err)
	}
	key := CheckpointKey(t.name, layout, t.index)
	point, revision, err := t.load(ctx, bucket, key)
	if err == nil && revision == 0 {
		point, err = t.begin(ctx, bucket, p, layout)
	}
	if err != nil {
		return nil, err
	}
	point.Closed = false
	return t.take(ctx, bucket, key, point, revision)
}

// settle closes the checkpoints of a plugin that is disabled, of every layout, where whoever worked under them did not: a process that was killed, or one that never got its target open.
// Partitions that the newest layout does not have are partition 0's to see to: nobody may have them any more.
func (t *tenant) settle(ctx context.Context, p *registry.Plugin) error {
	if p.Removed || p.Enabled {
		return nil
	}
	bucket, err := t.e.cfg.Checkpoints(ctx)
	if err != nil {
		return fmt.Errorf("open the checkpoints: %w", err)
	}
	_, newest := p.Layout()
	for number, layout := range p.Layouts {
		if t.index < layout.Partitions {
			if err := t.settleOne(ctx, bucket, CheckpointKey(t.name, number, t.index)); err != nil {
				return err
			}
		}
	}
	for number, layout := range p.Layouts {
		if t.index == 0 && layout.Partitions > newest.Partitions {
			if err := t.closeLayout(ctx, bucket, number, newest.Partitions, layout.Partitions); err != nil {
				return err
			}
		}
	}
	return nil
}

// settleOne closes one checkpoint of this partition, under which nobody works any more: who has the lease does one thing after the other.
func (t *tenant) settleOne(ctx context.Context, bucket Bucket, key string) error {
	c, revision, err := t.load(ctx, bucket, key)
	if errors.Is(err, errUnreadable) || err == nil && (revision == 0 || c.Closed) {
		return nil // nobody can work under it, or nobody did
	}
	if err != nil {
		return err
	}
	c.Closed = true
	_, err = t.take(ctx, bucket, key, c, revision)
	return err
}

func (t *tenant) load(ctx context.Context, bucket Bucket, key string) (c Checkpoint, revision uint64, err error) {
	value, revision, err := bucket.Get(ctx, key)
	if err != nil {
		return c, 0, fmt.Errorf("read checkpoint %s: %w", key, err)
	}
	if revision > 0 {
		c, err = DecodeCheckpoint(t.e.cfg.Secrets, key, value)
	}
	return c, revision, err
}

func (t *tenant) take(ctx context.Context, bucket Bucket, key string, point Checkpoint, revision uint64) (*opened, error) {
	point.Epoch++
	if point.State != stateRetrying { // which it is until its target was opened
		point.State = stateStarting
	}
	point.Owner, point.Saved = t.e.cfg.Lease.Member.ID, t.now()
	o := &opened{saver{bucket, t.e.cfg.Secrets, key, revision, point.Epoch}, point}
	if err := o.saver.save(ctx, point); err != nil {
		return nil, err
	}
	return o, nil
}

// begin is the first checkpoint of a partition under a layout: the start of every log, or where the slowest partition of the layout before ended.
func (t *tenant) begin(ctx context.Context, bucket Bucket, p *registry.Plugin, layout int) (Checkpoint, error) {
	empty := Checkpoint{Logs: map[string]Mark{}, Replay: p.Replay.Number, Retry: p.Retry.Number}
	if layout == 0 || p.Layouts[layout].Fresh {
		return empty, nil
	}
	if err := t.closeLayout(ctx, bucket, layout-1, 0, p.Layouts[layout-1].Partitions); err != nil {
		return empty, err
	}
	var merged *Checkpoint
	for i := range p.Layouts[layout-1].Partitions {
		one, revision, err := t.load(ctx, bucket, CheckpointKey(t.name, layout-1, i))
		if err == nil && revision == 0 {
			one, err = t.begin(ctx, bucket, p, layout-1)
		}
		if err != nil {
			return empty, err
		}
		if merged == nil {
			merged = &Checkpoint{Logs: maps.Clone(one.Logs), Replay: one.Replay, Replaying: maps.Clone(one.Replaying), Replayed: one.Replayed, Retry: one.Retry}
			continue
		}
		if err := merged.merge(one); err != nil {
			return empty, err
		}
	}
	return *merged, nil
}

// merge makes of the checkpoints of two partitions one at which neither misses anything. A replay that both have begun goes on, from the earlier place: up to the earlier end of what is no news to one of them.
func (c *Checkpoint) merge(other Checkpoint) error {
	mine, err := c.frontiers()
	theirs, err2 := other.frontiers()
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	c.Retry, c.Replayed, c.Replay = min(c.Retry, other.Retry), min(c.through(), other.through()), min(c.Replay, other.Replay)
	if err := slowest(c.Logs, other.Logs); err != nil {
		return err
	}
	places, err := (&Checkpoint{Logs: c.Logs}).frontiers()
	c.Replaying = nil
	for log, end := range mine {
		if end = min(end, theirs[log]); end > places[log] {
			if c.Replaying == nil {
				c.Replaying = map[string]uint64{}
			}
			c.Replaying[log] = end
		}
	}
	return err
}

// frontiers are the sequences of each log behind which changes are new.
func (c *Checkpoint) frontiers() (map[string]uint64, error) {
	ends := map[string]uint64{}
	for log, mark := range c.Logs {
		at, err := mark.position()
		if err != nil {
			return nil, fmt.Errorf("checkpoint of log %s: %w", log, err)
		}
		ends[log] = at.Sequence
	}
	for log, end := range c.Replaying {
		ends[log] = max(end, ends[log])
	}
	return ends, nil
}

// slowest keeps in a of each log the earlier of both places.
func slowest(a, b map[string]Mark) error {
	for log, mark := range a {
		other, begun := b[log]
		if !begun {
			delete(a, log)
			continue
		}
		mine, err := mark.position()
		theirs, err2 := other.position()
		if err := errors.Join(err, err2); err != nil {
			return fmt.Errorf("checkpoint of log %s: %w", log, err)
		}
		if theirs.Sequence < mine.Sequence {
			a[log] = other
		}
	}
	return nil
}

// closePatience is how long who works under a layout that is over may take to settle before its checkpoint is taken away.
const closePatience = 10 * pause

// closeLayout waits until nobody delivers under the partitions from first to before end of a layout any more. Who does not close its partition in time loses it, as a process that is gone has to.
func (t *tenant) closeLayout(ctx context.Context, bucket Bucket, layout, first, end int) error {
	patient, cancel := context.WithTimeout(ctx, closePatience)
	defer cancel()
	for i := first; i < end; i++ {
		key := CheckpointKey(t.name, layout, i)
		for {
			c, revision, err := t.load(ctx, bucket, key)
			if errors.Is(err, errUnreadable) {
				break // nobody can work under it
			}
			if err != nil {
				return err
			}
			if c.Closed || revision == 0 {
				break
			}
			if wait(patient, pause/20); patient.Err() == nil {
				continue
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.Closed = true
			if _, err := t.take(ctx, bucket, key, c, revision); err != nil {
				return err
			}
			t.log.Warn().Int("of", i).Msg("partition of the layout before was closed, as its owner did not")
			break
		}
	}
	return nil
}
