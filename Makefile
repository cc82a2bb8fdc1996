# make quick    about two minutes: the tests that are not marked slow
# make test     everything
# make lint     style;  make types: annotations
PYTHON ?= python

quick:
	$(PYTHON) -m pytest -m "not slow"

test:
	$(PYTHON) -m pytest

lint:
	ruff check . && ruff format --check .

types:
	mypy

.PHONY: quick test lint types
