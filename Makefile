# What people and CI call. `make help` lists it.

CARGO    ?= cargo
VERSION  := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
ARCH     := $(shell uname -m)

# The artefact is static: musl's target of this machine where its std can be had, else the machine's own.
MUSL_armv7l  := armv7-unknown-linux-musleabihf
MUSL_armv6l  := arm-unknown-linux-musleabihf
MUSL         := $(or $(MUSL_$(ARCH)),$(ARCH)-unknown-linux-musl)
HOST          = $(shell rustc -vV | sed -n 's/^host: //p')
HAVE_MUSL     = $(shell test -d "$$(rustc --print sysroot)/lib/rustlib/$(MUSL)/lib" && echo yes)
TARGET       ?= $(if $(HAVE_MUSL),$(MUSL),$(HOST))
OUT           = target/$(TARGET)/release
BINARY        = $(OUT)/socketmaster
# Only where rust-lld links, as .cargo/config.toml has it: another linker may know the script differently.
LINK          = $(if $(filter x86_64-%-musl aarch64-%-musl,$(TARGET)),-Clink-arg=--no-eh-frame-hdr -Clink-arg=-Tscripts/unwind.ld)

# What is released. The last is ARMv6: every Raspberry Pi runs it.
TARGETS       ?= x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf arm-unknown-linux-musleabihf
WORKFLOW_TOOLS = check-jsonschema==0.39.0 zizmor==1.32.0
CYCLONEDX      = 0.5.9
# Debian has three packages. The one for armhf holds the ARMv6 binary: Raspbian calls ARMv6 armhf as well.
ALL_DEB_TARGETS = x86_64-unknown-linux-musl aarch64-unknown-linux-musl arm-unknown-linux-musleabihf
DEB_TARGETS    ?= $(patsubst armv7-%,arm-%,$(MUSL))

# As Docker names them. Static programs only: nothing else is in the image.
IMAGE         ?= socketmaster
PLATFORM_x86_64-unknown-linux-musl      = linux/amd64
PLATFORM_aarch64-unknown-linux-musl     = linux/arm64
PLATFORM_armv7-unknown-linux-musleabihf = linux/arm/v7
PLATFORM_arm-unknown-linux-musleabihf   = linux/arm/v6
PLATFORM       = $(or $(PLATFORM_$(TARGET)),$(error no image for $(TARGET): install the std of $(MUSL)))

PORT      ?= 0
ROLLOVERS ?= 10
RATE      ?= 400
soak soak-control: ROLLOVERS = 1000
soak soak-control: RATE      = 500
MINUTES   ?= 0

.DEFAULT_GOAL := build

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: run
run: build examples ## ten rollovers of an example server under load; KEEP=1 leaves it running, PORT= ROLLOVERS= RATE=
	@$(OUT)/examples/rollover $(BINARY) $(OUT)/examples/hello --port $(PORT) --rollovers $(ROLLOVERS) --rate $(RATE) $(if $(KEEP),--keep)

.PHONY: build
build: std ## the static binary for this machine
	@test -e $(BINARY) -a scripts/unwind.ld -nt $(BINARY) && touch src/main.rs || true # cargo does not look at the linker's script
	$(CARGO) rustc --release --locked --target $(TARGET) --bin socketmaster -- $(LINK)
	@ls -l $(BINARY)

.PHONY: examples
examples: std
	$(CARGO) build --release --locked --target $(TARGET) --example hello --example rollover --example soak

# Asks rustup once for musl's std; where that fails the machine's own target is used, and every line of output names it.
.PHONY: std
std:
	@test -n "$(HAVE_MUSL)" || rustup target add $(MUSL) || echo "no std for $(MUSL) here: building for $(HOST)" >&2

.PHONY: test
test: build ## all that needs no more than Rust and Linux, against the static binary
	SOCKETMASTER=$(CURDIR)/$(BINARY) scripts/test-summary $(CARGO) test --locked --workspace --no-fail-fast --target $(TARGET)

# Where users expect it; packages set DESTDIR. It installs what `make` has built, so that root builds nothing.
PREFIX   ?= /usr/local
DESTDIR  ?=
BINDIR    = $(PREFIX)/bin
DATADIR   = $(PREFIX)/share
UNITDIR  ?= $(PREFIX)/lib/systemd/system
BASH_COMPLETIONS = $(DATADIR)/bash-completion/completions
ZSH_COMPLETIONS  = $(DATADIR)/zsh/site-functions
FISH_COMPLETIONS = $(DATADIR)/fish/vendor_completions.d

# The unit where systemd is, or where its directory is named. Its ExecStart= names the binary by its whole path.
.PHONY: install
install: $(if $(wildcard $(BINARY)),,build) ## the binary, manual, completions and unit below PREFIX (/usr/local); DESTDIR= UNITDIR=
	install -D -m 755 $(BINARY) $(DESTDIR)$(BINDIR)/socketmaster
	install -D -m 644 docs/socketmaster.1 $(DESTDIR)$(DATADIR)/man/man1/socketmaster.1
	install -D -m 644 docs/completions/socketmaster.bash $(DESTDIR)$(BASH_COMPLETIONS)/socketmaster
	install -D -m 644 docs/completions/_socketmaster $(DESTDIR)$(ZSH_COMPLETIONS)/_socketmaster
	install -D -m 644 docs/completions/socketmaster.fish $(DESTDIR)$(FISH_COMPLETIONS)/socketmaster.fish
	if [ -d /run/systemd/system ] || [ -d /usr/lib/systemd/system ] || [ "$(origin UNITDIR)" != file ]; then \
	  install -d $(DESTDIR)$(UNITDIR) && \
	  sed 's|/usr/bin/socketmaster|$(BINDIR)/socketmaster|g' debian/socketmaster@.service >$(DESTDIR)$(UNITDIR)/socketmaster@.service && \
	  chmod 644 $(DESTDIR)$(UNITDIR)/socketmaster@.service; \
	fi

.PHONY: uninstall
uninstall: ## removes what install has installed; the same PREFIX= DESTDIR= UNITDIR=
	rm -f $(DESTDIR)$(BINDIR)/socketmaster $(DESTDIR)$(DATADIR)/man/man1/socketmaster.1 \
	  $(DESTDIR)$(BASH_COMPLETIONS)/socketmaster $(DESTDIR)$(ZSH_COMPLETIONS)/_socketmaster \
	  $(DESTDIR)$(FISH_COMPLETIONS)/socketmaster.fish $(DESTDIR)$(UNITDIR)/socketmaster@.service

.PHONY: fuzz
fuzz: ## runs each fuzz target for SECONDS=10, and fails if one finds something; TARGETS="argv words"; needs a C++ compiler
	CARGO="$(CARGO)" scripts/fuzz $(or $(SECONDS),10) $(if $(filter file,$(origin TARGETS)),,$(TARGETS))

.PHONY: soak
soak: build examples ## a thousand rollovers under load, half of them bad; ROLLOVERS= RATE=, and for MINUTES= at least
	@$(OUT)/examples/soak $(BINARY) $(OUT)/examples/hello --rollovers $(ROLLOVERS) --minutes $(MINUTES) --rate $(RATE)

.PHONY: soak-control
soak-control: build examples # the negative control: with -start=0 requests must fail, and the test must see it
	@$(OUT)/examples/soak $(BINARY) $(OUT)/examples/hello --rollovers 20 --rate $(RATE) --broken

.PHONY: bench
bench: build ## what it costs, beside bare system calls and its peers; ROWS=start,relay QUICK=1; needs a C compiler
	$(CARGO) build --release --locked --target $(TARGET) -p xtask
	$(OUT)/xtask bench $(BINARY) $(if $(ROWS),--rows=$(ROWS)) $(if $(QUICK),--quick)

.PHONY: fmt
fmt: ## formats the source
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml

# Clippy is a `cargo check` that says more. The tests are those that start no process, without the walk over the states of
# the supervisor, which takes minutes.
.PHONY: check
check: ## formatting, clippy and the fast tests, in seconds: before each commit
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --quiet --locked --test docker --test deb --test docs -- -D warnings
	$(CARGO) test --quiet --locked --lib -- --skip every_order --skip every_promise
	$(CARGO) test --quiet --locked --test main -- architecture::
	$(CARGO) test --quiet --locked -p xtask --test main -- pages::

.PHONY: lint
lint: ## formatting, clippy and rustdoc with warnings as errors, dependencies, generated pages
	$(CARGO) fmt --all --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --test docker --test deb --test docs -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --quiet --locked --workspace --no-deps --document-private-items
	$(CARGO) deny check bans licenses sources
	$(CARGO) run --quiet --locked -p xtask -- pages
	git diff --exit-code -- docs

.PHONY: pages
pages: ## writes the generated parts of the manual page and of docs/, and the completions
	$(CARGO) run --quiet --locked -p xtask -- pages

.PHONY: dist
dist: ## release binaries into dist/ with SHA256SUMS; TARGETS="..." BUILDER=zig|cross SMALL=1
	scripts/dist $(TARGETS)

.PHONY: image
image: build ## the image of this machine's platform in the local docker engine, as socketmaster:VERSION and socketmaster
	VERSION=$(VERSION) IMAGE=$(IMAGE) scripts/image $(PLATFORM)=$(BINARY)

# ARMv6 code for ARMv7 too: engines before 20.10 on a Raspberry Pi Zero, which is ARMv6, ask for arm/v7.
.PHONY: push-image
push-image: ## the image of all platforms from dist/, with buildx; IMAGE=registry/name, or OUTPUT=type=oci,dest=FILE
	VERSION=$(VERSION) IMAGE=$(IMAGE) OUTPUT=$(or $(OUTPUT),type=registry) scripts/image \
	  linux/amd64=dist/socketmaster-$(VERSION)-x86_64-unknown-linux-musl \
	  linux/arm64=dist/socketmaster-$(VERSION)-aarch64-unknown-linux-musl \
	  linux/arm/v7=dist/socketmaster-$(VERSION)-arm-unknown-linux-musleabihf \
	  linux/arm/v6=dist/socketmaster-$(VERSION)-arm-unknown-linux-musleabihf

# Of the examples, the programs that run in the containers. More threads than processors, since the tests wait for the engine.
.PHONY: test-docker
test-docker: image ## tests with real containers; needs the docker engine of this machine, and a static busybox
	$(CARGO) build --locked --target $(TARGET) --example worker --example hello --example client
	SOCKETMASTER_IMAGE=$(IMAGE):$(VERSION) $(CARGO) test --locked --target $(TARGET) --test docker -- --test-threads=4

.PHONY: test-arm
test-arm: dist ## dist's binaries for ARM under emulation, and as /init of virtual machines; needs root and Debian 12
	TARGET=$(TARGET) scripts/test-arm

.PHONY: check-reproducible
check-reproducible: ## builds twice from clones in different directories and compares; TARGETS="..."
	scripts/check-reproducible $(TARGETS)

.PHONY: deb
deb: $(DEB_TARGETS:%=dist/socketmaster-$(VERSION)-%) ## the Debian package for this machine, in dist/; DEB_TARGETS="..." for others
	scripts/deb $(DEB_TARGETS)
	ls -l $(DEB_FILES)

.PHONY: debs
debs: ## the Debian packages for amd64, arm64 and armhf; the first build takes minutes
	$(MAKE) deb DEB_TARGETS="$(ALL_DEB_TARGETS)"

DEB_x86_64-unknown-linux-musl    = amd64
DEB_aarch64-unknown-linux-musl   = arm64
DEB_arm-unknown-linux-musleabihf = armhf
DEB_FILES = $(foreach target,$(DEB_TARGETS),dist/socketmaster_$(VERSION)_$(DEB_$(target)).deb)

# Built only if it is missing or older than its sources.
dist/socketmaster-$(VERSION)-%: Cargo.toml Cargo.lock .cargo/config.toml scripts/dist scripts/unwind.ld $(shell find src -name '*.rs')
	scripts/dist $*

# More threads than processors, since the tests wait for machines that boot.
.PHONY: test-deb
test-deb: std debs ## the packages on Debian 12 and 13 with systemd; needs root, docker, debootstrap and lintian
	$(CARGO) build --locked --target $(TARGET) --example worker --example hello --example client
	SOCKETMASTER_PACKAGES=$(CURDIR)/dist $(CARGO) test --locked --target $(TARGET) --test deb -- --test-threads=4
	scripts/test-arm package

# PAGES names some of the pages, SERVERS some of the servers, RELOADS how often each is reloaded.
.PHONY: test-docs
test-docs: image deb ## what the documentation shows, as it stands, with real servers; PAGES= SERVERS= RELOADS=10; needs root and docker
	scripts/doc-servers $(SERVERS)
	$(CARGO) build --locked --target $(TARGET) --example worker --example hello --example client
	SOCKETMASTER=$(CURDIR)/$(BINARY) SOCKETMASTER_PACKAGES=$(CURDIR)/dist PAGES="$(PAGES)" SERVERS="$(SERVERS)" RELOADS=$(RELOADS) \
	  $(CARGO) test --locked --target $(TARGET) --test docs

.PHONY: check-workflows
check-workflows: ## the workflows against their schema, and zizmor's opinion of them
	@test -x target/workflows/bin/zizmor || { python3 -m venv target/workflows && target/workflows/bin/pip install --quiet $(WORKFLOW_TOOLS); }
	target/workflows/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	target/workflows/bin/zizmor --offline --quiet .github/workflows

.PHONY: sbom
sbom: ## the bill of materials into dist/
	@cargo cyclonedx --version >/dev/null 2>&1 || $(CARGO) install --locked --quiet cargo-cyclonedx@$(CYCLONEDX)
	$(CARGO) cyclonedx --format json --target $(MUSL) --override-filename socketmaster-$(VERSION).cdx
	mv socketmaster-$(VERSION).cdx.json dist/

.PHONY: checksums
checksums: ## dist/SHA256SUMS over all that is to be released
	cd dist && sha256sum socketmaster[-_]* >SHA256SUMS && cat SHA256SUMS

.PHONY: check-tag
check-tag: ## fails unless TAG is this version's
	@test "$(TAG)" = "v$(VERSION)" || { echo "tag $(TAG) is not v$(VERSION), the version in Cargo.toml" >&2; exit 1; }

.PHONY: draft-release
draft-release: check-tag ## TAG and all of dist/ as a draft release, with gh
	gh release create $(TAG) --draft --verify-tag --title "socketmaster $(VERSION)" --notes-file CHANGELOG.md $(wildcard dist/socketmaster* dist/SHA256SUMS)

.PHONY: clean
clean: ## removes all that was built
	$(CARGO) clean
