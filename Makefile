# make book | pdf | paper | test | quick | portable | lab | serve | course | release | bench | clean.  Each sets up what it needs:
# a virtual environment in .venv with the versions of requirements.lock.  Needs Python 3.11 or later, git, make; no node, no conda.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
SITE := _build/html
# pip installs, or uv where its variable names a build of PyTorch: UV_TORCH_BACKEND=cpu make book
INSTALL := $(if $(UV_TORCH_BACKEND),uv pip install,pip install --disable-pip-version-check) --quiet

# The kernel of a notebook is the environment's, whatever kernels the user has.
export JUPYTER_PREFER_ENV_PATH := 1
export JUPYTER_PATH :=

.DEFAULT_GOAL := help
.PHONY: help setup book pdf paper test quick portable lab serve course release bench lock clean

help:
	@echo "make book   build the site, executing every notebook, into $(SITE)"
	@echo "make pdf    build the whole book as one PDF, _build/book.pdf; needs Chromium or Chrome"
	@echo "make paper  draw the paper on the book, into _build/paper; needs Chromium or Chrome"
	@echo "make test   run every test: package, mutants, notebooks, site, style"
	@echo "make quick  the daily loop: laws, refusals, examples, style; two minutes"
	@echo "make portable  imitate other machines: older processors, threads, orders, fonts; an hour"
	@echo "make lab    open the notebooks in JupyterLab"
	@echo "make serve  build the site and serve it on http://127.0.0.1:8000"
	@echo "make course write editions, lecture and assignments into _build/course; needs Chromium or Chrome"
	@echo "make release  site, editions and wheel with checksums, into _build/release"
	@echo "make bench  run the benchmarks"
	@echo "make clean  remove what was built (the environment stays: rm -r $(VENV))"

setup: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1 || echo missing)."; \
	  echo "Name another one: make PYTHON=/path/to/python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(UV_TORCH_BACKEND),$(BIN)/python -m pip install --quiet --disable-pip-version-check uv)
	$(BIN)/python -m $(INSTALL) -c requirements.lock -e '.[book,test,course]'
	touch $@

book: $(STAMP)
	$(BIN)/jupyter-book build . --toc book/_toc.yml -W -n --keep-going --all
	@echo "The book is built. Open $(SITE)/index.html, or run: make serve"

pdf: $(STAMP)
	$(BIN)/python -m tools.browser
	$(BIN)/jupyter-book build . --toc book/_toc.yml --builder singlehtml -W -n --keep-going --all
	$(BIN)/python -m tools.pdf

paper: $(STAMP)
	$(BIN)/python -m tools.browser
	$(BIN)/python -m tools.paper

test: $(STAMP)
	$(BIN)/python -m tools.run_tests

quick: $(STAMP)
	$(BIN)/python -m tools.run_tests --quick

portable: $(STAMP)
	$(BIN)/python -m tools.run_tests --portable

lab: $(STAMP)
	$(BIN)/jupyter lab --notebook-dir .

serve: book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory $(SITE) 8000

course: $(STAMP)
	$(BIN)/python -m tools.browser
	$(BIN)/python -m tools.course $(if $(SEED),--seed '$(SEED)')

release: book course
	$(BIN)/python -m tools.release

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# For maintainers: exact versions for every system.  What is pinned stays; make lock UPGRADE=--upgrade takes the newest.
lock: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python -m uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-emit-index-url \
	  --no-annotate --custom-compile-command "make lock" --quiet $(UPGRADE) -o requirements.lock

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis
