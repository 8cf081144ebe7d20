package jetlog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/jetlog"
)

// A change that met one in flight is sent again until the server says what holds; any other answer stands, and so does the refusal in the end.
func TestAChangeMeetsAnotherInFlight(t *testing.T) {
	inFlight := fmt.Errorf("put: %w", &jetstream.APIError{Code: 400, ErrorCode: 10164})
	taken := &jetstream.APIError{Code: 400, ErrorCode: 10071}
	tests := []struct {
		name    string
		answers []error
		want    error
	}{
		{"at once", []error{nil}, nil},
		{"in flight twice", []error{inFlight, inFlight, nil}, nil},
		{"in flight, then taken", []error{inFlight, taken}, taken},
		{"no answer", []error{context.DeadlineExceeded}, context.DeadlineExceeded},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			asked := 0
			at, err := jetlog.Settled(t.Context(), func(context.Context) (uint64, error) {
				asked++
				return uint64(asked), test.answers[asked-1]
			})
			if !errors.Is(err, test.want) || asked != len(test.answers) || int(at) != asked {
				t.Errorf("got %d, %v after %d tries", at, err, asked)
			}
		})
	}
	if _, err := jetlog.Settled(t.Context(), func(context.Context) (uint64, error) { return 0, inFlight }); !errors.Is(err, inFlight) {
		t.Errorf("always in flight: got %v", err)
	}
}
