package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// repositoryFile reads a file of the repository.
func repositoryFile(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Who runs the image owns its data folder, alone: a new volume takes owner and mode of the folder below it.
func TestImageFolder(t *testing.T) {
	build, image, found := strings.Cut(repositoryFile(t, "Dockerfile"), "\nFROM scratch\n")
	if !found {
		t.Fatal("the image is not made from scratch")
	}
	user := regexp.MustCompile(`(?m)^USER (\d+:\d+)$`).FindStringSubmatch(image)
	if user == nil || strings.HasPrefix(user[1], "0:") {
		t.Fatalf("got user %q, want one that is a number and not root", user)
	}
	folder := regexp.MustCompile(`\bEVENTFUL_DATA_DIR=/(\w+)\b`).FindStringSubmatch(image)
	if folder == nil {
		t.Fatal("the image does not say where its data lies")
	}
	if want := "mkdir -m 700 /volumes/" + folder[1] + "\n"; !strings.Contains(build, want) {
		t.Errorf("the build does not make the folder: no %q", want)
	}
	if want := "COPY --from=build --chown=" + user[1] + " /volumes/ /\n"; !strings.Contains(image, want) {
		t.Errorf("the folder is not the user's: no %q", want)
	}
	if want := "WORKDIR /" + folder[1] + "\n"; !strings.Contains(image, want) {
		t.Errorf("relative paths lie elsewhere: no %q", want)
	}
}

// What docs/deploy.md makes in the repository's folder gets neither into an image's build nor into a commit.
func TestSecretsStayOut(t *testing.T) {
	context := strings.Fields(repositoryFile(t, ".dockerignore"))
	for _, path := range []string{".env", "deploy/data", ".git", "bin", "**/.eventful"} {
		if !slices.Contains(context, path) {
			t.Errorf(".dockerignore does not name %s", path)
		}
	}
	if !slices.Contains(strings.Fields(repositoryFile(t, ".gitignore")), "/.env") {
		t.Error(".gitignore does not name /.env")
	}
	if !slices.Contains(strings.Fields(repositoryFile(t, "deploy", ".gitignore")), "/data/") {
		t.Error("deploy/.gitignore does not name /data/")
	}
}
