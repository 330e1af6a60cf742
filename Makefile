# Any target installs what it needs first: on a fresh machine with Python 3.11, make and git, `make demo` is enough.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# versions.py compares two checkouts, whose sources it has to be told
BENCHMARKS ?= $(filter-out benchmarks/versions.py,$(sort $(wildcard benchmarks/*.py)))
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help env demo test check environments bench

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

env: $(STAMP) ## make .venv with everything to develop, test and compare

demo: env ## the whole story on the embedded digits, in a minute
	$(BIN)/renorm demo

test: export PYTHONDONTWRITEBYTECODE = # tests start many processes, which would each compile what the first has
test: env ## the default test suite; `make test ARGS="-m slow"` for the long ones
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: env ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

environments: env ## the wheel alone, each extra, newer Pythons, oldest versions; or ENVIRONMENTS="extras oldest"
	WORKERS=$(WORKERS) .ci/environments $(ENVIRONMENTS)

bench: env ## every benchmark, or BENCHMARKS="benchmarks/a.py"
	@for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# torch and torchvision must come from one resolution: a torch found elsewhere may have no matching torchvision.
# A shim may exist for a Python that is not installed, so each candidate has to run.
$(STAMP): pyproject.toml constraints.txt
	@python=""; \
	for candidate in $(PYTHON) python3.11 python3 python3.12 python3.13; do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make env: found no Python 3.11 or newer (python3 is: $$(python3 --version 2>&1))." >&2; \
		echo "Install Python 3.11, or say where it is: make env PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi; \
	echo "$$python -m venv $(VENV)"; \
	$$python -m venv $(VENV) || { echo "make env: $$python has no venv module; on Debian install python3-venv." >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]' || { \
		echo "make env: uv could not install it; pip, which may know of other sources, tries now"; \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'; }
	@touch $@
