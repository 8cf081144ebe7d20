package postgres

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
)

// Names of the options.
const (
	optionURL         = "url"
	optionPassword    = "password"
	optionCA          = "ca"
	optionTable       = "table"
	optionRows        = "rows"
	optionColumns     = "columns"
	optionJSON        = "json"
	optionConnections = "connections"

	optionTypes = "types" // of every plugin
)

// What a row stands for.
const (
	rowsAggregate = "aggregate"
	rowsEvent     = "event"
)

const maxConnections = 64

func options() []plugin.Option {
	return []plugin.Option{
		{Name: optionURL, Help: "postgres://USER@HOST:PORT/DATABASE?sslmode=MODE; MODE is verify-full if not given", Required: true, Check: checkURL},
		{Name: optionPassword, Help: "password of the user", Secret: true},
		{Name: optionCA, Help: "file with the certificates (PEM) that the server's own is signed by; without one, those that the system trusts", Form: plugin.File, Check: plugin.CheckCertificates},
		{Name: optionTable, Help: "TABLE or SCHEMA.TABLE; it must be there", Required: true, Check: checkTable},
		{Name: optionRows, Help: "aggregate (a row for each, as it is now) or event (a row for each, never changed)", Form: plugin.Choice, Values: []string{rowsAggregate, rowsEvent}, Default: rowsAggregate},
		{Name: optionColumns, Help: "what the columns hold, separated by commas: COLUMN=FIELD, COLUMN=meta.NAME, or COLUMN alone if the field has its name", Form: plugin.List, Check: checkColumns},
		{Name: optionJSON, Help: "column that holds all fields as one JSON object", Check: checkName},
		{Name: optionConnections, Help: "connections at most", Form: plugin.Integer, Default: "4", Min: 1, Max: maxConnections},
	}
}

// check looks at options against each other, and at the fields of columns against the schemas.
func check(s plugin.Settings) (problems []error) {
	columns, err := parseColumns(s.Options[optionColumns], s.Options[optionJSON])
	switch {
	case err != nil:
		return []error{err}
	case len(columns) == 0:
		problems = append(problems, fmt.Errorf("--%s, --%s or both are wanted: what shall the rows hold?", optionColumns, optionJSON))
	}
	for i := range columns {
		if field := columns[i].field; field != "" && !known(&s, field) {
			problems = append(problems, fmt.Errorf("--%s: no event of these aggregate types has a field %s", optionColumns, field))
		}
	}
	u, _ := url.Parse(s.Options[optionURL]) // checkURL has seen to it
	if mode := u.Query().Get("sslmode"); s.Options[optionCA] != "" && (mode == "disable" || mode == "require") {
		problems = append(problems, fmt.Errorf("--%s is of use with sslmode=verify-full or verify-ca only", optionCA))
	}
	return problems
}

// known reports whether an event of the chosen aggregate types has the field.
func known(s *plugin.Settings, field string) bool {
	types := s.Options.List(optionTypes)
	for _, one := range s.Schemas {
		if event.IsReserved(one.Aggregate) || len(types) > 0 && !slices.Contains(types, one.Aggregate) {
			continue
		}
		for _, e := range one.Events {
			if slices.Contains(e.Fields, field) {
				return true
			}
		}
	}
	return false
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

func checkTable(value string) error {
	for part := range strings.SplitSeq(value, ".") {
		if err := checkName(part); err != nil {
			return err
		}
	}
	if strings.Count(value, ".") > 1 {
		return fmt.Errorf("%.80q is neither TABLE nor SCHEMA.TABLE", value)
	}
	return nil
}

func checkColumns(value string) error {
	_, err := parseColumns(value, "")
	return err
}
