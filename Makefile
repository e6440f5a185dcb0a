# Two commands a user needs: `make test` and, for the slow rest, `make test-full`.
.PHONY: help setup build lint test test-full deny doc bench install clean
.DEFAULT_GOAL := help
SHELL := /bin/bash
export CARGO_TERM_COLOR ?= auto

help: ## what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what building and testing need (Debian 12)
	@scripts/setup.sh

build: setup ## the daemon and its control client, optimised
	cargo build --release --locked

lint: setup ## formatting and lints, warnings are errors
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

test: setup ## everything that everybody runs, at most 20 minutes on 2 cores
	@scripts/test.sh

test-full: ## the slow rest, at most 60 minutes with `make test`
	@scripts/setup.sh full
	@scripts/test-full.sh

doc: ## the crate's documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

bench: setup ## figures with ratios, for docs/benchmarks.md
	@scripts/bench.sh

clean: ## remove what was built
	cargo clean
	rm -rf tests/browser/node_modules tests/browser/output
