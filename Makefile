# make demo    the documents demo on http://127.0.0.1:8000 (PORT= changes the port)
# make test    format, lint, types, import ladder, then every test
# make check   format, lint, types, import ladder
# make bench   the benchmarks, side by side with other servers
# make clean   remove everything that the others made
#
# Needs Python 3.11 or newer and a network to PyPI. PYTHON= names another interpreter.

PYTHON ?= python3
PORT ?= 8000
VENV ?= .venv

python = $(VENV)/bin/python
pip_install = $(python) -m pip install --quiet --disable-pip-version-check
manage_demo = $(python) examples/documents/manage.py

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean venv

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: export PYTHONUNBUFFERED = 1
demo: $(VENV)/.installed
	@$(manage_demo) migrate --verbosity 0
	@$(manage_demo) seed
	@$(manage_demo) runserver $(PORT)

test: check
	@scripts/ensure-chromium
	@scripts/ensure-redis
	@$(python) -m pytest

check: $(VENV)/.installed-dev
	$(python) -m ruff format --check
	$(python) -m ruff check
	$(python) -m mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.installed-dev
	$(python) -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) benchmarks/.env-* benchmarks/.build tests/.env-interop client/node_modules client/build build dist examples/documents/*.sqlite3
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf examples/.ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make a second run quick; a change of the dependencies installs again.
$(VENV)/.installed: pyproject.toml | venv
	@echo "Installing Raceway into $(VENV) ..."
	@$(pip_install) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | venv
	@echo "Installing Raceway and its development tools into $(VENV) ..."
	@$(pip_install) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

venv:
	@scripts/ensure-venv "$(PYTHON)" "$(VENV)" "$(origin PYTHON)"
