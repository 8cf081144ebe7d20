package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/client"
)

// TestPagesOfAnySize: a page has as many rows as --take says, also where that is more than one answer holds, and its cursor goes on behind it.
func TestPagesOfAnySize(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const rows, take = 2300, 2100
	var csv strings.Builder
	csv.WriteString("id,text\n")
	for i := range rows {
		fmt.Fprintf(&csv, "N%04d,x\n", i)
	}
	for name, text := range map[string]string{"rows.csv": csv.String(), "mapping.yaml": "id: id\nevent: {always: note}\nfields: {text: text}\n"} {
		if err := os.WriteFile(s.file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.must("data:import", s.file("rows.csv"), "--aggregate=ward", "--mapping="+s.file("mapping.yaml"))
	for _, list := range [][]string{{"aggregate:list", "ward"}, {"aggregate:list", "ward", "--sort=-text"}, {"event:list", "--type=ward/note"}} {
		cursor, seen := "", map[string]bool{}
		for _, want := range []int{take, rows - take} {
			var page struct {
				Aggregates, Events []client.Summary // of events type and id alone
				Cursor             string
			}
			s.ask(&page, append(list, fmt.Sprint("--take=", take), "--cursor="+cursor)...)
			all := append(page.Aggregates, page.Events...)
			for _, one := range all {
				seen[one.ID] = true
			}
			if cursor = page.Cursor; len(all) != want || (cursor == "") != (want < take) {
				t.Errorf("%s: got %d rows and the cursor %q, want %d rows", list, len(all), cursor, want)
			}
		}
		if len(seen) != rows {
			t.Errorf("%s: got %d different ones, want %d", list, len(seen), rows)
		}
	}
}
