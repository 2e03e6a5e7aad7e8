.PHONY: help demo test check bench dashboards history docs golden clean
.DEFAULT_GOAL := help
BIN := .venv/bin

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 8

demo: ## the exporter on a simulated Cloud SQL; try SPEED=1440 for a day in a minute
	@scripts/setup runtime
	@$(BIN)/cloudsql-backup-exporter demo --speed=$(or $(SPEED),1) $(ARGS)

test: check ## every check and every test
	@echo "== pytest"
	@$(BIN)/pytest -q

check: ## style, types and import rules
	@scripts/setup dev
	@echo "== ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "== mypy --strict"
	@$(BIN)/mypy
	@echo "== import rules"
	@PYTHONPATH=. $(BIN)/lint-imports

bench: ## how fast and how small, beside its peers; try SIZES=100,1000,10000,50000
	@scripts/setup dev
	@$(BIN)/python -m benchmarks --sizes=$(or $(SIZES),100,1000,10000) $(ARGS)

dashboards: ## write the files of grafana/ anew from grafana/source/
	@scripts/setup dev
	@$(BIN)/python -m grafana.source

history: ## days of a simulated world as data for a Prometheus; try WORLD=fleet:1000:12 DAYS=8
	@scripts/setup dev
	@$(BIN)/python -m scripts.backfill --world=$(or $(WORLD),demo) --days=$(or $(DAYS),8) build/history

docs: ## write docs/metrics.md anew from the catalogue
	@scripts/setup dev
	@$(BIN)/python scripts/metrics_docs.py

golden: ## write the golden files anew; read the difference before you commit it
	@scripts/setup dev
	@GOLDEN=write $(BIN)/pytest -q tests/test_golden.py

clean: ## remove what setup and tests made
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build *.egg-info
