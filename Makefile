# Each target works as the first command on a fresh machine: it makes .venv and installs into it what the project needs.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: train test test-triton test-gpu bench-gpu format lint bench papers docs fuzz mutate sanitize clean
.DEFAULT_GOAL := train

$(INSTALLED): pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*.* native/*/*.*)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

train: $(INSTALLED)  ## train a network on Python source code, evaluate it, show its predictions and the paths of its gradient
	$(BIN)/throughtime train --overwrite --out runs/python-source
	$(BIN)/throughtime anatomy runs/python-source --instance 7 --around '"""A list of FrameSummary' --steps 160

test: $(INSTALLED)  ## all tests, on every core
	$(BIN)/python -m pytest -n auto

test-triton: $(INSTALLED)  ## the generated GPU kernels: in Triton's interpreter, and compiled ahead for GPUs that are not here
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'triton>=3.8'
	TRITON_INTERPRET=1 $(BIN)/python -m pytest -n auto tests/triton_engine/test_kernels.py
	$(BIN)/python -m pytest -n auto tests/triton_engine/test_compiled.py

test-gpu:  ## the generated kernels on the GPU of this machine, with the python that has PyTorch for it: PYTHON=...
	PYTHONPATH=src:tests $(PYTHON) -m pytest -m gpu tests/triton_engine

bench-gpu:  ## their times beside cuDNN's, a loop's and other libraries'
	PYTHONPATH=src $(PYTHON) benchmarks/gpu.py
	PYTHONPATH=src $(PYTHON) benchmarks/gpu_rivals.py

format: $(INSTALLED)  ## put every file into the form that lint asks for
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lint: $(INSTALLED)  ## format, lint, types, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(INSTALLED)  ## time the learning step, the anatomy and an epoch beside PyTorch's
	$(BIN)/throughtime bench
	$(BIN)/throughtime bench --ragged
	$(BIN)/python benchmarks/anatomy.py
	$(BIN)/python benchmarks/epoch.py

papers: $(INSTALLED)  ## every experiment of throughtime reproduce, for its page in docs/reproductions: takes half an hour
	$(BIN)/python tools/reproductions.py

docs: $(INSTALLED)  ## the documentation as a web site, in site/; a broken link is an error
	PYTHONPATH=tools $(BIN)/zensical build --strict -f mkdocs.yml

FUZZ ?= 10000
fuzz: $(INSTALLED)  ## the tests that draw their cases or take part of a grid, on many cases or the whole of it: FUZZ=number
	THROUGHTIME_FUZZ=$(FUZZ) $(BIN)/python -m pytest -n auto $$(grep -rl --include='test_*.py' THROUGHTIME_FUZZ tests)

mutate: $(INSTALLED)  ## the code broken on purpose, one listed change at a time, and a test that must fail: takes an hour or two
	$(BIN)/python tools/mutate.py

SANITIZED := build/sanitize
sanitize: $(INSTALLED)  ## the kernel's tests under AddressSanitizer and UndefinedBehaviorSanitizer
	cmake -S . -B $(SANITIZED) -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -DTHROUGHTIME_SANITIZE=ON
	cmake --build $(SANITIZED) --parallel
	rm -rf $(SANITIZED)/package && mkdir -p $(SANITIZED)/package
	cp -r src/throughtime $(SANITIZED)/package/
	cp $(SANITIZED)/_native*.so $(SANITIZED)/package/throughtime/
	PYTHONPATH=$(SANITIZED)/package:$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 OMP_NUM_THREADS=1 \
	THROUGHTIME_REQUIRE_NATIVE=1 $(BIN)/python -S -m pytest -n 0 -s tests/native  # -S: not the installed package

clean:
	rm -rf .venv build dist site runs
