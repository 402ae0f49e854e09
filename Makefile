# `make run` and `make test` need Python 3.11+, git, make and a package index; they set up the rest.
PYTHON ?= python3
VENV   := .venv
UV     := uv==0.13.9
# The environment is rebuilt only when what it is made from changes.
LOCKS  := constraints.txt tests/constraints.txt tests/real-model.txt
PINS   := $(shell $(PYTHON) -c "import hashlib, pathlib, tomllib; \
	project = tomllib.loads(pathlib.Path('pyproject.toml').read_text())['project']; \
	pins = ''.join(pathlib.Path(lock).read_text() for lock in '$(LOCKS)'.split()) + repr(project); \
	print(hashlib.sha256(pins.encode()).hexdigest()[:16])")
STAMP  := $(VENV)/pins-$(PINS)
LOCKED := $(foreach lock,$(LOCKS),--requirement $(lock))

.PHONY: run test test-slow lint docs setup screenshots lock clean

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

# Material's notice about its successor, of which mkdocs.yml tells, is not shown at every build.
docs: export NO_MKDOCS_2_WARNING := 1

docs: setup
	$(VENV)/bin/python -m mkdocs build --strict --quiet
	@echo "The pages are in site/index.html; $(VENV)/bin/python -m mkdocs serve shows them on http://127.0.0.1:8000"

setup: $(STAMP)

$(STAMP):
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and f'Touchstone needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. Try: make PYTHON=python3.11 run')"
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet $(UV)
# The locks name every package with its hashes, so nothing is resolved. Modules are compiled here:
# where Python may not keep what it compiles, every command would compile them again.
	INDEX="$${PIP_INDEX_URL:-$$($(VENV)/bin/python -m pip config get global.index-url 2> /dev/null)}"; \
	UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$INDEX}" \
	$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --no-deps --require-hashes --compile-bytecode $(LOCKED) || { \
		echo "uv could not install the locked packages (its reason is above): trying pip, which is slower" >&2; \
		$(VENV)/bin/python -m pip install --quiet --no-deps --require-hashes $(LOCKED); }
# What is left to find is torch, in the build that the index of this machine has.
	$(VENV)/bin/python -m pip install --quiet --no-build-isolation --editable ".[test]"
	@touch $(STAMP)

# The pictures of the README; BROWSER is a Chromium of this machine.
BROWSER ?= /usr/bin/chromium
screenshots: setup
	$(VENV)/bin/python -m pip install --quiet playwright
	$(VENV)/bin/python docs/screenshots.py --browser $(BROWSER)

lock: setup
	$(VENV)/bin/python deployments/lock.py

clean:
	rm -rf $(VENV)
