package main

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Secrets that replace the present ones.
const (
	newMasterKey = "new-master-key"
	newDEK       = "new-dek"
)

// configured is what `config` prints.
type configured struct {
	DataDir   string `json:"data-dir"`
	Site      string `json:"site"`
	MasterKey string `json:"master-key,omitempty"` // only if it was generated just now
	DEK       string `json:"dek,omitempty"`        // only if it was generated just now
	DEKFile   string `json:"dek-file,omitempty"`   // where it is kept for `start`

	Changed []string `json:"changed,omitempty"` // by a run on a folder that was configured before
}

func newConfigCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Configure the data folder: keys, site, ports",
		Long: "Configure the data folder. The first time it makes the site's keys and seals them under two secrets of 16 characters or more:\n" +
			"the master key, which makes auth keys and is then put away, and the DEK (data encryption key), which every start needs.\n" +
			"Both are asked for on a terminal; otherwise they come from EVENTFUL_MASTER_KEY[_FILE] and EVENTFUL_DEK[_FILE], or from --generate.\n" +
			"Run again, it changes what is given and nothing else.",
		Args: cobra.NoArgs,
	}
	serverFlags(cmd)
	secretFlags(cmd, settings.MasterKey, settings.DEK, newMasterKey, newDEK)
	cmd.Flags().String("site", "", "`name` of this installation; generated if not given, and fixed at the first start")
	generate := cmd.Flags().Bool("generate", false, "make the secrets that are not given, and show them once")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.configure(*generate) }
	cmd.AddCommand(newConfigShowCommand(a))
	return cmd
}

func (a *app) configure(generate bool) error {
	path := filepath.Join(a.settings.DataDir, run.KeyFile)
	var answer configured
	var err error
	if run.Configured(a.settings.DataDir) {
		if generate {
			return problem.New(problem.Conflict, "%s is configured already; its keys are not made anew", a.settings.DataDir).
				WithHint("leave --generate out to change settings, or begin anew with `eventful destroy`")
		}
		answer, err = a.reconfigure(path)
	} else {
		answer, err = a.configureFirst(path, generate)
	}
	if err != nil {
		return err
	}
	pairs := []string{"data folder", answer.DataDir, "site", answer.Site}
	for _, more := range [][2]string{
		{"changed", strings.Join(answer.Changed, ", ")}, {"master key", answer.MasterKey}, {"DEK", answer.DEK}, {"DEK kept in", answer.DEKFile},
	} {
		if more[1] != "" {
			pairs = append(pairs, more[0], more[1])
		}
	}
	if answer.MasterKey != "" || answer.DEK != "" {
		a.warn("this is the only time that generated secrets are shown: keep them where you keep passwords")
	}
	return a.show(answer, pairs...)
}

// configureFirst makes the keys. Side effects in order, and what a crash behind each leaves: (1) config.toml and (2) the kept DEK: `config`
// can be run again. (3) the key file: all is done; secrets that were generated and not yet shown are lost, and `destroy` begins anew.
func (a *app) configureFirst(path string, generate bool) (configured, error) {
	master, dek, answer, err := a.firstSecrets(generate)
	if err != nil {
		return configured{}, err
	}
	lock, err := run.Acquire(a.settings.DataDir)
	if err != nil {
		return configured{}, err
	}
	defer lock.Release()
	answer.DataDir, answer.Site = a.settings.DataDir, a.settings.Site
	if answer.Site == "" {
		answer.Site = generateSite()
	}
	given := a.given()
	given["site"] = answer.Site
	if err := a.settings.Save(given); err != nil {
		return configured{}, err
	}
	answer.DEKFile = a.keepDEK(dek)
	_, _, err = keyring.Create(path, answer.Site, master, dek)
	return answer, run.KeyProblem(err)
}

// reconfigure changes what is given. Secrets that are given must be the present ones; new ones are named as such.
func (a *app) reconfigure(path string) (configured, error) {
	keys, err := keyring.Load(path)
	if err != nil {
		return configured{}, run.KeyProblem(err)
	}
	answer := configured{DataDir: a.settings.DataDir, Site: keys.Site()}
	change, err := a.keyChange()
	if err != nil {
		return configured{}, err
	}
	given := a.given()
	site, siteGiven := given["site"].(string)
	if !change.any() && len(given) == 0 {
		return configured{}, usageError("`eventful config show` prints the configuration, `eventful config --help` what can be changed", "nothing to change was given")
	}
	if siteGiven && site != keys.Site() {
		if err := change.site(a.settings.DataDir, path, site); err != nil {
			return configured{}, err
		}
		answer.Site = site
	} else if err := change.apply(keys); err != nil {
		return configured{}, err
	}
	if err := a.settings.Save(given); err != nil {
		return configured{}, err
	}
	answer.Changed = append(change.changed(), slices.Sorted(maps.Keys(given))...)
	if kept := change.toKeep(); kept != nil {
		answer.DEKFile = a.keepDEK(kept)
	}
	if info, err := run.Find(a.settings.DataDir); err == nil && info != nil {
		a.warn("a server runs on %s: settings take effect with `eventful restart`", a.settings.DataDir)
	}
	return answer, nil
}

// given are the settings that were given as flags now, as they go into config.toml.
func (a *app) given() map[string]any {
	s, all := a.settings, map[string]any{}
	flags := s.FromFlags("site", "host", "port", "nats-port", "memory-threshold", "log-level", "min-free", "min-free-percent")
	for name, value := range map[string]any{
		"site": s.Site, "host": s.Host, "port": s.Port, "nats-port": s.NATSPort, "memory-threshold": s.MemoryThreshold, "log-level": s.LogLevel,
		"min-free": s.Text("min-free"), "min-free-percent": s.Space.Percent,
	} {
		if _, ok := flags[name]; ok {
			all[name] = value
		}
	}
	return all
}

// keepDEK keeps the DEK for `start` and says where; that it cannot is only a warning, since it can be given each time.
func (a *app) keepDEK(dek []byte) string {
	path, err := a.settings.StoreDEK(dek)
	if err != nil {
		a.warn("the DEK was not kept: %v. Give it to each start with EVENTFUL_DEK or EVENTFUL_DEK_FILE", err)
	}
	return path
}

func (a *app) mustBeConfigured() error {
	if run.Configured(a.settings.DataDir) {
		return nil
	}
	return problem.New(problem.NotFound, "%s is not configured", a.settings.DataDir).
		WithHint("run `eventful config` first, or name the right folder with --data-dir")
}

func newConfigShowCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print every setting, and with --origin where it comes from",
		Args:  cobra.NoArgs,
	}
	origin := cmd.Flags().Bool("origin", false, "print the source of each value too")
	nats := cmd.Flags().Bool("nats", false, "print instead what outside nats-servers must know of this site, as a part of their configuration")
	cmd.MarkFlagsMutuallyExclusive("origin", "nats")
	cmd.RunE = func(*cobra.Command, []string) error {
		if *nats {
			return a.showNATS()
		}
		return a.showConfig(*origin)
	}
	return cmd
}

// fromSession says what token:auth keeps of a secret that is given nowhere else.
func (a *app) fromSession(value *settings.Value) {
	s, err := a.session()
	if err != nil {
		return // the commands that need it say why
	}
	k := map[string]*kept{settings.AuthKey: s.AuthKey, settings.Token: s.Token}[value.Name]
	switch {
	case k == nil:
	case k.expired():
		value.Origin = "not set; the session's expired at " + k.Expires.UTC().Format(time.RFC3339)
	case k.Expires.IsZero():
		value.Value, value.Origin = settings.Mask, "session, until token:logout"
	default:
		value.Value, value.Origin = settings.Mask, "session, until "+k.Expires.UTC().Format(time.RFC3339)
	}
}

func (a *app) showConfig(origin bool) error {
	values := a.settings.Values()
	for _, name := range []string{settings.MasterKey, settings.DEK, settings.Token, settings.AuthKey} {
		value := settings.Value{Name: name, Origin: "not set"}
		secret, err := a.settings.Secret(name)
		switch {
		case err != nil:
			value.Origin = err.Error()
		case secret.Bytes != nil:
			value.Value, value.Origin = secret.String(), secret.Origin
		default:
			a.fromSession(&value)
		}
		values = append(values, value)
	}
	columns := []string{"NAME", "VALUE", "ORIGIN"}
	if !origin {
		columns = columns[:2]
	}
	p := a.printer(columns...)
	for _, v := range values {
		if !origin {
			v.Origin = ""
		}
		if err := p.add(v, []string{v.Name, v.Value, v.Origin}[:len(columns)]...); err != nil {
			return err
		}
	}
	return p.close()
}
