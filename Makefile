# Needs Python 3.11 or newer and npm; everything else is installed into .venv by the first target that wants it.
PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell command -v $(name))))
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
INSTALLED := $(VENV)/installed
INSTALLED_FOR_DEMO := $(VENV)/installed-for-demo
COMPLETE := train,serve,hub,ray,tensorboard,notebook,docs,litert,teacher,dev

.PHONY: help demo docs notebook test test-all lint wheel clean

help:
	@echo "make demo      own classes from sixty photographs to int8, C and a web page, in build/demo: a minute or two"
	@echo "make test      everything CI runs: lint, types, import rule, documentation, tests, wheel and sdist"
	@echo "make test-all  that, the web page in a browser (needs Chromium), load on the service"
	@echo "make lint      the quick part of make test: style, types, import rule"
	@echo "make docs      the documentation site, in build/docs; a warning is an error"
	@echo "make notebook  execute notebooks/cifar_10_gn.ipynb and keep its outputs: a training of some minutes"
	@echo "make wheel     wheel and sdist for release, with the web page built; needs npm"
	@echo "make clean     remove what these commands made, .venv included"

# Without --quiet, for pip's bars: torch alone takes minutes.
define install # the extras, and what they are
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cifar-edge needs Python 3.11 or newer: make PYTHON=...")'
	@echo "Installing into $(VENV) $(2)."
	@echo "Most of it is torch; it takes some minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$(1)]'
	@touch $@
endef

$(INSTALLED): pyproject.toml constraints.txt
	$(call install,$(COMPLETE),what tests and documentation need: 7 GB on disk)

$(INSTALLED_FOR_DEMO): pyproject.toml constraints.txt
	$(call install,train,what the demo needs: 3 GB to download and 6 GB on disk)

demo: $(if $(wildcard $(INSTALLED)),$(INSTALLED),$(INSTALLED_FOR_DEMO))
	@PATH="$(BIN):$$PATH" docs/demo.sh

docs: $(INSTALLED)
	$(BIN)/sphinx-build -E -W --keep-going -q -c docs . build/docs
	@echo "The documentation is in build/docs/index.html"

notebook: $(INSTALLED)
	$(BIN)/python notebooks/execute.py notebooks/cifar_10_gn.ipynb

test: lint docs
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not browser and not service and not thorough'
	@echo "Left out: the web page in a browser, heavy load on the service. make test-all runs them, where Chromium is installed."

test-all: lint docs
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint Dockerfile

wheel: $(INSTALLED)
	cd web && npm ci --omit=dev && node build.mjs ../cifar_edge/_page
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) dist build cifar_edge/_page web/dist web/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
