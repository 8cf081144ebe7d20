package opensearch

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// Names of the options.
const (
	optionURL      = "url"
	optionMapping  = "mapping"
	optionUser     = "username"
	optionPassword = "password"
	optionAPIKey   = "api-key"
	optionCA       = "ca"
	optionRegion   = "aws-region"
	optionKeyID    = "aws-access-key-id"
	optionSecret   = "aws-secret-access-key"
	optionSession  = "aws-session-token"
	optionShards   = "shards"
	optionReplicas = "replicas"
	optionRefresh  = "refresh-interval"

	optionOnError = "on-error" // of every plugin
	optionTypes   = "types"    // so is this
)

// wholeState is the mapping that is taken if none is given.
const wholeState = "version: 1\n"

func options() []plugin.Option {
	return []plugin.Option{
		{Name: optionURL, Help: "addresses of the cluster's nodes, separated by commas, each with http:// or https://", Form: plugin.List, Required: true, Check: checkURLs, Address: true},
		{Name: optionMapping, Help: "file that says which events become which fields; without one, every field of every aggregate", Form: plugin.File, Default: wholeState},
		{Name: optionUser, Help: "user, for basic authentication"},
		{Name: optionPassword, Help: "password of the user", Secret: true},
		{Name: optionAPIKey, Help: "key that is sent as Authorization: ApiKey", Secret: true, Check: checkHeader},
		{Name: optionCA, Help: "file with the certificates (PEM) that the cluster's own is signed by; without one, those that the system trusts", Form: plugin.File, Check: plugin.CheckCertificates},
		{Name: optionRegion, Help: "region of an Amazon OpenSearch Service domain; requests are signed (SigV4) then"},
		{Name: optionKeyID, Help: "access key of AWS"},
		{Name: optionSecret, Help: "secret access key of AWS", Secret: true},
		{Name: optionSession, Help: "session token of AWS, for temporary keys", Secret: true},
		{Name: optionShards, Help: "shards of an index", Form: plugin.Integer, Default: "1", Min: 1, Max: 1024},
		{Name: optionReplicas, Help: "copies of each shard", Form: plugin.Integer, Default: "1", Min: 0, Max: 20},
		{Name: optionRefresh, Help: "how soon searches see what was written", Form: plugin.Duration, Default: "1s", Min: 100, Max: 3_600_000},
	}
}

func checkURLs(value string) error {
	for _, text := range strings.Split(value, ",") {
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			return errors.New("an address is http:// or https://, a host, and a port if it is not the usual one")
		case u.User != nil:
			return errors.New("an address holds no user: give --username and --password")
		case u.RawQuery != "" || u.Fragment != "":
			return errors.New("an address ends with its path")
		}
	}
	return nil
}

func checkHeader(value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("it can hold no line break and nothing beyond ASCII")
	}
	return nil
}

func mappedTo(v plugin.Values) mapping.Target { return mapping.Target{Types: v.List(optionTypes)} }

// check looks at options against each other, and at the mapping against the schemas.
func check(s plugin.Settings) []error {
	problems := checkAccess(s.Options)
	m, err := mapping.Compile([]byte(s.Options[optionMapping]), s.Schemas, mappedTo(s.Options))
	if err != nil {
		return append(problems, mapping.Check([]byte(s.Options[optionMapping]), s.Schemas, mappedTo(s.Options))...)
	}
	problems = append(problems, checkTargets(m, s)...)
	if m.Keeps() && s.Options[optionOnError] == "park" {
		problems = append(problems, fmt.Errorf("--%s=park lets later changes pass a parked one, but with this mapping a document keeps what only earlier changes gave, "+
			"so the parked one would be lost: give --%s=block, or take the fields from state without a condition", optionOnError, optionOnError))
	}
	return problems
}

// show writes the mapping out: what is copied, every type, every default.
func show(s plugin.Settings) plugin.Values {
	m, err := mapping.Compile([]byte(s.Options[optionMapping]), s.Schemas, mappedTo(s.Options))
	if err != nil {
		return s.Options // schemas that changed meanwhile contradict it: shown as it was given
	}
	if whole, err := m.YAML(); err == nil {
		s.Options[optionMapping] = string(whole)
	}
	return s.Options
}

func checkAccess(v plugin.Values) (problems []error) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if (v[optionUser] == "") != (v[optionPassword] == "") {
		wrong("--%s and --%s belong together", optionUser, optionPassword)
	}
	ways := 0
	for _, way := range []string{optionUser, optionAPIKey, optionRegion} {
		if v[way] != "" {
			ways++
		}
	}
	if ways > 1 {
		wrong("--%s, --%s and --%s exclude each other", optionUser, optionAPIKey, optionRegion)
	}
	if (v[optionRegion] == "") != (v[optionKeyID] == "") || (v[optionRegion] == "") != (v[optionSecret] == "") {
		wrong("--%s, --%s and --%s belong together", optionRegion, optionKeyID, optionSecret)
	}
	if v[optionCA] != "" && strings.Contains(v[optionURL], "http://") {
		wrong("--%s is of use with addresses of https:// only", optionCA)
	}
	return problems
}

// indexName is what OpenSearch allows, less what only confuses (https://docs.opensearch.org/2.19/api-reference/index-apis/create-index/).
var indexName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]*$`)

const maxTarget = 160 // bytes; an index has at most 255, with the names of plugin and generation

func checkTargets(m *mapping.Mapping, s plugin.Settings) (problems []error) {
	for _, t := range m.Types {
		name := m.Target.With(map[string]string{"type": t, "log": t, "site": s.Site, "year": "2006", "month": "01", "day": "02"})
		switch {
		case strings.HasPrefix(name, prefix):
			problems = append(problems, fmt.Errorf("mapping: target %q is no name for readers: those that begin with %s are of the indices of plugins themselves", name, prefix))
		case !indexName.MatchString(name) || len(name) > maxTarget:
			problems = append(problems, fmt.Errorf("mapping: target %q is no name of an index: lower-case letters, digits, _, . and -, first a letter or digit, at most %d", name, maxTarget))
		}
	}
	return problems
}
