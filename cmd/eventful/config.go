package main

import (
	"bytes"
	"fmt"
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

// configFlags are those of config that are no settings.
type configFlags struct {
	generate, rotateDEK, rotateMaster bool
}

func (f configFlags) rotates() bool { return f.rotateDEK || f.rotateMaster }

func newConfigCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Configure the data folder: keys, site, ports",
		Long: "Configure the data folder. The first time it makes the site's keys and seals them under two secrets of 16 characters or more:\n" +
			"the master key, which makes auth keys and is then put away, and the DEK (data encryption key), which every start needs.\n" +
			"Both are asked for on a terminal; otherwise they come from EVENTFUL_MASTER_KEY[_FILE] and EVENTFUL_DEK[_FILE], or from --generate.\n" +
			"Run again, it changes what is given and nothing else.\n\n" +
			"--rotate-dek and --rotate-master-key put a new secret in the place of the present one: from --new-dek-file, EVENTFUL_NEW_DEK[_FILE] and the like,\n" +
			"from --generate, or asked for. Only the small key file is written anew; a running server goes on. Cut short, run the same again, or `start`.",
		Args: cobra.NoArgs,
	}
	serverFlags(cmd)
	secretFlags(cmd, settings.MasterKey, settings.DEK, newMasterKey, newDEK)
	cmd.Flags().String("site", "", "`name` of this installation; generated if not given, and fixed at the first start")
	var f configFlags
	cmd.Flags().BoolVar(&f.generate, "generate", false, "make the secrets that are not given, and show them once")
	cmd.Flags().BoolVar(&f.rotateDEK, "rotate-dek", false, "replace the DEK")
	cmd.Flags().BoolVar(&f.rotateMaster, "rotate-master-key", false, "replace the master key")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.configure(f) }
	cmd.AddCommand(newConfigShowCommand(a))
	return cmd
}

func (a *app) configure(f configFlags) error {
	path := filepath.Join(a.settings.DataDir, run.KeyFile)
	configured := run.Configured(a.settings.DataDir)
	switch {
	case !configured && f.rotates():
		return a.mustBeConfigured()
	case configured && f.generate && !f.rotates():
		return problem.New(problem.Conflict, "%s is configured already; its keys are not made anew", a.settings.DataDir).
			WithHint("leave --generate out to change settings, add --rotate-dek or --rotate-master-key to replace a secret, or begin anew with `eventful destroy`")
	case configured:
		return a.reconfigure(path, f)
	}
	answer, err := a.configureFirst(path, f.generate)
	if err != nil {
		return err
	}
	return a.showConfigured(answer)
}

// showConfigured shows what was done, or, of secrets that are to be replaced and are shown before that, what is going to be.
func (a *app) showConfigured(answer configured, going ...string) error {
	pairs := []string{"data folder", answer.DataDir, "site", answer.Site}
	done, kept := answer.Changed, "DEK kept in"
	if len(going) > 0 {
		done, kept = slices.DeleteFunc(slices.Clone(done), func(name string) bool { return slices.Contains(going, name) }), "DEK to be kept in"
	}
	for _, more := range [][2]string{
		{"changed", strings.Join(done, ", ")}, {"to be replaced", strings.Join(going, ", ")}, {"master key", answer.MasterKey}, {"DEK", answer.DEK}, {kept, answer.DEKFile},
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
	_, _, err = newKeys(answer.Site, master, dek, given).Create(path)
	return answer, run.KeyProblem(err)
}

// newKeys is the key file of a site with these settings.
func newKeys(site string, master, dek []byte, given map[string]any) keyring.New {
	n := keyring.New{Site: site, MasterKey: master, DEK: dek, Cost: keyring.DefaultCost, By: run.Me(), Settings: map[string]string{}}
	for name, value := range given {
		n.Settings[name] = fmt.Sprint(value)
	}
	return n
}

// reconfigure changes what is given. Secrets that are given must be the present ones; new ones are named as such.
func (a *app) reconfigure(path string, f configFlags) error {
	release, err := holdKeys(a.settings.DataDir)
	if err != nil {
		return err
	}
	defer release()
	keys, err := keyring.Load(path)
	if err != nil {
		return run.KeyProblem(err)
	}
	keys.LeaveOut(run.EnteredActs(a.settings.DataDir))
	change, err := a.keyChange()
	if err != nil {
		return err
	}
	given := a.given()
	if !change.any() && !f.rotates() && len(given) == 0 {
		return usageError("`eventful config show` prints the configuration, `eventful config --help` what can be changed", "nothing to change was given")
	}
	if site, ok := given["site"].(string); ok && site != keys.Site() {
		return a.changeSite(change, path, site, given)
	}
	answer := configured{DataDir: a.settings.DataDir, Site: keys.Site()}
	r, err := a.renewal(keys, f, change, &answer)
	if err != nil {
		return err
	}
	if err := change.check(r); err != nil {
		return err
	}
	return a.change(r, change, given, answer)
}

// change makes the changes that were found to be right. Generated secrets are shown before they count, anything else afterwards.
func (a *app) change(r *rotation, c keyChange, given map[string]any, answer configured) error {
	if err := a.changeSettings(r, given); err != nil {
		return err
	}
	answer.Changed = append(r.names(), slices.Sorted(maps.Keys(given))...)
	switch {
	case r.dek.New != nil && r.keep:
		answer.DEKFile, _ = a.settings.DEKPath() // there is one: it is kept there
	case r.dek.New == nil && c.dekGiven:
		answer.DEKFile = a.keepDEK(c.dek)
	}
	if answer.MasterKey != "" || answer.DEK != "" {
		r.show = func() error { return a.showConfigured(answer, r.names()...) }
	}
	if err := r.run(); err != nil {
		return err
	}
	if len(answer.Changed) > 0 {
		a.warnUnentered()
	}
	if r.dek.New != nil {
		a.warnStaleDEK(r.dek.New)
	}
	if r.dek.New != nil && !r.keep {
		a.warn("no DEK is kept on this machine: give the new one to each start from now on, with EVENTFUL_DEK or EVENTFUL_DEK_FILE")
	}
	if info, err := run.Find(a.settings.DataDir); err == nil && info != nil && len(given) > 0 {
		a.warn("a server runs on %s: settings take effect with `eventful restart`", a.settings.DataDir)
	}
	if r.show != nil {
		fmt.Fprintf(a.errOut, "%s: replaced\n", strings.Join(r.names(), ", "))
		return nil
	}
	return a.showConfigured(answer)
}

// changeSettings writes settings. Side effects in order, and what a crash behind each leaves (docs/adr/0005-config-acts.md): (1) the key file notes what is about to be
// changed: config.toml is the old one, and the note does not count. (2) config.toml: all is done. (3) the key file's note is no longer pending.
func (a *app) changeSettings(r *rotation, given map[string]any) error {
	for _, s := range a.settingSteps(r, given) {
		if err := s.do(); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) settingSteps(r *rotation, given map[string]any) []step {
	settle := step{"settle", func() error {
		return run.KeyProblem(r.keys.SettleSettings(func(s map[string]string) bool { return settings.InForce(a.settings.DataDir, s) }))
	}}
	return []step{
		settle, // what an earlier run left
		{"note", func() error {
			changing, err := a.settings.Changing(given)
			if changing == nil || err != nil {
				return err
			}
			dek := r.dek.Old
			if dek == nil {
				kept, _ := run.DEK(a.settings) // without one it is not proved
				dek = kept.Bytes
			}
			return run.KeyProblem(r.keys.NoteSettings(run.Me(), changing, r.master.Old, dek))
		}},
		{"save", func() error { return a.settings.Save(given) }},
		settle,
	}
}

// changeSite makes the keys anew for another site.
func (a *app) changeSite(change keyChange, path, site string, given map[string]any) error {
	if err := change.site(a.settings.DataDir, path, site, given); err != nil {
		return err
	}
	if err := a.settings.Save(given); err != nil {
		return err
	}
	answer := configured{DataDir: a.settings.DataDir, Site: site, Changed: slices.Sorted(maps.Keys(given))}
	if change.dekGiven {
		answer.DEKFile = a.keepDEK(change.dek)
	}
	return a.showConfigured(answer)
}

// given are the settings that were given as flags now, as they go into config.toml.
func (a *app) given() map[string]any {
	s, all := a.settings, map[string]any{}
	flags := s.FromFlags(append(serverSettings(), "site", "tls-ca")...)
	for name, value := range map[string]any{
		"tls-cert": s.TLSCert, "tls-key": s.TLSKey, "tls-ca": s.TLSCA, "insecure": s.Insecure,
		"site": s.Site, "host": s.Host, "port": s.Port, "nats-port": s.NATSPort, "connect-failures": s.ConnectFailures, "memory-threshold": s.MemoryThreshold, "log-level": s.LogLevel,
		"min-free": s.Text("min-free"), "min-free-percent": s.Space.Percent, "archive": s.Archive, "archive-keys": s.ArchiveKeys, "archive-plain": s.ArchivePlain,
		"archive-older-than": s.Text("archive-older-than"), "archive-larger-than": s.Text("archive-larger-than"), "archive-idle-for": s.Text("archive-idle-for"), "archive-every": s.Text("archive-every"),
		"plugin-programs": s.Text("plugin-programs"),
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

// warnUnentered says that an act which the key file notes is not in the audit yet, where nothing on this folder will enter it.
func (a *app) warnUnentered() {
	if !run.EntersActs(a.settings.DataDir) {
		a.warn("no writer runs on %s: this act is noted in its keys.json, and is not in the audit before a writer has that file. "+
			"Where the writers run elsewhere, copy keys.json into the data folder of one of them; no restart is needed", a.settings.DataDir)
	}
}

// warnStaleDEK names what still gives the old DEK to the next start.
func (a *app) warnStaleDEK(fresh []byte) {
	given, err := a.settings.Secret(settings.DEK)
	if err != nil || given.Bytes == nil || given.Kept() || bytes.Equal(given.Bytes, fresh) {
		return
	}
	a.warn("%s still gives the old DEK, which opens nothing any more: put the new one there before the next start", given.Origin)
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
