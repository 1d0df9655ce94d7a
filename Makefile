# `make help` lists what can be made.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
export PYTHONPATH := $(CURDIR)
# Folders with Python of ours; some are made later than others.
CODE := $(wildcard shared functions admin kaydangpt_client local infra tests benchmarks)
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
MODEL_DIR ?= $(CACHE)/kaydangpt/models/$(notdir $(or $(EMBEDDING_MODEL_NAME),all-MiniLM-L6-v2))
# Three processes of tests on two cores: a third of a test's time is waiting. ARGS="-n 0" takes one.
IN_PARALLEL := -n 3 --dist loadfile
FUNCTIONS := ingest embed_worker query
EXPORT = $(PY) -m infra.model.export --output "$(MODEL_DIR)"
UNPACK := $(PY) -m shared.language_identifier
TRACING := local/requirements.txt infra/model/tracing/requirements.txt

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: admin images compose-test bench bench-lock bench-report help install install-tests run test test-fast load mutants mutation faults lint audit security format lock clean clean-all model

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1 - /p' $(MAKEFILE_LIST) | awk -F ' - ' '{printf "  make %-12s %s\n", $$1, $$2}'

run: install ## Start everything on this machine; Ctrl-C stops it
	@exec $(PY) -m local.stack --stop-with-parent

admin: install ## The old name of ./kaydangpt, for one release: ARGS="status --failed"
	@exec ./kaydangpt $(or $(ARGS),--help)

test: install-tests model ## Run all tests; ARGS="-k name" chooses
	@MODEL_DIR="$(MODEL_DIR)" $(PY) -m pytest $(IN_PARALLEL) $(ARGS)

test-fast: install-tests model ## Run the tests that take less than ten seconds each
	@MODEL_DIR="$(MODEL_DIR)" $(PY) -m pytest $(IN_PARALLEL) -m "not slow" $(ARGS)

mutants: install-tests ## Check the protocol, and that broken designs of it are caught; writes docs/reliability.md
	@$(PY) -m tests.protocol.mutants $(ARGS)

mutation: install-tests model ## Change one place after the other, see whether a test fails; writes docs/reliability.md
	@MODEL_DIR="$(MODEL_DIR)" $(PY) -m tests.mutation $(ARGS)

faults: install-tests model ## Inject every fault into the running system; writes docs/reliability.md
	@MODEL_DIR="$(MODEL_DIR)" $(PY) -m tests.faults $(ARGS)

bench: install-tests model ## Compare the speed with other systems; ARGS="--help" lists the options
	@MODEL_DIR="$(MODEL_DIR)" $(PY) -m benchmarks.compare $(ARGS)

bench-report: install-tests ## Write the tables and plots of docs/performance.md from the last result
	@$(PY) -m benchmarks.report $(ARGS)

# LangChain's packages agree on no versions for a Python that is still to come.
bench-lock: install-tests
	@for folder in $(dir $(wildcard benchmarks/peers/*/requirements.in)); do \
	  $(PY) -m uv pip compile --quiet --no-annotate --no-universal \
	    --custom-compile-command "make bench-lock" \
	    $${folder}requirements.in -o $${folder}requirements.txt || exit 1; \
	done

load: install-tests model ## Load the running system for ten minutes or more; writes docs/load.md
	@MODEL_DIR="$(MODEL_DIR)" $(PY) -m benchmarks.load $(ARGS)

lint: install-tests ## Check style, types, layers, spelling, prose and links
	@$(PY) -m ruff check $(CODE)
	@$(PY) -m ruff format --check $(CODE)
	@$(PY) -m mypy $(CODE)
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/typos --quiet README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md docs
	@$(VENV)/bin/proselint check *.md docs/*.md
	@$(PY) -m pytest -q tests/unit/test_documentation.py
	@$(PY) -m bandit --quiet --recursive --configfile pyproject.toml shared functions admin local

images: install-tests ## Build the images without Docker, and answer a question from them (root, podman)
	@$(PY) -m infra.images
	@$(PY) -m pytest -s -q tests/containers/test_images.py $(ARGS)

compose-test: install-tests ## Run all of local/docker-compose.yml, from up to down (root, podman)
	@COMPOSE_TEST=1 $(PY) -m pytest -s -q tests/containers/test_compose.py $(ARGS)

audit: install-tests ## Look up advisories for locked packages, write each image's bill of materials
	@$(PY) infra/audit.py

# Everything that make test has a short form of; docs/security.md has the figures.
security: install-tests model ## Run the security tests in full: 50,000 documents, 10,000 requests, 5,000 statements
	@PARSING_CASES=50000 $(PY) -m pytest -s -q tests/unit/test_parsing_fuzz.py
	@MODEL_DIR="$(MODEL_DIR)" SQL_CASES=5000 SCHEMATHESIS_EXAMPLES=900 LOG_LEVEL=WARNING \
	  $(PY) -m pytest -s -q tests/security tests/integration/test_injection.py \
	  tests/integration/test_openapi.py tests/integration/test_sandbox.py $(ARGS)

format: install-tests ## Rewrite the code in the common format
	@$(PY) -m ruff check --fix-only $(CODE)
	@$(PY) -m ruff format $(CODE)

# The tests need everything, so their lock is made first and the others take their versions from it.
lock: install-tests ## Pin requirements again; UPGRADE=1 takes the newest versions
	@$(PY) -m uv pip compile --quiet $(if $(UPGRADE),--upgrade) --custom-compile-command "make lock" \
	  tests/requirements.in -o tests/requirements.txt
	@for folder in $(addprefix functions/,$(FUNCTIONS)) local infra/model infra/model/tracing infra/sbom infra/audit; do \
	  $(PY) -m uv pip compile --quiet --custom-compile-command "make lock" --no-annotate \
	    -c tests/requirements.txt $$folder/requirements.in -o $$folder/requirements.txt || exit 1; \
	done

clean: ## Remove the local state: database, bucket, topics, logs (not local/bucket)
	@$(PYTHON) -m local.clean
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build
	@find $(CODE) -name __pycache__ -prune -exec rm -rf {} +

clean-all: clean ## Remove the virtual environment as well
	@rm -rf $(VENV)

# The tests embed with the same exported model as `make run`. Status 3: this model needs torch.
model: install ## Export the embedding model EMBEDDING_MODEL_NAME to MODEL_DIR
	@$(EXPORT) || { [ $$? -eq 3 ] && $(PYTHON) local/install.py $(TRACING) && $(EXPORT); }

install:
	@$(PYTHON) local/install.py local/requirements.txt
	@$(UNPACK)

install-tests:
	@$(PYTHON) local/install.py local/requirements.txt tests/requirements.txt
	@$(UNPACK)
