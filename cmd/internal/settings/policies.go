package settings

import (
	"errors"
	"fmt"
	"strings"

	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/event"
)

// forLogs checks a setting that is VALUE for every log, LOG=VALUE for one, or several of them with commas between; empty: nothing is set.
func forLogs(check func(value string) error, example string) func(string) error {
	return func(text string) error {
		if text == "" {
			return nil
		}
		for part := range strings.SplitSeq(text, ",") {
			log, value, named := strings.Cut(part, "=")
			err := error(nil)
			if named {
				err = event.CheckLog(log)
			} else {
				value = part
			}
			if err == nil {
				err = check(value)
			}
			if err != nil {
				return fmt.Errorf("%w, for example %s", err, example)
			}
		}
		return nil
	}
}

// checkSize is checkBytes for a size above zero.
func checkSize(s string) error {
	n, err := space.Parse(s)
	if err == nil && n == 0 {
		err = errors.New("a size above zero is wanted")
	}
	if err != nil {
		return fmt.Errorf("%q: %w", s, err)
	}
	return nil
}
