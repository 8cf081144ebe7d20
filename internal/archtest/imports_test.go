// Package archtest_test holds the rules of the repository: who may import whom, what a package must say of itself, and what no file may contain.
//
// A violation names the place and the rule. A new arrow between packages is a new entry in the table here, with the reason in the commit.
package archtest_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/eventfuldb/eventful"

// Third-party modules by the name that the table uses.
const (
	merkle     = "github.com/transparency-dev/merkle"
	formats    = "github.com/transparency-dev/formats"
	mod        = "golang.org/x/mod"
	tessera    = "github.com/transparency-dev/tessera"
	norm       = "golang.org/x/text/unicode/norm"
	jwt        = "github.com/nats-io/jwt/v2"
	nkeys      = "github.com/nats-io/nkeys"
	natsGo     = "github.com/nats-io/nats.go"
	natsServer = "github.com/nats-io/nats-server/v2"
	zerolog    = "github.com/rs/zerolog"
	prometheus = "github.com/prometheus/client_golang"
	ulid       = "github.com/oklog/ulid/v2"
	crypto     = "golang.org/x/crypto"
	sys        = "golang.org/x/sys"
	yaml       = "go.yaml.in/yaml/v3"
	expr       = "github.com/expr-lang/expr"
	openSearch = "github.com/opensearch-project/opensearch-go/v2"
	awsSDK     = "github.com/aws/aws-sdk-go-v2" // only what opensearch-go's signer takes
	viper      = "github.com/spf13/viper"
	cmp        = "github.com/google/go-cmp"
	rapid      = "pgregory.net/rapid"
	goleak     = "go.uber.org/goleak"
	compress   = "github.com/klauspost/compress"
	minio      = "github.com/minio/minio-go/v7"
	porcupine  = "github.com/anishathalye/porcupine"
	testscript = "github.com/rogpeppe/go-internal"
	pgx        = "github.com/jackc/pgx/v5"
)

// mayImport is the table: what the code of each package may import besides the standard library. An entry stands for itself and, if it is a
// third-party module, for the packages below it.
var mayImport = map[string][]string{
	"streams": {"pkg/event"},

	"pkg/problem":   {},
	"pkg/event":     {norm, merkle},
	"pkg/schema":    {"pkg/event", "pkg/problem", norm},
	"pkg/token":     {"pkg/event", "pkg/problem", jwt, nkeys, norm},
	"pkg/filter":    {"pkg/problem", "pkg/schema", expr},
	"pkg/aggregate": {"pkg/event", "pkg/problem", "pkg/schema", "pkg/token", norm},

	"pkg/logtree":    {"pkg/event", merkle, formats, mod},
	"pkg/tiles":      {"pkg/event", "pkg/logtree"},
	"pkg/checkpoint": {"pkg/event", "pkg/eventlog", "pkg/logtree", "pkg/verify", zerolog, prometheus},

	"pkg/eventlog":              {"pkg/event"},
	"pkg/eventlog/eventlogtest": {"pkg/event", "pkg/eventlog", cmp},
	"pkg/archive":               {"pkg/event", "pkg/eventlog", compress, minio},
	"pkg/archive/archivetest":   {"pkg/archive", cmp, minio},
	"pkg/verify":                {"pkg/event", "pkg/eventlog", merkle},
	"pkg/verify/verifytest":     {"pkg/event", "pkg/eventlog", "pkg/verify"},
	"pkg/lease":                 {"pkg/event", zerolog},
	"pkg/lease/leasetest":       {"pkg/lease", cmp},
	"pkg/statestore":            {"pkg/indexstore", sys},
	"pkg/indexstore":            {},
	"pkg/keyring":               {"pkg/event", "pkg/problem", "pkg/token", "streams", jwt, nkeys, crypto},
	"pkg/fieldkey":              {"pkg/event", "pkg/eventlog", "pkg/keyring", compress},
	"pkg/fieldkey/fieldkeytest": {"pkg/eventlog", "pkg/fieldkey"},
	"pkg/snapshot":              {"pkg/event", "pkg/eventlog", "pkg/keyring"},
	"pkg/snapshot/snapshottest": {"pkg/eventlog"},
	"pkg/jetlog":                {"pkg/event", "pkg/eventlog", "pkg/lease", "streams", natsGo},
	"internal/natstest":         {natsServer},
	"internal/disktest":         {sys},
	"internal/postgrestest":     {"internal/natstest", pgx},
	"pkg/jetlog/jetlogtest":     {"pkg/jetlog", "streams", natsGo, natsServer},

	"pkg/writer": {
		"pkg/aggregate", "pkg/event", "pkg/eventlog", "pkg/fieldkey", "pkg/lease", "pkg/logtree", "pkg/problem", "pkg/registry", "pkg/schema", "pkg/statestore", "pkg/token", zerolog, prometheus, ulid,
	},
	"pkg/inbox": {
		"pkg/aggregate", "pkg/event", "pkg/eventlog", "pkg/jetlog", "pkg/keyring", "pkg/problem", "pkg/token", "streams", natsGo, zerolog,
	},
	"pkg/staging":             {"pkg/aggregate", "pkg/event", "pkg/eventlog", "pkg/keyring", "pkg/problem", "pkg/token", "pkg/writer"},
	"pkg/staging/stagingtest": {"pkg/eventlog", "pkg/staging"},
	"pkg/projector": {
		"pkg/aggregate", "pkg/event", "pkg/eventlog", "pkg/fieldkey", "pkg/filter", "pkg/indexstore", "pkg/logtree", "pkg/problem", "pkg/schema", "pkg/snapshot", "pkg/token",
		zerolog, prometheus, compress,
	},
	"pkg/registry": {"pkg/event"},
	"pkg/delivery": {
		"pkg/aggregate", "pkg/event", "pkg/eventlog", "pkg/fieldkey", "pkg/keyring", "pkg/lease", "pkg/plugin", "pkg/registry", "pkg/schema", zerolog, prometheus,
	},
	"plugins/process":         {"pkg/event", "pkg/plugin", "pkg/plugin/sieve", zerolog},
	"plugins/webhook":         {"pkg/event", "pkg/plugin", "pkg/plugin/sieve"},
	"plugins/nats":            {"pkg/event", "pkg/plugin", "pkg/plugin/sieve", "streams", natsGo, nkeys},
	"plugins/postgres":        {"pkg/event", "pkg/plugin", "pkg/plugin/mapping", pgx},
	"pkg/plugin":              {"pkg/event", "pkg/schema", zerolog},
	"pkg/plugin/plugintest":   {"pkg/event", "pkg/plugin"},
	"pkg/plugin/mapping":      {"pkg/event", "pkg/plugin", "pkg/schema", yaml, expr},
	"pkg/plugin/sieve":        {"pkg/event", "pkg/plugin", "pkg/plugin/mapping"},
	"plugins/opensearch":      {"pkg/plugin", "pkg/plugin/mapping", openSearch, awsSDK, zerolog},
	"internal/opensearchnode": {},
	"internal/opensearchtest": {"internal/opensearchnode", crypto},
	"pkg/natsapi": {
		"pkg/aggregate", "pkg/checkpoint", "pkg/delivery", "pkg/event", "pkg/eventlog", "pkg/inbox", "pkg/logtree", "pkg/plugin", "pkg/problem", "pkg/projector", "pkg/registry", "pkg/schema", "pkg/snapshot", "pkg/staging", "pkg/token", "pkg/verify", "pkg/writer",
		"streams", natsGo, zerolog,
	},

	"pkg/client":   {"pkg/event", "pkg/problem", "pkg/schema", "streams", natsGo},
	"pkg/importer": {"pkg/event", "pkg/problem", "pkg/schema", "pkg/client", "streams", yaml},

	"internal/heap":   {},
	"internal/linear": {porcupine},
	"internal/mutate": {},

	"bench": {"internal/opensearchnode", "pkg/client", "pkg/keyring", "streams", jwt, natsGo}, // clients and targets of the real programs
	"bench/server": { // puts the engines together as cmd/internal/run does, and leaves parts out
		"internal/heap", "pkg/event", "pkg/jetlog", "pkg/keyring", "pkg/natsapi", "pkg/projector", "pkg/token", "pkg/writer", jwt, natsGo, natsServer, zerolog,
	},
}

// anything below these folders may import every package and every module of go.mod.
var anything = []string{"cmd"}

// examples may import what applications may; the demo runs an OpenSearch node besides.
var forExamples = []string{
	"pkg/aggregate", "pkg/client", "pkg/event", "pkg/importer", "pkg/keyring", "pkg/plugin", "pkg/problem", "pkg/schema", "pkg/token", "pkg/verify", "streams", natsGo, yaml,
	"internal/opensearchnode",
}

// forTests may be imported by tests, besides what their own package may and every package of this repository.
var forTests = []string{cmp, rapid, goleak, porcupine, testscript, norm, merkle, tessera, formats, mod, yaml, zerolog, prometheus, jwt, nkeys, natsGo, natsServer}

// withoutNATS know no NATS: not directly, not through packages of this repository, and not in their tests.
var withoutNATS = []string{
	"pkg/problem", "pkg/event", "pkg/schema", "pkg/token", "pkg/filter", "pkg/aggregate", "pkg/eventlog", "pkg/lease", "pkg/statestore", "pkg/verify", "pkg/archive", "pkg/writer", "pkg/projector",
	"pkg/fieldkey", "pkg/staging", "pkg/logtree", "pkg/tiles", "pkg/checkpoint", "pkg/registry", "pkg/plugin", "pkg/delivery", "streams",
}

// pure packages do no I/O, have no clock and no randomness.
var pure = []string{"pkg/problem", "pkg/registry", "pkg/event", "pkg/schema", "pkg/token", "pkg/filter", "pkg/aggregate", "pkg/logtree", "pkg/plugin/mapping", "streams"}

// impure packages of the standard library, each with all below it.
var impure = []string{"context", "crypto/rand", "database", "io/fs", "log", "math/rand", "net", "os", "path/filepath", "runtime", "syscall", "testing"}

// pkg is what `go list` says of a package; paths of this repository come without the module.
type pkg struct {
	ImportPath   string
	Name         string
	Doc          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Error        *struct{ Err string }
}

func (p *pkg) ownTestImports() []string { return slices.Concat(p.TestImports, p.XTestImports) }

// root is the folder of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above this test")
		}
		dir = filepath.Dir(dir)
	}
}

func packages(t *testing.T) map[string]*pkg {
	t.Helper()
	list := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Doc,GoFiles,Imports,TestImports,XTestImports,Error", "./...")
	list.Dir, list.Stderr = root(t), os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	found := map[string]*pkg{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := &pkg{}
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		for _, paths := range [][]string{p.Imports, p.TestImports, p.XTestImports} {
			for i := range paths {
				paths[i] = local(paths[i])
			}
		}
		p.ImportPath = local(p.ImportPath)
		found[p.ImportPath] = p
	}
	if len(found) < 10 {
		t.Fatalf("go list found %d packages only", len(found))
	}
	return found
}

func local(path string) string { return strings.TrimPrefix(path, module+"/") }

func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && !isOwn(path)
}

func isOwn(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return slices.Contains([]string{"cmd", "pkg", "streams", "plugins", "examples", "internal", "bench"}, first)
}

// within reports whether path is one of the entries, or below one that is a module or folder.
func within(path string, entries []string) bool {
	return slices.ContainsFunc(entries, func(e string) bool {
		return path == e || (!isOwn(e) || slices.Contains(anything, e)) && strings.HasPrefix(path, e+"/")
	})
}

func TestEveryPackageLoads(t *testing.T) {
	for path, p := range packages(t) {
		if p.Error != nil {
			t.Errorf("%s does not load: %s", path, p.Error.Err)
		}
	}
}

func TestImports(t *testing.T) {
	for path, p := range packages(t) {
		allowed, listed := mayImport[path]
		switch {
		case within(path, anything), len(p.GoFiles) == 0:
			continue
		case strings.HasPrefix(path, "examples/"):
			allowed = forExamples
		case !listed:
			t.Errorf("%s stands in no row of the table mayImport: give it one, with the fewest arrows it can live with", path)
			continue
		}
		for _, i := range p.Imports {
			if !isStandard(i) && !within(i, allowed) {
				t.Errorf("%s imports %s, which its row of the table mayImport does not hold", path, i)
			}
		}
	}
	for path := range mayImport {
		if _, err := os.Stat(filepath.Join(root(t), path)); err != nil {
			t.Errorf("the table mayImport has a row for %s, which does not exist", path)
		}
	}
}

func TestTestImports(t *testing.T) {
	for path, p := range packages(t) {
		if within(path, anything) {
			continue
		}
		for _, i := range p.ownTestImports() {
			switch {
			case within(i, []string{natsGo, natsServer}) && slices.Contains(withoutNATS, path):
				t.Errorf("the tests of %s import %s, but the package knows no NATS", path, i)
			case !isStandard(i) && !isOwn(i) && !within(i, forTests) && !within(i, mayImport[path]):
				t.Errorf("the tests of %s import %s, which neither forTests nor its row of the table mayImport holds", path, i)
			}
		}
	}
}

func TestNoNATSBelowTheEngines(t *testing.T) {
	all := packages(t)
	for _, path := range withoutNATS {
		walkImports(all, path, []string{path}, map[string]bool{}, func(chain []string) {
			if within(chain[len(chain)-1], []string{natsGo, natsServer}) {
				t.Errorf("%s must know no NATS: %s", path, strings.Join(chain, " -> "))
			}
		})
	}
}

func TestViperInCmdOnly(t *testing.T) {
	for path, p := range packages(t) {
		for _, i := range slices.Concat(p.Imports, p.ownTestImports()) {
			if within(i, []string{viper}) && !within(path, []string{"cmd"}) {
				t.Errorf("%s imports viper, which belongs into cmd/ alone: engines get one Config struct", path)
			}
		}
	}
}

// walkImports calls visit with the way to each package that path imports, directly or through packages of this repository, once each.
func walkImports(all map[string]*pkg, path string, chain []string, seen map[string]bool, visit func(chain []string)) {
	p := all[path]
	if p == nil {
		return
	}
	for _, i := range p.Imports {
		if seen[i] {
			continue
		}
		seen[i] = true
		way := append(slices.Clone(chain), i)
		visit(way)
		if isOwn(i) {
			walkImports(all, i, way, seen, visit)
		}
	}
}

func TestPurePackages(t *testing.T) {
	all := packages(t)
	for _, path := range pure {
		p := all[path]
		if p == nil {
			t.Errorf("pure package %s does not exist", path)
			continue
		}
		for _, i := range p.Imports {
			if isStandard(i) && within(i, impure) {
				t.Errorf("%s is pure and imports %s: I/O, clock, randomness and context come in as values", path, i)
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	for path, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command " + filepath.Base(path) + " "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: its package comment is %q, it must begin with %q and say in one sentence what the package is", path, p.Doc, want)
		}
	}
}
