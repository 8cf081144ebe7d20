package archtest_test

import (
	"go/ast"
	"path"
	"slices"
	"testing"
)

// programs end with their goroutines; their smoke tests run them as processes.
var programs = []string{"bench", "bench/server"}

// Every package whose code starts goroutines fails its tests when one of them is left behind.
func TestLeaksAreLookedFor(t *testing.T) {
	starts, looks, tested := map[string]string{}, map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		folder := path.Dir(s.path)
		if s.test {
			tested[folder] = true
			looks[folder] = looks[folder] || imports(s.file, goleak)
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if startsGoroutine(n) {
				starts[folder] = s.at(n)
			}
			return true
		})
	}
	if len(starts) < 5 {
		t.Fatalf("got %d packages that start goroutines, want to see them", len(starts))
	}
	for folder, at := range starts {
		if tested[folder] && !looks[folder] && !slices.Contains(programs, folder) {
			t.Errorf("%s starts a goroutine, and no test of %s calls goleak", at, folder)
		}
	}
}

func imports(f *ast.File, path string) bool {
	return slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"`+path+`"` })
}

// startsGoroutine knows the go statement and the method Go of wait groups.
func startsGoroutine(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		return true
	case *ast.CallExpr:
		s, ok := n.Fun.(*ast.SelectorExpr)
		return ok && s.Sel.Name == "Go"
	}
	return false
}
