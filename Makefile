# What one does here, by name. `make` alone lists it.

GO      ?= go
TOOL    := $(GO) tool -modfile=tools/go.mod
TIMEOUT ?= 5m

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## compile everything; the muster command goes to bin/
	$(GO) build ./...
	$(GO) build -o bin/muster ./cmd/node

.PHONY: demo
demo: ## a bank ledger on three nodes, one of which is killed on the way
	$(GO) run ./examples/ledger demo --kill

.PHONY: test
test: ## all tests, TIMEOUT=5m for each package
	$(GO) test -timeout $(TIMEOUT) ./...

.PHONY: race
race: ## all tests under the race detector; slow
	$(GO) test -race -timeout 20m ./...

.PHONY: lint
lint: ## formatting, go vet, the house rules, staticcheck
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	$(GO) test ./internal/lint
	$(TOOL) staticcheck -checks inherit,-S1016 ./... # S1016: a command that looks like its event is not one

.PHONY: sim
sim: ## a minute of simulated clusters; N=100 for so many seeds, SEED=7 for that one, V=1 for its trace; MUTANTS=1 what must be found
	$(GO) test ./internal/simulation -count=1 -timeout 60m -v -run '^$(if $(MUTANTS),Test(Canaries|Mutants)AreFound,TestSeeds)$$' \
		-args $(if $(MUTANTS),-mutants) $(if $(SEED),-seed=$(SEED),$(if $(N),-n=$(N),-for=1m)) $(if $(V),-trace)

.PHONY: model
model: ## 100 random runs of region's shell against a model; N=1000 for so many, FROM=101 for others, SEED=7 for that one, RACE=1
	$(GO) test ./region -count=1 -timeout 60m -v $(if $(RACE),-race) -run '^TestModel$$' \
		-args $(if $(SEED),-model.seed=$(SEED),-model.n=$(or $(N),100) -model.from=$(or $(FROM),1))

.PHONY: explore
explore: ## every interleaving of small runs of the protocol, and mutants that must be caught; LARGE=1 for minutes and gigabytes
	$(GO) test ./replication -count=1 -timeout 60m -v -run '^(TestExplore|TestWalk|TestMutants)$$' -args -mutants $(if $(LARGE),-large)

.PHONY: chaos
chaos: ## real processes that are killed, stopped, cut off, wiped, moved under load; ROUNDS=10 FOR=5m SEED=7 RUN=TestKill
	$(GO) test ./internal/chaos -count=1 -timeout 120m -v $(if $(RUN),-run '^$(RUN)$$') \
		-args -chaos.every -chaos.rounds=$(or $(ROUNDS),10) -chaos.for=$(or $(FOR),5m) $(if $(SEED),-chaos.seed=$(SEED))

# What make bench starts: the benchmark, and the references of their own module.
BENCH := bin/bench
REFERENCE := bin/bench-reference

.PHONY: bench
bench: ## Muster beside its limits and beside others, and the goals; ROWS=P1,P4 some rows, QUICK=1 soon, REPEATS=5, OUT=file for the result, PROFILE=dir for profiles, BASELINE=file to compare with
	@$(GO) build -o $(BENCH) ./internal/bench
	@$(GO) build -C internal/bench/reference -o $(CURDIR)/$(REFERENCE) .
	@$(BENCH) run -reference $(REFERENCE) -rows "$(ROWS)" $(if $(QUICK),-quick) $(if $(REPEATS),-repeats $(REPEATS)) $(if $(BASELINE),-baseline $(BASELINE)) $(if $(PROFILE),-profile $(abspath $(PROFILE))) -o $(or $(OUT),bin/bench.json)

.PHONY: bench-compare
bench-compare: ## how two results of make bench differ: OLD=file NEW=file
	$(GO) run ./internal/bench compare $(OLD) $(or $(NEW),bin/bench.json)

.PHONY: bench-docs
bench-docs: ## docs/performance.md, from the result that is kept in docs/bench
	@mkdir -p bin
	$(GO) run ./internal/bench docs docs/bench/result.json > bin/performance.md && mv bin/performance.md docs/performance.md

.PHONY: microbench
microbench: ## the benchmarks of single packages
	$(GO) test ./... -run '^$$' -bench . -benchmem

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME=10s
	@for p in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
			echo "$$p $$f"; $(GO) test $$p -run '^$$' -fuzz "^$$f\$$" -fuzztime $(or $(FUZZTIME),10s) || exit 1; \
		done; \
	done

.PHONY: generate
generate: ## the Go form of the wire schema
	$(GO) run -modfile=tools/go.mod internal/protogen/main.go

.PHONY: docs
docs: ## docs/cli.md, from the table of verbs
	$(GO) run ./cmd/node docs > docs/cli.md
