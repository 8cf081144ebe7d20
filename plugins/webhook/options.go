package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// Names of the options.
const (
	optionURL      = "url"
	optionMode     = "mode"
	optionSecret   = "secret"
	optionHeaders  = "headers"
	optionCA       = "ca"
	optionNetworks = "allow-networks"
	optionRequests = "requests"
	optionTimeout  = "request-timeout"
	optionPark     = "park-status"
)

// The modes of the CloudEvents HTTP binding.
const (
	modeStructured = "structured"
	modeBinary     = "binary"
)

// minSecret is the shortest secret, in bytes.
const minSecret = 16

func options() []plugin.Option {
	return []plugin.Option{
		{Name: optionURL, Help: "address that each change is sent to, http:// or https://", Required: true, Check: checkURL, Address: true},
		{Name: optionMode, Help: "structured (the whole CloudEvent is the body) or binary (its attributes are headers)", Form: plugin.Choice, Values: []string{modeStructured, modeBinary}, Default: modeStructured},
		{Name: optionSecret, Help: "what requests are signed with (HMAC-SHA256), at least 16 characters; without one they are not signed", Secret: true, Check: checkSecret},
		{Name: optionHeaders, Help: "further headers, NAME: VALUE, separated by line breaks", Secret: true, Check: checkHeaders},
		{Name: optionCA, Help: "file with the certificates (PEM) that the receiver's own is signed by; without one, those that the system trusts", Form: plugin.File, Check: plugin.CheckCertificates},
		{Name: optionNetworks, Help: "networks besides the public ones where the receiver may be, as 10.1.0.0/16, separated by commas", Form: plugin.List, Check: checkNetworks},
		{Name: optionRequests, Help: "requests under way at a time in each call", Form: plugin.Integer, Default: "8", Min: 1, Max: 256},
		{Name: optionTimeout, Help: "how long a request may take", Form: plugin.Duration, Default: "10s", Min: 10, Max: 600_000},
		{Name: optionPark, Help: "statuses that park a change besides those that always do, as 404,409, separated by commas", Form: plugin.List, Check: checkStatuses},
	}
}

// check looks at options against each other.
func check(s plugin.Settings) []error {
	if s.Options[optionCA] != "" && strings.HasPrefix(s.Options[optionURL], "http://") {
		return []error{fmt.Errorf("--%s is of use with an address of https:// only", optionCA)}
	}
	return nil
}

func checkURL(value string) error {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("an address is http:// or https://, a host, and a path")
	case u.User != nil:
		return errors.New("an address holds no user: give --headers-file with an Authorization")
	case u.Fragment != "":
		return errors.New("an address has no fragment")
	}
	return nil
}

func checkSecret(value string) error {
	if len(value) < minSecret {
		return fmt.Errorf("it must have at least %d characters", minSecret)
	}
	return nil
}

func checkHeaders(value string) error {
	_, err := parseHeaders(value)
	return err
}

// headerName is a token (RFC 9110, section 5.6.2).
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// parseHeaders reads NAME: VALUE lines. The error repeats nothing of them, as they are secret.
func parseHeaders(text string) (http.Header, error) {
	if text == "" {
		return nil, nil
	}
	headers := http.Header{}
	for line := range strings.Lines(strings.TrimRight(text, "\r\n") + "\n") {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		value = strings.Trim(value, " \t")
		switch {
		case !headerName.MatchString(name) || value == "":
			return nil, errors.New("a line is not NAME: VALUE")
		case ours(http.CanonicalHeaderKey(name)):
			return nil, errors.New("one of these headers is set by the plugin: no Content-*, Ce-*, Eventful-*, Host, User-Agent, or one that is about the connection")
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }):
			return nil, errors.New("a value can hold no control character and nothing beyond ASCII")
		}
		headers.Add(name, value)
	}
	return headers, nil
}

// ours reports whether a header, in its canonical form, is not for a configuration to set.
func ours(name string) bool {
	for _, prefix := range []string{"Content-", "Ce-", "Eventful-", "Proxy-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "Host", "User-Agent", "Connection", "Transfer-Encoding", "Trailer", "Te", "Upgrade", "Keep-Alive", "Expect", "Accept-Encoding":
		return true
	}
	return false
}

func checkNetworks(value string) error {
	_, err := parseNetworks(strings.Split(value, ","))
	return err
}

func checkStatuses(value string) error {
	for text := range strings.SplitSeq(value, ",") {
		if _, err := parseStatus(text); err != nil {
			return err
		}
	}
	return nil
}

func parseStatus(text string) (int, error) {
	status, err := strconv.Atoi(text)
	if err != nil || status < 300 || status > 599 {
		return 0, fmt.Errorf("%.20q is no status from 300 to 599", text)
	}
	return status, nil
}
