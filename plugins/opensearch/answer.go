package opensearch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/opensearch-project/opensearch-go/v2/opensearchapi"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// request is one call of the client's API.
type request interface {
	Do(ctx context.Context, transport opensearchapi.Transport) (*opensearchapi.Response, error)
}

// cause is what OpenSearch says of an error.
type cause struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
}

// statusError is an answer to a whole request that is no success.
type statusError struct {
	status int
	cause
}

// Error says what OpenSearch answered, and what to do where that is known.
func (e *statusError) Error() string {
	text := fmt.Sprintf("OpenSearch answered %d %s", e.status, http.StatusText(e.status))
	if e.Type != "" {
		text += " (" + e.Type + ")"
	}
	switch e.status {
	case http.StatusUnauthorized:
		text += ": it does not take the credentials of this plugin"
	case http.StatusForbidden:
		text += ": the credentials of this plugin do not allow this"
	}
	return text
}

// busyError is a statusError that says how long to wait.
type busyError struct {
	error
	after time.Duration
}

func (e *busyError) Unwrap() error { return e.error }

const maxAfter = time.Minute // no answer makes us wait longer

// ask makes a request and gives the body of its answer; an answer that is no success is a *statusError.
func (t *target) ask(ctx context.Context, r request) ([]byte, error) {
	res, err := r.Do(ctx, t.client)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body) // in memory already
	if err != nil {
		return nil, fmt.Errorf("read the answer of OpenSearch: %w", err)
	}
	if res.StatusCode/100 == 2 {
		return body, nil
	}
	var said struct {
		Error json.RawMessage `json:"error"`
	}
	failed := &statusError{status: res.StatusCode}
	if json.Unmarshal(body, &said) == nil && json.Unmarshal(said.Error, &failed.cause) != nil {
		failed.cause = cause{}
	}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
		return nil, &busyError{failed, min(time.Duration(seconds)*time.Second, maxAfter)}
	}
	return nil, failed
}

// admin is ask for requests that hold no values of fields: the error tells the reason too.
func (t *target) admin(ctx context.Context, r request, what string) ([]byte, error) {
	body, err := t.ask(ctx, r)
	var failed *statusError
	if errors.As(err, &failed) && failed.Reason != "" {
		return nil, fmt.Errorf("%s: %w: %.500s", what, err, failed.Reason)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return body, nil
}

// itemOutcome is what the answer about one document means for its change.
func itemOutcome(status int, remove bool, c cause) plugin.Outcome {
	switch {
	case status/100 == 2, status == http.StatusNotFound && remove && c.Type == "", status == http.StatusConflict && c.Type == "version_conflict_engine_exception":
		return plugin.Done() // a document that is not there is removed; one with a higher version has this change, or what came after it
	case status == http.StatusBadRequest && !notItsFault[c.Type], status == http.StatusRequestEntityTooLarge:
		return plugin.Park(fmt.Errorf("OpenSearch refuses the document: %d %s%s", status, c.Type, field(c.Reason)))
	}
	return plugin.Retry(fmt.Errorf("OpenSearch answered %d %s for the document", status, c.Type))
}

// notItsFault are refusals with status 400 that say something about the index, not about the document.
var notItsFault = map[string]bool{"index_closed_exception": true, "invalid_alias_name_exception": true, "invalid_index_name_exception": true}

// fields find the name of the field in a reason, which holds ids and values too. Those are not shown.
var fields = []*regexp.Regexp{
	regexp.MustCompile(`^failed to parse field \[([A-Za-z0-9_.-]+)\] of type \[([a-z_]+)\]`),
	regexp.MustCompile(`^mapping set to strict, dynamic introduction of \[([A-Za-z0-9_.-]+)\] within`),
	regexp.MustCompile(`^Document contains at least one immense term in field="([A-Za-z0-9_.-]+)"`),
	regexp.MustCompile(`^object mapping for \[([A-Za-z0-9_.-]+)\] tried to parse`),
}

// field names the field that a reason is about, or nothing.
func field(reason string) string {
	for _, re := range fields {
		if m := re.FindStringSubmatch(reason); m != nil {
			text := ", field " + m[1]
			if len(m) > 2 {
				text += " of type " + m[2]
			}
			return text
		}
	}
	return ""
}
