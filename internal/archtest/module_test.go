package archtest_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// modFile is what `go mod edit -json` says.
type modFile struct {
	Require []struct {
		Path     string
		Version  string
		Indirect bool
	}
	Replace []struct{ Old struct{ Path string } }
	Exclude []struct{ Path string }
	Tool    []struct{ Path string }
}

func readModFile(t *testing.T) modFile {
	t.Helper()
	edit := exec.Command("go", "mod", "edit", "-json")
	edit.Dir, edit.Stderr = root(t), os.Stderr
	out, err := edit.Output()
	if err != nil {
		t.Fatalf("go mod edit: %v", err)
	}
	var m modFile
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatalf("read go mod edit: %v", err)
	}
	return m
}

// Every module that code or a test imports is named with its version in go.mod by itself, not only because another module needs it.
func TestDependenciesArePinned(t *testing.T) {
	m := readModFile(t)
	for _, r := range m.Replace {
		t.Errorf("go.mod replaces %s: nobody who uses the module gets that", r.Old.Path)
	}
	for _, e := range m.Exclude {
		t.Errorf("go.mod excludes %s: nobody who uses the module gets that", e.Path)
	}
	told := map[string]bool{}
	for path, p := range packages(t) {
		for _, i := range slices.Concat(p.Imports, p.ownTestImports()) {
			if isStandard(i) || isOwn(i) {
				continue
			}
			name, direct := m.requires(i)
			switch {
			case name == "":
				t.Errorf("%s imports %s, which go.mod does not name", path, i)
			case !direct && !told[name]:
				told[name] = true
				t.Errorf("go.mod has %s as `// indirect`, but %s imports it: run go mod tidy", name, path)
			}
		}
	}
}

// requires finds the module that holds a package: the one with the longest path. No name: there is none.
func (m modFile) requires(path string) (name string, direct bool) {
	for _, r := range m.Require {
		if (path == r.Path || strings.HasPrefix(path, r.Path+"/")) && len(r.Path) > len(name) {
			name, direct = r.Path, !r.Indirect
		}
	}
	return name, direct
}

// Tools run at the version that go.mod pins: `go tool NAME`. What a script fetches at @latest is another program every day.
func TestToolsArePinned(t *testing.T) {
	tools := readModFile(t).Tool
	for _, want := range []string{"honnef.co/go/tools/cmd/staticcheck"} {
		if !slices.ContainsFunc(tools, func(tool struct{ Path string }) bool { return tool.Path == want }) {
			t.Errorf("go.mod has no tool directive for %s", want)
		}
	}
	for _, path := range []string{"Makefile", ".ci/run"} {
		content, err := os.ReadFile(filepath.Join(root(t), path))
		if err != nil {
			t.Error(err)
		} else if strings.Contains(string(content), "@latest") {
			t.Errorf("%s fetches something at @latest: pin it in go.mod", path)
		}
	}
}
