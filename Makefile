.PHONY: help demo test check check-deploy check-image coverage bench dashboards manifests history docs golden clean
.DEFAULT_GOAL := help
BIN := .venv/bin
PARALLEL := --numprocesses=4 --dist=loadfile --no-loadscope-reorder # in the order of tests/conftest.py

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## run the exporter against a simulated Cloud SQL API; SPEED=1440 simulates a day per minute
	@scripts/setup runtime
	@$(BIN)/cloudsql-backup-exporter demo --speed=$(or $(SPEED),1) $(ARGS)

test: check ## run all checks and tests
	@echo "== pytest"
	@$(BIN)/pytest -q $(PARALLEL)

coverage: ## run all tests with branch coverage, which takes twice as long; fails below the limit in pyproject.toml
	@scripts/setup dev
	@$(BIN)/pytest -q $(PARALLEL) --cov --cov-report=term

check: ## check style, types and import rules
	@scripts/setup dev
	@echo "== ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "== bandit"
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive exporter scripts benchmarks grafana
	@echo "== mypy --strict"
	@$(BIN)/mypy
	@echo "== import rules"
	@PYTHONPATH=. $(BIN)/lint-imports

check-deploy: ## check the files in deploy/ with the programs that read them; `make test` includes this
	@scripts/setup dev
	@echo "== pytest tests/deploy"
	@$(BIN)/pytest -q $(PARALLEL) tests/deploy

check-image: ## build the container image without a container engine, inspect and run it; needs root and minutes
	@scripts/setup dev
	@scripts/setup image
	@$(BIN)/python -m scripts.check_image

bench: ## run benchmarks against other exporters; SIZES=100,1000,10000,50000 sets the fleet sizes
	@scripts/setup dev
	@$(BIN)/python -m benchmarks --sizes=$(or $(SIZES),100,1000,10000) $(ARGS)

dashboards: ## generate the dashboards in grafana/ from grafana/source/, and their copies in deploy/
	@scripts/setup dev
	@$(BIN)/python -m grafana.source
	@$(BIN)/python -m scripts.manifests

manifests: ## generate the rules and dashboards in deploy/kubernetes/ and deploy/helm/
	@scripts/setup dev
	@$(BIN)/python -m scripts.manifests

history: ## write days of a simulated world as Prometheus data; for example WORLD=fleet:1000:12 DAYS=8
	@scripts/setup dev
	@$(BIN)/python -m scripts.backfill --world=$(or $(WORLD),demo) --days=$(or $(DAYS),8) build/history

docs: ## generate docs/metrics.md from the catalogue
	@scripts/setup dev
	@$(BIN)/python scripts/metrics_docs.py

golden: ## update the golden files; review the diff before committing it
	@scripts/setup dev
	@GOLDEN=write $(BIN)/pytest -q tests/metrics/test_golden.py

clean: ## remove files created by setup and tests
	rm -rf .venv tests/npm/node_modules .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build .coverage .coverage.* *.egg-info
