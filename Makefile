# `make` lists the targets. Everything needs cargo (the toolchain is in rust-toolchain.toml) and a C
# compiler; what else is missing is installed from the distribution's packages.

.DEFAULT_GOAL := help
.PHONY: help demo console test test-pg test-apps test-nocodb test-console test-units package test-package test-container test-boot bench chaos fuzz lint bans fmt sim mutants copy soak

# Seconds until the demo ends by itself; empty: it runs until Ctrl-C.
DEMO_SECONDS ?=
# PostgreSQL major versions for `make test-pg`.
PG ?= 13 14 18
# Simulated worlds for `make sim`.
SEEDS ?= 10000
# Seconds of `make soak`.
SOAK_SECONDS ?= 300

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Two-way sync of two throwaway databases on this machine (DEMO_SECONDS=30 ends by itself)
	@DEMO_SECONDS=$(DEMO_SECONDS) ./packaging/demo/demo.sh

# Into relay/console/dist, from where the relay's next build embeds it.
console: relay/console/node_modules/.package-lock.json ## Build the console (needs Node 20.19 or newer)
	cd relay/console && npm run --silent build

relay/console/node_modules/.package-lock.json: relay/console/package-lock.json
	@./packaging/find-node.sh >/dev/null
	cd relay/console && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

# One build for all tests: programs, which the end-to-end tests run, and tests. Packages built by
# themselves (-p), or without their tests, have other features, and all that they depend on would be
# compiled once more.
BUILD = cargo build --locked --workspace --all-targets

# Plain `cargo test`: tests of one binary share one throwaway PostgreSQL, which a runner with a
# process per test would start anew for each. They wait more than they compute, so there are more
# at a time than cores.
test: export RUST_TEST_THREADS ?= $(shell echo $$((4 * $$(nproc))))
test: ## Pure, simulated and real-PostgreSQL tests
	@./packaging/find-postgres.sh >/dev/null
	@./packaging/fetch-python.sh kinto >/dev/null
	@./packaging/fetch-python.sh schemathesis >/dev/null
	@./packaging/fetch-python.sh aiosmtpd >/dev/null
	@./packaging/monitoring/fetch-promtool.sh >/dev/null
	$(BUILD)
	@./packaging/in-memory.sh cargo test --locked --workspace -- --skip apps::nocodb

test-pg: ## The tests of the PostgreSQL side on other versions (PG="13 14 15 16 17 18")
	@./packaging/find-postgres.sh >/dev/null
	$(BUILD)
	@./packaging/in-memory.sh ./packaging/test-pg.sh $(PG)

# The clients come from npm and PyPI, pinned, into target/apps.
test-apps: ## The vendors' own clients against our doubles of their apps
	$(BUILD)
	@./packaging/test-apps.sh

# NocoDB is far too heavy for every run, and no open source: nothing of it is shipped. It comes from npm,
# pinned, into target/nocodb.
test-nocodb: export RUST_TEST_THREADS ?= 3
test-nocodb: ## The conformance suite on NocoDB itself (its first time takes minutes and 1.6 GB)
	@./packaging/find-postgres.sh >/dev/null
	$(BUILD)
	@program=$$(./packaging/fetch-nocodb.sh) && TIDEGATE_NOCODB=$$program \
	  cargo test --locked --workspace --test it -- apps::nocodb

# Types, lints, components, then the pages in headless Chromium against real binaries. Debug builds read
# the console's files from their folder.
test-console: console ## The console: types, components, and all pages in a real browser
	@./packaging/find-postgres.sh >/dev/null
	cd relay/console && npm run --silent check && npm run --silent test
	$(BUILD)
	cd relay/console && CHROMIUM=$$(../../packaging/find-chromium.sh) npm run --silent e2e

# Each kind of world by itself: KIND=worst runs only these.
KIND ?=
sim: ## Many simulated worlds of each kind (SEEDS=1000000 KIND=worst)
	SIM_SEEDS=$(SEEDS) cargo test --locked --profile sim -p tidegate-sync --test sim -- $(KIND)_worlds_hold

# MUTANTS=merge.rs runs those whose names contain it, MUTANTS_FROM=200 goes on with the 200th of these.
MUTANTS ?= all
mutants: ## Breaks the sync core on purpose, one place at a time; the tests must notice
	MUTANTS=$(MUTANTS) cargo test --locked -p tidegate-sync --test mutants

# `make test` copies some thousand rows. Ten million take some GB of disk under TMPDIR.
ROWS ?= 10000000
copy: ## The first copy of a big table, with restarts, as an optimized build (ROWS=10000000)
	@./packaging/find-postgres.sh >/dev/null
	$(BUILD) --release
	COPY_ROWS=$(ROWS) cargo test --locked --release --workspace --test it -- \
	  e2e::resume --nocapture

# pgbench comes with the server's package (packaging/find-postgres.sh). `make test` has a short run.
soak: ## pgbench on one side and edits of the other at once (SOAK_SECONDS=300)
	@./packaging/find-postgres.sh >/dev/null
	$(BUILD)
	SOAK_SECONDS=$(SOAK_SECONDS) cargo test --locked --workspace --test it -- \
	  e2e::soak --nocapture

# Poor links are played in user space, so that no root is needed. About an hour on two cores.
chaos: ## What networks do to the tunnel, in its long form, with figures
	@./packaging/find-postgres.sh >/dev/null
	$(BUILD) --release
	CHAOS=1 cargo test --locked --release --workspace --test it -- \
	  e2e::network --nocapture --test-threads=1

# Fewer rounds and rows, within five minutes: QUICK=1. A full run (about 40 minutes) also writes docs/performance.md.
QUICK ?=
BENCH_OUT = target/bench
bench: ## Tidegate beside its alternatives, on this machine (QUICK=1; as root also over an emulated link)
	cargo build --locked --release --workspace
	@mkdir -p $(BENCH_OUT)
	@peers=$$(./relay/benches/fetch-peers.sh) && postgres=$$(./packaging/find-postgres.sh) && \
	  "$${CARGO_TARGET_DIR:-target}/release/tidegate-bench" run --postgres "$$postgres" --peers "$$peers" \
	  --out $(BENCH_OUT) $(if $(QUICK),--quick,--readme docs/performance.md --picture docs/bench.svg)

# Packages need cargo-deb, cargo-generate-rpm and cargo-cyclonedx, which are installed when missing. About
# 15 minutes on two cores.
package: ## .deb, .rpm, static programs, their contents (SBOM) and checksums, in target/package
	@./packaging/package.sh

test-package: ## Installs, upgrades and purges the packages in a throwaway Debian (as root; makes them first)
	@./packaging/test-package.sh

test-container: ## Builds both images and runs them in a Docker of its own (as root; builds the programs first)
	@./packaging/container/test.sh

test-boot: ## Boots a machine with the packages, emulated: services, watchdog, upgrade, reboot, purge (as root)
	@./packaging/test-boot.sh

test-units: ## The systemd units and the Kubernetes manifests: understood, and closed enough
	@./packaging/check-units.sh
	@./packaging/kubernetes/check.sh

# In a target directory of its own: everything is built with the fuzzer's instrumentation. libFuzzer needs
# unstable flags, which the stable toolchain takes with the variable. `make test` runs the seeds without it.
FUZZ_SECONDS ?= 60
FUZZ = $(CURDIR)/target/fuzz
fuzz: ## Every parser of what comes from outside, fuzzed (FUZZ_SECONDS=60 for each)
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	@set -e; cd relay; for target in $$(cargo fuzz list); do \
	  mkdir -p $(FUZZ)/corpus/$$target $(FUZZ)/found/$$target; \
	  echo "== $$target"; \
	  RUSTC_BOOTSTRAP=1 cargo fuzz run $$target --target-dir $(FUZZ) \
	    $(FUZZ)/corpus/$$target fuzz/seeds/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$(FUZZ)/found/$$target/; \
	done

lint: bans ## Formatting, clippy, banned crates; licences and sources where cargo-deny is installed
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
# CI installs cargo-deny (`cargo install --locked cargo-deny`). Advisories are not among these: their
# database is fetched from GitHub, which not every machine reaches. `cargo deny check advisories`.
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --locked check bans licenses sources; \
	else echo "cargo-deny is not installed: licences and sources were not checked"; fi

# The linked crates alone: the lock file also names crates of platforms that are not built.
bans:
	@if cargo tree --locked --workspace --all-features -e normal,build,dev --prefix none \
	  | grep -E '^(ring|openssl|openssl-sys|native-tls) v'; \
	then echo "banned crate in the build (see deny.toml): find who brings it with cargo tree -i"; exit 1; fi

fmt: ## Format the sources
	cargo fmt --all
