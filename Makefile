# Needs Go, make and a Go module proxy. python3 (REQUIRE_PYTHON=1) and a C compiler (REQUIRE_RACE=1) are used where they are; with the
# variable in brackets set to 1, a missing one is a failure. So it is with mounts for full disks (REQUIRE_DISK=1) and power cuts (REQUIRE_POWERCUT=1),
# with an S3 server, which `make s3` installs (REQUIRE_S3=1), with OpenSearch, which `make opensearch` does (REQUIRE_OPENSEARCH=1), and with PostgreSQL, which
# `make postgres` sees to (REQUIRE_POSTGRES=1).

FUZZTIME ?= 1m
RACE := ./pkg/writer ./pkg/eventlog/... ./pkg/archive ./pkg/jetlog/... ./pkg/lease ./pkg/projector ./pkg/client ./pkg/importer ./pkg/natsapi ./pkg/staging ./pkg/inbox ./pkg/fieldkey ./pkg/statestore ./pkg/indexstore ./pkg/token ./pkg/verify ./pkg/delivery ./plugins/nats ./plugins/postgres ./plugins/process ./plugins/webhook ./cmd/internal/node ./cmd/internal/run

.NOTPARALLEL:
.PHONY: help build test unit race vectors opensearch postgres torture lint mutate fuzz bench bench-json bench-plugins bench-plugins-json microbench demo s3

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 12

build: ## build all binaries into bin/
	go build -o bin/ ./cmd/...

test: unit race vectors ## everything: unit and end-to-end tests, race detector, vectors in Python

unit: ## all Go tests, without the race detector
	go test -vet=off -p 2 -parallel 4 -timeout 8m ./...

# Left out under the race detector: what takes long there and has nothing at once that shorter tests have not.
SLOW := OnThreeServers|Partitions|CommandIDsAreFound|TestKilledAnywhere|OfLargeValues|TestTree$$|TheIndexIsAPlainMap|WrongTokensAreNotKept|TestEveryByte|EveryChangedByte|TestTiersArePlainMaps|TestRollbackFailsEachWay|TestArchivedLeavesTheHotTier|TestArchivingFailsEachWay|TestAStateThatIsDoubted|TestTheWriterIsAPlainMap|TestCompaction$$|TestDerived|ForAnHour|TestWhoTakesNothingAsksForNothing|TestLargeRefusal
race: ## the concurrent packages under the race detector
	@if CGO_ENABLED=1 go test -race -run '^$$' ./pkg/problem >/dev/null 2>&1; then set -x; CGO_ENABLED=1 go test -race -vet=off -p 2 -parallel 4 -timeout 8m -skip '$(SLOW)' $(RACE); \
	elif [ "$$REQUIRE_RACE" = 1 ]; then echo 'race detector: REQUIRE_RACE=1, and it cannot be built: is there a C compiler?' >&2; exit 1; \
	else echo 'race detector left out: it needs a C compiler'; fi

vectors: ## the spec's vectors with the independent reader in Python
	@if command -v python3 >/dev/null 2>&1; then set -x; python3 docs/spec/verify.py --vectors docs/spec/vectors; \
	elif [ "$$REQUIRE_PYTHON" = 1 ]; then echo 'vectors in Python: REQUIRE_PYTHON=1, and there is no python3' >&2; exit 1; \
	else echo 'vectors in Python left out: there is no python3'; fi

TORTURE := Kill|WrongConnects|PowerCut|Disk|Servers|Partitions|Writers|Random|Lease|State|PlainMap|TestConcurrentCommandsHaveAnOrder|TestEverySideEffectFailsEachWay|TestConcurrentRequestsHaveAnOrder
torture: mutate ## the long form of tests with chance in them: kills, power cuts, full disks; EVENTFUL_SEED=N repeats a run
	EVENTFUL_TORTURE=1 go test -vet=off -count=1 -p 1 -v -timeout 60m -run '$(TORTURE)' ./cmd/eventful/e2e ./pkg/statestore ./pkg/writer ./pkg/natsapi ./pkg/jetlog ./pkg/lease ./pkg/projector

lint: ## gofmt, vet, staticcheck, and a tidy go.mod
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...
	go mod tidy -diff

mutate: ## promises taken out of the code one by one: the tests must notice each; some minutes; MUTATE=-only=NAME,… picks
	go run ./internal/mutate $(MUTATE)

fuzz: ## every fuzz target for FUZZTIME (1m each); inputs that fail stay in testdata/fuzz, those that led somewhere new in `go env GOCACHE`/fuzz
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9]+' . | while IFS=: read -r file target; do \
	  echo "$$file $${target#func }"; go test "$$(dirname "$$file")" -run '^$$' -fuzz "^$${target#func }\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x </dev/null || exit 1; done

S3 := github.com/versity/versitygw/cmd/versitygw@v1.8.0
s3: ## install the S3 server that tests of the archive use into bin/
	GOBIN=$(CURDIR)/bin go install -trimpath -ldflags='-s -w' $(S3)

OPENSEARCH ?= bin/opensearch
opensearch: ## a real OpenSearch node for tests into bin/opensearch, once; needs Java 17 and Maven
	internal/opensearchnode/install/install.sh $(OPENSEARCH)

postgres: ## see to the programs of PostgreSQL that tests start for themselves; installs Debian's package if it may
	sh internal/postgrestest/install.sh

SIZES := -small=100000 -big=2000000 -wide=1000000 -r3
bench: ## throughput, latency, starts, memory and disk beside their limits, a quarter of an hour; BENCH='-only=ten …' gives flags (bench/README.md)
	go run ./bench $(SIZES) $(BENCH)

bench-json: ## the same, one JSON object a line
	@go run ./bench -json $(SIZES) $(BENCH)

PLUGINS := -only=to-process,to-nats,to-opensearch,to-nobody,one-event
bench-plugins: ## plugins beside what brings the same to the same targets without EventfulDB, some minutes; OpenSearch where it is installed
	go run ./bench $(PLUGINS) $(BENCH)

bench-plugins-json: ## the same, one JSON object a line
	@go run ./bench -json $(PLUGINS) $(BENCH)

microbench: ## the packages' own benchmarks, with allocations
	go test -run '^$$' -bench . -benchmem ./...

demo: build ## the main job on a real hospital log, from nothing
	go run ./examples/sepsis/demo --eventful bin/eventful
