package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// inboxFlags are those of commands that work with an access token (one's own commands) or an auth key (everybody's).
func inboxFlags(cmd *cobra.Command) {
	adminFlags(cmd)
	secretFlags(cmd, "token")
}

// enqueue hands a command to the durable inbox.
func (a *app) enqueue(cmd *cobra.Command, c *client.Client, command client.Command) error {
	letter, err := c.Enqueue(cmd.Context(), command)
	if err != nil {
		return err
	}
	answer := struct {
		Aggregate string `json:"aggregate"`
		Letter    uint64 `json:"letter"`
		Command   string `json:"command"`
	}{command.Aggregate.String(), letter, command.CommandID}
	return a.show(answer, "aggregate", answer.Aggregate, "waits as letter", fmt.Sprint(letter), "command", answer.Command)
}

func newInboxStatusCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inbox:status",
		Short: "Say how many commands wait in the durable inbox, since when, and how many were refused",
		Args:  cobra.NoArgs,
	}
	inboxFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.connectAny(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		s, err := c.InboxStatus(cmd.Context())
		if err != nil {
			return err
		}
		oldest := "-"
		if s.Oldest != nil {
			oldest = fmt.Sprintf("%s (%s)", timeText(*s.Oldest), time.Since(*s.Oldest).Round(time.Second))
		}
		return a.show(s, "waiting", strconv.FormatUint(s.Waiting, 10), "oldest sent at", oldest, "refused", strconv.FormatUint(s.Refused, 10))
	}
	return cmd
}

func newInboxRefusedCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inbox:refused [NUMBER]",
		Short: "List the refused commands of the durable inbox, or show one with its content",
		Long: "List the refused commands of the durable inbox, oldest first, or show one with its reason and content. With an access token these are the\n" +
			"actor's own; with an auth key that administers, everybody's.",
		Args: cobra.MaximumNArgs(1),
	}
	inboxFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		number, err := refusedNumber(args)
		if err != nil {
			return err
		}
		c, err := a.connectAny(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		if number == 0 {
			return a.listRefused(cmd, c)
		}
		r, err := c.Refused(cmd.Context(), number)
		if err != nil {
			return err
		}
		return a.showRefused(r)
	}
	return cmd
}

// refusedNumber is 0 where none is given.
func refusedNumber(args []string) (uint64, error) {
	if len(args) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseUint(args[0], 10, 63)
	if err != nil || n == 0 {
		return 0, usageError("give a number as `eventful inbox:refused` lists them", "%.80q is no number of a refused command", args[0])
	}
	return n, nil
}

func (a *app) listRefused(cmd *cobra.Command, c *client.Client) error {
	p := a.printer("NUMBER", "REFUSED AT", "COMMAND", "ACTOR", "CODE", "REASON")
	shown := 0
	for after := uint64(0); ; {
		page, cursor, err := c.RefusedPage(cmd.Context(), after, 100)
		if err != nil {
			return err
		}
		for _, r := range page {
			if err := p.add(r, fmt.Sprint(r.Number), timeText(r.Refused), refusedName(r), orDash(r.Actor), string(r.Problem.Code), r.Problem.Detail); err != nil {
				return err
			}
		}
		shown += len(page)
		if after = cursor; after == 0 {
			break
		}
	}
	if shown == 0 {
		if s, err := c.InboxStatus(cmd.Context()); err == nil && s.Refused > 0 {
			a.warn("not shown: %s of others; an auth key that administers every type shows them, where EVENTFUL_TOKEN is not set", counted(int(s.Refused), "refused command"))
		}
	}
	return p.close()
}

// refusedName says what a refused command was to do.
func refusedName(r client.Refused) string {
	switch {
	case r.ID != "":
		return r.Type + "/" + r.ID + " " + r.Event
	case r.Type != "":
		return "transaction on " + r.Type
	}
	return r.Subject
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) showRefused(r *client.RefusedContent) error {
	pairs := []string{"number", fmt.Sprint(r.Number), "command", refusedName(r.Refused), "subject", r.Subject, "command id", r.Command, "actor", orDash(r.Actor),
		"token", orDash(r.Token), "sent at", timeText(r.Sent), "refused at", timeText(r.Refused.Refused), "code", string(r.Problem.Code), "reason", r.Problem.Detail}
	for _, one := range r.Problem.Problems {
		pairs = append(pairs, "  -", one.Detail)
	}
	if r.Problem.Hint != "" {
		pairs = append(pairs, "hint", r.Problem.Hint)
	}
	body := r.Body
	if r.Base64 != nil {
		body = fmt.Sprintf("%q", r.Base64)
	}
	return a.show(r, append(pairs, "bytes", fmt.Sprint(r.Size), "body", body)...)
}

func newInboxRetryCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inbox:retry NUMBER|--all",
		Short: "Put refused commands back into the durable inbox",
		Long: "Put one's own refused commands back into the durable inbox, with the present access token and under their first command ids: a command is stored\n" +
			"once, however often it is retried.",
		Args: cobra.MaximumNArgs(1),
	}
	all := cmd.Flags().Bool("all", false, "every one that was sent by whom the token names")
	remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		number, err := oneOrAll(args, *all)
		if err != nil {
			return err
		}
		c, err := a.connect(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		if !*all {
			r, err := c.RetryRefused(cmd.Context(), number)
			if err != nil {
				return err
			}
			return a.show(r, "command id", r.Command, "waits as letter", fmt.Sprint(r.Letter))
		}
		return a.retryAll(cmd, c)
	}
	return cmd
}

// oneOrAll holds that exactly one of the two is given.
func oneOrAll(args []string, all bool) (uint64, error) {
	if (len(args) == 1) == all {
		return 0, usageError("give a number as `eventful inbox:refused` lists them, or --all", "one NUMBER or --all is wanted")
	}
	return refusedNumber(args)
}

// retryAll tries those that are there when it begins. One that cannot be retried is named, and the others go on.
func (a *app) retryAll(cmd *cobra.Command, c *client.Client) error {
	var numbers []uint64
	for after := uint64(0); ; {
		page, cursor, err := c.RefusedPage(cmd.Context(), after, 1000)
		if err != nil {
			return err
		}
		for _, r := range page {
			numbers = append(numbers, r.Number)
		}
		if after = cursor; after == 0 {
			break
		}
	}
	answer := struct {
		Retried int      `json:"retried"`
		Left    []uint64 `json:"left"`
	}{Left: []uint64{}}
	var last error
	for _, number := range numbers {
		if _, err := c.RetryRefused(cmd.Context(), number); err != nil {
			last = err
			answer.Left = append(answer.Left, number)
			a.warn("%d: %s", number, problem.From(err).Detail)
			continue
		}
		answer.Retried++
	}
	pairs := []string{"retried", fmt.Sprint(answer.Retried)}
	if len(answer.Left) > 0 {
		pairs = append(pairs, "left", strings.Trim(fmt.Sprint(answer.Left), "[]"))
	}
	if err := a.show(answer, pairs...); err != nil {
		return err
	}
	return last
}

func newInboxPurgeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inbox:purge NUMBER|--all|--actor=ACTOR",
		Short: "Drop refused commands of the durable inbox for good",
		Args:  cobra.MaximumNArgs(1),
	}
	all := cmd.Flags().Bool("all", false, "every one: with an access token the actor's own, with an auth key everybody's")
	actor := cmd.Flags().String("actor", "", "every one of this actor, as inbox:refused shows it; - for those that came without a valid token")
	inboxFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *actor != "" && *all {
			return usageError("--all drops those of everybody", "--all and --actor exclude each other")
		}
		number, err := oneOrAll(args, *all || *actor != "")
		if err != nil {
			return err
		}
		connect := a.connectAny
		if seed, err := a.authKey(); err == nil && seed != nil && *actor != "" { // a token drops its own actor's alone
			connect = a.connectAdmin
		}
		c, err := connect(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		var n int
		if *actor != "" {
			n, err = c.PurgeRefusedOf(cmd.Context(), *actor)
		} else {
			n, err = c.PurgeRefused(cmd.Context(), number)
		}
		if err != nil {
			return err
		}
		return a.show(struct {
			Purged int `json:"purged"`
		}{n}, "purged", fmt.Sprint(n))
	}
	return cmd
}
