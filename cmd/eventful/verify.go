package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func newAggregateVerifyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aggregate:verify ([TYPE/]ID | --type=TYPE | --all)",
		Short: "Prove that an aggregate, a type, or everything is as it was written",
		Long: "Recompute every hash from the log and compare it with what the commits state. --all reads every log from its beginning.\n" +
			"Snapshots are folded anew and compared with it.\n" +
			"--type reads the log of the type, or, where other types share that log, each aggregate of the type; blocks are not counted then.\n" +
			"EventfulDB's own types (eventful-…) are read aggregate by aggregate, in every log where they lie.\n" +
			"The exit status is 7 if a proof does not hold; the aggregate and the version are named.\n\n" +
			"OK: a checkpoint that you kept (--checkpoint) vouches for it. OK_UNWITNESSED: nobody besides the site does. SHREDDED: the proof holds,\n" +
			"and a key of its encrypted fields was destroyed. The others (TAMPERED, TRUNCATED, FORKED, UNREADABLE) are failures (docs/spec/proofs.md).",
		Args: cobra.MaximumNArgs(1),
	}
	aggregateType := cmd.Flags().String("type", "", "every aggregate of this `type`")
	all := cmd.Flags().Bool("all", false, "every log, from its beginning")
	files := cmd.Flags().StringArray("checkpoint", nil, "`file` with a checkpoint that you kept (log:checkpoint): the log must extend it; may be repeated")
	cmd.Flags().String("wait-for", "none", "of one aggregate: prove when everything up to this `position` is included, as a write printed it; latest: all that is stored; none: at once")
	remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		given := len(args)
		for _, is := range []bool{*all, cmd.Flags().Changed("type")} {
			if is {
				given++
			}
		}
		if given != 1 {
			return usageError("for example `eventful aggregate:verify patient/A`", "give one of [TYPE/]ID, --type and --all")
		}
		if len(args) == 0 && cmd.Flags().Changed("wait-for") {
			return usageError("leave --wait-for out: whole logs are read, up to their ends", "--wait-for is about one aggregate")
		}
		if cmd.Flags().Changed("type") {
			if err := checkType(*aggregateType); err != nil {
				return err
			}
		}
		kept, err := readEach(*files)
		if err != nil {
			return err
		}
		c, err := a.connect(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		if len(args) == 1 {
			return a.verifyOne(cmd, c, args[0], kept)
		}
		return a.verifyMany(cmd, c, *aggregateType, kept)
	}
	return cmd
}

func (a *app) verifyOne(cmd *cobra.Command, c *client.Client, name string, kept []string) error {
	id, err := aggregate(cmd, c, name)
	if err != nil {
		return err
	}
	wait, err := waiting(cmd)
	if err != nil {
		return err
	}
	v, err := c.VerifyBehind(cmd.Context(), id, wait, kept...)
	if err != nil {
		return err
	}
	pairs := []string{"aggregate", v.Type + "/" + v.ID, "verdict", v.Verdict, "version", fmt.Sprint(v.Version), "root", v.Root}
	if v.Detail != "" {
		pairs = append(pairs, "detail", v.Detail)
	}
	if err := a.show(v, pairs...); err != nil || client.Good(v.Verdict) {
		return err
	}
	p := refuted("%s/%s at version %d: %s: %s", v.Type, v.ID, v.Version, v.Verdict, v.Detail)
	if v.SnapshotsLie {
		p = p.WithHint(snapshotsHint, v.Type, v.ID)
	}
	return p
}

// verifyMany verifies a type, or everything if it is empty.
func (a *app) verifyMany(cmd *cobra.Command, c *client.Client, aggregateType string, kept []string) error {
	progress, finish := a.progress("verifying", "messages")
	verify := func(ctx context.Context, p client.Progress) (*client.Report, error) {
		return c.VerifyAll(ctx, p, kept...)
	}
	if aggregateType != "" {
		verify = func(ctx context.Context, p client.Progress) (*client.Report, error) {
			return c.VerifyType(ctx, aggregateType, p, kept...)
		}
	}
	report, err := verify(cmd.Context(), progress)
	finish()
	if err != nil {
		return err
	}
	for _, l := range report.Logs {
		if l.Unchecked != "" {
			_, _ = fmt.Fprintf(a.errOut, "warning: not all snapshots of log %s were looked at: %s\n", l.Log, l.Unchecked)
		}
	}
	if err := a.showReport(aggregateType, report); err != nil || len(report.Failed) == 0 {
		return err
	}
	first := report.Failed[0]
	p := refuted("%d of %d aggregates or places; the first: %s", len(report.Failed), report.Aggregates, failedText(first))
	if !slices.ContainsFunc(report.Failed, func(f client.Failed) bool { return !f.SnapshotsLie }) {
		p = p.WithHint(snapshotsHint, first.Type, first.ID)
	}
	return p
}

// snapshotsHint is for who hears that snapshots alone lie.
const snapshotsHint = "the log is as it was written; states of aggregates with 500 events or more may have been read on from that snapshot: `eventful aggregate:snapshot %s/%s VERSION --comment=…` takes it anew from the events; find out who changed it"

// ofLog says whose numbers a report on a type has: a type is verified by reading its log, which other types may share.
func ofLog(aggregateType string, r *client.Report) string {
	if aggregateType == "" || len(r.Logs) != 1 {
		return ""
	}
	return " in the log " + r.Logs[0].Log
}

func (a *app) showReport(aggregateType string, r *client.Report) error {
	if a.form != "table" {
		return a.show(r)
	}
	if len(r.Logs) > 1 {
		p := a.printer("LOG", "AGGREGATES", "EVENTS", "BLOCKS", "VOID", "VERDICT", "COVERED")
		for _, l := range r.Logs {
			if err := p.add(l, l.Log, fmt.Sprint(l.Aggregates), fmt.Sprint(l.Events), fmt.Sprint(l.Blocks), fmt.Sprint(l.Void), l.Verdict, fmt.Sprint(l.Covered)); err != nil {
				return err
			}
		}
		if err := p.close(); err != nil {
			return err
		}
	}
	if len(r.Failed) > 0 {
		p := a.printer("VERDICT", "AGGREGATE", "VERSION", "LOG", "SEQUENCE", "DETAIL")
		for _, f := range r.Failed {
			if err := p.add(f, f.Verdict, name(f), fmt.Sprint(f.Version), f.Log, fmt.Sprint(f.Sequence), f.Detail); err != nil {
				return err
			}
		}
		if err := p.close(); err != nil {
			return err
		}
	}
	verdict := client.VerdictOK
	for _, l := range r.Logs {
		if l.Verdict != client.VerdictOK {
			verdict = client.VerdictUnwitnessed
		}
	}
	if len(r.Failed) > 0 {
		verdict = fmt.Sprintf("%d FAILED", len(r.Failed))
	}
	_, err := fmt.Fprintf(a.out, "verified %s, %s%s%s: %s\n",
		counted(r.Aggregates, "aggregate"), counted(r.Events, "event"), blocksText(aggregateType, r), ofLog(aggregateType, r), verdict)
	return err
}

// blocksText counts the blocks, where whole logs were read.
func blocksText(aggregateType string, r *client.Report) string {
	if aggregateType != "" && r.Blocks == 0 {
		return " of the type " + aggregateType
	}
	return ", " + counted(r.Blocks, "block")
}

func name(f client.Failed) string {
	if f.Type == "" {
		return "-"
	}
	return f.Type + "/" + f.ID
}

func failedText(f client.Failed) string {
	where := fmt.Sprintf("log %s, sequence %d", f.Log, f.Sequence)
	if f.Type != "" {
		where = fmt.Sprintf("%s/%s at version %d (%s)", f.Type, f.ID, f.Version, where)
	}
	return where + ": " + strings.TrimSuffix(f.Verdict+": "+f.Detail, ": ")
}

func refuted(format string, args ...any) *problem.Problem {
	return problem.New(problem.VerificationFailed, "a proof does not hold: %s", fmt.Sprintf(format, args...)).
		WithHint("the log is not as it was written, or a part of it cannot be read; keep a copy of the data as it is before anything else. docs/proofs.md says what each word means, docs/archive.md how the archive is mended")
}

// progress shows how far something is, in what it counts: a bar on a terminal, nothing elsewhere. finish must be called.
func (a *app) progress(what, counts string) (step client.Progress, finish func()) {
	screen, ok := a.errOut.(*os.File)
	if !ok || !term.IsTerminal(int(screen.Fd())) || a.form != "table" {
		return nil, func() {}
	}
	bar := progressbar.NewOptions64(-1, progressbar.OptionSetWriter(screen), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(counts),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	step = func(done, total uint64) {
		if bar.GetMax64() != int64(total) {
			bar.ChangeMax64(int64(total))
		}
		_ = bar.Set64(int64(done)) // a bar that cannot be drawn is no failure of the verification
	}
	return step, func() { _ = bar.Finish() }
}

func newAggregateExportCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aggregate:export [TYPE/]ID",
		Short: "Write an aggregate with everything an independent verifier needs",
		Long: "Write an aggregate as JSON with all its commits and leaf hashes (docs/spec/log.md, section 9).\n" +
			"`python3 docs/spec/verify.py FILE` confirms or refutes it without EventfulDB.",
		Args: cobra.ExactArgs(1),
	}
	to := cmd.Flags().String("to", "", "`file` to write, readable by its owner only; standard output if not given")
	waitFlag(cmd)
	return a.onAggregate(cmd, func(cmd *cobra.Command, c *client.Client, id event.AggregateID, _ []string) error {
		if form := a.settings.FromFlags("output")["output"]; form != "" && form != "json" {
			return usageError("leave -o out: what verifiers read is JSON (docs/spec/log.md, section 9)", "an export cannot be written as %s", form)
		}
		wait, err := waiting(cmd)
		if err != nil {
			return err
		}
		export, err := c.Export(cmd.Context(), id, wait)
		if err != nil {
			return err
		}
		text, err := json.MarshalIndent(export, "", "  ")
		if err != nil {
			return fmt.Errorf("write the export of %s: %w", id, err)
		}
		text = append(text, '\n')
		if *to == "" {
			_, err = a.out.Write(text)
			return err
		}
		if err := putAnswer(*to, text); err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.errOut, "wrote %s: %d commits, version %d\n", filepath.Base(*to), len(export.Commits), export.Version)
		return err
	})
}
