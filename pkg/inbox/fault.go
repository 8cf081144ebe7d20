package inbox

import (
	"fmt"
	"sync"
)

// patientFor is how many deliveries in a row may end before that is a fault: one ends whenever the connection does.
const patientFor = 1

// fault is why letters are not delivered.
type fault struct {
	mu   sync.Mutex // guards the others
	runs int        // deliveries in a row that ended without a letter
	err  error      // of the last of them
}

// Fault is why commands of the inbox are not delivered, while several deliveries in a row have failed; nil: nothing is known to be in the way, or another process
// empties the inbox. The commands stay where they are. It can be called from several goroutines.
func (i *Inbox) Fault() error {
	f := &i.fault
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.runs <= patientFor {
		return nil
	}
	return fmt.Errorf("commands of the inbox are not delivered: %w", f.err)
}

func (f *fault) failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runs, f.err = f.runs+1, err
}

func (f *fault) over() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runs, f.err = 0, nil
}
