# go.work alone lists the modules of the workspace. The loops below read the list from it.

.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# Runs commands in each module's directory. Fails if go can't list the modules: an error must not look like an empty list.
each = modules=$$(go list -m -f '{{.Dir}}'); for dir in $$modules; do echo "$(1): $${dir\#$(CURDIR)/}"; (cd "$$dir" && $(2)); done
LINT = bin/golangci-lint
# Some tests build programs and read files outside their module. The test cache doesn't see changes of those.
UNCACHED = -count=1
FUZZTIME ?= 20s
CHECKS ?= 10000
RUNS ?= 10
PKGS ?= work

# The linter's cache holds file paths. With one cache for all checkouts, it would report files of a deleted checkout.
export GOLANGCI_LINT_CACHE = $(CURDIR)/.cache/golangci-lint

# Tests reach their containers on this machine and remove them themselves.
export TESTCONTAINERS_RYUK_DISABLED ?= true
export TESTCONTAINERS_HOST_OVERRIDE ?= 127.0.0.1

help: ## List the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/:.*## /\t/' | expand -t 16

demo: ## Run the demo on ADDR (127.0.0.1:8080)
	@scripts/demo.sh

test: tools ## Run the tests of all modules
	go test $(UNCACHED) work | sed '/\[no test files\]$$/d'

stress: tools ## Run the tests of PKGS (work) RUNS (10) times beside busy loops and print a table of failures
	@go run ./internal/integration/stress -runs $(RUNS) $(PKGS)

tools: # Installs what the tests need besides Go, where that is possible
	@scripts/tools.sh

CHECK_PARTS = format-check tidy-check words vet lint race build build-386 consume clean-check
check: $(CHECK_PARTS) ## Everything besides test that has to pass before a change lands

check-parts: # Prints the targets of check, for CI
	@echo $(CHECK_PARTS)

format: $(LINT) ## Format all code
	@$(call each,format,$(CURDIR)/$(LINT) fmt --config $(CURDIR)/.golangci.yml)

format-check: $(LINT)
	@$(call each,format,$(CURDIR)/$(LINT) fmt --diff --config $(CURDIR)/.golangci.yml)

tidy: ## Tidy every go.mod
	@$(call each,tidy,GOWORK=off go mod tidy)
	@scripts/worksum.sh

tidy-check:
	@$(call each,go mod tidy -diff,GOWORK=off go mod tidy -diff)

vet: ## Vet all modules
	go vet work

lint: $(LINT) ## Lint all modules
	@$(call each,lint,$(CURDIR)/$(LINT) run --allow-parallel-runners --config $(CURDIR)/.golangci.yml)

# The linter is a separate module outside the workspace, because it needs hundreds of others.
$(LINT): internal/tools/go.mod internal/tools/go.sum
	@echo "building golangci-lint, once"
	@cd internal/tools && GOWORK=off go build -o $(CURDIR)/$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

race: tools ## Run the tests of all modules under the race detector
	go test $(UNCACHED) -race -short work | sed '/\[no test files\]$$/d'

build: ## Build every module alone, as its users do
	@$(call each,build,GOWORK=off go build -o /dev/null ./... && GOWORK=off go vet ./...)

build-386: ## Build every published module for 386, and run core's tests there
	@scripts/386.sh

clean-check: ## Run the go commands that must not change the checkout
	@scripts/clean.sh

words: ## Fail on words that the project has replaced, and name the right ones
	@go run scripts/words.go

consume: ## Install every published module from outside the repository
	@scripts/consume.sh

fuzz: ## Run every fuzz target for FUZZTIME (20s)
	@files=$$(grep -rlE '^func Fuzz' --include='*_test.go' core); for file in $$files; do \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9]+)\(.*/\1/p' $$file); do \
			echo "fuzz: $$target"; (cd $$(dirname $$file) && go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) .); \
		done; done

prove: ## Run the property tests at CHECKS (10000) traces each
	cd internal/integration && go test -timeout 60m ./properties/... -rapid.checks=$(CHECKS)

mutants: ## Put faults into the code one by one; a test has to fail for each
	cd internal/integration && go run ./mutants

pictures: ## Draw docs/pictures again from real runs
	cd internal/integration && go run ./pictures

bench-quick: ## Compare in-process decisions with the peers, one line per workload
	@cd benchmarks && go run ./quick

bench-redis: ## Compare decisions and CPU time in Redis with redis_rate; starts redis-server or uses REDIS=host:port
	@cd benchmarks && go run ./redis

release: ## Show the tags of a release; GO=1 creates them
	@scripts/release.sh $(if $(GO),--go)

.PHONY: help demo test stress tools check check-parts format format-check tidy tidy-check vet lint race build build-386 clean-check words consume fuzz prove mutants pictures bench-quick bench-redis release
