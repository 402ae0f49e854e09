# `make run` and `make test` need Python 3.11+, git, make and a package index; they set up the rest.
PYTHON ?= python3
VENV   := .venv
# The environment is rebuilt only when what it is made from changes.
PINS   := $(shell $(PYTHON) -c "import hashlib, pathlib, tomllib; \
	project = tomllib.loads(pathlib.Path('pyproject.toml').read_text())['project']; \
	pins = pathlib.Path('constraints.txt').read_text() + repr(project); \
	print(hashlib.sha256(pins.encode()).hexdigest()[:16])")
STAMP  := $(VENV)/pins-$(PINS)

.PHONY: run test test-slow lint setup clean

run: setup
	$(VENV)/bin/touchstone run quickstart

# Where the environment forbids it, every worker would compile the whole suite anew at each run.
test test-slow: export PYTHONDONTWRITEBYTECODE :=

test: lint
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto --dist loadgroup --no-loadscope-reorder -m "not slow" tests

test-slow: setup
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto --dist loadgroup --no-loadscope-reorder -m slow tests

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

setup: $(STAMP)

$(STAMP):
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and f'Touchstone needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. Try: make PYTHON=python3.11 run')"
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	@touch $(STAMP)

clean:
	rm -rf $(VENV)
