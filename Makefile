# Targets are for people and CI alike; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export CGO_ENABLED := 0
GO      ?= go
BIN     := bin
OUT     ?= reports/out
# auto: embedded as root on Linux, else kind where Docker answers. RUN_FLAGS="--kubeconfig FILE" means an existing cluster.
PROVIDER ?= auto
# Further flags for `egressctl run`, e.g. make conformance RUN_FLAGS="--label-filter tcp".
RUN_FLAGS ?=

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z.-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: build
build: ## build bin/egressctl
	$(GO) build -trimpath -o $(BIN)/egressctl ./cmd/egressctl
ifneq ($(shell $(GO) env GOOS),linux) # containers run the same program
	GOOS=linux $(GO) build -trimpath -o $(BIN)/egressctl-linux ./cmd/egressctl
endif

.PHONY: conformance
conformance: build ## bring a cluster up, run every case, print the truth table
	$(BIN)/egressctl doctor --install --provider $(PROVIDER)
	$(BIN)/egressctl run --provider $(PROVIDER) --out $(OUT) $(RUN_FLAGS)

.PHONY: test
test: ## lint, unit tests and the conformance run; what CI calls
	scripts/test.sh

.PHONY: unit
unit: unit-rest ## unit tests only: no root, no cluster, no network
	$(GO) test ./framework/... ./cmd/...

# What the race detector has nothing to find in.
.PHONY: unit-rest
unit-rest:
	$(GO) test -short ./samples/... ./fixtures/... ./suites
	$(GO) -C tools/recipes test ./...

.PHONY: race
race: ## unit tests under the race detector, which needs a C compiler
	command -v $${CC:-cc} >/dev/null || { apt-get update -qq && apt-get install -y --no-install-recommends gcc libc6-dev; }
	CGO_ENABLED=1 $(GO) test -race -short ./framework/... ./cmd/... # short: no gigabytes are copied

# Seconds for each fuzz test of `make fuzz`.
FUZZTIME ?= 20s

.PHONY: fuzz
fuzz: ## fuzz everything that reads files of others; their seeds run in `make unit` too
	for t in input:FuzzDocuments printable:FuzzText casefile:FuzzParse pages:FuzzParse check:FuzzFolder report:FuzzRead compare:FuzzRead migrate:FuzzFile verify:FuzzModel internet:FuzzReadHosts internet:FuzzTalk; do \
	  $(GO) test -run '^$$' -fuzz "^$${t#*:}$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./framework/$${t%:*}; done

.PHONY: drivers
drivers: ## the usual client libraries make their first exchange with the hermetic internet (a module of its own)
	$(GO) -C scripts/drivers test ./...

.PHONY: sabotage
sabotage: build ## break the mesh on purpose in every way of the list and demand the right verdicts (root)
	$(BIN)/egressctl selftest
	scripts/verify-sabotage.sh

# What `make test` runs two at a time: verify-samples is scripts/verify-samples.sh.
VERIFY := kind existing samples sabotage ginkgo live hosts docs verify inplace html matrix upgrade
.PHONY: $(VERIFY:%=verify-%) verify-selftest
$(VERIFY:%=verify-%): verify-%:
	scripts/verify-$*.sh
verify-selftest:
	$(BIN)/egressctl selftest --name selftest

.PHONY: order
order: build ## ten orders, and one lane instead of four: the verdicts must be the same (root)
	scripts/verify-order.sh

.PHONY: istio-source
istio-source: build ## a one-line bug in a copy of Istio's source is found by the right cases, and by none without it (root; compiles Istio)
	scripts/verify-istio-source.sh

.PHONY: soak
soak: build ## ten complete runs (RUNS), beside LOAD busy loops, without one unexpected verdict; reports/soak.md or soak-loaded.md (root)
	scripts/soak.py

.PHONY: fault
fault: build ## fifty kills at random moments, FAULTS=N and SEED=N to choose; the report goes to reports/faults.md (root)
	scripts/kills.py

.PHONY: faults
faults: build ## kill, interrupt and starve real clusters in every way of scripts/faults and look for what is left (root)
	scripts/verify-faults.sh

.PHONY: html
html: ## the pages for people in a real headless Chromium, JUnit XML against its schema; screenshots in reports/out (apt)
	scripts/verify-html.sh

.PHONY: kind
kind: build ## the provider kind, and the same cluster as an existing one (Docker; root starts a daemon of its own)
	scripts/verify-kind.sh

.PHONY: existing
existing: build ## an embedded cluster as an existing one, with objects of somebody else's; KILLS=20 kills more runs (root)
	scripts/verify-existing.sh

.PHONY: live
live: build ## --internet live on embedded and kind, against a namespace that plays the real internet (root)
	scripts/verify-live.sh embedded kind

# What kind's nodes do not have: IPv6 inside, TPROXY, and a plugin that enforces NetworkPolicies as the embedded one's does.
EMBEDDED_ALONE := bypass-ipv6,bypass-tproxy,egw-netpol-enforced,ip6-dns-family,ip6-se-both-families,ip6-service

.PHONY: parity
parity: build ## all cases on embedded and on kind; fails where a verdict or an outcome differs
	$(BIN)/egressctl parity --one-alone $(EMBEDDED_ALONE) --write reports/parity.md

.PHONY: nca
nca: build ## the questions of docs/nca.md, to NCA and to egressctl verify, and are their answers the ones that it has (root; installs NCA by pip)
	scripts/verify-nca.sh

.PHONY: lint
lint: $(BIN)/golangci-lint ## gofumpt, golangci-lint
	$(BIN)/golangci-lint run ./...

$(BIN)/golangci-lint: tools/go.mod tools/go.sum
	$(GO) -C tools build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# The version of a release, and the module path that it is published by.
VERSION     ?= v0.1.0
MODULE_PATH ?= example.com/mesh-egress-conformance

# Root on Linux runs a case with what was installed, where the component cache is filled; others are told that it was left out.
REHEARSE ?= $(if $(filter 0,$(shell id -u)),-run)

.PHONY: release-dry-run
release-dry-run: $(BIN)/cyclonedx-gomod ## everything that a release consists of, built twice and compared, in dist/; docs/release.md
	$(GO) run ./scripts/release -version $(VERSION) -module $(MODULE_PATH) -out dist -sbom $(BIN)/cyclonedx-gomod $(REHEARSE)

$(BIN)/cyclonedx-gomod: tools/go.mod tools/go.sum
	$(GO) -C tools build -o ../$@ github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod

.PHONY: ginkgo
ginkgo: build suites.test $(BIN)/ginkgo ## the cases as Ginkgo specs in four processes; GINKGO_FLAGS="--label-filter tcp --flake-attempts 2"
	$(BIN)/ginkgo -p --procs=$(PROCS) --timeout=30m $(GINKGO_FLAGS) $(BIN)/suites.test -- -provider $(PROVIDER) -out $(abspath $(OUT))

# As many as a session has lanes.
PROCS ?= 4
GINKGO_FLAGS ?=

$(BIN)/ginkgo: go.mod
	$(GO) build -o $@ github.com/onsi/ginkgo/v2/ginkgo

.PHONY: suites.test
suites.test: ## build the Ginkgo suite as one program, to run it against several Istio versions
	$(GO) test -c -o $(BIN)/suites.test ./suites

.PHONY: verify
verify: ## check that generated and pinned files are up to date
	scripts/verify-modules.sh
	$(GO) test -short -count=1 -run TestBaselines ./suites

.PHONY: update
update: ## bring generated and pinned files up to date
	scripts/update-modules.sh

# Pages by name, e.g. make docs-update PAGES=tcp-egress; all without.
PAGES ?=

.PHONY: docs-verify
docs-verify: build ## run the commands of docs/pages in a cluster, fail with a diff where they print something else (root)
	$(BIN)/egressctl docs verify --provider $(PROVIDER) $(PAGES)

.PHONY: docs-update
docs-update: build ## write what the commands of docs/pages print, included files and versions into the pages (root)
	$(BIN)/egressctl docs update --provider $(PROVIDER) $(PAGES)

.PHONY: matrix
matrix: build ## all cases on every Istio version of the catalogue, and what has changed between them; docs/compare.md (root)
	$(BIN)/egressctl matrix --provider $(PROVIDER) --unseen $(RUN_FLAGS)

.PHONY: update-baselines
update-baselines: build ## run all versions and write reports/baselines anew (root)
	$(BIN)/egressctl matrix --provider $(PROVIDER) --unseen --baselines reports/baselines $(RUN_FLAGS)

.PHONY: bench
bench: build ## time every phase of a start and a run, medians over five
	scripts/bench.py

.PHONY: bench-pair
bench-pair: build ## compare the speed of this build with another commit's: BASE=COMMIT RUNS=3 (root)
	scripts/bench-pair.py $(BASE)

.PHONY: bench-verify
bench-verify: build ## time egressctl verify on teams of several sizes: SIZES=20/10,500/100 (entries/workloads), RUNS=3 (root)
	scripts/bench-verify.py

.PHONY: clean
clean: ## remove what was built here (the component cache stays: egressctl components prune)
	rm -rf $(BIN) reports/out dist
