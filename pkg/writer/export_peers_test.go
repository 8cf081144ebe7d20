package writer

import (
	"encoding/json"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// Verbs are those of calls between writers.
var Verbs = []string{verbGrant, verbHandBack, verbUsage, verbFreeze, verbCheck, verbThaw, verbBarrier, verbConfig, verbResign, verbForget, verbRollback, verbCondemn, verbStanding, "unheard-of"}

// RewriteCall and RewriteResult read what one writer sends another, and write it again.
func RewriteCall(b []byte) ([]byte, error) {
	c, err := decodeCall(b)
	if err != nil {
		return nil, err
	}
	return json.Marshal(c)
}

func RewriteResult(b []byte) ([]byte, error) {
	r, err := decodeResult(b)
	if err != nil {
		return nil, err
	}
	_ = problem.Join(r.Found)
	return json.Marshal(r)
}
