package writer

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
)

const eventLogKeyMade = "log-key-made"

// showHead says where the log's tree stands: behind a block that is on disk. It is all that checkpoints cost the engine.
func (e *engine) showHead(b *openBlock) {
	e.commits += uint64(len(b.items))
	e.signs.Store(&logtree.Head{
		Log: e.name, Session: e.session, Sequence: b.sequence, Block: b.ID, Epoch: b.Epoch, Time: b.Time, Tree: b.tree, Commits: e.commits,
	})
}

// Heads are the trees of the logs that this process writes now, or wrote until it ended, by log: each behind a block that is on disk. Within one session of a log every tree
// is the one before with leaves added; another session has read the log anew.
func (w *Writer) Heads() []*logtree.Head {
	var heads []*logtree.Head
	for _, e := range w.engines() {
		if st := e.state(); st.mode != active && st.mode != stopped || st.err != nil {
			continue
		}
		if h := e.signs.Load(); h != nil {
			heads = append(heads, h)
		}
	}
	return heads
}

// RecordLogKey has the system log name the key that signs checkpoints, once. recorded is false while another process, which writes the system log, has to
// do it.
func (w *Writer) RecordLogKey(ctx context.Context, key ed25519.PublicKey) (recorded bool, p *problem.Problem) {
	id := hex.EncodeToString(key)
	if w.sys.hasLogKey(id) {
		return true, nil
	}
	if !w.LeadsSystem() {
		return false, nil
	}
	by := &token.Claims{ID: "keys", Issuer: id, IdentifierType: "keys", IdentifierID: id}
	_, p = w.act(ctx, w.system, by, func(*submission) ([]aggregate.Change, *problem.Problem) {
		if w.sys.hasLogKey(id) {
			return nil, nil
		}
		return oneEvent(schema.SystemLogKey, id, eventLogKeyMade, map[string]string{"algorithm": "ed25519"}), nil
	})
	return p == nil, p
}

// hasLogKey reports whether the system log names a key that signs checkpoints.
func (s *system) hasLogKey(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logKeys[id]
}

// applyLogKey takes in that a key was made.
func (s *system) applyLogKey(id string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logKeys[id] = true
	return []byte(`{"v":1}`), nil
}
