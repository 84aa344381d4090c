# The only entry points. `make help` lists them.
#
# Everything that is built or downloaded goes to SLUICE_CACHE, outside the checkout, so that a second clone is warm.
# With SLUICE_KUBECONFIG set, an existing cluster is used instead of the embedded one; it must have the images
# (IMAGES below) and the Service addresses must be reachable from here.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export SLUICE_CACHE ?= $(HOME)/.cache/sluice
export CARGO_TARGET_DIR ?= $(SLUICE_CACHE)/target
export CARGO_TERM_COLOR ?= never
BIN := $(SLUICE_CACHE)/bin
DEBUG := $(CARGO_TARGET_DIR)/debug
RELEASE := $(CARGO_TARGET_DIR)/release
CLUSTER := $(BIN)/sluice-cluster
# The version is in the path, so that another one is another file.
DENY_VERSION := 0.20.2
DENY := $(SLUICE_CACHE)/tools-$(DENY_VERSION)/bin/cargo-deny
TAG ?= dev
# What `make fuzz` runs, and how long each; without names every target.
FUZZ ?=
FUZZ_SECONDS ?= 60
# release: what users run and figures are taken of; dev: compiled once for tests and demo alike.
PROFILE ?= dev
OUT := $(if $(filter release,$(PROFILE)),$(RELEASE),$(DEBUG))
IMAGES := sluice-operator sluice-proxy sluice-sample-app
# Feature sets are unified over the whole workspace, so that each dependency is compiled once.
CLUSTER_FEATURES := --features sluice-e2e/cluster,sluice-install/cluster
CLUSTER_TEST := cargo test --offline --workspace $(CLUSTER_FEATURES)
# The go command fetches the toolchain that go.mod asks for; the flags are those of e2e/cluster/build.sh, so that the
# cluster's dependencies are compiled once for both.
GO_ENV := GOTOOLCHAIN=auto CGO_ENABLED=0 GOFLAGS='-buildvcs=false -trimpath'
say = @printf '\n== %s\n' "$(1)"

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: setup
setup: ## name what is missing on this machine
	@e2e/setup.sh

.PHONY: demo
demo: build images ## build, bring a cluster up, install, promote a good revision, roll back a bad one
	$(call say,demo)
	@e2e/with-cluster $(OUT)/sluice-demo --install install/install.yaml --example examples/01-first-light

.PHONY: test
test: lint unit e2e conformance ## all tests: lint, unit, end to end on a real cluster, and the Gateway API's own
	$(call say,all tests passed)

.PHONY: test-full
test-full: setup ## all there is: the gate, long outages, idleness, the conformance suite three times, the figures; writes docs/reports
	@failed=0; for target in test outages idle conformance-thrice figures; do e2e/report.sh $$target || failed=1; done; exit $$failed

.PHONY: outages
outages: images ## an API server that is away for a minute and for five, in the middle of a run (about 13 minutes)
	$(call say,outages)
	@e2e/with-cluster $(CLUSTER_TEST) --test cluster_alone -- --ignored --test-threads=1 --nocapture api_server

.PHONY: idle
idle: ## a hundred Rollouts that have nothing to do, for ten minutes, with release images (about 13 minutes)
	@$(MAKE) images PROFILE=release
	$(call say,idle)
	@e2e/with-cluster $(CLUSTER_TEST) --test cluster_alone -- --ignored --nocapture idle

.PHONY: build
build: setup ## compile everything once
	$(call say,compile (first time: about 5 minutes on 2 cores))
	@cargo build --workspace --all-targets $(CLUSTER_FEATURES)
	@$(if $(filter release,$(PROFILE)),cargo build --release $(IMAGES:%=-p %))

.PHONY: lint
lint: setup $(DENY) ## formatting, clippy, licences and sources of dependencies
	$(call say,lint)
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets $(CLUSTER_FEATURES) -- -D warnings
	@gofmt -l e2e/cluster e2e/conformance | (! grep .)
	@$(DENY) --log-level error check bans licenses sources

# Compiled without optimisation: it runs for seconds.
$(DENY):
	$(call say,compile cargo-deny $(DENY_VERSION) (first time: about 3 minutes on 2 cores))
	@CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/tools cargo install --locked --quiet --debug --root $(SLUICE_CACHE)/tools-$(DENY_VERSION) --version $(DENY_VERSION) cargo-deny
	@rm -rf $(CARGO_TARGET_DIR)/tools && touch $@

.PHONY: unit
unit: setup ## tests that need no cluster
	$(call say,unit tests)
	@e2e/packages.sh jq:jq lua5.1:lua5.1
	@cargo test --workspace
	@cd e2e/cluster && $(GO_ENV) go vet ./... && $(GO_ENV) go test ./...

# Only our own crates are compiled to count: RUSTC_WORKSPACE_WRAPPER, unlike RUSTFLAGS, leaves the others as they are.
.PHONY: fuzz
fuzz: setup ## fuzz every parser of ours, FUZZ_SECONDS (60) each, from the committed corpus
	$(call say,fuzz)
	@RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/fuzz/rustc-counting LLVM_PROFILE_FILE=/dev/null \
	 cargo run -q -p sluice-fuzz --features coverage -- --seconds $(FUZZ_SECONDS) --findings fuzz/findings $(FUZZ)

.PHONY: cluster
cluster: setup ## bring the embedded cluster up (nothing when SLUICE_KUBECONFIG is set)
	@if [ -n "$${SLUICE_KUBECONFIG:-}" ]; then echo "using the cluster of SLUICE_KUBECONFIG"; else \
	 e2e/cluster/build.sh $(BIN) && $(CLUSTER) up; fi
	@e2e/prometheus.sh $(BIN)

.PHONY: images
images: build cluster ## images of our programs, without Docker, loaded into the cluster
	$(call say,images)
	@if [ -n "$${SLUICE_KUBECONFIG:-}" ]; then echo "not loaded: $(IMAGES:%=%:$(TAG)) must be pullable by the cluster"; else \
	 e2e/images.sh $(TAG) $(OUT) $(IMAGES); fi

.PHONY: e2e
e2e: build images ## end-to-end tests on a real cluster, then the audit of everything that was written meanwhile
	$(call say,end-to-end tests)
	@since=$$(date -u +%Y-%m-%dT%H:%M:%SZ); failed=0; \
	 e2e/with-cluster $(CLUSTER_TEST) --test cluster -- --test-threads=3 || failed=1; \
	 e2e/with-cluster $(CLUSTER_TEST) --test cluster_alone -- --test-threads=1 --nocapture || failed=1; \
	 e2e/with-cluster $(CLUSTER_TEST) --test cluster_rules -- --test-threads=1 || failed=1; \
	 printf '\n== audit\n'; \
	 if [ -n "$${SLUICE_KUBECONFIG:-}" ]; then $(DEBUG)/sluice-audit; \
	 else $(DEBUG)/sluice-audit --whole --log "$$($(CLUSTER) audit)" --since "$$since"; fi && exit $$failed

.PHONY: conformance
conformance: images ## the Gateway API conformance suite against the proxy
	$(call say,conformance)
	@e2e/conformance/run.sh

.PHONY: conformance-thrice
conformance-thrice: images ## the same three times in a row
	$(call say,conformance three times)
	@for run in 1 2 3; do e2e/conformance/run.sh; done

.PHONY: figures
figures: ## measure the published figures with release images (about 20 minutes); ONLY=scale,churn measures some (flip, scale, churn, rollback)
	@$(MAKE) images PROFILE=release
	@e2e/with-cluster $(DEBUG)/sluice-figures --install install/install.yaml $(if $(ONLY),--only $(ONLY))

.PHONY: bench
bench: setup ## processor time per request beside nginx, HAProxy and Envoy (about 5 minutes once compiled); REPORT=name writes name.md and name.json
	@e2e/packages.sh nginx:nginx haproxy:haproxy taskset:util-linux
	@e2e/envoy.sh $(BIN)
	$(call say,compile for release (first time: about 10 minutes on 2 cores))
	@cargo build --release -p sluice-proxy
	@cargo build -p sluice-e2e --bin sluice-bench
	$(call say,bench)
	@PATH=$$PATH:/usr/sbin $(DEBUG)/sluice-bench --proxy $(RELEASE)/sluice-proxy --envoy $(BIN)/envoy-1.40.0 $(if $(REPORT),--report $(REPORT))

.PHONY: generate
generate: ## write the generated files: CRD, install manifest, page of metrics
	@cargo run -q -p sluice-crds --bin crdgen crds/yaml
	@cargo run -q -p sluice-install --bin sluice-install > install/install.yaml
	@cargo run -q -p sluice-signals --bin sluice-metrics > docs/metrics.md

.PHONY: clean-cluster
clean-cluster: ## remove the embedded cluster: processes, mounts, interfaces, cgroups, state
	@if [ -x $(CLUSTER) ]; then $(CLUSTER) down; fi
