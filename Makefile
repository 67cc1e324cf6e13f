# make demo: see it work. make test: test it. make && sudo make install: install it into your own Postgres.

# Any Postgres from 15 to 19.
PG_CONFIG ?= pg_config
override PG_CONFIG := $(if $(findstring /,$(PG_CONFIG)),$(abspath $(PG_CONFIG)),$(PG_CONFIG))
export PG_CONFIG

# Evaluated when a recipe runs: on a fresh machine `deps` installs pg_config first.
pg_config = $(shell command -v $(PG_CONFIG))
major = $(shell $(PG_CONFIG) --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
sharedir = $(shell $(PG_CONFIG) --sharedir)
pkglibdir = $(shell $(PG_CONFIG) --pkglibdir)

# More at once are little faster, and disturb each other: the tests share a server.
export RUST_TEST_THREADS ?= 2

target := $(or $(CARGO_TARGET_DIR),target)
library = $(target)/release/libsequin_mutations.so
extension = --release --no-default-features --features pg$(major) --ignore-rust-version
# Always built together, so that cargo builds shared crates once: features depend on the set of packages.
members = --workspace --exclude sequin_mutations
# Without optimisation. One call of cargo compiles each dependency once.
demonstration = -p sequin_mutations -p sequin-gateway -p sequin-demo \
    --features sequin_mutations/pg$(major) --ignore-rust-version
development = -p sequin-sandbox $(demonstration)
# A separate workspace, whose tests replay the seeds.
fuzz = --manifest-path fuzz/Cargo.toml

.DEFAULT_GOAL := all
.NOTPARALLEL:
.PHONY: all gateway install uninstall installcheck deps members demonstration development demo demo-psql check test test-fuzz test-all test-neighbours test-judges soak fuzz check-sql deny deb deb-gateway dist bench clean help

all: ## the extension, for the Postgres that PG_CONFIG names
	PGRX_PG_CONFIG_PATH=$(pg_config) cargo build $(extension)

gateway: ## the gateway, in target/release/sequin-gateway
	cargo build --release -p sequin-gateway

install: ## puts it there (DESTDIR is honoured); needs no Rust
	@test -f '$(library)' || { echo "There is no $(library): run make first." >&2; exit 1; }
	install -d '$(DESTDIR)$(pkglibdir)' '$(DESTDIR)$(sharedir)/extension'
	install -m 755 '$(library)' '$(DESTDIR)$(pkglibdir)/sequin_mutations.so'
	install -m 644 sequin_mutations.control sql/sequin_mutations--*.sql '$(DESTDIR)$(sharedir)/extension/'

uninstall: ## takes it out again
	rm -f '$(DESTDIR)$(pkglibdir)/sequin_mutations.so'
	rm -f '$(DESTDIR)$(sharedir)/extension/sequin_mutations.control'
	rm -f '$(DESTDIR)$(sharedir)/extension/'sequin_mutations--*.sql

# pg_regress and isolationtester come with PG_CONFIG's Postgres, the API is the sandbox.
installcheck: ## regression tests and isolation specs, on a running server that has it: PGHOST, PGPORT, PGUSER
	cargo build -p sequin-sandbox
	@scripts/installcheck '$(pg_config)' '$(target)/debug/sequin-sandbox' '$(target)/installcheck'

deps: ## what the build needs and this machine lacks, by apt
	@scripts/deps

members: # the servers of the API and their judge, the harness, the demo, the benchmarks
	cargo build $(members)

demonstration: # the extension, the gateway and the demo
	PGRX_PG_CONFIG_PATH=$(pg_config) cargo build $(demonstration)

development: # these, and the sandbox
	PGRX_PG_CONFIG_PATH=$(pg_config) cargo build $(development)

demo: deps demonstration ## creates, updates, triggers and refusals on a throw-away Postgres
	@'$(target)/debug/sequin-demo'

demo-psql: deps demonstration ## psql in a Postgres like the demo's
	@'$(target)/debug/sequin-demo' psql

check: development ## some client tests against a development build: make check T=attach::columns
	SEQUIN_SO='$(abspath $(target))/debug/libsequin_mutations.so' \
	    cargo test $(development) -p sequin-tests --test client -- $(T)

# The harness prefers a library beside the test binary, which may be a stale development build.
test test-neighbours test-judges soak bench: export SEQUIN_SO = $(abspath $(library))

# Cheap and likely failures first. The contract is tested without Postgres; the extension is checked with
# the release profile because its build scripts, which take a minute, then run once for both.
test: deps ## everything: format, lints, unit tests, sandbox, harness, the extension seen from a client
	cargo fmt --all --check
	cargo test -p sequin-contract
	$(if $(wildcard fuzz),$(MAKE) test-fuzz,@echo 'A release has no fuzz targets: their seeds are not replayed.')
	cargo clippy $(members) --all-targets -- -D warnings
	PGRX_PG_CONFIG_PATH=$(pg_config) cargo clippy $(extension) -- -D warnings
	$(MAKE) all members
	cargo test $(members)

test-fuzz:
	cargo fmt $(fuzz) --check
	cargo clippy $(fuzz) --all-targets --target-dir '$(target)/fuzz' -- -D warnings
	cargo test $(fuzz) --target-dir '$(target)/fuzz'

test-all: deps ## all tests against each major, those that are not here included; MAJORS='15 16 17 18 19'
	scripts/test-majors '$(target)' $(or $(MAJORS),15 16 17 18 19)

# The oldest and the newest major, for pg_upgrade from the one to the other.
test-neighbours: deps all members ## beside PgBouncer, pg_repack, other languages' drivers, standbys, subscribers, pg_upgrade
	scripts/deps-neighbours '$(target)/neighbours'
	set -e; for other in 15 19; do PG_CONFIG=none scripts/build-for $$other '$(target)'; done
	cargo clippy $(members) --features sequin-tests/neighbours --test neighbours -- -D warnings
	cargo test $(members) --features sequin-tests/neighbours --test neighbours

# SKIP names modules of gateway/tests/judges. What is left out is not installed either.
# These tests mostly wait, for timeouts and limits that are real: more of them fit side by side.
test-judges: deps all members ## the gateway before other people's products; SKIP='okta psql' ROUNDS=30 SEED=n
	SKIP='$(SKIP)' scripts/deps-judges '$(target)/judges'
	cargo clippy $(members) --features sequin-gateway/judges --test judges -- -D warnings
	RUST_TEST_THREADS=4 SEQUIN_JUDGES_ROUNDS=$(ROUNDS) SEQUIN_JUDGES_SEED=$(SEED) \
	    cargo test $(members) --features sequin-gateway/judges --test judges -- $(foreach judge,$(SKIP),--skip $(judge)::)
	@for judge in $(SKIP); do echo "make test-judges: $$judge did not run"; done

soak: deps all members ## crashes and cancels at random moments, for long, and fuzzing; ROUNDS=200 SEED=n SECONDS=20 CLUSTERS=2
	SEQUIN_SOAK_ROUNDS=$(or $(ROUNDS),200) SEQUIN_SOAK_SEED=$(SEED) SEQUIN_SOAK_CLUSTERS=$(or $(CLUSTERS),2) cargo test -p sequin-tests -- --nocapture \
	    outbox::random_kills outbox::kills cancels
	scripts/fuzz $(or $(SECONDS),20)

fuzz: ## the pure part under generated inputs, each target for SECONDS=60; TARGETS='reply outcome'
	scripts/fuzz $(or $(SECONDS),60) $(TARGETS)

check-sql: all ## whether the committed install script is the one that the code makes (slow the first time)
	scripts/check-sql '$(pg_config)' $(major) '$(target)'

deny: ## licences, duplicates, sources and known flaws of the dependencies; ADVISORIES=required
	@scripts/deny '$(target)'

deb: all ## a Debian package for the major of PG_CONFIG, in target/deb
	@scripts/deb $(major) '$(target)'

deb-gateway: gateway ## a Debian package of the gateway, in target/deb
	@scripts/deb-gateway '$(target)/release/sequin-gateway' '$(target)'

dist: ## the archive for PGXN, of what is committed, in target
	@scripts/dist '$(target)'

bench: deps all ## the measurements; BENCH='one-record --quick' for some
	cargo build --profile fast $(members)
	@'$(target)/fast/sequin-bench' $(BENCH)

clean: ## removes everything that was built
	cargo clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1 \2/p' Makefile | while read -r name text; do \
	    printf '  make %-15s %s\n' "$$name" "$$text"; done
