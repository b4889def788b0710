# Everything sets itself up: on a fresh machine with Rust, Node, Python, Go, Java and a C compiler each target works at once.
# Build products go to CARGO_TARGET_DIR, by default a folder in the user's cache, so that clones share them.

export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/clew/target
export CLEW_TEST_TOOLS ?= $(CARGO_TARGET_DIR)/test-tools
CLEW = $(CARGO_TARGET_DIR)/debug/clew

.PHONY: help demo test lint tools torture objects simulate fuzz bench bench-queries
help: ## Show this
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

demo: ## Run agent, collector and a small instrumented shop in one process
	cargo build --quiet -p clew-cli
	$(CLEW) demo

# Built as the tests want it: with other features DataFusion would be built twice.
test: lint tools ## Check style, build, run every test
	cargo build --workspace --bins --tests
	cargo test --workspace

lint:
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings

tools: ## Install what the tests with real clients need
	integration-tests/setup.sh

torture: ## Kill agents and collectors for a long time (ROUNDS=300, AWAY_S=180)
	cargo build --workspace --bins --tests
	CLEW_TORTURE_ROUNDS=$(or $(ROUNDS),300) CLEW_TORTURE_AWAY_S=$(or $(AWAY_S),180) \
		cargo test --workspace --test torture -- --nocapture

objects: ## Test blocks and WAL on Ceph's S3 gateway (installs it)
	cargo build --workspace --bins --tests
	integration-tests/radosgw.sh sh -ec 'test="cargo test --workspace --test"; $$test objects; \
		$$test storage server::; $$test export objects::; $$test torture -- object_store without_a_disk --nocapture'

simulate: ## Run thousands of seeds of the simulation (SEEDS=5000)
	CLEW_SIM_SEEDS=$(or $(SEEDS),5000) cargo test --workspace --test simulation -- --nocapture

fuzz: ## Fuzz what reads bytes from outside (SECONDS_EACH=300)
	fuzz/run.sh $(or $(SECONDS_EACH),300)

bench-queries: ## Repeat the figures of docs/benchmarks.md on queries (SPANS=5000000 LOOPS=2)
	cargo build --release -p clew-collector -p clew-cli
	docs/bench-queries.sh

bench: ## Repeat the figures of docs/benchmarks.md
	cargo build --release -p clew-agent -p clew-collector -p clew-cli
	docs/bench.sh
