# Everything is done by xtask (cargo xtask --help); this file only forwards.
#
# Variables: HOSTS (a number of lab hosts, or sim), TEST (of lab-test: scenario, disks, imports, hvm, conformance, pool or run),
# CARGO_TARGET_DIR (where to build).

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup run test lab lab-test iso iso-test check-cargo

# Outside the checkout, so that a fresh clone finds the dependencies built.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/xenith
export CARGO_TARGET_DIR ?= $(CACHE)/target

# xtask itself needs these two and nothing else.
check-cargo:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.92 or newer (https://rustup.rs)" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "cc is missing: apt-get install gcc" >&2; exit 1; }
	@[ -x "$(CARGO_TARGET_DIR)/debug/xtask" ] || echo "compiling the project's own tool (usually half a minute, the first time)"

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: check-cargo ## Install the Debian packages that are missing
	@cargo xtask setup

run: check-cargo ## Orchestrator and a real Xen host (QEMU where this is none); HOSTS=2 or HOSTS=sim
	@exec cargo xtask run $(if $(HOSTS),--hosts $(HOSTS))

lab: check-cargo ## Real Xen hosts in QEMU until Ctrl-C; HOSTS=2 for two
	@exec cargo xtask lab $(if $(HOSTS),--hosts $(HOSTS))

lab-test: check-cargo ## The scenario on real Xen, a quarter of an hour; TEST=disks, imports, hvm, conformance, pool or run for the others
	@cargo xtask lab-test $(TEST)

iso: check-cargo ## The installer medium, into dist/
	@cargo xtask iso

iso-test: check-cargo ## Install, upgrade and break hosts from the medium in QEMU, about an hour
	@cargo xtask iso-test

test: check-cargo ## The checks and tests that the pipeline runs, and the scenario on real Xen
	@cargo xtask test
