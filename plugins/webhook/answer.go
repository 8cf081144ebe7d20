package webhook

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

const (
	// maxAnswer is how many bytes of an answer are read.
	maxAnswer = 64 << 10
	// maxQuote is how many of them a cause quotes.
	maxQuote = 200
	// maxPause is the longest pause that a receiver gets by Retry-After.
	maxPause = time.Hour
)

// temporary are the statuses 4xx that speak of the receiver, of the way to it or of who asks, and not of the change: the same request may succeed later, or when somebody
// mended the configuration. So do all of 3xx and 5xx. Other statuses refuse the change.
var temporary = []int{
	http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired,
	http.StatusRequestTimeout, http.StatusGone, http.StatusMisdirectedRequest, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests,
}

// judge says what an answer means for the change.
func (t *target) judge(answer *http.Response, said []byte) plugin.Outcome {
	status := answer.StatusCode
	if status >= 200 && status <= 299 {
		return plugin.Done()
	}
	err := fmt.Errorf("the receiver answered %d %s%s", status, http.StatusText(status), quote(answer, said))
	switch {
	case t.parks[status]:
		return plugin.Park(err)
	case status >= 300 && status <= 399:
		return plugin.Retry(fmt.Errorf("%w: redirects are not followed, give the address itself", err))
	case status >= 500 || slices.Contains(temporary, status):
		return plugin.RetryAfter(err, pause(answer.Header.Get("Retry-After"), time.Now()))
	}
	return plugin.Park(err)
}

// quote gives the beginning of a text that was meant to be read.
func quote(answer *http.Response, said []byte) string {
	kind, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if kind != "text/plain" && kind != "application/json" && kind != "application/problem+json" {
		return ""
	}
	text := strings.Join(strings.FieldsFunc(strings.ToValidUTF8(string(said[:min(len(said), maxQuote)]), ""), func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\ufeff' }), " ")
	if text == "" {
		return ""
	}
	return ": " + strconv.QuoteToGraphic(text)
}

// pause reads Retry-After (RFC 9110, section 10.2.3): seconds, or a date. 0: there is none that means anything.
func pause(text string, now time.Time) time.Duration {
	if text == "" {
		return 0
	}
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxPause)
}
