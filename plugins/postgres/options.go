package postgres

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// Names of the options.
const (
	optionURL         = "url"
	optionPassword    = "password"
	optionCA          = "ca"
	optionMapping     = "mapping"
	optionKey         = "key-column"
	optionJSON        = "json"
	optionConnections = "connections"

	optionOnError = "on-error" // of every plugin
	optionTypes   = "types"    // so is this
	optionPII     = "pii"
)

const maxConnections = 64

// wholeState is the mapping that is taken if none is given.
const wholeState = "version: 1\n"

func options() []plugin.Option {
	return []plugin.Option{
		{Name: optionURL, Help: "postgres://USER@HOST:PORT/DATABASE?sslmode=MODE; MODE is verify-full if not given", Required: true, Check: checkURL, Address: true},
		{Name: optionPassword, Help: "password of the user", Secret: true},
		{Name: optionCA, Help: "file with the certificates (PEM) that the server's own is signed by; without one, those that the system trusts", Form: plugin.File, Check: plugin.CheckCertificates},
		{Name: optionMapping, Help: "file that says which events become what in which table; without one, a table for each aggregate type, of its name, with a column for each field", Form: plugin.File, Default: wholeState},
		{Name: optionKey, Help: "column that holds the key of the mapping; without one, rows are told by the columns aggregate_type, aggregate_id and version", Check: checkName},
		{Name: optionJSON, Help: "column that holds all fields as one JSON object, besides what the mapping gives", Check: checkName},
		{Name: optionConnections, Help: "connections at most", Form: plugin.Integer, Default: "4", Min: 1, Max: maxConnections},
	}
}

// mappedTo is what a table makes of documents: where rows are told by aggregate, all those of events about one are found.
func mappedTo(v plugin.Values) mapping.Target {
	return mapping.Target{ForgetsEvents: v[optionKey] == "", Types: v.List(optionTypes)}
}

func compile(s *plugin.Settings) (*mapping.Mapping, error) {
	return mapping.Compile([]byte(s.Options[optionMapping]), s.Schemas, mappedTo(s.Options))
}

// show writes the mapping out: what is copied, every type, every default.
func show(s plugin.Settings) plugin.Values {
	m, err := compile(&s)
	if err != nil {
		return s.Options // schemas that changed meanwhile contradict it: shown as it was given
	}
	if whole, err := m.YAML(); err == nil {
		s.Options[optionMapping] = string(whole)
	}
	return s.Options
}

// check looks at options against each other, and at the mapping against the schemas.
func check(s plugin.Settings) (problems []error) {
	u, err := url.Parse(s.Options[optionURL])
	if err != nil {
		u = &url.URL{} // checkURL has said so
	}
	if mode := u.Query().Get("sslmode"); s.Options[optionCA] != "" && (mode == "disable" || mode == "require") {
		problems = append(problems, fmt.Errorf("--%s is of use with sslmode=verify-full or verify-ca only", optionCA))
	}
	m, err := compile(&s)
	if err != nil {
		return append(problems, mapping.Check([]byte(s.Options[optionMapping]), s.Schemas, mappedTo(s.Options))...)
	}
	return append(problems, checkMapping(m, s.Options)...)
}

func checkMapping(m *mapping.Mapping, v plugin.Values) (problems []error) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	key, whole := v[optionKey], v[optionJSON]
	own := []string{columnType, columnID, columnVersion}
	if key != "" {
		own = []string{key}
	}
	switch {
	case slices.Contains(own, whole):
		wrong("--%s: column %s holds something else already", optionJSON, whole)
	case whole != "":
		own = append(own, whole)
	}
	problems = append(problems, checkColumns(m, own...)...)
	for _, t := range m.Types {
		if err := checkTable(tableName(m, t)); err != nil {
			wrong("mapping: target: %w", err)
		}
	}
	for _, place := range []string{"log", "site", "year", "month", "day"} {
		if m.Target.Holds(place) {
			wrong("mapping: target: tables are there before, and told by {type} alone, not by {%s}", place)
		}
	}
	if m.OwnKey() && key == "" {
		wrong("mapping: key: give --%s, the column that holds it; without one rows are told by type and id", optionKey)
	}
	if m.Document == mapping.OfEvent && key != "" && whole != "" && v.Bool(optionPII) {
		wrong("--%s with --%s: rows of events that are told by %s could not be made to forget what stands in %s", optionPII, optionKey, key, whole)
	}
	if m.Keeps() && v[optionOnError] == "park" {
		wrong("--%s=park lets later changes pass a parked one, but with this mapping a row keeps what only earlier changes gave, "+
			"so the parked one would be lost: give --%s=block, or take the fields from state without a condition", optionOnError, optionOnError)
	}
	return problems
}

// tableName is the table of an aggregate type.
func tableName(m *mapping.Mapping, aggregateType string) string {
	return m.Target.With(map[string]string{"type": aggregateType})
}

// parameters are what an address may say behind the question mark, with the values allowed; nil: any. Others name files or programs of the host, or hold secrets.
func parameters(name string) (allowed []string, ok bool) {
	switch name {
	case "sslmode":
		return []string{"disable", "require", "verify-ca", "verify-full"}, true
	case "target_session_attrs":
		return []string{"any", "read-write", "primary"}, true
	case "connect_timeout", "application_name":
		return nil, true
	}
	return nil, false
}

func checkURL(value string) error {
	_, err := parseURL(value)
	return err
}

// parseURL gives the address with TLS that is verified unless it says otherwise.
func parseURL(value string) (string, error) {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Hostname() == "" || u.User.Username() == "" || len(u.Path) < 2 || u.Fragment != "" {
		return "", errors.New("an address is postgres://USER@HOST:PORT/DATABASE")
	}
	if _, has := u.User.Password(); has {
		return "", errors.New("an address holds no password: give --password-file")
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || port == 0) {
		return "", fmt.Errorf("%.20q is no port: 1 to 65535", u.Port())
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", errors.New("what stands behind ? is not NAME=VALUE&NAME=VALUE")
	}
	for name, values := range query {
		allowed, ok := parameters(name)
		switch {
		case !ok:
			return "", fmt.Errorf("%.40q is none of sslmode, connect_timeout, application_name, target_session_attrs", name)
		case len(values) != 1 || allowed != nil && !slices.Contains(allowed, values[0]):
			return "", fmt.Errorf("%s is one of %s", name, strings.Join(allowed, ", "))
		}
	}
	if !query.Has("sslmode") {
		query.Set("sslmode", "verify-full")
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// identifier is a name of PostgreSQL that needs no escapes beyond quotes.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

func checkName(value string) error {
	if !identifier.MatchString(value) {
		return fmt.Errorf("%.80q is no name: letters, digits and _, at most 63", value)
	}
	return nil
}

// tableIdentifier is identifier for tables, which may be called as aggregate types are.
var tableIdentifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,62}$`)

func checkTable(value string) error {
	parts := strings.Split(value, ".")
	if len(parts) > 2 || slices.ContainsFunc(parts, func(part string) bool { return !tableIdentifier.MatchString(part) }) {
		return fmt.Errorf("%.80q is neither TABLE nor SCHEMA.TABLE, of letters, digits, _ and -, at most 63 each", value)
	}
	return nil
}
