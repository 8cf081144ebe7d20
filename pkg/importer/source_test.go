package importer_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/importer"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// write makes a file with the given content.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func open(t testing.TB, format importer.Format, content string) *importer.File {
	t.Helper()
	f, err := importer.OpenFile(t.Context(), write(t, "rows", content), format, 0)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return f
}

func TestOpenFileCounts(t *testing.T) {
	f := open(t, importer.CSV, "\ufeffid,event\r\nA,x\r\n\r\nB,\"y\r\nz\"\r\n")
	if f.Rows != 2 || f.Header[0] != "id" {
		t.Errorf("got %d rows and header %q, want 2 rows and id first", f.Rows, f.Header)
	}
	const want = "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356" // printf '{}\n' | sha256sum
	if got := open(t, importer.NDJSON, "{}\n").Digest; got != want {
		t.Errorf("digest: got %q, want %q", got, want)
	}
}

func TestOpenFileRefuses(t *testing.T) {
	for _, c := range []struct{ name, format, content, want string }{
		{"empty csv", "csv", "", "the file is empty"},
		{"header alone", "csv", "id,event\n", "has no rows"},
		{"cut in a row", "csv", "id,event\nA,x\nB", "line 3: 1 cells, the header has 2, and the file ends there"},
		{"cut in quotes", "csv", "id,event\nA,x\nB,\"y\nz\n", "line 3: the file ends inside a quoted cell"},
		{"utf-16", "csv", "\xff\xfei\x00d\x00", "UTF-16"},
		{"bad header", "csv", "id,\"ev\"ent\nA,x\n", "the header cannot be read"},
		{"binary header", "csv", "id,\xff\nA,x\n", "not valid UTF-8"},
		{"empty ndjson", "ndjson", "\n\n", "has no rows"},
		{"cut in an object", "ndjson", "{\"id\":\"A\"}\n{\"id\":", "line 2: the file ends inside a JSON object"},
		{"format", "xml", "<a/>", "does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := importer.OpenFile(t.Context(), write(t, "rows", c.content), importer.Format(c.format), 0)
			if p := problem.From(err); p.Code != problem.Malformed || !strings.Contains(p.Detail, c.want) {
				t.Errorf("got %v, want malformed with %q", err, c.want)
			}
		})
	}
}

func TestOpenFileThatIsNone(t *testing.T) {
	if _, err := importer.OpenFile(t.Context(), filepath.Join(t.TempDir(), "no"), importer.CSV, 0); !errors.Is(err, &problem.Problem{Code: problem.NotFound}) {
		t.Errorf("missing file: got %v, want not_found", err)
	}
	if _, err := importer.OpenFile(t.Context(), t.TempDir(), importer.CSV, 0); !errors.Is(err, &problem.Problem{Code: problem.Malformed}) {
		t.Errorf("folder: got %v, want malformed", err)
	}
}

// TestEndlessRow refuses a row of one gigabyte (a sparse file) by its line, in both formats, with little memory.
func TestEndlessRow(t *testing.T) {
	starts := map[importer.Format]string{importer.CSV: "id,event\nA,x\n", importer.NDJSON: "{\"id\":1}\n\n"}
	for format, start := range starts {
		t.Run(string(format), func(t *testing.T) {
			path := write(t, "rows", start)
			if err := os.Truncate(path, 1<<30); err != nil {
				t.Skipf("no sparse files here: %v", err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := importer.OpenFile(t.Context(), path, format, 0)
			runtime.ReadMemStats(&after)
			if p := problem.From(err); p.Code != problem.Malformed || !strings.Contains(p.Detail, "line 3: a row is longer") {
				t.Errorf("got %v, want malformed at line 3", err)
			}
			if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 64 {
				t.Errorf("got %d MiB allocated, want at most 64", got)
			}
		})
	}
}

func FuzzOpenFile(f *testing.F) {
	for _, s := range []string{"id,event\nA,x\n", "id\n\"A\n", "{\"id\":1.10,\"x\":null}\n", "{\"a\":\"\\ud800\"}\n", "{\"a\":[1]}", "\xef\xbb\xbfid\n1\n"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, content string, csv bool) {
		format := importer.NDJSON
		if csv {
			format = importer.CSV
		}
		file, err := importer.OpenFile(t.Context(), write(t, "rows", content), format, 0)
		if err == nil && (file.Rows == 0 || file.Bytes != int64(len(content))) {
			t.Fatalf("got %d rows in %d bytes of %d", file.Rows, file.Bytes, len(content))
		}
	})
}

func TestStoppedNamesTheFirstRow(t *testing.T) {
	f := open(t, importer.CSV, "\"id\nof\",event\nA,X\nB,X\n")
	err := f.Stopped(problem.New(problem.Unauthenticated, "the token expired"))
	if p := problem.From(err); p.Code != problem.Unauthenticated || !strings.Contains(p.Detail, "row 1 (line 3)") || p.Hint == "" {
		t.Errorf("got %v, want row 1 (line 3), unauthenticated, with a hint", err)
	}
}
