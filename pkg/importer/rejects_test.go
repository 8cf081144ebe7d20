package importer_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/eventfuldb/eventful/pkg/importer"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func TestRejectFileSparesWhatIsRead(t *testing.T) {
	rows := write(t, "rows.csv", "id\nA\n")
	dir := filepath.Dir(rows)
	other := write(t, "other.ndjson", "{}\n")
	symlink, hard := filepath.Join(dir, "symlink"), filepath.Join(dir, "hard")
	if err := errors.Join(os.Symlink("rows.csv", symlink), os.Link(rows, hard)); err != nil {
		t.Fatal(err)
	}
	for _, rejects := range []string{rows, dir + "/./rows.csv", symlink, hard} {
		err := importer.NewRejectFile(rejects).Spare("", other, rows)
		if !errors.Is(err, &problem.Problem{Code: problem.Malformed}) {
			t.Errorf("%s: got %v, want malformed", rejects, err)
		}
	}
	for _, rejects := range []string{other, filepath.Join(dir, "new")} {
		if err := importer.NewRejectFile(rejects).Spare(rows, filepath.Join(dir, "missing")); err != nil {
			t.Errorf("%s: %v", rejects, err)
		}
	}
	if got, want := read(t, rows), "id\nA\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
