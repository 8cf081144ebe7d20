package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	compose "github.com/compose-spec/compose-go/v2/types"
)

// loadCompose reads compose.yaml as docker compose does, with what docs/deploy.md puts into the environment.
func loadCompose(t *testing.T) (*compose.Project, string) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	project, err := loader.LoadWithContext(t.Context(), compose.ConfigDetails{
		WorkingDir:  root,
		ConfigFiles: []compose.ConfigFile{{Filename: filepath.Join(root, "compose.yaml")}},
		Environment: compose.Mapping{"JS_KEY": "k1", "EVENTFUL_UID": "1000", "EVENTFUL_GID": "1000"},
	}, func(o *loader.Options) { o.Profiles = []string{"cli"} })
	if err != nil {
		t.Fatal(err)
	}
	return project, root
}

func TestComposeLoads(t *testing.T) {
	project, _ := loadCompose(t)
	got := project.ServiceNames()
	slices.Sort(got)
	if want := []string{"cli", "nats1", "nats2", "nats3", "opensearch", "plugin-runner", "projector", "writer1", "writer2"}; !slices.Equal(got, want) {
		t.Errorf("got services %q, want %q", got, want)
	}
	ports := map[string]string{}
	for name, s := range project.Services {
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes port %s on %q: there is no TLS, want 127.0.0.1", name, p.Published, p.HostIP)
			}
			if other := ports[p.Published]; other != "" {
				t.Errorf("%s and %s both publish port %s", name, other, p.Published)
			}
			ports[p.Published] = name
		}
		if s.Privileged {
			t.Errorf("%s is privileged", name)
		}
	}
}

// What is mounted is part of the repository, or made by docs/deploy.md below deploy/data; nothing is run as root that need not be.
func TestComposeMounts(t *testing.T) {
	project, root := loadCompose(t)
	guide, err := os.ReadFile(filepath.Join(root, "docs", "deploy.md"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(who, path string) {
		rel, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		if made := strings.HasPrefix(rel, "deploy/data/"); made && strings.Contains(string(guide), rel) {
			return
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s uses %s, which is neither in the repository nor made in docs/deploy.md", who, rel)
		}
	}
	for _, s := range project.Secrets {
		check("a secret", s.File)
	}
	for name, s := range project.Services {
		for _, v := range s.Volumes {
			if v.Type == compose.VolumeTypeBind {
				check(name, v.Source)
			}
		}
		if strings.HasPrefix(name, "nats") || name == "opensearch" {
			continue
		}
		if s.User != "1000:1000" || !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") {
			t.Errorf("%s: got user %q, read only %t, dropped capabilities %q, want 1000:1000, true, ALL", name, s.User, s.ReadOnly, s.CapDrop)
		}
		if name == "cli" {
			if len(s.DependsOn) != 0 {
				t.Errorf("a command of cli starts %v, which may be down for a reason", s.GetDependencies())
			}
			continue
		}
		for i := range clusterSize {
			member := "nats" + string(rune('1'+i))
			if s.DependsOn[member].Condition != compose.ServiceConditionHealthy {
				t.Errorf("%s does not wait until %s is healthy", name, member)
			}
		}
	}
}

// The servers are of the version that the tests run, each with its name and its data, and the three have one key.
func TestComposeServers(t *testing.T) {
	project, root := loadCompose(t)
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(root, "deploy", "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range clusterSize {
		name := "nats" + string(rune('1'+i))
		s := project.Services[name]
		version := strings.TrimSuffix(strings.TrimPrefix(s.Image, "nats:"), "-alpine")
		if !strings.Contains(string(mod), "github.com/nats-io/nats-server/v2 v"+version+"\n") {
			t.Errorf("%s runs %s, which is not the nats-server of go.mod", name, s.Image)
		}
		for key, want := range map[string]string{"SERVER_NAME": name, "JS_KEY": "k1"} {
			if got := s.Environment[key]; got == nil || *got != want {
				t.Errorf("%s: %s is not %q", name, key, want)
			}
			if !strings.Contains(string(config), "$"+key) {
				t.Errorf("deploy/nats.conf does not use %s", key)
			}
		}
		if !slices.ContainsFunc(s.Volumes, func(v compose.ServiceVolumeConfig) bool { return v.Source == name && v.Target == "/data" }) {
			t.Errorf("%s has no volume %s at /data", name, name)
		}
		if !strings.Contains(string(config), "nats://"+name+":6222") {
			t.Errorf("deploy/nats.conf has no route to %s", name)
		}
	}
}

// Two writers, each with a folder of its own, and a projector run. They are told three replicas, and get nothing that they do not know: every EVENTFUL_ name is a setting or a secret.
func TestComposeEngines(t *testing.T) {
	project, _ := loadCompose(t)
	projector := project.Services["projector"]
	folders := map[string]string{}
	for _, name := range []string{"writer1", "writer2"} {
		writer := project.Services[name]
		if want := []string{"writer", "--replicas=3", "--http=0.0.0.0:9595", "--insecure"}; !slices.Equal(writer.Entrypoint, want) {
			t.Errorf("%s: got %q, want %q", name, writer.Entrypoint, want)
		}
		if writer.Hostname != name {
			t.Errorf("%s: got host name %q, want its own name in writer:list", name, writer.Hostname)
		}
		for _, v := range writer.Volumes {
			if other := folders[v.Source]; other != "" {
				t.Errorf("%s and %s share the folder %s", name, other, v.Source)
			}
			folders[v.Source] = name
		}
	}
	if want := []string{"projector", "--http=0.0.0.0:9595", "--insecure"}; !slices.Equal(projector.Entrypoint, want) {
		t.Errorf("projector: got %q, want %q", projector.Entrypoint, want)
	}
	known := []string{"EVENTFUL_DATA_DIR", "EVENTFUL_DEK_FILE", "EVENTFUL_NATS_URL", "EVENTFUL_SERVER", "EVENTFUL_MASTER_KEY", "EVENTFUL_AUTH_KEY", "EVENTFUL_TOKEN", "XDG_CONFIG_HOME"}
	for _, name := range []string{"writer1", "writer2", "projector", "cli"} {
		for key, value := range project.Services[name].Environment {
			if !slices.Contains(known, key) {
				t.Errorf("%s gets %s, which nothing reads", name, key)
			}
			if value == nil && name != "cli" {
				t.Errorf("%s: %s has no value", name, key)
			}
		}
	}
	sessions := project.Services["cli"].Environment["XDG_CONFIG_HOME"]
	if sessions == nil || !slices.ContainsFunc(project.Services["cli"].Volumes, func(v compose.ServiceVolumeConfig) bool { return v.Target == *sessions }) {
		t.Error("cli keeps no session: its configuration folder is no volume")
	}
}
