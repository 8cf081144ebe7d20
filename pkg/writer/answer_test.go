package writer_test

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// Answers are encoded by hand, letter for letter as encoding/json would.
func TestAnswersAreJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := &writer.Answer{
			Command: rapid.String().Draw(t, "command"), Repeated: rapid.Bool().Draw(t, "repeated"), DryRun: rapid.Bool().Draw(t, "dry run"),
			Time: time.Unix(0, rapid.Int64().Draw(t, "time")).UTC(),
			Commits: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) writer.CommitAnswer {
				return writer.CommitAnswer{
					Type: rapid.String().Draw(t, "type"), ID: rapid.String().Draw(t, "id"), Root: rapid.String().Draw(t, "root"), Position: rapid.String().Draw(t, "position"),
					FirstVersion: event.Version(rapid.Uint64().Draw(t, "first")), Version: event.Version(rapid.Uint64().Draw(t, "version")),
					Hashes: rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "hashes"),
				}
			}), 0, 3).Draw(t, "commits"),
		}
		if rapid.Bool().Draw(t, "no commits") {
			a.Commits = nil
		}
		want, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(a.AppendJSON([]byte("x"))); got != "x"+string(want) {
			t.Errorf("got %s, want %s", got[1:], want)
		}
	})
}
