package plugin

import "time"

// Status is what became of a change.
type Status int

// The three statuses; there is no other.
const (
	// StatusRetry: it did not arrive, or nobody knows; it is delivered again. The zero value, so that a forgotten outcome repeats a change instead of losing it.
	StatusRetry Status = 0
	// StatusDone: it arrived and stays there, or the target has this version or a higher one already.
	StatusDone Status = 1
	// StatusPark: the target refuses this change and will go on to; a person has to look. It is kept with its cause and, if so configured, passed over.
	StatusPark Status = 2
)

// String is a word for a log or a table.
func (s Status) String() string {
	switch s {
	case StatusDone:
		return "done"
	case StatusPark:
		return "park"
	}
	return "retry"
}

// Outcome is what became of one change. Make it by Done, Retry, RetryAfter or Park.
type Outcome struct {
	Status Status
	// Err is why the change is not done. Its text is shown to operators and kept with a parked change: it names what the target said, and no values of fields, since these may be a patient's.
	Err error
	// After is the shortest time until the change may come again, as the target asked (Retry-After); 0: as the engine sees fit.
	After time.Duration
}

// Done says that the change arrived.
func Done() Outcome { return Outcome{Status: StatusDone} }

// Retry says that the change did not arrive, or may not have.
func Retry(err error) Outcome { return Outcome{Err: err} }

// RetryAfter is Retry where the target said how long to wait.
func RetryAfter(err error, wait time.Duration) Outcome { return Outcome{Err: err, After: wait} }

// Park says that the target refuses this change for good.
func Park(err error) Outcome { return Outcome{Status: StatusPark, Err: err} }

// All gives n times the same outcome, for what failed or went through as a whole.
func All(n int, o Outcome) []Outcome {
	all := make([]Outcome, n)
	for i := range all {
		all[i] = o
	}
	return all
}
