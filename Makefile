# make run    the demo in your browser: plots of this machine and a chat. Ctrl-C ends it
# make test   what CI runs
# make faults what takes longer: ROUNDS (200) of processes killed at random, with SEED if need be
# make audit  licences, sources and known faults of the crates, by cargo-deny
# make fuzz   what strangers send, and plans for `make sim`, by libFuzzer: each target for
#             SECONDS=60; FUZZ=head JOBS=2
# make compat what works behind which web server: README's table, from running them
# make sim    the whole daemon against an operating system in memory, 20,000 times (SEEDS)
# make bench  what it costs, as ratios; make bench-cross: and what the way by C costs
# make soak   everything at once for MINUTES=60, a plot, and whether memory stays flat; ON=native,
#             ON=c (by way of C), ON=nommu, or several; SEED=…
# make bench-longpoll      long polling over CGI and ws2cgi, the same updates by both
# make build  the daemon and the event programs of cgi-bin/
# make size   what it takes, for each CPU whose compiler is here
# make clean
#
# make CROSS_RUST=TARGET   all for another CPU: target/TARGET/release/ws2cgi* (cross/targets)
# make mutants             whether the simulation notices what is broken on purpose
# make test-native-cross   builds those, and tests them by emulators
# make test-portable       tests the daemon that goes by way of C (cross/Makefile), on three CPUs
# make test-bfin           the same on a simulated Blackfin; its compiler and simulator first, once
# make test-nommu          the native one on a Linux without an MMU; that Linux first, once
#
# Debian packages that these need and do not find are installed first (tests/install). Most tests
# wait for processes, so eight at once suit two cores.

CC     ?= cc
CFLAGS ?= -std=gnu99 -Wall -Wextra -Os
CARGO  ?= cargo
RUSTC  ?= rustc
BUILD  := target

PROGRAMS := $(addprefix $(BUILD)/ws-bin/,echo board chat)

.PHONY: run test faults fuzz audit test-native-cross test-portable test-bfin test-nommu bench
.PHONY: bench-cross soak build size clean native compat bench-longpoll sim mutants

ifdef CROSS_RUST
native:
	@cross/native $(CROSS_RUST)
endif

run:
	@tests/install run
	@$(MAKE) --no-print-directory build
	@trap : INT; board/demo || [ $$? = 130 ]

test:
	@tests/install test
	$(CARGO) fmt --check
	$(CARGO) clippy --quiet --all-targets -- -D warnings
	@$(MAKE) --no-print-directory build
	$(CARGO) test --lib --tests -- --test-threads 8
	@$(MAKE) --no-print-directory sim

# SEEDS: how many, from FIRST on; of the first that fails all that happens in it, and a smaller plan
# that fails in the same way. SEED: that one. PLAN: a file that holds a plan; BYTES: one that a plan
# is drawn from.
sim:
	@SEEDS=$(SEEDS) FIRST=$(FIRST) SEED=$(SEED) PLAN=$(PLAN) BYTES=$(BYTES) SHRINK=$(SHRINK) \
		$(CARGO) test --quiet --profile sim --test sim

# Whether the simulation notices what is broken on purpose. NAMES: only these.
mutants:
	@tests/install these patch patch
	@SEEDS=$(SEEDS) tests/sim/mutants/run $(NAMES)

faults:
	@tests/install test
	ROUNDS=$(ROUNDS) SEED=$(SEED) $(CARGO) test --test faults -- --nocapture

# What needs no network first, then known faults, by RustSec's list: that is fetched.
audit:
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --quiet --locked cargo-deny
	$(CARGO) deny check licenses bans sources
	@why=$$($(CARGO) deny fetch db 2>&1) || { \
		why=$$(echo "$$why" | tail -n 1); \
		echo "audit: RustSec's list of known faults can't be fetched, so none were looked for:" \
			"$$why. Run this where that address can be reached." >&2; \
		exit 1; }
	$(CARGO) deny check advisories

compat:
	@tests/install test
	@$(CARGO) test --quiet --test compat

test-native-cross:
	@tests/install test
	@tests/portable/native

test-portable:
	@tests/install test
	@tests/portable/c

# TESTS: only those with one of these in their names.
test-bfin:
	@tests/bfin/test $(TESTS)

test-nommu:
	@tests/install nommu
	@tests/nommu/build $(BUILD)/nommu
	$(CARGO) test --quiet --test nommu -- --nocapture --test-threads 2

# FUZZ: these targets only; JOBS: so many at once.
SECONDS := 60
JOBS    := 1
fuzz:
	@tests/install fuzz
	@JOBS=$(JOBS) fuzz/run $(SECONDS) $(FUZZ)

bench:
	@tests/install run
	$(CARGO) bench --quiet --bench bench

# The path may not be relative: cargo runs it elsewhere.
bench-cross:
	@tests/install run
	@$(MAKE) --no-print-directory -C cross
	WS2CGI_PEER=$(CURDIR)/target/cross/host/ws2cgi $(CARGO) bench --quiet --bench bench

MINUTES ?= 60
ON      ?= native c nommu

soak:
	@tests/install run
ifneq ($(filter c,$(ON)),)
	@$(MAKE) --no-print-directory -C cross
endif
ifneq ($(filter nommu,$(ON)),)
	@tests/install nommu
	@tests/nommu/build $(BUILD)/nommu
endif
	$(CARGO) bench --quiet --bench soak -- $(MINUTES) $(or $(SEED),$(shell date +%s)) $(ON)

# SECONDS of a run, ROUNDS, CLIENTS="5 20 60", SERVER=boa or lighttpd, OUT: the report's folder.
bench-longpoll:
	@tests/install run
	CC='$(CC)' CFLAGS='$(CFLAGS)' LDFLAGS='$(LDFLAGS)' $(CARGO) bench --quiet --bench longpoll -- \
	  $(foreach word,SECONDS ROUNDS CLIENTS SERVER OUT,$(if $($(word)),'$(word)=$($(word))'))

build: $(PROGRAMS) $(BUILD)/sensors
	$(CARGO) build --release

size:
	@cross/size

clean:
	$(CARGO) clean

# The folder that the demo's daemon gets as --handlers: whatever lies there a browser can start.
$(BUILD)/ws-bin/%: cgi-bin/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $<

$(BUILD)/ws-bin/chat: cgi-bin/chat.rs
	@mkdir -p $(@D)
	$(RUSTC) --edition 2024 -C opt-level=z -C panic=abort -C strip=symbols -o $@ $<

# No event program, so it lies elsewhere.
$(BUILD)/sensors: cgi-bin/sensors.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $<
