package archive

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// partTarget is how much a part of a state holds before it is closed.
const partTarget = 4 << 20

// stateIndex is what makes parts a state.
type stateIndex struct {
	sealed bool
	id     event.ID16
	site   string
	eventlog.Snapshot
	parts []statePart
}

type statePart struct {
	stored, plain uint32
	hash          event.Hash
}

func (x stateIndex) name() string { return fmt.Sprintf("%020d-%s", x.Sequence, x.id) }

// about is the associated data of the parts.
func (x stateIndex) about() []byte {
	return appendText(appendText(append([]byte(domainState), x.id[:]...), x.site), x.Log)
}

func (x stateIndex) encode() []byte {
	b := append([]byte(stateMagic), formatVersion, flag(x.sealed))
	b = append(b, x.id[:]...)
	b = appendText(appendText(appendText(b, x.site), x.Log), x.Kind)
	b = appendText(b, string(x.Mark))
	b = binary.BigEndian.AppendUint64(b, x.Sequence)
	b = binary.BigEndian.AppendUint32(b, uint32(len(x.parts)))
	for _, p := range x.parts {
		b = binary.BigEndian.AppendUint32(b, p.stored)
		b = binary.BigEndian.AppendUint32(b, p.plain)
		b = append(b, p.hash[:]...)
	}
	return b
}

func stateDigest(index []byte) event.Hash {
	h := sha256.New()
	h.Write([]byte(domainState))
	h.Write(index)
	return event.Hash(h.Sum(nil))
}

func decodeIndex(raw []byte) (x stateIndex, digest event.Hash, err error) {
	if len(raw) < digestBytes {
		return x, digest, fmt.Errorf("it has %d bytes: %w", len(raw), ErrDamaged)
	}
	index := raw[:len(raw)-digestBytes]
	d := &decoder{in: index}
	if err := d.magic(stateMagic); err != nil {
		return x, digest, err
	}
	if digest = stateDigest(index); digest != event.Hash(raw[len(index):]) {
		return x, digest, fmt.Errorf("it has the digest %s, which it does not state: %w", digest, ErrDamaged)
	}
	x = stateIndex{sealed: d.flag(), id: d.id16(), site: d.text(), Snapshot: eventlog.Snapshot{Log: d.text(), Kind: d.text(), Mark: d.bytes(), Sequence: d.u64()}}
	n := d.u32()
	if n > maxParts || uint64(n)*(8+digestBytes) > uint64(len(d.in)) {
		return x, digest, fmt.Errorf("it has %d parts in %d bytes: %w", n, len(raw), ErrDamaged)
	}
	x.parts = make([]statePart, n)
	for i := range x.parts {
		x.parts[i] = statePart{stored: d.u32(), plain: d.u32(), hash: d.hash()}
	}
	if err := d.end(); err != nil {
		return x, digest, fmt.Errorf("%w: %w", err, ErrDamaged)
	}
	return x, digest, nil
}

// stateWriter stores a state part by part.
type stateWriter struct {
	a      *Archive
	index  stateIndex
	folder string
	packer packer
	body   []byte
	count  uint64
}

// PutSnapshot implements eventlog.Snapshots. Side effects: the parts, then the index; a crash before that leaves objects that nothing names.
func (a *Archive) PutSnapshot(ctx context.Context, s eventlog.Snapshot, entries func(put func(key, value []byte) error) error) (k eventlog.KeptSnapshot, err error) {
	key := a.writeKey()
	w := &stateWriter{a: a, index: stateIndex{sealed: key != nil, id: randomID(), site: a.cfg.Site, Snapshot: s}}
	folder, err := folderOf(a.cfg.Site, s.Log)
	if err != nil {
		return k, err
	}
	w.folder = folder + "states/" + w.index.name() + "/"
	if w.packer, err = a.codec.packer(key, domainStateKey, w.index.id, w.index.about()); err != nil {
		return k, err
	}
	err = entries(func(key, value []byte) error { return w.add(ctx, key, value) })
	if err == nil {
		err = w.part(ctx)
	}
	if err != nil {
		return k, fmt.Errorf("keep state of log %s at %d: %w", s.Log, s.Sequence, err)
	}
	index := w.index.encode()
	digest := stateDigest(index)
	if err := a.cfg.Objects.Create(ctx, w.folder+"index", append(index, digest[:]...)); err != nil {
		return k, fmt.Errorf("keep state of log %s at %d: %w", s.Log, s.Sequence, err)
	}
	return eventlog.KeptSnapshot{Name: w.index.name(), Digest: digest.String(), Sequence: s.Sequence}, nil
}

func (w *stateWriter) add(ctx context.Context, key, value []byte) error {
	w.body = appendText(appendText(w.body, string(key)), string(value))
	if w.count++; len(w.body) >= partTarget {
		return w.part(ctx)
	}
	return nil
}

// part stores what was gathered.
func (w *stateWriter) part(ctx context.Context) error {
	if w.count == 0 {
		return nil
	}
	plain := append(binary.AppendUvarint(nil, w.count), w.body...)
	if len(plain) > maxPlain || len(w.index.parts) == maxParts {
		return fmt.Errorf("a part of %d bytes, behind %d others, is too large", len(plain), len(w.index.parts))
	}
	number := len(w.index.parts)
	stored := w.packer.pack(plain, uint64(number))
	w.index.parts = append(w.index.parts, statePart{uint32(len(stored)), uint32(len(plain)), sha256.Sum256(stored)})
	w.body, w.count = w.body[:0], 0
	return w.a.cfg.Objects.Create(ctx, fmt.Sprintf("%s%06d", w.folder, number), stored)
}

// ListSnapshots implements eventlog.Snapshots.
func (a *Archive) ListSnapshots(ctx context.Context, log string) ([]eventlog.KeptSnapshot, error) {
	c := a.catalog(log)
	c.refreshing.Lock()
	err := c.begin(ctx)
	c.refreshing.Unlock()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	newest := slices.Clone(c.states)
	slices.Reverse(newest)
	return newest, nil
}

// Recorded takes a state into the manifest, now that a record of the log names it. The two newest are kept, older ones are removed.
func (a *Archive) Recorded(ctx context.Context, log string, k eventlog.KeptSnapshot) error {
	c := a.catalog(log)
	if err := c.refresh(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	if !slices.Contains(c.states, k) {
		c.states = append(c.states, k)
	}
	slices.SortStableFunc(c.states, func(x, y eventlog.KeptSnapshot) int { return strings.Compare(x.Name, y.Name) })
	var old []eventlog.KeptSnapshot
	if n := len(c.states) - keptStates; n > 0 {
		old, c.states = slices.Clone(c.states[:n]), slices.Clone(c.states[n:])
	}
	c.mu.Unlock()
	if err := c.writeManifest(ctx); err != nil {
		return fmt.Errorf("note a state of log %s: %w", log, err)
	}
	for _, k := range old {
		if err := a.removeState(ctx, log, k); err != nil {
			return err
		}
	}
	return nil
}

const keptStates = 2

func (a *Archive) removeState(ctx context.Context, log string, k eventlog.KeptSnapshot) error {
	folder, err := a.stateFolder(log, k)
	if err != nil {
		return err
	}
	names, err := a.cfg.Objects.List(ctx, folder)
	for _, name := range names {
		if err == nil {
			err = a.cfg.Objects.Remove(ctx, name)
		}
	}
	if err != nil {
		return fmt.Errorf("remove an older state of log %s: %w", log, err)
	}
	return nil
}

func (a *Archive) stateFolder(log string, k eventlog.KeptSnapshot) (string, error) {
	folder, err := folderOf(a.cfg.Site, log)
	if err == nil && strings.Contains(k.Name, "/") {
		err = fmt.Errorf("%.80q is no name of a state: %w", k.Name, ErrDamaged)
	}
	return folder + "states/" + k.Name + "/", err
}

// ReadSnapshot implements eventlog.Snapshots.
func (a *Archive) ReadSnapshot(ctx context.Context, log string, k eventlog.KeptSnapshot, begin func(eventlog.Snapshot) error, put func(key, value []byte) error) error {
	folder, err := a.stateFolder(log, k)
	if err != nil {
		return err
	}
	raw, err := whole(ctx, a.cfg.Objects, folder+"index", int64(maxParts)*(8+digestBytes)+1<<16)
	if err != nil {
		return fmt.Errorf("state %s: %w", k.Name, passing(err))
	}
	x, digest, err := decodeIndex(raw)
	if err == nil && (digest.String() != k.Digest || x.site != a.cfg.Site || x.Log != log || x.Sequence != k.Sequence) {
		err = fmt.Errorf("it is of site %s, log %s, at %d, with the digest %s: %w", x.site, x.Log, x.Sequence, digest, ErrDamaged)
	}
	var p packer
	if err == nil {
		p, err = a.statePacker(x)
	}
	if err != nil {
		return fmt.Errorf("state %s: %w", k.Name, err)
	}
	if err := begin(x.Snapshot); err != nil {
		return err
	}
	for i, about := range x.parts {
		if err := a.readPart(ctx, fmt.Sprintf("%s%06d", folder, i), p, uint64(i), about, put); err != nil {
			return err
		}
	}
	return nil
}

func (a *Archive) statePacker(x stateIndex) (packer, error) {
	if !x.sealed {
		return a.codec.packer(nil, "", x.id, nil)
	}
	if a.cfg.Key == nil {
		return packer{}, ErrSealed
	}
	return a.codec.packer(a.cfg.Key, domainStateKey, x.id, x.about())
}

func (a *Archive) readPart(ctx context.Context, name string, p packer, number uint64, about statePart, put func(key, value []byte) error) error {
	if about.stored > maxStored {
		return fmt.Errorf("%s has %d bytes: %w", name, about.stored, ErrDamaged)
	}
	stored, err := a.cfg.Objects.Read(ctx, name, 0, int64(about.stored))
	if err != nil {
		return fmt.Errorf("read part of a state: %w", passing(err))
	}
	if sha256.Sum256(stored) != about.hash {
		return fmt.Errorf("%s does not have the digest %s: %w", name, about.hash, ErrDamaged)
	}
	plain, err := p.open(stored, number, about.plain)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	d := &decoder{in: plain}
	for n := d.uv(); n > 0 && !d.failed; n-- {
		key, value := d.bytes(), d.bytes()
		if d.failed {
			break
		}
		if err := put(key, value); err != nil {
			return err
		}
	}
	if err := d.end(); err != nil {
		return fmt.Errorf("%s: %w: %w", name, err, ErrDamaged)
	}
	return nil
}
