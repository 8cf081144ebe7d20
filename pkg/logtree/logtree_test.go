package logtree_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	cosign "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/logtree"
)

func key() *logtree.Key { return logtree.NewKey("main", [32]byte{7}) }

// leaves are made up.
func leaves(n int) []event.Hash {
	out := make([]event.Hash, n)
	for i := range out {
		out[i] = sha256.Sum256([]byte(fmt.Sprint(i)))
	}
	return out
}

// levels gives the hashes of a tree of these leaves, computed the plain way.
func levels(of []event.Hash) logtree.Hashes {
	all := [][]event.Hash{of}
	for len(all[len(all)-1]) >= logtree.TileWidth {
		var up []event.Hash
		for under := all[len(all)-1]; len(under) >= logtree.TileWidth; under = under[logtree.TileWidth:] {
			up = append(up, event.Tree{}.Append(under[:logtree.TileWidth]...).Root())
		}
		all = append(all, up)
	}
	return func(level uint, from, to uint64) ([]event.Hash, error) {
		if from/logtree.TileWidth != (to-1)/logtree.TileWidth {
			return nil, fmt.Errorf("hashes %d to %d of level %d do not lie in one tile", from, to, level)
		}
		return all[level][from:to], nil
	}
}

// TestInclusion: every leaf of trees of many sizes is proved, and under no other root, index or leaf.
func TestInclusion(t *testing.T) {
	const most = 70_000
	all := leaves(most)
	hashes := levels(all)
	for _, size := range []int{1, 2, 3, 7, 8, 255, 256, 257, 511, 600, 65_535, 65_536, 65_537, most} {
		root := event.Tree{}.Append(all[:size]...).Root()
		if tree, err := hashes.Tree(uint64(size)); err != nil || tree.Root() != root || tree.Size() != uint64(size) {
			t.Fatalf("tree of %d: got %v, %v, want root %s", size, tree, err, root)
		}
		c := logtree.Checkpoint{Size: uint64(size), Root: root}
		for _, index := range []int{0, 1, 2, 254, 255, 256, 300, 65_535, 65_536, size - 2, size - 1} {
			if index < 0 || index >= size {
				continue
			}
			path, err := hashes.Inclusion(uint64(index), c.Size)
			if err != nil {
				t.Fatalf("leaf %d of %d: %v", index, size, err)
			}
			if err := logtree.CheckInclusion(c, uint64(index), all[index], path); err != nil {
				t.Errorf("leaf %d of %d: %v", index, size, err)
			}
			if err := logtree.CheckInclusion(c, uint64(index), all[(index+1)%most], path); !errors.Is(err, logtree.ErrProof) {
				t.Errorf("another leaf at %d of %d: got %v, want ErrProof", index, size, err)
			}
			if err := logtree.CheckInclusion(c, uint64(index)+1, all[index], path); !errors.Is(err, logtree.ErrProof) {
				t.Errorf("leaf %d of %d at another index: got %v, want ErrProof", index, size, err)
			}
		}
		if _, err := hashes.Inclusion(c.Size, c.Size); err == nil {
			t.Errorf("leaf %d of %d was proved", size, size)
		}
	}
}

// TestConsistency: a tree is shown to begin with every smaller one, and with no other.
func TestConsistency(t *testing.T) {
	const most = 66_000
	all := leaves(most)
	hashes := levels(all)
	of := func(n int) logtree.Checkpoint {
		tree, err := hashes.Tree(uint64(n)) // TestInclusion holds it against the plain way
		if err != nil {
			t.Fatal(err)
		}
		return logtree.Checkpoint{Size: uint64(n), Root: tree.Root()}
	}
	for _, size := range []int{1, 2, 7, 255, 256, 257, 600, 65_536, most} {
		for _, older := range []int{1, 2, 3, 7, 255, 256, 257, 599, 65_535, most} {
			if older > size {
				continue
			}
			proof, err := hashes.Consistency(uint64(older), uint64(size))
			if err != nil {
				t.Fatalf("%d of %d: %v", older, size, err)
			}
			if err := logtree.CheckConsistency(of(older), of(size), proof); err != nil {
				t.Errorf("%d of %d: %v", older, size, err)
			}
			other, larger := of(older), of(older)
			other.Root[3]++
			larger.Size++
			for name, wrong := range map[string]logtree.Checkpoint{"another root": other, "another size": larger, "none": {}} {
				if err := logtree.CheckConsistency(wrong, of(size), proof); !errors.Is(err, logtree.ErrProof) {
					t.Errorf("%d of %d, %s: got %v, want %v", older, size, name, err, logtree.ErrProof)
				}
			}
			for i := range proof {
				proof[i][0]++
				if err := logtree.CheckConsistency(of(older), of(size), proof); !errors.Is(err, logtree.ErrProof) {
					t.Errorf("%d of %d, hash %d changed: got %v, want %v", older, size, i, err, logtree.ErrProof)
				}
				proof[i][0]--
			}
		}
	}
	if proof, err := hashes.Consistency(2, 1); err == nil {
		t.Errorf("2 of 1: got %v, want an error", proof)
	}
}

// TestBuilder: tiles come as the plain way gives them, also when the builder resumes.
func TestBuilder(t *testing.T) {
	all := leaves(66_000)
	hashes := levels(all)
	for _, from := range []int{0, 256, 65_536, 65_792} {
		got := map[string]int{}
		var b logtree.Builder
		b.Tile = func(level uint, index uint64, tile []event.Hash) error {
			want, err := hashes(level, index*logtree.TileWidth, index*logtree.TileWidth+uint64(len(tile)))
			if err != nil || !cmp.Equal(want, tile) {
				t.Errorf("from %d: tile %d of level %d differs: %v", from, index, level, err)
			}
			got[logtree.TilePath(level, index, len(tile))]++
			return nil
		}
		if err := b.Resume(hashes, uint64(from)); err != nil {
			t.Fatal(err)
		}
		for _, leaf := range all[from:] {
			if err := b.Add(leaf); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.End(); err != nil {
			t.Fatal(err)
		}
		if b.Tree().Root() != (event.Tree{}).Append(all...).Root() {
			t.Errorf("from %d: the root differs", from)
		}
		for _, path := range []string{"tile/0/257.p/208", "tile/1/001.p/1", "tile/2/000.p/1"} {
			if got[path] != 1 {
				t.Errorf("from %d: %s came %d times, want once", from, path, got[path])
			}
		}
	}
}

func TestPaths(t *testing.T) {
	for want, got := range map[string]string{
		"tile/0/000":                    logtree.TilePath(0, 0, 256),
		"tile/3/x001/x234/067.p/1":      logtree.TilePath(3, 1_234_067, 1),
		"tile/entries/x001/000":         logtree.EntriesPath(1000, 256),
		"tile/entries/999.p/255":        logtree.EntriesPath(999, 255),
		"tile/entries/x018/x446/x744.p": logtree.PartialFolder("tile/entries/x018/x446/x744.p/9"),
		"tile/0/001.p":                  logtree.PartialFolder("tile/0/001"),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func signed(t *testing.T, size int) []byte {
	t.Helper()
	text, err := key().Sign("patient", uint64(size), event.Tree{}.Append(leaves(size)...).Root())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestCheckpoint: what is signed is read again, by Go's own note package too, and nothing that was changed is.
func TestCheckpoint(t *testing.T) {
	text := signed(t, 5)
	vkey := key().VKey("patient")
	c, err := logtree.Open(text, vkey)
	want := logtree.Checkpoint{Origin: "eventfuldb/main/patient", Size: 5, Root: event.Tree{}.Append(leaves(5)...).Root()}
	if err != nil || c != want {
		t.Fatalf("got %+v, %v, want %+v", c, err, want)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := note.Open(text, note.VerifierList(v)); err != nil || len(n.Sigs) != 1 {
		t.Errorf("note.Open: got %+v, %v", n, err)
	}
	for i := range text {
		bad := bytes.Clone(text)
		bad[i] ^= 1
		if got, err := logtree.Open(bad, vkey); err == nil {
			t.Errorf("byte %d changed: got %+v, want an error", i, got)
		} else if !errors.Is(err, logtree.ErrFormat) && !errors.Is(err, logtree.ErrSignature) {
			t.Errorf("byte %d changed: got %v, want ErrFormat or ErrSignature", i, err)
		}
	}
	for name, other := range map[string]string{"another log": key().VKey("ward"), "another key": logtree.NewKey("main", [32]byte{8}).VKey("patient"), "another site": logtree.NewKey("b", [32]byte{7}).VKey("patient")} {
		if _, err := logtree.Open(text, other); !errors.Is(err, logtree.ErrSignature) {
			t.Errorf("%s: got %v, want ErrSignature", name, err)
		}
	}
	for _, bad := range []string{"", "\n\n", "a\n1\n", "a\n01\nAAAA\n\n", "a\n-1\nAAAA\n\n", "a\n1\nAAAA\n\n", strings.Repeat("a", 1<<17)} {
		if _, err := logtree.Peek([]byte(bad)); !errors.Is(err, logtree.ErrFormat) {
			t.Errorf("Peek(%.20q): got %v, want ErrFormat", bad, err)
		}
	}
}

func TestKeyIsNotPrinted(t *testing.T) {
	seed := [32]byte{0xab, 0xcd}
	k := logtree.NewKey("main", seed)
	if text := fmt.Sprintf("%v %+v %#v %s", k, k, k, k); strings.Contains(text, "abcd") || strings.Contains(text, "171 205") {
		t.Errorf("the seed is printed: %s", text)
	}
}

func TestRecord(t *testing.T) {
	tree := event.Tree{}.Append(leaves(11)...)
	r := &logtree.Record{Note: signed(t, 11), Position: event.Position{Log: "patient", Sequence: 9, Block: event.ID16{1}}, Epoch: 3, Time: 77, Tree: tree}
	value := r.Encode()
	got, err := logtree.DecodeRecord(value, key().VKey("patient"))
	if err != nil || got.Position != r.Position || got.Epoch != 3 || got.Time != 77 || got.Tree.Root() != tree.Root() || got.Tree.Size() != 11 || !bytes.Equal(got.Note, r.Note) {
		t.Fatalf("got %+v, %v, want %+v", got, err, r)
	}
	first := tree.Frontier()[0].String()
	for name, bad := range map[string]string{
		"empty": "", "no JSON": "{", "a newer version": strings.Replace(string(value), `"v":1`, `"v":2`, 1),
		"another frontier": strings.Replace(string(value), first, strings.Repeat("0", 64), 1), "a shorter frontier": strings.Replace(string(value), `"`+first+`",`, "", 1),
		"no position": strings.Replace(string(value), "patient/9/0", "patient/0/0", 1), "another size": strings.Replace(string(value), `\n11\n`, `\n12\n`, 1),
	} {
		if got, err := logtree.DecodeRecord([]byte(bad), key().VKey("patient")); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
}

// proved builds a proof of one event among others.
func proved(t *testing.T, content bool) *logtree.Proof {
	t.Helper()
	payload, err := event.EncodePayload([]event.Field{{Name: "crp", Value: "21.0", Set: true}})
	if err != nil {
		t.Fatal(err)
	}
	c := &event.Commit{Site: "main", CommandID: "c", Aggregate: event.AggregateID{Type: "patient", ID: "A"}, First: 3, Actor: "user:ada", TokenID: "t", Issuer: "i",
		Transaction: event.Transaction{Count: 1}, Time: 9, Events: []event.Event{{Type: "crp", Salt: event.ID16{4}, Payload: payload}}}
	all := append(leaves(6), c.Leaf(0))
	all = append(all, leaves(3)...)
	tree := event.Tree{}.Append(all...)
	text, err := key().Sign("patient", tree.Size(), tree.Root())
	if err != nil {
		t.Fatal(err)
	}
	p := &logtree.Proof{Index: 6, Note: text, Entry: c.AppendEntry(nil, 0)}
	if p.Hashes, err = levels(all).Inclusion(6, tree.Size()); err != nil {
		t.Fatal(err)
	}
	if content {
		p.Salt, p.Payload = c.Events[0].Salt, payload
	}
	return p
}

// TestProof: a proof is read as it was written and holds; no file in which a byte was changed proves anything else.
func TestProof(t *testing.T) {
	for _, content := range []bool{false, true} {
		p := proved(t, content)
		file := p.Encode()
		got, err := logtree.ParseProof(file)
		if err != nil || !cmp.Equal(got, p) {
			t.Fatalf("got %+v, %v, want %+v", got, err, p)
		}
		e, fields, err := got.Check(key().VKey("patient"))
		if err != nil || e.Actor != "user:ada" || e.Version != 3 || e.Aggregate.ID != "A" || (len(fields) == 1) != content {
			t.Fatalf("got %+v, %v, %v", e, fields, err)
		}
		for i := range file {
			for _, flip := range []byte{1} {
				bad := bytes.Clone(file)
				bad[i] ^= flip
				got, err := logtree.ParseProof(bad)
				if err != nil {
					continue
				}
				if e2, fields2, err := got.Check(key().VKey("patient")); err == nil && (!cmp.Equal(e, e2) || content && fields2 != nil && !cmp.Equal(fields, fields2)) {
					t.Fatalf("byte %d changed: it proves %+v %v", i, e2, fields2)
				}
			}
		}
	}
	p := proved(t, true)
	p.Payload = append(bytes.Clone(p.Payload[:len(p.Payload)-1]), '9')
	if _, _, err := p.Check(key().VKey("patient")); !errors.Is(err, logtree.ErrProof) {
		t.Errorf("another value: got %v, want ErrProof", err)
	}
}

// TestLargeProof: a payload above the line limit of common readers comes back.
func TestLargeProof(t *testing.T) {
	p := proved(t, true)
	p.Payload = bytes.Repeat([]byte("x"), 3<<20)
	got, err := logtree.ParseProof(p.Encode())
	if err != nil || !bytes.Equal(got.Payload, p.Payload) {
		t.Fatalf("got %d bytes, %v, want %d", len(got.Payload), err, len(p.Payload))
	}
}

func FuzzParseProof(f *testing.F) {
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra e30=\nindex 0\n\nx\n1\nAAAA\n\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := logtree.ParseProof(file)
		if err != nil {
			return
		}
		_, _, _ = p.Check(key().VKey("patient"))
		again, err := logtree.ParseProof(p.Encode())
		if err != nil || !bytes.Equal(again.Entry, p.Entry) || again.Index != p.Index {
			t.Errorf("got %+v, %v behind writing %+v", again, err, p)
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte("log " + key().VKey("patient") + "\nquorum none\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := logtree.ParsePolicy(text); err == nil {
			_, _ = p.Open([]byte("x\n1\nAAAA\n\n"))
		}
	})
}

// witness makes a witness, and what it adds to a checkpoint.
func witness(t *testing.T, name string) (vkey string, cosigned func([]byte) []byte) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := cosign.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	return vkey, func(text []byte) []byte {
		v, err := note.NewVerifier(key().VKey("patient"))
		if err != nil {
			t.Fatal(err)
		}
		n, err := note.Open(text, note.VerifierList(v))
		if err != nil {
			t.Fatal(err)
		}
		out, err := note.Sign(n, s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// TestPolicy: quorums count witnesses that cosigned this very checkpoint.
func TestPolicy(t *testing.T) {
	v1, sign1 := witness(t, "one.example")
	v2, sign2 := witness(t, "two.example")
	v3, sign3 := witness(t, "three.example")
	base := fmt.Sprintf("# whom we believe\nlog %s\nwitness one %s https://one.example\nwitness two %s\nwitness three %s\ngroup most 2 one two three\ngroup each all one two\ngroup nested any most each\n",
		key().VKey("patient"), v1, v2, v3)
	bare := signed(t, 5)
	other := sign1(signed(t, 4))
	_, line, _ := strings.Cut(string(other[bytes.Index(other, []byte("\n\n"))+2:]), "\n") // the cosignature of another checkpoint
	for _, c := range []struct {
		quorum string
		text   []byte
		want   bool
	}{
		{"none", bare, true}, {"one", bare, false}, {"one", sign1(bare), true}, {"one", sign2(bare), false}, {"one", append(bytes.Clone(bare), line...), false},
		{"most", sign1(bare), false}, {"most", sign3(sign1(bare)), true}, {"each", sign3(sign1(bare)), false}, {"nested", sign3(sign2(bare)), true},
	} {
		p, err := logtree.ParsePolicy([]byte(base + "quorum " + c.quorum + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Open(c.text)
		if (err == nil) != c.want || err != nil && !errors.Is(err, logtree.ErrSignature) {
			t.Errorf("quorum %s: got %v, want %v", c.quorum, err, c.want)
		}
		if p.Witnessed() != (c.quorum != "none") {
			t.Errorf("quorum %s: witnessed is %v", c.quorum, p.Witnessed())
		}
	}
	for _, bad := range []string{
		"", "quorum none", "log x\nquorum none", base, base + "quorum nobody", base + "quorum none\nquorum none", base + "group g 4 one two three\nquorum g", base + "group g 0 one\nquorum g",
		base + "group g 2 one one\nquorum g", base + "witness one " + v1 + "\nquorum one", base + "witness w " + key().VKey("patient") + "x\nquorum w", base + "log " + key().VKey("patient") + "\nquorum none", base + "trust me\nquorum none",
	} {
		if _, err := logtree.ParsePolicy([]byte(bad)); !errors.Is(err, logtree.ErrFormat) {
			t.Errorf("policy %.60q: got %v, want ErrFormat", bad, err)
		}
	}
	p, err := logtree.ParsePolicy([]byte("log " + key().VKey("ward") + "\nquorum none\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open(bare); !errors.Is(err, logtree.ErrSignature) {
		t.Errorf("a log that the policy does not name: got %v, want ErrSignature", err)
	}
}
