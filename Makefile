# Two commands set everything up: `make demo` runs the main job, `make test` runs the tests.
# What they install is known by hash: requirements.lock, requirements-dev.lock; `make lock` renews them.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PACKAGES := vultus.py embedder index store enroll verify migrations web
SOURCES := $(shell find $(PACKAGES) -name "*.py" -o -name "*.json" -o -name "*.html" -o -name "*.css" -o -name "*.js" -o -name "*.svg" -o -name "*.onnx")
EXTRAS := cpu faces heic keyring milvus pictures plot postgres ray web
# Pinned by hand: torch is another build on each kind of machine.
TRAIN := kornia|onnxscript|pytorch-metric-learning|tensorboard|torch
COMPILE = $(BIN)/uv pip compile --universal --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet

# A release has the time of its commit, so that the same commit gives the same bytes.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 315532800)

.PHONY: demo test check bench docs release audit lock clean

demo: .venv/installed
	$(BIN)/vultus demo --out demo-output

test: check
	$(BIN)/python -I -m pytest -n auto --dist loadfile

check: .venv/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit -q -c pyproject.toml -r $(PACKAGES)

bench: .venv/tools
	PYTHONPATH=. $(BIN)/python benchmarks/accuracy.py

docs: .venv/installed
	$(BIN)/python docs/commands.py > docs/commands.md

# The wheel, the source, and what they stand on (CycloneDX), with the digest of each.
release: .venv/tools .venv/release
	rm -rf dist && $(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --of JSON -o dist/vultus.cdx.json
	cd dist && sha256sum * > SHA256SUMS && cat SHA256SUMS

# Known weaknesses of what is locked; asks the registry.
audit: .venv/release
	$(BIN)/pip-audit --require-hashes --disable-pip -r requirements-dev.lock

lock: .venv/release
	$(COMPILE) pyproject.toml $(EXTRAS:%=--extra %) --group dev --group build -o requirements-dev.lock
	$(COMPILE) pyproject.toml --extra cpu --extra faces --group build -c requirements-dev.lock -o requirements.lock
	$(COMPILE) --group release -c requirements-dev.lock -o requirements-release.lock
	{ grep '^#' constraints.txt; { grep -hoE '^[A-Za-z0-9._-]+==[^ ;\\]+' requirements-dev.lock; grep -E '^($(TRAIN))==' constraints.txt; } | LC_ALL=C sort -u; } > constraints.new && mv constraints.new constraints.txt

clean:
	rm -rf .venv build dist demo-output

.venv/installed: pyproject.toml requirements.lock $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install -q --require-hashes -r requirements.lock
	rm -rf build/wheel && $(PIP) wheel -q --no-deps --no-build-isolation -w build/wheel .
	$(PIP) install -q --no-deps --force-reinstall build/wheel/*.whl && $(PIP) check && touch $@

.venv/tools: .venv/installed requirements-dev.lock
	$(PIP) install -q --require-hashes -r requirements-dev.lock && touch $@

.venv/release: .venv/installed requirements-release.lock
	$(PIP) install -q --require-hashes -r requirements-release.lock && touch $@
