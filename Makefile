# The commands of the README. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help bench-login soak run dev spa openapi test quick lint format services lock venv clean

# Name another interpreter with `make run PYTHON=/path/to/python3`, arguments for pytest with ARGS.
PYTHON ?=
ARGS ?=
export PYTHON

BOOTSTRAP := sh tools/bootstrap.sh
VENV_PYTHON := .venv/bin/python
SERVICES := redis nginx busybox chromium
# Much of a test's time is waiting. Each of the two has its own PostgreSQL and Redis; a file's tests stay together, and
# files with a few slow tests, which the plugin would keep for the end, come in their turn.
TWO_AT_ONCE := --numprocesses 2 --dist loadfile --no-loadscope-reorder
LOCK := $(VENV_PYTHON) -m uv pip compile pyproject.toml --quiet --universal --generate-hashes \
	--python-version 3.11 --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

run: ## Serve on http://127.0.0.1:8000, with SQLite; sets everything up the first time
	@exec $(BOOTSTRAP) run

dev: ## The same, reloading when the code changes
	@exec $(BOOTSTRAP) dev

test: lint services ## Lint, then every test on SQLite and PostgreSQL, with coverage
	@$(VENV_PYTHON) -m coverage erase
	$(VENV_PYTHON) -m coverage run -m pytest $(TWO_AT_ONCE) $(ARGS)
	@$(VENV_PYTHON) -m coverage combine --quiet
	$(VENV_PYTHON) -m coverage report

quick: venv ## Tests without lint, coverage or slow ones; choose with ARGS="-k word"
	$(VENV_PYTHON) -m pytest -m "not slow" $(ARGS)

lint: venv ## Check style and types
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy

format: venv ## Rewrite the code in the house style
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

services: venv ## Fetch the servers that tests need and pip can't bring
	@$(VENV_PYTHON) -m tools.services $(SERVICES)

spa: ## Serve the example app on http://localhost:5173 with the API beside it; sets everything up the first time
	@exec $(BOOTSTRAP) spa

openapi: venv ## Write docs/openapi.json again and generate the TypeScript client's types from it
	@APP_ENV=testing SERVICE_PREFIX= JWT_SECRET_KEY=this-signs-nothing-but-must-be-there \
		$(VENV_PYTHON) -m flask --app run openapi write
	@$(VENV_PYTHON) tools/javascript.py
	npm run generate --workspace clients/typescript

bench-login: venv ## Compare the times of refused logins, which must not tell why
	$(VENV_PYTHON) -m benchmarks.login_timing

.PHONY: bench bench-check
bench: venv ## Measure under gunicorn and granian beside a bare WSGI function; write docs/performance.md
	@$(VENV_PYTHON) -m tools.services wrk
	@$(VENV_PYTHON) -m benchmarks.speed $(ARGS)

bench-check: venv ## Measure again and compare with the recorded figures; fails when something is slower by 15 %
	@$(VENV_PYTHON) -m tools.services wrk
	@$(VENV_PYTHON) -m benchmarks.speed --check $(ARGS)

.PHONY: bench-scale bench-overload soak-memory
bench-scale: venv ## Compare lists' last pages with their first, many rows with few; ARGS="--posts 10000000" for all of it
	@$(VENV_PYTHON) -m benchmarks.scale $(ARGS)

bench-overload: venv ## Measure /health and reads under overload and beside logins; ARGS="--server granian"
	@$(VENV_PYTHON) -m tools.services wrk nginx
	@$(VENV_PYTHON) -m benchmarks.overload $(ARGS)

soak-memory: venv ## Watch the workers' memory under a mix of requests for an hour; ARGS="--seconds 300" for less
	@$(VENV_PYTHON) -m tools.services wrk
	@$(VENV_PYTHON) -m benchmarks.memory $(ARGS)

soak: venv ## Refresh one token by twenty at once a thousand times, look for stale rights, write docs/soak.md
	@$(VENV_PYTHON) -m benchmarks.soak $(ARGS)

lock: venv ## Lock the dependencies of pyproject.toml again; ARGS="--upgrade" for newer ones
	$(LOCK) $(ARGS) --output-file requirements.txt
	$(LOCK) $(ARGS) --extra otel --constraint requirements.txt --output-file requirements-otel.txt
	$(LOCK) $(ARGS) --extra otel --group dev --constraint requirements-otel.txt --output-file requirements-dev.txt

venv:
	@$(BOOTSTRAP) install-dev

clean: ## Remove the virtual environment and caches; keeps var/'s secrets and database
	rm -rf .venv node_modules clients/typescript/dist examples/spa/dist var/cache var/coverage .hypothesis .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The production stack: docker-compose.yml. Options of `docker compose up` with ARGS, such as ARGS="--scale app=3".
.PHONY: up upgrade down test-stack test-compose

up: ## Build and start the production stack on port 8080; writes .env with fresh secrets if there is none
	@$(or $(PYTHON),python3) tools/production_env.py
	docker compose up --detach --build --wait $(ARGS)

upgrade: ## Replace the running application by the code here, with no pause
	docker compose build
	sh ops/upgrade.sh

down: ## Stop the production stack; its data stays
	docker compose down $(ARGS)

test-stack: services ## Test behind a real nginx, with gunicorn, PostgreSQL and Redis; part of `make test` too
	$(VENV_PYTHON) -m pytest tests/stack $(ARGS)

test-compose: venv ## Test the Dockerfile and docker-compose.yml on this machine's Docker
	@$(VENV_PYTHON) tools/production_env.py --check
	$(VENV_PYTHON) -m pytest tests/compose $(ARGS)

.PHONY: drills
drills: services ## Break databases, Redis, disks and processes under load and print the figures; ARGS="--long" for all of it
	@$(VENV_PYTHON) -m tests.faults.drills $(ARGS)

.PHONY: fuzz
fuzz: venv ## Try 20,000 requests made from the OpenAPI document; ARGS="--long" for 100,000
	@$(VENV_PYTHON) -m tests.fuzzing $(ARGS)
