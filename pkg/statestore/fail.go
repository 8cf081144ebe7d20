package statestore

// Step is a moment at which a test may have a store fail.
type Step string

// The steps. A failed one is told as its operation's error.
const (
	BeforeUpdate Step = "before update" // nothing of the batch is stored
	AfterUpdate  Step = "after update"  // the batch is stored
	BeforeClose  Step = "before close"  // before the files are flushed
	AfterClose   Step = "after close"   // the folder is closed
)

// fail asks the test, if there is one.
func (s *Store) fail(at Step) error {
	if s.failing == nil {
		return nil
	}
	return s.failing(at)
}
