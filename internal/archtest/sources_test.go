package archtest_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Sizes that code (tests apart) keeps.
const (
	maxFileLines     = 399
	maxFunctionLines = 60
)

// mayPanic are the files with a panic that no input can reach, or that a wrong program reaches at its first call.
var mayPanic = []string{
	"cmd/eventful/start.go",      // hides a flag that was defined the line before
	"pkg/aggregate/aggregate.go", // a digest of what Check refuses
	"pkg/keyring/seal.go",        // a cipher with a key of fixed length
	"pkg/problem/problem.go",     // a code that is not in the closed table
	"pkg/schema/canonical.go",    // JSON of plain values
	"pkg/schema/system.go",       // the definitions in the file itself
}

// source is one parsed Go file.
type source struct {
	path  string // slashes, from the root
	test  bool
	lines int
	set   *token.FileSet
	file  *ast.File
}

func (s *source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.path, s.set.Position(n.Pos()).Line)
}

// files calls visit with every text file of the repository, save data.
func files(t *testing.T, visit func(path string, content []byte)) {
	t.Helper()
	top := root(t)
	err := filepath.WalkDir(top, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err := filepath.Rel(top, full)
		if err != nil {
			return err
		}
		path = filepath.ToSlash(path)
		switch {
		case d.IsDir() && (path == ".git" || path == "bin" || path == ".eventful" || strings.HasSuffix(path, "testdata/fuzz")):
			return filepath.SkipDir
		case !d.Type().IsRegular() || slices.Contains([]string{".csv", ".json", ".sum"}, filepath.Ext(path)):
			return nil
		}
		content, err := os.ReadFile(full)
		if err == nil && !bytes.Contains(content[:min(len(content), 8000)], []byte{0}) {
			visit(path, content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sources(t *testing.T) []*source {
	t.Helper()
	var out []*source
	files(t, func(path string, content []byte) {
		if filepath.Ext(path) != ".go" {
			return
		}
		s := &source{path: path, test: strings.HasSuffix(path, "_test.go"), lines: bytes.Count(content, []byte("\n")), set: token.NewFileSet()}
		var err error
		if s.file, err = parser.ParseFile(s.set, path, content, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			t.Errorf("%s does not parse: %v", path, err)
			return
		}
		out = append(out, s)
	})
	return out
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if s.lines > maxFileLines {
			t.Errorf("%s has %d lines, a file has at most %d: cut it by what its parts are about", s.path, s.lines, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, a function has at most %d", s.at(f), f.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

func TestOnePackageComment(t *testing.T) {
	commented := map[string][]string{} // by folder and package
	for _, s := range sources(t) {
		if s.file.Doc != nil {
			key := filepath.Dir(s.path) + " " + s.file.Name.Name
			commented[key] = append(commented[key], s.path)
		}
	}
	for _, paths := range commented {
		if len(paths) > 1 {
			t.Errorf("a package has one package comment, this one has several: %s", strings.Join(paths, ", "))
		}
	}
}

func TestNoInit(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init() is not allowed: mains list what they use", s.at(f))
			}
		}
	}
}

// TestForbiddenCalls looks at names, not at types: a variable that hides a package of the same name would mislead it.
func TestForbiddenCalls(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			inside := ""
			if f, ok := d.(*ast.FuncDecl); ok {
				inside = f.Name.Name
			}
			ast.Inspect(d, func(n ast.Node) bool {
				if why := forbidden(s, n, inside); why != "" {
					t.Errorf("%s: %s", s.at(n), why)
				}
				return true
			})
		}
	}
}

// forbidden says why a node must not stand in its file, inside a function of that name; or nothing.
func forbidden(s *source, n ast.Node, inside string) string {
	if call, ok := n.(*ast.CallExpr); ok {
		if name, ok := call.Fun.(*ast.Ident); ok {
			return forbiddenBuiltin(s, name.Name)
		}
	}
	sel, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	from, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	program := func(folder string) bool { return strings.HasPrefix(s.path, folder+"/") }
	library := !s.test && !slices.ContainsFunc([]string{"bench", "cmd", "examples", "internal/mutate"}, program)
	switch name := from.Name + "." + sel.Sel.Name; name {
	case "time.Sleep":
		return name + " waits for luck: poll with a deadline and a timer, or take the clock as a value"
	case "fmt.Print", "fmt.Printf", "fmt.Println", "os.Stdout", "os.Stderr":
		if library {
			return name + " in a library: give the value back, or log it with fields"
		}
	case "os.Exit":
		if !strings.HasPrefix(s.path, "cmd/") && inside != "main" && inside != "TestMain" {
			return name + " outside cmd/: return an error"
		}
	case "log.Fatal", "log.Fatalf", "log.Fatalln", "log.Panic", "log.Panicf", "log.Print", "log.Printf", "log.Println":
		if !s.test {
			return name + ": return an error, or log with zerolog"
		}
	case "time.Now", "time.Since", "time.Until":
		if !s.test && slices.Contains(pure, filepath.ToSlash(filepath.Dir(s.path))) {
			return name + " in a pure package: time arrives in the command"
		}
	}
	return ""
}

func forbiddenBuiltin(s *source, name string) string {
	switch {
	case name == "println" || name == "print":
		return name + " is for debugging"
	case name == "panic" && !s.test && !slices.Contains(mayPanic, s.path):
		return "panic outside the files of the list mayPanic: return an error"
	}
	return ""
}

func TestPanicListIsTrue(t *testing.T) {
	for _, path := range mayPanic {
		content, err := os.ReadFile(filepath.Join(root(t), path))
		if err != nil || !bytes.Contains(content, []byte("panic(")) {
			t.Errorf("the list mayPanic holds %s, where there is no panic", path)
		}
	}
}

// Written in two parts, so that this file does not hold them.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)

func TestNothingUnfinished(t *testing.T) {
	files(t, func(path string, content []byte) {
		for i, line := range bytes.Split(content, []byte("\n")) {
			if word := unfinished.Find(line); word != nil {
				t.Errorf("%s:%d: %s: do it, or write down what is not done where its users read it", path, i+1, word)
			}
		}
	})
}
