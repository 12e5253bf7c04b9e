# The commands for development and operation. `make` without a target lists them.
.DEFAULT_GOAL := help
.PHONY: help bench-login soak run dev spa openapi settings seed test coverage quick lint format services lock venv clean

# PYTHON selects the interpreter, as in `make run PYTHON=/path/to/python3`. ARGS are arguments of the program.
PYTHON ?=
ARGS ?=
export PYTHON

BOOTSTRAP := sh tools/bootstrap.sh
VENV_PYTHON := .venv/bin/python
SERVICES := redis nginx busybox chromium
# Tests spend much of their time waiting, so two processes are faster. Each has its own PostgreSQL and Redis. All tests of
# a file run in one process; without the last option files with few tests start last, even if those are slow.
TWO_AT_ONCE := --numprocesses 2 --dist loadfile --no-loadscope-reorder
EXAMPLES := $(patsubst examples/%/__init__.py,examples.%,$(wildcard examples/*/__init__.py))
LOCK := $(VENV_PYTHON) -m uv pip compile pyproject.toml --quiet --universal --generate-hashes \
	--python-version 3.11 --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

run: ## Serve on http://127.0.0.1:8000 with SQLite; installs everything the first time
	@exec $(BOOTSTRAP) run

dev: ## Like run, and restart when the code changes
	@exec $(BOOTSTRAP) dev

# The tests start hundreds of processes, each of which would compile the application anew if this variable is set.
test coverage quick: export PYTHONDONTWRITEBYTECODE =

# The second run has the examples switched on.
test: lint services ## Lint, then run every test on SQLite and PostgreSQL
	$(VENV_PYTHON) -m pytest $(TWO_AT_ONCE) $(ARGS)
	$(VENV_PYTHON) -m pytest $(TWO_AT_ONCE) examples $(EXAMPLES:%=--feature %) $(ARGS)

# Apart from `test`, which would take twice as long.
coverage: services ## Run every test and report which code it does not execute
	@$(VENV_PYTHON) -m coverage erase
	$(VENV_PYTHON) -m coverage run -m pytest $(TWO_AT_ONCE) $(ARGS)
	@$(VENV_PYTHON) -m coverage combine --quiet
	$(VENV_PYTHON) -m coverage report

quick: venv ## Run the fast tests, without lint and coverage; ARGS="-k word" selects tests
	$(VENV_PYTHON) -m pytest -m "not slow" $(ARGS)

lint: venv ## Check style and types
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy

format: venv ## Format the code
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

services: venv ## Install the server programs that tests need and pip cannot install
	@$(VENV_PYTHON) -m tools.services $(SERVICES)

spa: ## Serve the API and the example app on http://localhost:5173; installs everything the first time
	@exec $(BOOTSTRAP) spa

# The committed files are those of Gatepost itself. What FEATURES adds is written to the folder API, which Gatepost does not
# have, so that upgrades do not change it.
API ?= api
DOCUMENT := APP_ENV=testing SERVICE_PREFIX= JWT_SECRET_KEY=this-signs-nothing-but-must-be-there \
	$(VENV_PYTHON) -m flask --app run openapi write

openapi: venv ## Generate docs/openapi.json and the TypeScript client; with FEATURES=shop.orders, theirs into API=api
	@FEATURES= $(DOCUMENT)
	@$(VENV_PYTHON) tools/javascript.py
	npm run generate --workspace clients/typescript
ifneq ($(FEATURES),)
	@mkdir -p $(API)
	@FEATURES=$(FEATURES) $(DOCUMENT) $(API)/openapi.json
	node clients/typescript/generator/generate.mjs --input $(API)/openapi.json --out $(API)
endif

settings: venv ## Generate .env.example and the table of settings in docs/operations.md
	@$(VENV_PYTHON) -m tools.settings_reference

seed: venv ## Add users and posts to the development database; ARGS="--users 1000 --posts 100000"
	@$(VENV_PYTHON) -m tools.seed $(ARGS)

bench-login: venv ## Compare the times of refused logins, which must not depend on the reason
	$(VENV_PYTHON) -m benchmarks.login_timing

.PHONY: bench bench-check
bench: venv ## Measure under gunicorn and granian beside a bare WSGI function; write docs/performance.md
	@$(VENV_PYTHON) -m tools.services wrk
	@$(VENV_PYTHON) -m benchmarks.speed $(ARGS)

bench-check: venv ## Measure again and compare with the recorded figures; fails when something is slower by 15 %
	@$(VENV_PYTHON) -m tools.services wrk
	@$(VENV_PYTHON) -m benchmarks.speed --check $(ARGS)

.PHONY: bench-scale bench-overload soak-memory
bench-scale: venv ## Compare the last pages of lists with the first, and many rows with few; ARGS="--posts 10000000"
	@$(VENV_PYTHON) -m benchmarks.scale $(ARGS)

bench-overload: venv ## Measure /health and reads under overload and beside logins; ARGS="--server granian"
	@$(VENV_PYTHON) -m tools.services wrk nginx
	@$(VENV_PYTHON) -m benchmarks.overload $(ARGS)

soak-memory: venv ## Record the workers' memory under mixed requests for an hour; ARGS="--seconds 300" for less
	@$(VENV_PYTHON) -m tools.services wrk
	@$(VENV_PYTHON) -m benchmarks.memory $(ARGS)

soak: venv ## Refresh one token twenty times at once, a thousand times, and write docs/soak.md
	@$(VENV_PYTHON) -m benchmarks.soak $(ARGS)

lock: venv ## Lock the dependencies of pyproject.toml; ARGS="--upgrade" for newer versions
	$(LOCK) $(ARGS) --output-file requirements.txt
	$(LOCK) $(ARGS) --extra otel --constraint requirements.txt --output-file requirements-otel.txt
	$(LOCK) $(ARGS) --extra otel --extra testing --group dev --constraint requirements-otel.txt --output-file requirements-dev.txt

venv:
	@$(BOOTSTRAP) install-dev

clean: ## Remove the virtual environment and caches; keeps the secrets and the database in var/
	rm -rf .venv node_modules clients/typescript/dist examples/spa/dist var/cache var/coverage .hypothesis .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The production stack of docker-compose.yml. ARGS are options of `docker compose up`, such as ARGS="--scale app=3".
.PHONY: up upgrade password down test-stack test-compose
# Labels of the image. "-dirty" marks a revision with changes that are not committed.
up upgrade: export GATEPOST_VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
up upgrade: export GATEPOST_REVISION ?= $(shell git describe --always --abbrev=40 --dirty --exclude '*' 2>/dev/null)

# A plain `docker compose up` would stop all replicas of a running stack before it starts new ones. Without a running nginx
# there is nothing to keep in service, and the upgrade could not change its replicas.
up: ## Build and start the production stack on port 8080, or upgrade a running one; writes new secrets if there are none
	@$(or $(PYTHON),python3) tools/production_env.py
	docker compose build
	@if [ -z "$(ARGS)" ] && [ -n "$$(docker compose ps --quiet app)" ] && \
		[ -n "$$(docker compose ps --quiet --status running nginx)" ]; then \
		sh ops/upgrade.sh; \
	else \
		docker compose up --detach --wait $(ARGS); \
	fi

upgrade: ## Apply this version and the settings to the running stack without downtime; ARGS=2 for two replicas
	@$(or $(PYTHON),python3) tools/production_env.py
	docker compose build
	sh ops/upgrade.sh $(ARGS)

password: ## Change the password of the running stack's database without downtime
	@$(or $(PYTHON),python3) tools/production_env.py --change-password

down: ## Stop the production stack; keeps the data
	docker compose down $(ARGS)

test-stack: services ## Test with nginx, gunicorn, PostgreSQL and Redis; `make test` includes this
	$(VENV_PYTHON) -m pytest tests/stack $(ARGS)

test-compose: venv ## Test the Dockerfile and docker-compose.yml with Docker; SERVER=granian for that server
	@$(VENV_PYTHON) tools/production_env.py --check
	$(VENV_PYTHON) -m pytest tests/compose $(ARGS)

.PHONY: drills
drills: services ## Make databases, Redis, disks and processes fail under load; ARGS="--long" for all drills
	@$(VENV_PYTHON) -m tests.faults.drills $(ARGS)

.PHONY: fuzz
fuzz: venv ## Send 20,000 requests generated from the OpenAPI document; ARGS="--long" for 100,000
	@$(VENV_PYTHON) -m tests.fuzzing $(ARGS)
