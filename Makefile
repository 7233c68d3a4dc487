# Two commands set everything up: `make demo` runs the main job, `make test` runs the tests.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := $(shell find vultus.py embedder index store enroll verify migrations web -name "*.py" -o -name "*.json" -o -name "*.html" -o -name "*.css" -o -name "*.js" -o -name "*.svg")

.PHONY: demo test check bench docs release clean

demo: .venv/installed
	$(BIN)/vultus demo --out demo-output

test: check
	$(BIN)/python -I -m pytest

check: .venv/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/tools
	PYTHONPATH=. $(BIN)/python benchmarks/accuracy.py

docs: .venv/installed
	$(BIN)/python docs/commands.py > docs/commands.md

release: .venv/tools
	$(BIN)/python -m build --outdir dist .

clean:
	rm -rf .venv build dist demo-output

.venv/pip:
	$(PYTHON) -m venv .venv && $(PIP) install -q 'pip>=25.1' && touch $@

.venv/installed: .venv/pip pyproject.toml constraints.txt $(SOURCES)
	rm -rf build/wheel && $(PIP) wheel -q --no-deps -w build/wheel .
	$(PIP) install -q -c constraints.txt "$$(ls build/wheel/*.whl)[cpu,faces]"
	$(PIP) install -q --no-deps --force-reinstall build/wheel/*.whl && touch $@

.venv/tools: .venv/installed
	$(PIP) install -q -c constraints.txt --group dev "$$(ls build/wheel/*.whl)[heic,keyring,milvus,pictures,postgres,web]" && touch $@
