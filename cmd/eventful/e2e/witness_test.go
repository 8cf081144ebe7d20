package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	cosign "github.com/transparency-dev/formats/note"
	signed "golang.org/x/mod/sumdb/note"
)

// witness is somebody elsewhere who cosigns checkpoints (C2SP tlog-cosignature).
type witness struct {
	vkey string
	sign *cosign.Signer
}

func newWitness(t *testing.T, name string) witness {
	t.Helper()
	skey, vkey, err := signed.GenerateKey(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := cosign.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	return witness{vkey, s}
}

// cosigned is a checkpoint with the witness's signature added, who believes the log's key.
func (w witness) cosigned(t *testing.T, checkpoint, logKey string) string {
	t.Helper()
	v, err := signed.NewVerifier(logKey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := signed.Open([]byte(checkpoint), signed.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	out, err := signed.Sign(n, w.sign)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestWitnessed: a receipt becomes a proof; with the cosignatures that a policy asks for log:verify says OK of it and of its checkpoint, with fewer exit status 7, and OK_UNWITNESSED where the
// policy asks for none.
func TestWitnessed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.added("A")
	hash := s.added("A")
	s.must("log:prove", hash, "--to="+s.file("proof"))
	keys := s.must("log:checkpoint", "--keys")
	logKey := ""
	for line := range strings.Lines(keys) {
		if vkey, found := strings.CutPrefix(strings.TrimSpace(line), "log "); found && strings.HasSuffix(strings.Split(vkey, "+")[0], "/patient") {
			logKey = vkey
		}
	}
	proof, err := os.ReadFile(s.file("proof"))
	if err != nil || logKey == "" {
		t.Fatalf("proof: %v; key of the log %q in\n%s", err, logKey, keys)
	}
	at := strings.Index(string(proof), logKey[:strings.Index(logKey, "+")]+"\n")
	if at < 0 {
		t.Fatalf("the proof holds no checkpoint:\n%s", proof)
	}
	head, checkpoint := string(proof[:at]), string(proof[at:])
	one, two, other := newWitness(t, "one.example"), newWitness(t, "two.example"), newWitness(t, "other.example")
	s.put("policy", fmt.Sprintf("log %s\nwitness one %s\nwitness two %s\ngroup both all one two\nquorum both\n", logKey, one.vkey, two.vkey))
	s.put("any", fmt.Sprintf("log %s\nwitness one %s\nwitness two %s\ngroup some any one two\nquorum some\n", logKey, one.vkey, two.vkey))
	s.put("none", fmt.Sprintf("log %s\nquorum none\n", logKey))
	by1 := one.cosigned(t, checkpoint, logKey)
	for name, c := range map[string]struct {
		checkpoint string
		verdicts   map[string]string // by policy; empty: refused
	}{
		"nobody":      {checkpoint, map[string]string{"policy": "", "any": "", "none": "OK_UNWITNESSED"}},
		"one":         {by1, map[string]string{"policy": "", "any": "OK", "none": "OK_UNWITNESSED"}},
		"both":        {two.cosigned(t, by1, logKey), map[string]string{"policy": "OK", "any": "OK", "none": "OK_UNWITNESSED"}},
		"a stranger":  {other.cosigned(t, checkpoint, logKey), map[string]string{"policy": "", "any": "", "none": "OK_UNWITNESSED"}},
		"another key": {newWitness(t, "one.example").cosigned(t, checkpoint, logKey), map[string]string{"policy": "", "any": "", "none": "OK_UNWITNESSED"}},
	} {
		s.put("checkpoint", c.checkpoint)
		s.put("cosigned", head+c.checkpoint)
		for policy, want := range c.verdicts {
			for _, file := range []string{"checkpoint", "cosigned"} {
				got := s.run("log:verify", s.file(file), "--policy="+s.file(policy), "-o", "json")
				switch {
				case want == "" && got.status != 7:
					t.Errorf("%s of %s under %s: got %+v, want exit status 7", file, name, policy, got)
				case want != "" && (got.status != 0 || !strings.Contains(got.stdout, `"verdict": "`+want+`"`)):
					t.Errorf("%s of %s under %s: got %+v, want %s", file, name, policy, got, want)
				}
			}
		}
	}
}
