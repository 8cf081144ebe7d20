package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/tiles"
)

func newLogVerifyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log:verify ([FILE] | --tiles=DIR [--since=FILE]) --policy=FILE",
		Short: "Check a proof, a checkpoint or exported tiles offline",
		Long: "Check a proof (log:prove), a checkpoint (log:checkpoint) or a folder of tiles (log:export). No server is asked: what is believed stands in\n" +
			"the policy file, the keys of logs and, if wanted, of witnesses with a quorum. --since holds the tiles against a checkpoint that you kept.\n" +
			"OK: witnesses, as many as the policy asks for, saw it, or a checkpoint that you kept agrees. OK_UNWITNESSED: the log's own key alone vouches for it. The exit\n" +
			"status is 7 if it does not hold.",
		Args: cobra.MaximumNArgs(1),
	}
	policy := cmd.Flags().String("policy", "", "`file` that says which logs and witnesses are believed (docs/spec/proofs.md, section 5)")
	folder := cmd.Flags().String("tiles", "", "`folder` that log:export wrote")
	since := cmd.Flags().StringArray("since", nil, "`file` with an older checkpoint of the same log; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case *policy == "":
			return usageError("`eventful log:checkpoint --keys` prints one", "no --policy is given: whom should be believed?")
		case (len(args) == 1) == (*folder != ""), len(*since) > 0 && *folder == "":
			return usageError("for example `eventful log:verify proof --policy=policy`", "give one of FILE and --tiles; --since goes with --tiles")
		}
		text, err := readNamed(*policy)
		if err != nil {
			return err
		}
		p, err := logtree.ParsePolicy(text)
		if err != nil {
			return tilesProblem(*policy, err)
		}
		if *folder != "" {
			return a.verifyTiles(cmd.Context(), p, *folder, *since)
		}
		file, err := readNamed(args[0])
		if err != nil {
			return err
		}
		if bytes.HasPrefix(file, []byte("c2sp.org/tlog-proof@")) {
			return a.verifyProof(p, args[0], file)
		}
		return a.verifyCheckpoint(p, args[0], file)
	}
	return cmd
}

// checked is what log:verify says of something that holds.
type checked struct {
	Verdict string            `json:"verdict"`
	Origin  string            `json:"origin"`
	Size    uint64            `json:"size"`
	Root    string            `json:"root"`
	Index   *uint64           `json:"index,omitempty"` // of a proof, as all that follows
	Type    string            `json:"type,omitempty"`
	ID      string            `json:"id,omitempty"`
	Version event.Version     `json:"version,omitempty"`
	Event   string            `json:"event,omitempty"`
	Actor   string            `json:"actor,omitempty"`
	Time    *time.Time        `json:"time,omitempty"`
	Hash    string            `json:"hash,omitempty"`
	Fields  map[string]string `json:"fields,omitempty"` // only of a proof with content; unset and sealed fields are left out
}

func checkedOf(p *logtree.Policy, c logtree.Checkpoint) checked {
	out := checked{Verdict: client.VerdictUnwitnessed, Origin: c.Origin, Size: c.Size, Root: c.Root.String()}
	if p.Witnessed() {
		out.Verdict = client.VerdictOK
	}
	return out
}

func (a *app) verifyCheckpoint(p *logtree.Policy, name string, file []byte) error {
	c, err := p.Open(file)
	if err != nil {
		return tilesProblem(name, err)
	}
	return a.showChecked(checkedOf(p, c))
}

func (a *app) verifyProof(p *logtree.Policy, name string, file []byte) error {
	proof, err := logtree.ParseProof(file)
	if err != nil {
		return tilesProblem(name, err)
	}
	c, err := p.Open(proof.Note)
	if err != nil {
		return tilesProblem(name, err)
	}
	vkey, _ := p.VKey(c.Origin) // Open has found it
	e, fields, err := proof.Check(vkey)
	if err != nil {
		return problem.New(problem.VerificationFailed, "the proof does not fit its checkpoint: %s: %v", name, err).
			WithHint("the file was altered, or put together of two: the checkpoint in it is signed, and says nothing against the log. Have it made anew: `eventful log:prove HASH`")
	}
	out := checkedOf(p, c)
	at := time.Unix(0, int64(e.Time)).UTC()
	leaf := event.EntryLeaf(proof.Entry)
	out.Index, out.Type, out.ID, out.Version, out.Event = &proof.Index, e.Aggregate.Type, e.Aggregate.ID, e.Version, e.Type
	out.Actor, out.Time, out.Hash = e.Actor, &at, hex.EncodeToString(leaf[:])
	if proof.Payload != nil {
		out.Fields = map[string]string{}
		for _, f := range fields {
			if f.Set && !f.Sealed {
				out.Fields[f.Name] = f.Value
			}
		}
	}
	return a.showChecked(out)
}

func (a *app) verifyTiles(ctx context.Context, p *logtree.Policy, dir string, since []string) error {
	kept, err := readEach(since)
	if err != nil {
		return err
	}
	var older []logtree.Checkpoint
	for i, text := range kept {
		peeked, err := logtree.Peek([]byte(text))
		if err != nil {
			return tilesProblem(since[i], err)
		}
		vkey, ok := p.VKey(peeked.Origin)
		if !ok {
			return refuted("%s: the policy names no log %s", since[i], peeked.Origin)
		}
		o, err := logtree.Open([]byte(text), vkey)
		if err != nil {
			return tilesProblem(since[i], err)
		}
		older = append(older, o)
	}
	c, err := tiles.Check(ctx, dir, p.Open, older...)
	if err != nil {
		return tilesProblem(dir, err)
	}
	for i, o := range older {
		if o.Origin != c.Origin {
			return usageError("give a checkpoint of the same log", "%s is of %s, the tiles of %s", since[i], o.Origin, c.Origin)
		}
	}
	out := checkedOf(p, c)
	if len(older) > 0 {
		out.Verdict = client.VerdictOK
	}
	return a.showChecked(out)
}

func (a *app) showChecked(c checked) error {
	pairs := []string{"verdict", c.Verdict, "origin", c.Origin, "size", fmt.Sprint(c.Size), "root", c.Root}
	if c.Index != nil {
		pairs = append(pairs, "index", fmt.Sprint(*c.Index), "aggregate", c.Type+"/"+c.ID, "version", fmt.Sprint(c.Version), "event", c.Event,
			"actor", c.Actor, "time", c.Time.Format(time.RFC3339Nano), "hash", c.Hash)
		for _, name := range slices.Sorted(maps.Keys(c.Fields)) {
			pairs = append(pairs, "field "+name, c.Fields[name])
		}
	}
	return a.show(c, pairs...)
}
