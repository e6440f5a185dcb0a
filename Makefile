# Two commands a first user needs: `make demo` and `make test`.
.PHONY: help demo guest setup build lint test test-full chaos churn endurance relays expiry hostile lab drift fresh doc bench clean
.DEFAULT_GOAL := help
SHELL := /bin/bash
export CARGO_TERM_COLOR ?= auto

help: ## what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## a meeting on this machine with a box of simulated devices; prints the address to open
	@scripts/demo.sh $(DEMO)

guest: ## assemble the page that people without a box open (target/guest)
	@scripts/setup.sh demo
	@scripts/guest.sh

setup: ## install what building and testing need (Debian 12)
	@scripts/setup.sh

build: ## the daemon and its control client, optimised
	@scripts/setup.sh build
	cargo build --release --locked

.PHONY: install uninstall deb deb-test cross
install: ## lay what is built into DESTDIR (/) below PREFIX (/usr); first: make guest build
	@scripts/install.sh install

uninstall: ## remove what make install laid
	@scripts/install.sh uninstall

deb: ## a Debian package of what is built, in target; first: make guest build
	@scripts/setup.sh deb
	@scripts/deb.sh

deb-test: ## install, start, upgrade, remove and purge that package in a plain Debian 12 under systemd; as root
	@scripts/deb-test.sh

cross: ## the programs for aarch64 by Debian's cross compiler, tried under emulation; 12 minutes; PROFILE=release
	@scripts/setup.sh build
	@PROFILE="$(PROFILE)" scripts/cross.sh

lint: setup ## formatting and lints, warnings are errors
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

test: setup ## everything that everybody runs; about 13 minutes on 2 cores after `make demo`, 18 without it
	@scripts/test.sh

test-full: ## the slow rest, at most 60 minutes with `make test`
	@scripts/setup.sh full
	@scripts/test-full.sh

chaos: setup ## outages of a network and how soon pictures are back, as a table; about 4 minutes, as root
	cargo build --locked --bins
	node tests/network/chaos.mjs

churn: setup ## 1000 times leaving and joining: descriptors, threads and the slope of the memory; about 20 minutes
	HUDDLED_CHURN_CYCLES=$${CYCLES:-1000} cargo test --locked --test it -- --nocapture leaving_and_joining_again_and_again

endurance: setup ## ten minutes each of 5 % loss, 15 % loss and a silent member, without a restart; about 35 minutes, as root
	cargo build --locked --bins
	HUDDLED_LOSS_SECONDS=$${SECONDS_EACH:-600} node --test tests/network/loss.test.mjs

relays: ## meetings through firewalls: relays, a proxy, their restarts, mistakes in their settings; about 2 minutes, as root
	@scripts/setup.sh full
	cargo build --locked --bins
	node --test tests/network/relays.test.mjs

expiry: ## a relayed call of three minutes that outlasts its relay's passwords; about 4 minutes, as root
	@scripts/setup.sh full
	cargo build --locked --bins
	node --test tests/network/expiry.test.mjs

hostile: setup ## a hostile member in a meeting and strangers at the hub, with figures; about 3 minutes, as root
	@scripts/guest.sh
	cargo build --locked --bins --example hostile
	node --test tests/network/hostile.test.mjs
	node --test tests/network/strangers.test.mjs

lab: ## the binary on kernel drivers in an emulated machine; about 10 minutes the first time, as root; STEPS="light card"
	@scripts/setup.sh
	@STEPS="$(STEPS)" tests/lab/run.sh

.PHONY: pi
pi: ## the daemon on an emulated Raspberry Pi, cross-built: its pins, lights and what a killed box leaves; 12 minutes the first time
	@scripts/setup.sh build
	@tests/pi/run.sh

drift: ## ten minutes of a sound card whose clock is 300 ppm wrong, in that machine, which wants to be alone; as root
	@scripts/setup.sh
	@CARGO_PROFILE_DEV_OPT_LEVEL=2 LAB_LIMIT=1800 STEPS="unit drift" tests/lab/run.sh

fresh: ## both commands of the README in a plain Debian 12 made for it; about 20 minutes, as root
	@scripts/fresh.sh

doc: ## the crate's documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

bench: setup ## figures with ratios, for docs/benchmarks.md
	@scripts/bench.sh

clean: ## remove what was built
	cargo clean
	rm -rf tests/browser/node_modules tests/browser/output guest/node_modules
