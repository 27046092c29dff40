# `make demo` shows collectord at work, `make test` passes its tests; each sets itself up. `##@` heads a section of `make help`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STORE ?=
SECONDS ?= 60
MINUTES ?= 12
JOBS ?= 2
APPENDS ?= 10000
FAULTS ?= 5000
WRITERS ?= 4
SEED ?=
FLAVOURS ?= native portable
PAIRS ?= 15
comma := ,
KERNELS := $(shell find collectord clients/python/collectord_client -name '_*.pyx' -o -name '_*.h')

# Tests start hundreds of processes: what is compiled once need not be compiled by each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test chart-test image-test vm-test page-test page-shots lint typecheck bench bench-peers bench-page bench-lock bench-azureml bench-fleet test-disk test-pure test-pythons test-spark test-azureml test-bounds test-newest test-wheels test-hosts test-fleet lock audit licences sbom test-floats test-sanitize test-arm64 test-abuse soak fuzz clean venv azurite
.DEFAULT_GOAL := help

##@ To begin with

help: ## Show what can be made
	@sed -nE -e 's/^##@ (.*)/\n\1/p' -e 's/^([a-z0-9-]+):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 18

# The environment, as dev.lock pins it with checksums: made again when a dependency changes.
$(VENV)/.ready: dev.lock pyproject.toml clients/python/pyproject.toml clients/azureml/pyproject.toml clients/azureml-ai/pyproject.toml setup.py clients/python/setup.py proto/generate.py proto/collectord/v1/collector.proto $(KERNELS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r dev.lock
	$(BIN)/python -m pip install -q --no-build-isolation --no-deps -e . -e clients/python -e clients/azureml -e clients/azureml-ai
	touch $@

venv: $(VENV)/.ready

# Azurite, the storage emulator, as package-lock.json pins it.
node_modules/.ready: package.json package-lock.json
	npm ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

azurite: node_modules/.ready

# Our wheels, which is what images have, not the checkout.
build/wheels/.ready: $(VENV)/.ready $(KERNELS) $(shell find clients -name '*.py' -not -path '*/_pb/*' -not -path '*/build/*')
	rm -rf $(@D)
	for client in python azureml azureml-ai; do $(BIN)/python -m build --no-isolation --wheel --outdir $(@D) clients/$$client >/dev/null || exit 1; done
	touch $@

# $(call environment,PACKAGES): an environment with nothing else, in the target's directory.
define environment
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -q $(1)
endef

# $(call runtime,DIRECTORY): an environment with the daemon and what it needs to run, nothing else.
define runtime
	rm -rf $(1)
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install -q .
endef
LICENCES := Apache;MIT;BSD;ISC;Python Software Foundation;PSF;MPL;Mozilla

demo: venv $(if $(filter azurite,$(STORE)),azurite) ## Score real rows, kill the daemon, show what landed (STORE=azurite for the emulator)
	$(BIN)/collectord demo $(if $(STORE),--store $(STORE))

test: venv azurite lint typecheck ## Lint, types and all tests, in JOBS=2 processes
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

lint: venv ## ruff and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

typecheck: venv ## mypy, strict, for the daemon and the clients
	$(BIN)/mypy
	cd clients/python && ../../$(BIN)/mypy
	cd clients/azureml && ../../$(BIN)/mypy
	cd clients/azureml-ai && ../../$(BIN)/mypy

##@ Benchmarks

bench: venv ## Our benchmarks, each checking its output first
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-columns=min,median,ops --timeout 900

# The peers' newest releases, as benchmarks/peers.lock pins them, before those that our own tests happen to have.
build/peers/.ready: benchmarks/peers.lock $(VENV)/.ready
	rm -rf build/peers
	$(BIN)/python -m pip install -q --no-deps --target build/peers -r benchmarks/peers.lock
	touch $@

bench-peers: venv azurite build/peers/.ready build/bench-azureml/.ready ## Each target of speed with its interval, met or missed, beside pyarrow, polars and DuckDB; PAIRS=15, TARGETS='1 2' for some
	PYTHONPATH=build/peers $(BIN)/python -m benchmarks.targets --pairs $(PAIRS) $(TARGETS)

bench-page: bench-peers ## All of bench-peers, and what docs/performance.md shows of it: tables and plots
	$(BIN)/python -m pip install -q "matplotlib>=3.9"
	$(BIN)/python -m benchmarks.targets --page

bench-lock: venv ## Pin the newest releases of the peers
	$(BIN)/python -m pip install -q uv
	$(BIN)/python -m tests.bounds.lock bench-lock

bench-fleet: venv ## What a fleet of nodes does to the blobs it shares: the table and plot of docs/capacity.md
	$(BIN)/python -m pip install -q "matplotlib>=3.9"
	$(BIN)/python -m benchmarks.fleet --svg docs/images/fleet.svg

# v1 is a source distribution that wants libraries which no image has any more.
build/bench-azureml/.ready: build/wheels/.ready benchmarks/azureml/peers.lock
	$(call environment,--no-deps -r benchmarks/azureml/peers.lock)
	$(@D)/bin/python -m pip install -q "$$(echo build/wheels/collectord_client-*.whl)[grpc]" # the daemon that it asks is one of gRPC
	touch $@

bench-azureml: build/bench-azureml/.ready ## What a request pays for collecting: Azure ML's two SDKs and ours in one run
	build/bench-azureml/bin/python -m benchmarks.azureml.compare

##@ Tests that need something, or are not in `make test`

test-pure: venv ## The client's tests with its core in Python; in make test most run with the compiled one
	COLLECTORD_CLIENT_PURE=1 nice $(BIN)/python -m pytest tests/client --numprocesses $(JOBS) --dist loadfile

test-pythons: venv ## The client, its core compiled, on every Python from 3.10 to 3.13 that is here; needs two
	$(BIN)/python -m pytest tests/pythons

# $(call elsewhere,DIRECTORY): what is committed, and an environment beside it.
define elsewhere
	rm -rf $(1) && mkdir -p $(1)/tree
	git ls-files -z | tar --create --null --files-from - | tar --extract --directory $(1)/tree
	ln -s $(CURDIR)/node_modules $(1)/tree/node_modules
	$(PYTHON) -m venv $(1)/venv
endef
EDITABLE := -e '.[query,otlp]' -e clients/python -e clients/azureml -e clients/azureml-ai --group test

test-bounds: venv azurite ## All tests with the lowest versions of what we depend on, in an environment of their own; half an hour
	$(call elsewhere,build/lowest)
	$(BIN)/python -m tests.bounds.lowest pyproject.toml >build/lowest/pins.txt
	$(BIN)/python -m tests.bounds.lowest clients/python/pyproject.toml >build/lowest/client.txt
	build/lowest/venv/bin/python -m pip install -q -U "pip>=25.1" "setuptools>=77" "cython>=3.1" wheel "grpcio-tools==$$(sed -n 's/^grpcio==//p' build/lowest/pins.txt)" --constraint build/lowest/pins.txt
	cd build/lowest/tree && ../venv/bin/python -m pip install -q --no-build-isolation --constraint ../pins.txt $(EDITABLE)
	cd build/lowest/tree && ../venv/bin/python -m pytest -n $(JOBS) tests
	# The client lives beside whatever a model needs, so its bounds are lower than the daemon's: its own tests, with those.
	build/lowest/venv/bin/python -m pip install -q --no-deps -r build/lowest/client.txt "grpcio-tools==$$(sed -n 's/^grpcio==//p' build/lowest/client.txt)"
	cd build/lowest/tree && ../venv/bin/python -m pytest -n $(JOBS) tests/client

test-newest: venv azurite ## All tests with the newest releases, whatever dev.lock says, in an environment of their own; a quarter of an hour
	$(call elsewhere,build/newest)
	build/newest/venv/bin/python -m pip install -q -U pip setuptools cython wheel grpcio-tools
	cd build/newest/tree && ../venv/bin/python -m pip install -q -U --no-build-isolation $(EDITABLE)
	cd build/newest/tree && ../venv/bin/python -m pytest -n $(JOBS) tests

lock: venv ## Pin the newest releases of what development and tests need: dev.lock
	$(BIN)/python -m pip install -q uv
	$(BIN)/python -m tests.bounds.lock lock

audit: venv ## Known faults in what we depend on (pip-audit), by PyPI's advisories or those of an OSV service (ADVISORIES=URL of its query)
	$(BIN)/python -m pip install -q "pip-audit>=2.9"
	for project in pyproject.toml clients/python/pyproject.toml; do $(BIN)/python -m tests.bounds.lowest $$project; done | sed 's/==.*//' | sort -u >build/audited.txt
	$(BIN)/pip-audit --strict --progress-spinner off $(if $(ADVISORIES),--vulnerability-service osv --osv-url $(ADVISORIES)) --requirement build/audited.txt

licences: venv ## Licences of all that a daemon needs to run; fails for one that is not known to allow commercial use
	$(call runtime,build/runtime)
	build/runtime/bin/python -m pip install -q "pip-licenses>=5"
	build/runtime/bin/pip-licenses --from=mixed --format=markdown --with-urls --order=license --ignore-packages collectord pip-licenses prettytable wcwidth --allow-only "$(LICENCES)" --partial-match

sbom: venv ## What a daemon's environment is made of, as CycloneDX JSON: build/sbom.json
	$(call runtime,build/runtime)
	$(BIN)/python -m pip install -q "cyclonedx-bom>=5"
	$(BIN)/cyclonedx-py environment --output-file build/sbom.json build/runtime/bin/python
	@$(BIN)/python -c "import json; found = json.load(open('build/sbom.json'))['components']; assert len(found) > 20; print(f'build/sbom.json: {len(found)} components')"

test-wheels: venv ## Sdists, and wheels made of them, installed and used far from the checkout; minutes
	$(BIN)/python -m pytest tests/wheels

test-disk: venv ## Full and read-only disks; needs root, for mounting small ones
	@test "$$(id -u)" = 0 || { echo "test-disk needs root: it mounts small file systems" >&2; exit 1; }
	$(BIN)/python -m pytest tests/disk

page-test: venv ## The status page in a real Chromium; needs one (Debian: apt-get install chromium)
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; echo "page-test needs chromium on the PATH" >&2; exit 1
	$(BIN)/python -m pytest tests/page

page-shots: venv ## The screenshots of docs/images, from a daemon that is under load for MINUTES=12
	nice $(BIN)/python -m tests.page.shoot $(MINUTES)

test-spark: venv ## Read what landed with Spark; needs Java
	@command -v java >/dev/null || { echo "test-spark needs Java on the PATH" >&2; exit 1; }
	$(BIN)/python -m pip install -q "pyspark>=4.1"
	$(BIN)/python -m pytest tests/spark

# As an image for Azure ML has it.
build/azureml/.ready: build/wheels/.ready
	$(call environment,"azureml-inference-server-http>=1.5" "pandas>=2.2" "scikit-learn>=1.5" build/wheels/*.whl)
	touch $@

# Microsoft's v2 SDK as scripts have it, beside nothing of ours: the two have the same module.
build/azureml-v2/.ready:
	$(call environment,"azureml-ai-monitoring==1.0.0" "pandas>=2.2")
	touch $@

test-azureml: venv build/azureml/.ready build/azureml-v2/.ready ## Under Azure ML's own inference server, from the registry
	$(BIN)/python -m pytest tests/azureml

# What web services have, and the libraries that models come from. MLflow's wishes and those of the server above exclude each other.
build/hosts/.ready: build/wheels/.ready
	$(call environment,flask gunicorn fastapi uvicorn uvicorn-worker pandas "scikit-learn>=1.5" mlflow-skinny xgboost-cpu lightgbm build/wheels/*.whl)
	touch $@

test-hosts: venv build/hosts/.ready ## Under gunicorn with Flask and uvicorn with FastAPI; names from MLflow, XGBoost and LightGBM
	$(BIN)/python -m pytest tests/hosts

chart-test: venv ## The chart with kubectl and a real Prometheus; needs both (Debian's packages kubernetes-client and prometheus)
	@for tool in kubectl prometheus promtool; do command -v $$tool >/dev/null || { echo "chart-test needs $$tool on the PATH" >&2; exit 1; }; done
	$(BIN)/python -m pytest tests/chart

# A base from Debian's packages stands in for python:slim, so that no registry of images is needed.
build/image/base.tar:
	mkdir -p $(@D)
	rm -rf $(@D)/root
	debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm $(@D)/root >$(@D)/debootstrap.log
	tar --create --directory $(@D)/root --file $@ .
	rm -rf $(@D)/root

CA := $(wildcard /etc/ssl/certs/ca-certificates.crt)
IMAGE_BUILD := podman build --quiet --isolation chroot --network host $(if $(CA),--secret id=ca$(comma)src=$(CA)) --build-arg BASE_IMAGE=localhost/collectord-base

image-test: venv ## Build the images and run them with the least rights; needs root, and Debian's podman, runc and debootstrap, which it installs
	@test "$$(id -u)" = 0 || { echo "image-test needs root: it runs containers" >&2; exit 1; }
	@for tool in podman runc debootstrap; do command -v $$tool >/dev/null || apt-get install -y -q --no-install-recommends podman runc debootstrap; done
	$(MAKE) build/image/base.tar
	podman import --quiet build/image/base.tar localhost/collectord-base
	$(IMAGE_BUILD) --build-arg VERSION=$$($(BIN)/python -c "import collectord; print(collectord.__version__)") --build-arg REVISION=$$(git rev-parse HEAD) --tag localhost/collectord .
	$(IMAGE_BUILD) --target example --tag localhost/collectord-example .
	$(BIN)/python -m pytest -s tests/image

# A machine with what the quick start wants to be there.
build/vm/root.tar:
	mkdir -p $(@D)
	rm -rf $(@D)/root
	debootstrap --variant=minbase --include=systemd,systemd-sysv,procps,sudo,ca-certificates,gcc,g++,python3-dev,python3-pip,python3-venv bookworm $(@D)/root >$(@D)/debootstrap.log
	tar --create --directory $(@D)/root --file $@ .
	rm -rf $(@D)/root

vm-test: venv ## The quick start's VM: the systemd unit under systemd, in a container; needs what image-test needs, minutes
	@test "$$(id -u)" = 0 || { echo "vm-test needs root: it runs containers" >&2; exit 1; }
	@for tool in podman runc debootstrap; do command -v $$tool >/dev/null || apt-get install -y -q --no-install-recommends podman runc debootstrap; done
	$(MAKE) build/vm/root.tar
	podman import --quiet build/vm/root.tar localhost/collectord-vm
	$(BIN)/python -m pytest -s tests/vm

##@ Slow ones

test-sanitize: venv ## The kernels' tests under AddressSanitizer and UBSan, in FLAVOURS=native portable; needs g++ with both
	nice $(BIN)/python -m tests.sanitize.run $(FLAVOURS)

test-arm64: venv ## The kernels' tests on arm64, emulated; needs root, and Debian's debootstrap and qemu-user-static; a quarter of an hour
	@test "$$(id -u)" = 0 || { echo "test-arm64 needs root: it makes a Debian of arm64 and runs programs in it" >&2; exit 1; }
	@command -v debootstrap >/dev/null || { echo "test-arm64 needs debootstrap on the PATH (Debian: apt-get install debootstrap)" >&2; exit 1; }
	nice $(BIN)/python -m tests.arm64.run

test-floats: venv ## Every float32 and a billion doubles against std::to_chars; needs g++, minutes
	nice $(BIN)/python -m tests.floats.run

test-abuse: venv ## Abuse of the sockets, ten times as much as in make test
	ABUSE=10 $(BIN)/python -m pytest tests/e2e/test_abuse.py --timeout 900

test-fleet: venv azurite ## Drain, eviction, node loss and rollout of several daemons under clients: the table of docs/operations.md
	nice $(BIN)/python -m pytest tests/fleet

soak: venv azurite ## Daemons killed before a faulty store, until APPENDS=10000 and FAULTS=5000, with WRITERS=4 and SEED
	nice $(BIN)/python -m tests.soak.run --appends $(APPENDS) --faults $(FAULTS) --writers $(WRITERS) $(if $(SEED),--seed $(SEED))

# atheris has no wheels for some Pythons; hypothesis does it then, less cleverly.
build/fuzz/.ready: | venv
	rm -rf build/fuzz/site
	$(BIN)/python -m pip install -q --only-binary :all: --target build/fuzz/site atheris || mkdir -p build/fuzz/site
	touch $@

fuzz: TARGETS ?= batch envelope schema log frames csv telemetry mdc daemon
fuzz: venv build/fuzz/.ready ## Hostile bytes for everything that reads bytes, SECONDS=60 for each of TARGETS
	@failed=0; for target in $(TARGETS); do \
		PYTHONPATH=build/fuzz/site nice $(BIN)/python -m fuzz.run $$target --seconds $(SECONDS) || failed=1; \
	done; exit $$failed

##@ Afterwards

clean: ## Remove what was built
	rm -rf build dist *.egg-info clients/*/build clients/*/*.egg-info demo-data
	find collectord clients -name '*.so' -delete -o -name '_*.cpp' -delete -o -name '_core.c' -delete
	find collectord clients -type d -name _pb -prune -exec rm -rf {} +
