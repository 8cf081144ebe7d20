package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	wire "github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// maxRequest bounds what is read of standard input: more fits into no request.
const maxRequest = 64 << 20

const eventAddHelp = `Write one event. It is on disk when the command returns.

  eventful event:add patient/crp --id=A --crp=21.0 --unit=mg/l
  eventful event:add patient/crp --id=A --data='{"crp": 21.0, "note": null}'
  echo '{"crp": 21.0}' | eventful event:add patient/crp --id=A -

Every --NAME=VALUE that is not a flag below is a field. A field with the name of a flag, or one that is to be unset (null), goes into --data.
The aggregate type may be left out while only one type has the event. Without --id a new aggregate gets a ULID, which is printed.`

func newEventAddCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:         "event:add [TYPE/]EVENT [--id=ID] [--FIELD=VALUE …] [-]",
		Short:       "Write one event",
		Long:        eventAddHelp,
		Annotations: withoutSettings(),
	}
	eventFlags(cmd)
	cmd.Flags().String("command-id", "", "`id` that makes a repeat of this command harmless; made if not given")
	contextFlags(cmd)
	cmd.Flags().Bool("inbox", false, "hand it to the durable inbox and return when it lies there; it is stored, or refused, later")
	return a.withFields(cmd, a.addEvent)
}

// eventFlags are those of every command that says one event with its fields.
func eventFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.String("id", "", "`id` of the aggregate; made if not given")
	flags.String("data", "", "the fields as a `JSON` object; - reads it from standard input")
	flags.String("expected-version", "", "refuse unless the aggregate is at this `version`: any, none, exists or a number")
	flags.String("occurred-at", "", "when it happened, as an RFC 3339 `time`")
	flags.Bool("dry-run", false, "check everything, store nothing")
	remoteFlags(cmd)
}

// contextFlags go with a command to the log.
func contextFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.String("correlation-id", "", "`id` of what this belongs to")
	flags.String("causation-id", "", "`id` of what caused this")
	flags.String("traceparent", "", "`context` of the trace that this belongs to (W3C Trace Context)")
}

// withFields makes a command whose unknown flags are fields (splitArguments).
func (a *app) withFields(cmd *cobra.Command, do func(*cobra.Command, eventArguments) error) *cobra.Command {
	cmd.DisableFlagParsing = true
	cmd.RunE = func(cmd *cobra.Command, raw []string) error {
		args, help, err := splitArguments(cmd, raw)
		if err != nil {
			return err
		}
		if help {
			return cmd.Help()
		}
		if err := a.loadSettings(cmd); err != nil {
			return err
		}
		return do(cmd, args)
	}
	return cmd
}

// loadSettings does for a command that parses its own flags what prepare does for the others.
func (a *app) loadSettings(cmd *cobra.Command) error {
	if off, _ := cmd.Flags().GetBool("no-color"); off {
		a.colour = false
	}
	a.form, _ = cmd.Flags().GetString("output")
	if err := a.load(cmd); err != nil {
		return err
	}
	return checkTimeout(cmd)
}

func (a *app) addEvent(cmd *cobra.Command, args eventArguments) error {
	command, err := a.eventCommand(cmd, args)
	if err != nil {
		return err
	}
	later, _ := cmd.Flags().GetBool("inbox")
	if later && command.DryRun {
		return usageError("a dry run is answered at once: leave --inbox out", "the inbox answers nobody, so it cannot tell what a dry run would do")
	}
	c, err := a.connectFor(cmd, &command)
	if err != nil {
		return err
	}
	defer c.Close()
	if command.CommandID == "" {
		command.CommandID = ulid.Make().String()
	}
	if later {
		return a.enqueue(cmd, c, command)
	}
	answer, err := c.Command(cmd.Context(), command)
	if err != nil {
		return hinted(err, command.Aggregate.Type)
	}
	return a.showAnswer(answer, command.DryRun)
}

// connectFor connects, and completes a command whose event type was given without its aggregate type.
func (a *app) connectFor(cmd *cobra.Command, command *client.Command) (*client.Client, error) {
	c, err := a.connect(cmd)
	if err != nil || command.Aggregate.Type != "" {
		return c, err
	}
	if command.Aggregate.Type, err = typeOfEvent(cmd, c, command.Event); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// hinted gives a refusal that has no hint of its own the one that fits this command.
func hinted(err error, aggregateType string) error {
	p, ok := asProblem(err)
	if !ok || p.Hint != "" {
		return err
	}
	switch p.Code {
	case problem.Malformed:
		p.Hint = `the fields are one JSON object of names and plain values, for example {"crp": 21.0, "note": null}`
	case problem.Invalid, problem.Locked:
		p.Hint = fmt.Sprintf("`eventful schema:show %s` shows what it accepts", aggregateType)
	case problem.TooLarge:
		p.Hint = "keep large content elsewhere, and its address and digest in the event"
	}
	return err
}

// eventCommand makes the command of the arguments; its type is empty if it was not given.
func (a *app) eventCommand(cmd *cobra.Command, args eventArguments) (client.Command, error) {
	text := func(name string) string {
		value, _ := cmd.Flags().GetString(name) // every name below is a string flag
		return value
	}
	aggregateType, eventType, typed := strings.Cut(args.event, "/")
	if !typed {
		aggregateType, eventType = "", args.event
	} else if err := event.CheckType(aggregateType); err != nil {
		return client.Command{}, problem.New(problem.Malformed, "%v", err).WithHint("an event is named TYPE/EVENT, for example patient/crp; the id goes into --id")
	}
	if err := event.CheckEventType(eventType); err != nil {
		return client.Command{}, problem.New(problem.Malformed, "%v", err).WithHint("an event is named TYPE/EVENT, for example patient/crp; the id goes into --id")
	}
	id := text("id")
	if !cmd.Flags().Changed("id") {
		id = ulid.Make().String()
	}
	if err := event.CheckID(id); err != nil {
		return client.Command{}, problem.New(problem.Malformed, "%v", err).WithHint("an id has 1 to 128 bytes of UTF-8 in normalisation form C, without control characters")
	}
	command := client.Command{Aggregate: event.AggregateID{Type: aggregateType, ID: id}, Event: eventType}
	command.CommandID, command.CorrelationID, command.CausationID = text("command-id"), text("correlation-id"), text("causation-id")
	command.Traceparent = text("traceparent")
	command.DryRun, _ = cmd.Flags().GetBool("dry-run")
	if cmd.Flags().Changed("command-id") {
		if err := event.CheckCommandID(command.CommandID); err != nil {
			return client.Command{}, problem.New(problem.Malformed, "%v", err).WithHint("a command id has 1 to 128 visible ASCII characters")
		}
	}
	if err := checkContext(cmd); err != nil {
		return client.Command{}, err
	}
	var err error
	if command.Expected, err = expectedVersion(cmd, text("expected-version")); err != nil {
		return client.Command{}, err
	}
	if command.OccurredAt, err = occurredAt(cmd, text("occurred-at")); err != nil {
		return client.Command{}, err
	}
	command.Data, command.Fields, err = a.content(cmd, args)
	return command, err
}

func expectedVersion(cmd *cobra.Command, text string) (client.Expected, error) {
	if !cmd.Flags().Changed("expected-version") {
		return "", nil
	}
	switch expected := client.Expected(text); expected {
	case client.Any, client.None, client.Exists:
		return expected, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return "", usageError("give any, none, exists, or a number without sign and leading zeros", "the expected version %.80q cannot be read", text)
	}
	return client.Exactly(event.Version(n)), nil
}

// occurredAt takes what the wire takes, and nothing that would have to be rounded.
func occurredAt(cmd *cobra.Command, text string) (time.Time, error) {
	if !cmd.Flags().Changed("occurred-at") {
		return time.Time{}, nil
	}
	at, err := wire.ParseOccurredAt(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("--occurred-at: %w", err)
	}
	return time.Unix(0, int64(at)).UTC(), nil
}

// content is the body as it was given, or the fields.
func (a *app) content(cmd *cobra.Command, args eventArguments) ([]byte, client.Fields, error) {
	given := cmd.Flags().Changed("data")
	data, _ := cmd.Flags().GetString("data")
	stdin := args.stdin || given && data == "-"
	switch {
	case (given || stdin) && len(args.fields) > 0:
		return nil, nil, usageError("put all fields into the JSON object", "fields are given both as flags and as JSON")
	case stdin:
		body, err := io.ReadAll(io.LimitReader(a.in, maxRequest+1))
		if err == nil && len(body) > maxRequest {
			err = problem.New(problem.TooLarge, "standard input has more than %d bytes", maxRequest)
		}
		if err != nil {
			return nil, nil, err
		}
		return body, nil, notBlank("standard input", body)
	case given:
		return []byte(data), nil, notBlank("--data", []byte(data))
	}
	fields := client.Fields{}
	for name, value := range args.fields {
		fields[name] = value
	}
	return nil, fields, nil
}

// notBlank refuses fields of which nothing came: a shell variable that is not set, a program in front of a pipe that failed.
func notBlank(source string, body []byte) error {
	if len(bytes.TrimSpace(body)) > 0 {
		return nil
	}
	return usageError("an event without fields is {}, or leave "+source+" out", "%s is empty, a JSON object is wanted", source)
}

// typeOfEvent finds the one aggregate type that has the event type.
func typeOfEvent(cmd *cobra.Command, c *client.Client, eventType string) (string, error) {
	schemas, err := c.SchemaList(cmd.Context())
	if err != nil {
		return "", fmt.Errorf("find the aggregate type of %s: %w", eventType, err)
	}
	var types []string
	for _, s := range schemas {
		var d schema.Definition
		if len(s.Definition) == 0 || json.Unmarshal(s.Definition, &d) != nil {
			continue // a draft only
		}
		if e, ok := d.Events[eventType]; ok && !e.Removed {
			types = append(types, s.Type)
		}
	}
	slices.Sort(types)
	switch len(types) {
	case 1:
		return types[0], nil
	case 0:
		return "", problem.New(problem.Invalid, "no aggregate type has the event type %s", eventType).
			WithHint("`eventful schema:list` lists the types; a draft takes effect with `eventful schema:migrate -f`")
	}
	candidates := make([]string, len(types))
	for i, t := range types {
		candidates[i] = t + "/" + eventType
	}
	return "", usageError("name one of them: "+strings.Join(candidates, ", "), "the event type %s stands in %d aggregate types", eventType, len(types))
}

func (a *app) showAnswer(answer *client.Answer, dryRun bool) error {
	return a.show(answer, answerPairs(answer, dryRun)...)
}

// answerPairs are names and values of an answer in a table.
func answerPairs(answer *client.Answer, dryRun bool) (pairs []string) {
	for _, commit := range answer.Commits {
		pairs = append(pairs, "aggregate", commit.Type+"/"+commit.ID, "version", fmt.Sprint(commit.Version))
		for _, hash := range commit.Hashes {
			pairs = append(pairs, "hash", hash)
		}
		for _, pair := range [][2]string{{"root", commit.Root}, {"position", commit.Position}} { // a dry run has neither
			if pair[1] != "" {
				pairs = append(pairs, pair[0], pair[1])
			}
		}
	}
	pairs = append(pairs, "command", answer.Command)
	switch {
	case dryRun:
		pairs = append(pairs, "stored", "no: a dry run, everything fits")
	case answer.Repeated:
		pairs = append(pairs, "stored", "earlier: this is the first answer again")
	}
	return pairs
}

func newEventGetCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "event:get HASH",
		Short: "Show one event by its hash, or a unique beginning of it",
		Long:  "Show one event by its hash, or a unique beginning of it. Acts of the audit take a token that names their types (" + actToken + ").",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !isHashPrefix(args[0]) {
				return usageError("give 4 to 64 of 0-9 a-f, as aggregate:history prints them", "%.80q is no hash", args[0])
			}
			wait, err := waiting(cmd)
			if err != nil {
				return err
			}
			c, err := a.connect(cmd)
			if err != nil {
				return withActHint(err)
			}
			defer c.Close()
			e, err := c.Event(cmd.Context(), args[0], wait)
			if err != nil {
				return withActHint(err)
			}
			return a.showEvent(e)
		},
	}
	waitFlag(cmd)
	remoteFlags(cmd)
	return cmd
}

func isHashPrefix(s string) bool {
	return len(s) >= 4 && len(s) <= 64 && strings.Trim(s, "0123456789abcdef") == ""
}

func (a *app) showEvent(e *client.Recorded) error {
	pairs := []string{"event", e.Event, "aggregate", e.Type + "/" + e.ID, "version", fmt.Sprint(e.Version)}
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		pairs = append(pairs, "  "+name, fieldText(e.Fields[name]))
	}
	pairs = append(pairs, "actor", e.Actor, "occurred at", timeOrDash(e.OccurredAt), "written at", timeText(e.Time), "hash", e.Hash,
		"position", e.Position, "commit", e.Commit, "command", e.Command, "token", e.Token, "issuer", e.Issuer,
		"schema version", fmt.Sprint(e.SchemaVersion))
	for _, pair := range [][2]string{{"correlation", e.Correlation}, {"causation", e.Causation}} {
		if pair[1] != "" {
			pairs = append(pairs, pair[0], pair[1])
		}
	}
	return a.show(e, pairs...)
}

// fieldText shows an unset field as such.
func fieldText(value *string) string {
	if value == nil {
		return "(unset)"
	}
	return *value
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func timeOrDash(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return timeText(*t)
}
