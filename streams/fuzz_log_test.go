package streams_test

import (
	"testing"

	"github.com/eventfuldb/eventful/streams"
)

// FuzzLogOf holds that the log that is read of a stream's name leads to that name.
func FuzzLogOf(f *testing.F) {
	for _, seed := range []string{"EVT_here_patient", "EVT_here_", "EVT_here_a_b", "EVT_there_patient", "EVT_here_*", "evt_here_patient", "", "EVT_here_eventful"} {
		f.Add("here", seed)
	}
	f.Fuzz(func(t *testing.T, site, stream string) {
		log, ok := streams.LogOf(site, stream)
		if !ok {
			return
		}
		settings, err := streams.LogSettings(site, log, 1)
		if err != nil {
			return // no site has this name
		}
		if got := settings[0].Value; got != stream {
			t.Errorf("got the stream %v of log %q, want %q", got, log, stream)
		}
	})
}
