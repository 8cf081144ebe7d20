// Package settings reads the configuration of a command: flag, then EVENTFUL_* environment, then config.toml, then default.
//
// It is the only place that uses viper. Secrets are no settings: they never stand in config.toml and are asked for one by one (Config.Secret).
package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// File is the name of the configuration file in the data folder.
const File = "config.toml"

// programs is the one setting that may be a list in config.toml.
const programs = "plugin-programs"

// Format is the version of config.toml that this program writes, and the highest that it reads.
const Format = 1

// Config holds every setting, checked. It is not changed after Load.
type Config struct {
	DataDir         string // absolute path of the data folder; it need not exist
	Server          string // NATS URL to connect to; empty: the server that runs on DataDir
	Output          string // table, json, ndjson or yaml
	Site            string // name of this installation; empty: not configured yet
	Host            string // address that HTTP and NATS listen on; off loopback only with TLS, or with Insecure
	TLSCert, TLSKey string // PEM files of the server's certificate and key, absolute; both or none
	TLSCA           string // PEM file of the CA that a client trusts, absolute; empty: the system's, or the local server's certificate
	Insecure        bool   // DANGER: listen off loopback without TLS
	Port            int    // TCP port of HTTP; 0: any free one
	NATSPort        int    // TCP port of NATS; 0: any free one
	ConnectFailures int    // NATS connections a second over TLS that an address may make and that are not authenticated; 0: any number
	MemoryThreshold int    // decoded events kept in memory, first in first out; 0: none
	LogLevel        string // trace, debug, info, warn or error
	Space           space.Limits
	Archive         string   // absolute folder, or URL of a bucket; empty: there is no archive
	ArchiveKeys     string   // file with the bucket's access key and secret key, absolute
	ArchivePlain    bool     // write the archive without encryption
	Programs        []string // that plugins may run, absolute

	values  []Value
	flags   *pflag.FlagSet
	inFile  map[string]bool
	environ func(string) string
}

// Value is one setting with its source, as `config show --origin` prints it.
type Value struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"` // for example "flag --port", "env EVENTFUL_PORT", "file /x/config.toml", "default"
}

// setting is one row of the table of everything that can be set.
type setting struct {
	name    string
	initial string
	file    bool // may stand in config.toml
	own     bool // only of programs that have a flag for it
	check   func(string) error
}

func table() []setting {
	return []setting{
		{"data-dir", "./.eventful", false, false, nil},
		{"server", "", true, false, checkAddress},
		{"output", "table", true, false, oneOf("table", "json", "ndjson", "yaml")},
		{"site", "", true, false, checkSite},
		{"host", "127.0.0.1", true, false, checkHost},
		{"tls-cert", "", true, false, nil},
		{"tls-key", "", true, false, nil},
		{"tls-ca", "", true, false, nil},
		{"insecure", "false", true, false, oneOf("true", "false")},
		{"port", "9595", true, false, between(0, 65535)},
		{"nats-port", "7070", true, false, between(0, 65535)},
		{"connect-failures", "20", true, false, between(0, 100_000)},
		{"memory-threshold", "100000", true, false, between(0, 1<<31-1)},
		{"log-level", "info", true, false, oneOf("trace", "debug", "info", "warn", "error")},
		{"min-free", "1GiB", true, false, checkBytes},
		{"min-free-percent", "5", true, false, between(0, 99)},
		{"archive", "", true, false, checkArchive},
		{"archive-keys", "", true, false, nil},
		{"archive-plain", "false", true, false, oneOf("true", "false")},
		{"archive-older-than", "", true, false, forLogs(checkDuration, "720h, or patient=720h,ward=24h")},
		{"archive-larger-than", "", true, false, forLogs(checkSize, "10GiB, or patient=10GiB,ward=1GiB")},
		{"archive-idle-for", "", true, false, forLogs(checkDuration, "720h, or patient=720h,ward=24h")},
		{"archive-every", "1m", true, false, checkDuration},
		{programs, "", true, false, checkPrograms},
		{"nats-url", "nats://127.0.0.1:4222", false, true, checkAddress},
		{"log-creds", "", false, true, nil},
		{"app-creds", "", false, true, nil},
		{"sys-creds", "", false, true, nil},
		{"archiver-creds", "", false, true, nil},
		{"plugin-pii", "false", false, true, oneOf("true", "false")},
		{"key-creds", "", false, true, nil},
		{"http", "", false, true, nil},
		{"replicas", "1", false, true, oneOf("1", "3", "5")},
	}
}

// Load reads all settings. flags may hold any of them; those it does not define come from the other sources. The error is a
// *problem.Problem that lists everything wrong at once.
func Load(flags *pflag.FlagSet) (*Config, error) {
	c := &Config{flags: flags, environ: os.Getenv}
	v := viper.New()
	rows := slices.DeleteFunc(table(), func(s setting) bool { return s.own && flags.Lookup(s.name) == nil })
	for _, s := range rows {
		v.SetDefault(s.name, s.initial)
		if err := v.BindEnv(s.name, envName(s.name)); err != nil {
			return nil, fmt.Errorf("bind setting %s: %w", s.name, err)
		}
		if f := flags.Lookup(s.name); f != nil {
			if err := v.BindPFlag(s.name, f); err != nil {
				return nil, fmt.Errorf("bind flag --%s: %w", s.name, err)
			}
		}
	}
	dir, err := filepath.Abs(v.GetString("data-dir"))
	if err != nil {
		return nil, fmt.Errorf("find the data folder: %w", err)
	}
	c.DataDir = dir
	if c.inFile, err = readFile(v, c.Path()); err != nil {
		return nil, err
	}
	if p := problem.Join(c.fill(v, rows)); p != nil {
		return nil, p
	}
	return c, nil
}

// Folder finds the data folder and nothing else: config.toml is not read, so it may be of a newer format, or broken.
func Folder(flags *pflag.FlagSet) (*Config, error) {
	c := &Config{flags: flags, environ: os.Getenv}
	dir := c.environ(envName("data-dir"))
	if f := flags.Lookup("data-dir"); f != nil && (f.Changed || dir == "") {
		dir = f.Value.String()
	}
	var err error
	if c.DataDir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("find the data folder: %w", err)
	}
	return c, nil
}

// For is the same for another data folder, whose config.toml is not read.
func (c *Config) For(dir string) *Config {
	other := *c
	other.DataDir = dir
	return &other
}

// HasFile reports whether the data folder has a config.toml, whatever stands in it.
func (c *Config) HasFile() bool {
	_, err := os.Lstat(c.Path())
	return err == nil
}

// Path is where config.toml of this data folder lies.
func (c *Config) Path() string { return filepath.Join(c.DataDir, File) }

// Values gives every setting with its source, in the order of the documentation.
func (c *Config) Values() []Value { return slices.Clone(c.values) }

// Text gives a setting that has no field of its own.
func (c *Config) Text(name string) string {
	for _, v := range c.values {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

// Given reports whether a setting was given by flag or environment, as opposed to standing in the file or being the default.
func (c *Config) Given(name string) bool {
	i := slices.IndexFunc(c.values, func(v Value) bool { return v.Name == name })
	return i >= 0 && (strings.HasPrefix(c.values[i].Origin, "flag") || strings.HasPrefix(c.values[i].Origin, "env"))
}

// FromFlags gives those of the named settings that were given as flags, with their values.
func (c *Config) FromFlags(names ...string) map[string]string {
	given := map[string]string{}
	for _, v := range c.values {
		if slices.Contains(names, v.Name) && strings.HasPrefix(v.Origin, "flag") {
			given[v.Name] = v.Value
		}
	}
	return given
}

// fill checks every value and takes it over.
func (c *Config) fill(v *viper.Viper, rows []setting) []*problem.Problem {
	var wrong []*problem.Problem
	for _, s := range rows {
		value := Value{s.name, textOf(v, s.name), c.origin(s.name)}
		if s.name == "data-dir" {
			value.Value = c.DataDir
		}
		c.values = append(c.values, value)
		if s.check == nil {
			continue
		}
		if err := s.check(value.Value); err != nil {
			wrong = append(wrong, problem.New(problem.Malformed, "%s (%s): %v", s.name, value.Origin, err).
				WithHint("`eventful config show --origin` prints every setting and where it comes from"))
		}
	}
	c.Server, c.Output, c.Site = v.GetString("server"), v.GetString("output"), v.GetString("site")
	c.Host, c.Port, c.NATSPort = v.GetString("host"), v.GetInt("port"), v.GetInt("nats-port")
	c.Insecure, c.ArchivePlain = v.GetBool("insecure"), v.GetBool("archive-plain")
	if c.Archive = v.GetString("archive"); strings.Contains(c.Archive, "://") {
		v.Set("archive", "") // no file
	}
	wrong = append(wrong, c.fillFiles(v)...)
	c.Programs = splitPrograms(textOf(v, programs))
	c.ConnectFailures = v.GetInt("connect-failures")
	c.MemoryThreshold, c.LogLevel = v.GetInt("memory-threshold"), v.GetString("log-level")
	c.Space.Bytes, _ = space.Parse(v.GetString("min-free")) // checked above
	c.Space.Percent = v.GetInt("min-free-percent")
	return wrong
}

// fillFiles takes over names of files, absolute.
func (c *Config) fillFiles(v *viper.Viper) (wrong []*problem.Problem) {
	for name, to := range map[string]*string{"tls-cert": &c.TLSCert, "tls-key": &c.TLSKey, "tls-ca": &c.TLSCA, "archive": &c.Archive, "archive-keys": &c.ArchiveKeys} {
		path := v.GetString(name)
		if path == "" {
			continue
		}
		var err error
		if *to, err = filepath.Abs(path); err != nil {
			wrong = append(wrong, problem.New(problem.Malformed, "%s: %v", name, err))
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		wrong = append(wrong, problem.New(problem.Malformed, "tls-cert and tls-key belong together, and one of them is missing").WithHint("give both, or none"))
	}
	return wrong
}

func (c *Config) origin(name string) string {
	switch f := c.flags.Lookup(name); {
	case f != nil && f.Changed:
		return "flag --" + name
	case c.environ(envName(name)) != "":
		return "env " + envName(name)
	case c.inFile[name]:
		return "file " + c.Path()
	}
	return "default"
}

func envName(name string) string {
	return "EVENTFUL_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// checkFolder refuses a data folder that is there and is no folder.
func checkFolder(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case os.IsNotExist(err):
		return nil
	case err != nil:
		return problem.New(problem.Invalid, "the data folder cannot be read: %v", err).
			WithHint("give its owner the right to read, or name another folder with --data-dir")
	case !info.IsDir():
		return problem.New(problem.Invalid, "the data folder cannot be used: %v",
			&fs.PathError{Op: "open", Path: dir, Err: fmt.Errorf("it is a file")}).WithHint("name a folder with --data-dir")
	}
	return nil
}

func oneOf(words ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(words, s) {
			return nil
		}
		return fmt.Errorf("%q is none of %s", s, strings.Join(words, ", "))
	}
}

func between(lo, hi int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < lo || n > hi {
			return fmt.Errorf("%q is no number from %d to %d", s, lo, hi)
		}
		return nil
	}
}

func checkBytes(s string) error {
	if _, err := space.Parse(s); err != nil {
		return fmt.Errorf("%q: %w", s, err)
	}
	return nil
}

func checkDuration(s string) error {
	if d, err := time.ParseDuration(s); err != nil || d <= 0 {
		return fmt.Errorf("%q is no duration above zero", s)
	}
	return nil
}

// textOf is a setting as text; programs may be a list in config.toml.
func textOf(v *viper.Viper, name string) string {
	if list, ok := v.Get(name).([]any); ok && name == programs {
		parts := make([]string, len(list))
		for i, one := range list {
			parts[i] = fmt.Sprint(one)
		}
		return strings.Join(parts, ",")
	}
	return v.GetString(name)
}

func splitPrograms(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// checkPrograms wants plain paths, so that what is looked at is what somebody wrote.
func checkPrograms(s string) error {
	for _, path := range splitPrograms(s) {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsAny(path, " \t\r\n") {
			return fmt.Errorf("%.80q is no absolute path, or one with `.`, `..`, a blank or a needless slash; between paths stands a comma alone", path)
		}
	}
	return nil
}

func checkArchive(s string) error {
	if !strings.Contains(s, "://") {
		return nil
	}
	_, err := archive.ParseBucket(s)
	return err
}

func checkSite(s string) error {
	if s == "" {
		return nil
	}
	return event.CheckSite(s)
}

// checkAddress refuses addresses of NATS servers with a user, password or token in them, without repeating them: they get into logs, errors and config.toml.
func checkAddress(s string) error {
	if strings.ContainsAny(s, "@?#") {
		return errors.New("an address of a NATS server is host and port; a token goes into EVENTFUL_TOKEN or EVENTFUL_TOKEN_FILE")
	}
	return nil
}

func checkHost(s string) error {
	if s != "localhost" && net.ParseIP(s) == nil {
		return fmt.Errorf("%q is no IP address", s)
	}
	return nil
}
