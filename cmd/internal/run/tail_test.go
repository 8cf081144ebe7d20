package run_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/cmd/internal/run"
)

func logOf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.log")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTail(t *testing.T) {
	var long strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&long, "line %d\n", i)
	}
	for _, c := range []struct {
		name, text string
		lines      int
		want       string
	}{
		{"empty", "", 3, ""},
		{"all", "a\nb\n", 0, "a\nb\n"},
		{"more than there are", "a\nb\n", 3, "a\nb\n"},
		{"exactly", "a\nb\n", 2, "a\nb\n"},
		{"the last", "a\nb\n", 1, "b\n"},
		{"the last is not ended", "a\nb", 1, "b"},
		{"empty lines count", "a\n\n\n", 2, "\n\n"},
		{"across chunks", long.String(), 10000, long.String()[strings.Index(long.String(), "line 10000\n"):]},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got bytes.Buffer
			if err := (run.Tail{Path: logOf(t, c.text), Lines: c.lines}).Copy(t.Context(), &got); err != nil {
				t.Fatal(err)
			}
			if got.String() != c.want {
				t.Errorf("got %.100q, want %.100q", got.String(), c.want)
			}
		})
	}
}

// lines hands each line that is written to a channel.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

func TestTailFollows(t *testing.T) {
	path := logOf(t, "old\n")
	ctx, cancel := context.WithCancel(t.Context())
	got, done := make(lines), make(chan error, 1)
	go func() { done <- run.Tail{Path: path, Lines: 1, Follow: true}.Copy(ctx, got) }()
	want := func(text string) {
		t.Helper()
		if line := <-got; line != text {
			t.Errorf("got %q, want %q", line, text)
		}
	}
	want("old\n")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"in two ", "parts\n", "next\n"} {
		if _, err := f.WriteString(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want("in two parts\n")
	want("next\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("a new file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("a new file\n")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("got error %v at the end, want none", err)
	}
}
