package logtree

import (
	"fmt"
	"strconv"
	"strings"

	cosign "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// Policy says which logs are believed, and how many witnesses must have seen a checkpoint (docs/spec/proofs.md, section 5).
type Policy struct {
	logs   map[string]string // vkey by origin
	quorum quorum
}

// quorum reports whether a checkpoint has what it asks for; one that asks for nothing is nil.
type quorum func(signed []byte) bool

// maxPolicy bounds the bytes of a policy.
const maxPolicy = 1 << 20

// ParsePolicy reads a policy. The error wraps ErrFormat and names the line.
func ParsePolicy(text []byte) (*Policy, error) {
	if len(text) > maxPolicy {
		return nil, fmt.Errorf("a policy of %d bytes: %w", len(text), ErrFormat)
	}
	p := policyReader{policy: &Policy{logs: map[string]string{}}, names: map[string]quorum{}}
	for i, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := p.line(words); err != nil {
			return nil, fmt.Errorf("policy, line %d: %w: %w", i+1, err, ErrFormat)
		}
	}
	switch {
	case len(p.policy.logs) == 0:
		return nil, fmt.Errorf("policy: it names no log: %w", ErrFormat)
	case !p.ended:
		return nil, fmt.Errorf("policy: it has no quorum line: %w", ErrFormat)
	}
	return p.policy, nil
}

type policyReader struct {
	policy *Policy
	names  map[string]quorum
	ended  bool // the quorum was read
}

func (p *policyReader) line(words []string) error {
	switch n := len(words); {
	case words[0] == "log" && (n == 2 || n == 3):
		return p.log(words[1])
	case words[0] == "witness" && (n == 3 || n == 4):
		return p.witness(words[1], words[2])
	case words[0] == "group" && n >= 4:
		return p.group(words[1], words[2], words[3:])
	case words[0] == "quorum" && n == 2:
		return p.quorum(words[1])
	}
	return fmt.Errorf("%.80q is no line of a policy: log, witness, group or quorum, each with its words", strings.Join(words, " "))
}

func (p *policyReader) log(vkey string) error {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return fmt.Errorf("verifier key %.80q: %w", vkey, err)
	}
	if _, ok := p.policy.logs[v.Name()]; ok {
		return fmt.Errorf("log %.80q stands twice", v.Name())
	}
	p.policy.logs[v.Name()] = vkey
	return nil
}

func (p *policyReader) define(name string, q quorum) error {
	if _, ok := p.names[name]; ok || name == "none" {
		return fmt.Errorf("name %.80q is taken", name)
	}
	p.names[name] = q
	return nil
}

func (p *policyReader) witness(name, vkey string) error {
	if _, _, err := publicOf(vkey); err != nil {
		return err
	}
	v, err := cosign.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		return fmt.Errorf("witness key %.80q: %w", vkey, err)
	}
	return p.define(name, func(signed []byte) bool {
		n, err := note.Open(signed, note.VerifierList(v))
		return err == nil && len(n.Sigs) > 0
	})
}

func (p *policyReader) group(name, threshold string, members []string) error {
	var of []quorum
	seen := map[string]bool{}
	for _, m := range members {
		q, ok := p.names[m]
		if !ok || seen[m] {
			return fmt.Errorf("member %.80q was not defined before, or stands twice", m)
		}
		seen[m] = true
		of = append(of, q)
	}
	need, err := strconv.Atoi(threshold)
	switch {
	case threshold == "any":
		need = 1
	case threshold == "all":
		need = len(of)
	case err != nil || need < 1 || need > len(of):
		return fmt.Errorf("threshold %.80q of %d members", threshold, len(of))
	}
	return p.define(name, func(signed []byte) bool {
		have := 0
		for _, q := range of {
			if q(signed) {
				have++
			}
		}
		return have >= need
	})
}

func (p *policyReader) quorum(name string) error {
	q, ok := p.names[name]
	if p.ended || !ok && name != "none" {
		return fmt.Errorf("quorum %.80q: it stands twice, or names nothing", name)
	}
	p.policy.quorum, p.ended = q, true
	return nil
}

// Witnessed reports whether the policy asks for witnesses at all.
func (p *Policy) Witnessed() bool { return p.quorum != nil }

// VKey is the verifier key of a log, by its origin.
func (p *Policy) VKey(origin string) (vkey string, ok bool) {
	vkey, ok = p.logs[origin]
	return vkey, ok
}

// Open reads a checkpoint and holds it against the policy: one of its logs signed it, and its quorum saw it. The error wraps ErrFormat or ErrSignature.
func (p *Policy) Open(signed []byte) (Checkpoint, error) {
	c, err := Peek(signed)
	if err != nil {
		return Checkpoint{}, err
	}
	vkey, ok := p.logs[c.Origin]
	if !ok {
		return Checkpoint{}, fmt.Errorf("the checkpoint is of %.80q, which the policy does not name: %w", c.Origin, ErrSignature)
	}
	if c, err = Open(signed, vkey); err != nil {
		return Checkpoint{}, err
	}
	if p.quorum != nil && !p.quorum(signed) {
		return Checkpoint{}, fmt.Errorf("the checkpoint of %.80q has fewer cosignatures of witnesses than the policy asks for: %w", c.Origin, ErrSignature)
	}
	return c, nil
}
