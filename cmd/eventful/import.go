package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/nats-io/jwt/v2"
	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/importer"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// rowPatience is how long one row waits for its answer, repeats included: long enough for a server that is started again.
const rowPatience = 2 * time.Minute

// importFlags are those of data:import.
type importFlags struct {
	format, aggregate, mapping, tokens, rejects, delimiter string
	dryRun                                                 bool
}

func newDataImportCommand(a *app) *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "data:import FILE",
		Short: "Import the rows of a CSV or NDJSON file as events",
		Long: "Import the rows of a CSV or NDJSON file as events, one a row, through the ordinary command path.\n\n" +
			"Rows of one aggregate are stored in file order. The same file is never stored twice: run the command again after a stop, a\n" +
			"crash or a mended schema, and it goes on with the rows that are missing. Rejected rows go to a file with their lines and reasons.\n" +
			"The mapping says which columns become what:\n\n" +
			"    id: patient-number                  # column\n" +
			"    event:\n" +
			"      column: activity\n" +
			"      values: { ER Triage: er-triage }   # cell -> event type; or, instead of both: always: er-triage\n" +
			"    occurred-at: { column: time, layout: rfc3339 }      # or unix, unix-ms, or a Go layout, with zone: Europe/Amsterdam\n" +
			"    fields:                             # column -> field; empty cells are left out\n" +
			"      Age: age\n" +
			"      Shock: { field: shock, values: { \"True\": \"true\", \"False\": \"false\" }, omit: [empty, false] }\n" +
			"    token: ward                         # column whose value names the token in --tokens\n",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.importFile(cmd, f, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.format, "format", "", "csv or ndjson; by default ndjson for a FILE that ends in .ndjson or .jsonl, else csv")
	flags.StringVar(&f.aggregate, "aggregate", "", "`type` of the aggregates that the rows belong to")
	flags.StringVar(&f.mapping, "mapping", "", "`file` with the mapping, YAML")
	flags.StringVar(&f.tokens, "tokens", "", "`file` with the access tokens, YAML or JSON: value of the token column -> token")
	flags.StringVar(&f.rejects, "rejects", "", "`file` for rejected rows, NDJSON (default FILE.rejects.ndjson)")
	flags.StringVar(&f.delimiter, "delimiter", ",", "`character` between the cells of CSV")
	flags.BoolVar(&f.dryRun, "dry-run", false, "check every row on the server and store nothing")
	flags.Duration("timeout", rowPatience, "how long a row waits for its answer, repeats included")
	secretFlags(cmd, settings.Token)
	return cmd
}

// importFile checks everything that can be checked before the first row is sent, then imports.
func (a *app) importFile(cmd *cobra.Command, f importFlags, path string) error {
	comma, size := utf8.DecodeRuneInString(f.delimiter)
	if size != len(f.delimiter) || comma == utf8.RuneError || comma == '"' || comma == '\n' || comma == '\r' {
		return usageError("for example --delimiter=';'", "--delimiter %q is not one character", f.delimiter)
	}
	if err := event.CheckType(f.aggregate); err != nil {
		return usageError("name the aggregate type of the rows, for example --aggregate=patient", "--aggregate: %v", err)
	}
	if f.mapping == "" {
		return usageError("`eventful data:import --help` shows one, docs/using.md explains it", "--mapping=FILE is missing: which columns become what?")
	}
	if f.format == "" {
		f.format = string(formatOf(path))
	}
	if f.rejects == "" {
		f.rejects = path + ".rejects.ndjson"
	}
	if err := importer.NewRejectFile(f.rejects).Spare(path, f.mapping, f.tokens); err != nil {
		return err
	}
	cfg := importer.Config{Aggregate: f.aggregate, DryRun: f.dryRun}
	mapping, err := readWhole(f.mapping, "mapping")
	if err != nil {
		return err
	}
	if cfg.Mapping, err = importer.ParseMapping(mapping); err != nil {
		return err
	}
	if cfg.Tokens, err = importTokens(f.tokens, cfg.Mapping.Token); err != nil {
		return err
	}
	if cfg.File, err = importer.OpenFile(cmd.Context(), path, importer.Format(f.format), comma); err != nil {
		return err
	}
	c, err := a.connectImport(cmd, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	definition, err := acceptedBy(cmd.Context(), c, f.aggregate)
	if errors.Is(err, client.ErrUnauthenticated) {
		return cfg.File.Stopped(err)
	}
	if err != nil {
		return err
	}
	if err := cfg.Mapping.Check(cfg.File.Header, definition); err != nil {
		return err
	}
	cfg.Server = importServer{c}
	return a.runImport(cmd.Context(), cfg, f.rejects)
}

// formatOf guesses the format of a file from its name.
func formatOf(path string) importer.Format {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".ndjson", ".jsonl":
		return importer.NDJSON
	}
	return importer.CSV
}

// readWhole reads a small file that a flag names.
func readWhole(path, flag string) ([]byte, error) {
	const most = 16 << 20
	file, err := os.Open(path)
	if err != nil {
		return nil, problem.New(problem.NotFound, "--%s: %v", flag, err).WithHint("give the path of a file that you may read")
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return nil, problem.New(problem.Invalid, "--%s: %v", flag, err).WithHint("give the path of a file that you may read")
	}
	if len(text) > most {
		return nil, problem.New(problem.TooLarge, "--%s: %s has more than %d bytes", flag, path, most).WithHint("is it the right file?")
	}
	return text, nil
}

// importTokens reads the tokens file that the mapping asks for.
func importTokens(path, column string) (map[string]string, error) {
	switch {
	case column == "" && path == "":
		return nil, nil
	case column == "":
		return nil, usageError("add `token: COLUMN` to the mapping, or leave --tokens out", "--tokens is given and the mapping has no token column")
	case path == "":
		return nil, usageError("give the file with --tokens=FILE", "the mapping takes the token of a row from column %q, and --tokens is not given", column)
	}
	text, err := settings.ReadSecret(path)
	if err != nil {
		return nil, withHint(fmt.Errorf("--tokens: %w", err), "give a file that you may read, with a line VALUE: TOKEN for each value of the token column")
	}
	return importer.ParseTokens(text)
}

// connectImport connects with the token of the tokens file that is valid longest, or, without such a file, with the user's own. A token that is not
// accepted stops the import at its first row.
func (a *app) connectImport(cmd *cobra.Command, cfg importer.Config) (*client.Client, error) {
	text, err := a.importToken(cfg.Tokens)
	if err != nil {
		return nil, err
	}
	c, err := a.dial(cmd, client.Static(text))
	if errors.Is(err, client.ErrUnauthenticated) {
		return nil, cfg.File.Stopped(err)
	}
	return c, err
}

func (a *app) importToken(tokens map[string]string) (string, error) {
	if tokens == nil {
		return a.token()
	}
	var longest string
	var expires int64 = -1
	for who, token := range tokens {
		claims, err := jwt.DecodeUserClaims(token) // the server verifies it
		if err != nil {
			return "", problem.New(problem.Unauthenticated, "--tokens: the token of %q cannot be read", who).WithHint("was it cut when it was copied?")
		}
		if claims.Expires > expires {
			longest, expires = token, claims.Expires
		}
	}
	return longest, nil
}

// acceptedBy is the schema in force of a type.
func acceptedBy(ctx context.Context, c *client.Client, aggregate string) (schema.Definition, error) {
	s, err := c.SchemaShow(ctx, aggregate)
	if err != nil {
		return schema.Definition{}, err
	}
	if s.Version == 0 {
		return schema.Definition{}, problem.New(problem.NotFound, "the schema of %s is only a draft", aggregate).WithHint("put it into force with eventful schema:migrate -f")
	}
	definitions, err := schema.Parse(s.Definition)
	if err != nil || len(definitions) != 1 {
		return schema.Definition{}, problem.New(problem.Internal, "the schema of %s cannot be read: %v", aggregate, err)
	}
	return definitions[0], nil
}

func (a *app) runImport(ctx context.Context, cfg importer.Config, rejects string) error {
	defer context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt, syscall.SIGTERM) })() // a second one ends the process at once
	file := importer.NewRejectFile(rejects)
	progress := a.newImportProgress(cfg.File.Rows)
	cfg.Rejected, cfg.Report = file.Write, progress.report
	summary, err := importer.Run(ctx, cfg)
	progress.end()
	if closing := file.Close(); err == nil {
		err = closing
	}
	if shown := a.showImport(summary, rejects); err == nil {
		err = shown
	}
	if summary.Unrecorded > 0 {
		a.warn("%d stored rows are not recorded as imported; run the same import again within 24 hours", summary.Unrecorded)
	}
	switch {
	case errors.Is(err, context.Canceled):
		a.warn("the import was stopped with %d rows left; run it again: it goes on where it stopped", summary.Left)
	case err == nil && summary.Rejected > 0:
		err = problem.New(problem.Invalid, "%d of %d rows were rejected", summary.Rejected, summary.Total).
			WithHint("%s says why; mend the schema, the mapping or the tokens and run the same import again: it tries them again", rejects)
	}
	return err
}

func (a *app) showImport(s importer.Summary, rejects string) error {
	answer := struct {
		importer.Summary
		Rejects string `json:"rejects,omitempty"`
	}{Summary: s}
	pairs := []string{
		"rows", strconv.FormatUint(s.Total, 10), "stored", strconv.FormatUint(s.Stored, 10), "skipped", strconv.FormatUint(s.Skipped+s.Repeated, 10),
		"rejected", strconv.FormatUint(s.Rejected, 10), "left", strconv.FormatUint(s.Left, 10), "events/s", strconv.FormatFloat(s.PerSecond, 'f', 0, 64),
	}
	if s.DryRun {
		pairs[2] = "would be stored"
	}
	if s.Rejected > 0 {
		answer.Rejects = rejects
		pairs = append(pairs, "rejects", rejects)
	}
	return a.show(answer, pairs...)
}

// importServer is the server as an import sees it.
type importServer struct{ client *client.Client }

func (s importServer) Send(ctx context.Context, c *importer.Command, answered func(importer.Answer, error)) {
	cmd := client.Command{
		Aggregate: c.Aggregate, Event: c.Event, Fields: client.Fields{},
		Context: client.Context{CommandID: c.ID, Token: c.Token, DryRun: c.DryRun},
	}
	for _, f := range c.Fields {
		cmd.Fields[f.Name] = nil
		if f.Set {
			cmd.Fields[f.Name] = f.Value
		}
	}
	if c.OccurredAt != nil {
		cmd.OccurredAt = time.Unix(0, int64(*c.OccurredAt)).UTC()
	}
	s.client.CommandAsync(ctx, cmd, func(answer *client.Answer, err error) {
		answered(importer.Answer{Repeated: err == nil && answer.Repeated}, err)
	})
}

func (s importServer) RecordRows(ctx context.Context, done importer.RowsDone) error {
	return s.client.ImportDone(ctx, client.ImportState{File: done.File, Aggregate: done.Aggregate, Ranges: done.Ranges, Rows: done.Rows})
}

func (s importServer) RowsDone(ctx context.Context, file, aggregate string) (string, error) {
	state, err := s.client.ImportState(ctx, file, aggregate)
	if err != nil {
		return "", err
	}
	return state.Ranges, nil
}
