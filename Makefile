# check: what needs no test run; test: everything, set-up included; fix: what can be mended mechanically.
BIN := .venv/bin
SHELL_SCRIPTS := scripts/setup scripts/demo scripts/test .ci/run $(wildcard scripts/ci/*.sh)

.PHONY: check test fix lock
check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck $(SHELL_SCRIPTS)

test:
	scripts/test

fix:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Renew the hashed locks; review the difference before committing it.
COMPILE := uv pip compile --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-header --quiet
lock:
	$(COMPILE) pyproject.toml -o requirements/run.txt
	$(COMPILE) pyproject.toml --group dev -o requirements/dev.txt
	printf 'hatchling>=1.27\neditables\n' | $(COMPILE) - -o requirements/build.txt
	cd lora_forge/engine/locks && for lock in cu124 cu128; do $(COMPILE) $$lock.in -o $$lock.txt; done
