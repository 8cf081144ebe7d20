package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/token"
)

const tokenListHelp = `List the recorded access tokens in the order in which they were made, or with --kek the auth keys (key encryption keys, the issuers of tokens).

Used and left are counted by the writers of the logs at this moment; - where one of them did not answer. A token is active until it expires or is
ended, or its auth key is; one whose budget is used up still reads. With an auth key that may not administer every type, the list is of its own tokens.
In JSON and YAML a page is an object: the list, and the cursor of the next page, which is empty on the last one.`

func newTokenListCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "token:list", Short: "List access tokens, or auth keys", Long: tokenListHelp, Args: cobra.NoArgs}
	active := cmd.Flags().Bool("active", false, "those that are accepted")
	inactive := cmd.Flags().Bool("inactive", false, "those that are not any more")
	take := cmd.Flags().Int("take", 100, "`number` of them on a page, up to 1000")
	cursor := cmd.Flags().String("cursor", "", "`cursor` of an earlier page, to go on behind it")
	keys := cmd.Flags().Bool("kek", false, "list the auth keys")
	var authKey named
	cmd.Flags().Var(&authKey, "auth-key", "tokens of the auth key with this public `id`")
	cmd.Flags().String("auth-key-file", "", "`file` that holds the auth key to ask with; - is standard input")
	cmd.Flags().String("account", "", "public `id` of the site's account APP; found by itself where the server runs on --data-dir")
	timeoutFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *take < 1 || *take > 1000 {
			return usageError("give 1 to 1000", "--take=%d is no page", *take)
		}
		if *active && *inactive {
			return usageError("leave out both to list all", "give one of --active and --inactive")
		}
		id, err := a.keyNamed(string(authKey))
		if err != nil {
			return err
		}
		f := client.TokenFilter{AuthKey: id, Take: *take, Cursor: *cursor}
		if *active || *inactive {
			f.Active = active
		}
		c, err := a.connectAdmin(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		if id != "" {
			if _, err := c.KeyShow(cmd.Context(), id); err != nil {
				return err
			}
		}
		if *keys {
			return a.listKeys(cmd, c, f)
		}
		return a.listTokens(cmd, c, f)
	}
	return cmd
}

// keyNamed is the public id of an auth key that is named by it, or, with a warning, by its secret.
func (a *app) keyNamed(text string) (string, error) {
	if !strings.HasPrefix(text, "SA") {
		return text, nil
	}
	a.warn("this is the secret of an auth key, and its public id is wanted, which begins with A: every user of this machine could see it, so take it for known to others, and revoke it")
	id, err := token.PublicID([]byte(text))
	if err != nil {
		return "", usageError("`eventful token:list --kek` shows the ids", "--auth-key is no auth key's public id")
	}
	return id, nil
}

func (a *app) listTokens(cmd *cobra.Command, c *client.Client, f client.TokenFilter) error {
	page, err := c.TokenList(cmd.Context(), f)
	if err != nil {
		return err
	}
	p := a.page("tokens", "ID", "STATE", "ACTOR", "AGGREGATES", "ACTIONS", "ISSUED AT", "EXPIRES AT", "LIMIT", "USED", "LEFT", "ISSUER")
	names := a.keyNames(cmd, c)
	for _, t := range page.Tokens {
		err := p.add(t, t.ID, t.State, t.Actor, whatOf(t), strings.Join(t.Actions, ","), timeText(t.Issued), timeText(t.Expires),
			fmt.Sprint(t.Limit), countText(t.Used), countText(t.Left), names.of(t.Issuer))
		if err != nil {
			return err
		}
	}
	for _, log := range page.Silent {
		a.warn("a log did not say what it stored: %s", log)
	}
	return a.endList(p, page.Cursor)
}

// whatOf names the aggregates of a token, or their types.
func whatOf(t client.TokenInfo) string {
	if len(t.AggregateIDs) > 0 {
		return strings.Join(t.AggregateIDs, ",")
	}
	return strings.Join(t.Aggregates, ",")
}

func countText(n *uint64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatUint(*n, 10)
}

func (a *app) listKeys(cmd *cobra.Command, c *client.Client, f client.TokenFilter) error {
	page, err := c.KeyList(cmd.Context(), f)
	if err != nil {
		return err
	}
	p := a.page("keys", "ID", "STATE", "NAME", "AGGREGATES", "ACTIONS", "ISSUED AT", "MAX LIMIT", "MAX EXPIRATION")
	for _, k := range page.Keys {
		err := p.add(k, k.ID, k.State, k.Name, strings.Join(k.Aggregates, ","), strings.Join(k.Actions, ","), timeText(k.Issued), ceilingText(k.MaxLimit), expirationText(k.MaxExpiration))
		if err != nil {
			return err
		}
	}
	return a.endList(p, page.Cursor)
}

func ceilingText(n uint64) string {
	if n == 0 {
		return "none"
	}
	return strconv.FormatUint(n, 10)
}

func (a *app) endList(p *printer, cursor string) error {
	if err := p.endPage(cursor); err != nil || cursor == "" {
		return err
	}
	fmt.Fprintf(a.errOut, "there is more: --cursor=%s\n", printable(cursor))
	return nil
}

func newTokenShowCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token:show ID",
		Short: "Show an access token or an auth key",
		Long:  "Show what is recorded of an access token, with what it has used and what is left, or of an auth key. The id is the public one.",
		Args:  cobra.ExactArgs(1),
	}
	adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if isJWT(args[0]) || strings.HasPrefix(args[0], "SA") {
			return usageError("`eventful token:list` shows the ids", "this is a secret, and the id is wanted")
		}
		c, err := a.connectAdmin(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		t, err := c.TokenShow(cmd.Context(), args[0])
		if errors.Is(err, client.ErrNotFound) {
			if k, other := c.KeyShow(cmd.Context(), args[0]); other == nil {
				return a.showKey(k)
			}
		}
		if errors.Is(err, client.ErrNotFound) {
			return withOtherHint(err, "`eventful token:list` shows the tokens that this auth key may see; one of another installation, or one that was never recorded, is not there")
		}
		if err != nil {
			return err
		}
		return a.showToken(t)
	}
	return cmd
}

func (a *app) showToken(t *client.TokenInfo) error {
	pairs := []string{"token", t.ID, "state", t.State, "actor", t.Actor, "aggregates", strings.Join(t.Aggregates, ", "), "actions", strings.Join(t.Actions, ", ")}
	if len(t.AggregateIDs) > 0 {
		pairs = append(pairs, "only", strings.Join(t.AggregateIDs, ", "))
	}
	pairs = append(pairs, "issued", timeText(t.Issued), "expires", timeText(t.Expires), "limit", fmt.Sprint(t.Limit), "used", countText(t.Used), "left", countText(t.Left), "issuer", t.Issuer)
	if t.Predecessor != "" {
		pairs = append(pairs, "refreshed from", t.Predecessor)
	}
	if t.Successor != "" {
		pairs = append(pairs, "refreshed by", t.Successor)
	}
	return a.show(t, pairs...)
}

func (a *app) showKey(k *client.KeyInfo) error {
	return a.show(k, "auth key", k.ID, "state", k.State, "name", k.Name, "aggregates", strings.Join(k.Aggregates, ", "), "actions", strings.Join(k.Actions, ", "),
		"issued", timeText(k.Issued), "max limit", ceilingText(k.MaxLimit), "max expiration", expirationText(k.MaxExpiration))
}

func expirationText(seconds uint64) string {
	if seconds == 0 {
		return "none"
	}
	return (time.Duration(seconds) * time.Second).String()
}
