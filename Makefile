# make demo    the documents demo on http://127.0.0.1:8000, in four processes (PORT= changes the port)
# make test    format, lint, types, import ladder, then every test
# make check   format, lint, types, import ladder
# make bench   the benchmarks, side by side with other servers
# make docs    the documentation as HTML, in build/docs
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
.PHONY: help demo test check bench docs clean venv

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: export PYTHONUNBUFFERED = 1
demo: $(VENV)/.installed
	@$(manage_demo) migrate --verbosity 0
	@$(manage_demo) seed
	@cd examples/documents && $(abspath $(VENV))/bin/raceway serve config.asgi:application --workers 4 --port $(PORT)

test: check
	@scripts/ensure-chromium
	@scripts/ensure-redis
	@scripts/ensure-postgres
	@$(python) -m pytest

check: $(VENV)/.installed-dev
	$(python) -m ruff format --check
	$(python) -m ruff check
	$(python) -m mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.installed-dev
	$(python) -m benchmarks $(ARGS)

docs: $(VENV)-docs/.installed
	@$(VENV)-docs/bin/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs
	@echo "Open build/docs/index.html"

clean:
	rm -rf $(VENV) $(VENV)-docs benchmarks/.env-* benchmarks/.build tests/.env-interop client/node_modules client/build build dist examples/*/*.sqlite3*
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf examples/.ruff_cache docs/snippets/.ruff_cache docs/snippets/.pytest_cache
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

$(VENV)-docs/.installed: pyproject.toml docs/requirements.txt
	@scripts/ensure-venv "$(PYTHON)" "$(VENV)-docs" "$(origin PYTHON)"
	@echo "Installing Raceway and Sphinx into $(VENV)-docs ..."
	@$(VENV)-docs/bin/python -m pip install --quiet --disable-pip-version-check --editable . -r docs/requirements.txt
	@touch $@

venv:
	@scripts/ensure-venv "$(PYTHON)" "$(VENV)" "$(origin PYTHON)"
