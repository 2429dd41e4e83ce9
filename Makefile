# Every target sets up what it needs on a machine with Python 3.11+, pip, git and make.
#
#   make site      build the course's pages            (2 minutes the first time)
#   make test      run the tests and every notebook    (a quarter of an hour the first time)
#   make lab       open the lessons in JupyterLab
#   make pdf       print the pages as one book, with Chromium; NAMES=--solutions for more
#
# For those who teach with it (see the page "Teaching with it"):
#
#   make slides    write the diagrams and questions of each lesson as slides
#   make handouts  write each lesson without outputs and answers, and its solutions
#
# For those who change the course (see CONTRIBUTING.md):
#
#   make lessons   rebuild the notebooks whose script or library changed
#   make renumber  number all lessons by their order in book/course.yml
#   make address   write the repository's address into badges and first cells
#   make bench     compare the speed of training, writing, tokenizing, translating;
#                  NAMES=gpu for a GPU, where there is one
#   make times     measure time and memory of every notebook; NAMES="..." for some
#   make machines  run tests and notebooks as other machines would; ONLY="avx2 jitter-1"
#   make again     run every notebook twice in one kernel, in an empty folder
#   make offline   run every notebook on the stand-in text, without a network;
#                  NAMES="..." for some
#   make scripts   run every lesson as a script, without a network
#   make mutants   plant each bug of the museum in the library: its test must fail;
#                  ONLY="window or stop" for some
#   make browser   open every page of the built site in Chromium
#   make panel     measure how quickly the live model of the site starts and writes
#   make kills     stop trainings at many moments: nothing may be lost or left behind
#   make newest    run all tests with the newest packages, in an environment of its own
#   make oldest    the same with the oldest packages that pyproject.toml names
#   make colab     the same with the packages that Colab brings (tests/colab.txt)
#   make lock      pin all packages; UPGRADE=--upgrade for the newest versions
#   make release   pack the site and the sources of a clean copy into dist/
#   make clean     remove everything that these commands made

PYTHON ?= python3
VENV ?= .venv
SITE_VENV ?= .venv-site
LOCK_VENV = .venv-lock
NEW_VENV = .venv-newest
OLD_VENV = .venv-oldest
COLAB_VENV = .venv-colab
BIN = $(VENV)/bin
SITE_BIN = $(SITE_VENV)/bin
LOCK_BIN = $(LOCK_VENV)/bin
NEW_BIN = $(NEW_VENV)/bin
OLD_BIN = $(OLD_VENV)/bin
COLAB_BIN = $(COLAB_VENV)/bin
NOTEBOOKS = lessons/ solutions/ book/museum/
# Python compiles a package when it is first imported, and keeps that; pip would compile
# all of them, for minutes, and most are never imported.
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --no-compile
unexport PYTHONDONTWRITEBYTECODE
# Newer releases bring gigabytes of CUDA packages even where there is no GPU.
TORCH = 2.13.0

# One thread per process: as fast on two cores, and the numbers repeat exactly.
OMP_NUM_THREADS ?= 1
export OMP_NUM_THREADS

.PHONY: help needs site test lab pdf slides handouts lessons renumber address times bench \
  machines again offline scripts mutants kills browser panel newest oldest colab \
  lock release clean

help:
	@sed -n 's/^#   make/make/p' Makefile

# What cannot be installed from here, and how to get it.
needs:
	@command -v $(PYTHON) > /dev/null || { echo "'$(PYTHON)' was not found: \
	install Python 3.11 or newer, or name yours: \
	make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "This course needs Python 3.11 or newer; '$(PYTHON)' is older. \
	Name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
	{ echo "'$(PYTHON)' cannot make virtual environments. \
	On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@command -v git > /dev/null || { echo "git was not found: install it first."; exit 1; }

$(BIN)/.ready: pyproject.toml constraints.txt | needs
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt ".[lessons,test]"
	@touch $@

$(BIN)/.ready-lab: $(BIN)/.ready
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt ".[lab]"
	@touch $@

$(SITE_BIN)/.ready: pyproject.toml constraints.txt | needs
	$(PYTHON) -m venv $(SITE_VENV)
	$(SITE_BIN)/python $(PIP_INSTALL) -c constraints.txt ".[site]"
	@touch $@

$(SITE_BIN)/.ready-browser: $(SITE_BIN)/.ready
	$(SITE_BIN)/python $(PIP_INSTALL) -c constraints.txt ".[browser]"
	@touch $@

site: $(SITE_BIN)/.ready
	rm -rf _build/html
	$(SITE_BIN)/jupyter-book build . --all --builder html -W -n --keep-going
	@$(PYTHON) -c 'from pathlib import Path; \
	print("Open", Path("_build/html/index.html").resolve().as_uri())'

test: $(BIN)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --nbval $(NOTEBOOKS)

lab: $(BIN)/.ready-lab
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/lessons/00_quickstart.ipynb

pdf: site $(SITE_BIN)/.ready-browser
	$(SITE_BIN)/python book/_tools/pdf.py $(NAMES)

slides: $(SITE_BIN)/.ready-browser
	$(SITE_BIN)/python book/_tools/slides.py $(NAMES)

handouts: $(BIN)/.ready
	$(BIN)/python book/_tools/handouts.py $(NAMES)

lessons: $(BIN)/.ready
	$(BIN)/python book/_tools/build_museum.py
	$(BIN)/python book/_tools/build_notebooks.py
	$(BIN)/python book/_tools/ladder_picture.py

renumber: $(BIN)/.ready
	$(BIN)/python book/_tools/rename_lessons.py $(NAMES)

address: $(BIN)/.ready
	$(BIN)/python book/_tools/address.py
	$(BIN)/python book/_tools/build_museum.py

times: $(BIN)/.ready
	$(BIN)/python book/_tools/times.py $(NAMES)

bench: $(BIN)/.ready
	$(BIN)/python book/_tools/bench.py $(NAMES)

machines: $(BIN)/.ready
	$(BIN)/python book/_tools/machines.py $(NAMES) $(if $(ONLY),--only $(ONLY))

again: $(BIN)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --nbval --twice \
	  $(or $(NAMES),$(NOTEBOOKS))

# From an empty cache. Jupyter may reach this machine, and nobody another one. The same
# pass stands for an old processor: no machine of today computes like that.
offline: $(BIN)/.ready
	work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && \
	env -u COURSE_DATA COURSE_OFFLINE=1 XDG_CACHE_HOME="$$work" \
	  ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 \
	  MKL_ENABLE_INSTRUCTIONS=SSE4_2 COURSE_MACHINE=bfloat16=off,jitter=1 \
	  PYTHONPATH=$(CURDIR)/tests/emulation SOCKET_LOG="$$work/hosts" \
	  $(BIN)/python -m pytest -n 2 --dist loadfile --nbval $(or $(NAMES),$(NOTEBOOKS)) && \
	{ ! cat "$$work/hosts" 2> /dev/null || { echo "were tried to reach"; false; }; }

scripts: $(BIN)/.ready
	$(BIN)/python -m pytest -m offline tests

mutants: $(BIN)/.ready
	$(BIN)/python -m pytest -n 2 -m mutants tests/test_museum.py \
	  $(if $(ONLY),-k "$(ONLY)")

# A test in which Chromium itself ends (a "TargetClosedError") is run once more.
browser: site $(SITE_BIN)/.ready-browser
	$(SITE_BIN)/python -m pytest -n 2 -m browser --reruns 1 --only-rerun Target \
	  tests/test_links.py tests/test_site.py tests/test_forwarding.py \
	  tests/test_rendered_text.py tests/test_playground_page.py \
	  tests/test_progress_page.py tests/test_search.py tests/test_site_tools.py \
	  tests/test_live_page.py tests/test_paper.py

panel: site $(SITE_BIN)/.ready-browser
	$(SITE_BIN)/python book/_tools/panel_speed.py

kills: $(BIN)/.ready
	PYTHONPATH=$(CURDIR) COURSE_QUIET=1 $(BIN)/python tests/kill_moments.py

newest: | needs
	rm -rf $(NEW_VENV)
	$(PYTHON) -m venv $(NEW_VENV)
	$(NEW_BIN)/python $(PIP_INSTALL) --upgrade ".[lessons,test]"
	$(NEW_BIN)/python -m pip list --format=freeze --disable-pip-version-check
	$(NEW_BIN)/python -m pytest -n 2 --dist loadfile tests
	$(NEW_BIN)/python -m pytest -n 2 --dist loadfile --nbval $(NOTEBOOKS)

oldest: | needs
	rm -rf $(OLD_VENV)
	$(PYTHON) -m venv $(OLD_VENV)
	$(PYTHON) book/_tools/oldest.py > $(OLD_VENV)/oldest.txt
	$(OLD_BIN)/python $(PIP_INSTALL) -c $(OLD_VENV)/oldest.txt ".[lessons,test]"
	$(OLD_BIN)/python -m pip list --format=freeze --disable-pip-version-check
	$(OLD_BIN)/python -m pytest -n 2 --dist loadfile tests
	$(OLD_BIN)/python -m pytest -n 2 --dist loadfile --nbval $(NOTEBOOKS)

colab: | needs
	rm -rf $(COLAB_VENV)
	$(PYTHON) -m venv $(COLAB_VENV)
	$(COLAB_BIN)/python $(PIP_INSTALL) -c tests/colab.txt ".[lessons,test]"
	$(COLAB_BIN)/python -m pip list --format=freeze --disable-pip-version-check
	$(COLAB_BIN)/python -m pytest -n 2 --dist loadfile tests
	$(COLAB_BIN)/python -m pytest -n 2 --dist loadfile --nbval $(NOTEBOOKS)

lock: | needs
	$(PYTHON) -m venv $(LOCK_VENV)
	$(LOCK_BIN)/python $(PIP_INSTALL) pip-tools
	$(LOCK_BIN)/pip-compile --quiet --strip-extras --all-extras --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --upgrade-package torch==$(TORCH) $(UPGRADE) -o constraints.txt pyproject.toml
	@{ echo "# Exact versions of everything the course installs. Made by \`make lock\`;"; \
	echo "# used as \`pip install -c constraints.txt ...\`. It holds no addresses and no"; \
	echo "# build suffixes."; \
	sed -e '/^#/d' -e '/^ *$$/d' -e '/^from-bigram-to-transformer/d' \
	  -e 's/+[a-z0-9.]*$$//' constraints.txt; } > constraints.tmp
	@mv constraints.tmp constraints.txt

release: | needs
	$(PYTHON) book/_tools/release.py --check
	$(MAKE) site
	$(PYTHON) book/_tools/release.py

clean:
	rm -rf $(VENV) $(SITE_VENV) $(LOCK_VENV) $(NEW_VENV) $(OLD_VENV) $(COLAB_VENV)
	rm -rf _build build dist *.egg-info
	rm -rf .hypothesis .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
