# Everything runs in a virtual environment that makes itself: PYTHON=python3.12 make test picks another Python.
PYTHON ?= python3
VENV ?= .venv
BIND ?= 127.0.0.1:8000
WORKERS ?= 2
ARGS ?=
ONLY ?=
SERVERS ?=
EXAMPLES ?= 100000
SECONDS ?= 120
REQUESTS ?= 200000
TARGETS ?=
REPEAT ?=
MINUTES ?=
PYTHONS ?= python3.10 python3.11 python3.12 python3.13
# Where a free-threaded CPython is kept if none is installed: building it takes some minutes.
FREETHREADED ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fastwsgi
BIN := $(abspath $(VENV))/bin
# Tests mostly wait, so several run side by side; those that look at times or memory come after them. 5: it has none.
JOBS ?= 4
pytest = { $(1) $(BIN)/python -m pytest -n $(JOBS) -m "not alone" $(2) $(ARGS) || [ $$? = 5 ]; } && \
  { $(1) $(BIN)/python -m pytest -m alone $(2) $(ARGS) || [ $$? = 5 ]; }
# What is compiled: every .pyx, and every .py that has a .pxd beside it.
SOURCES := $(wildcard fastwsgi/*.pyx fastwsgi/*.pxd fastwsgi/*.h)
SOURCES += $(wildcard $(patsubst %.pxd,%.py,$(wildcard fastwsgi/*.pxd)))

# Of the end-to-end tests those about what goes over the wire, whichever way it is served.
WIRE := $(patsubst %,tests/e2e/test_%.py,http11 input smuggling splitting streaming wire wsgi)

.PHONY: help build serve test test-pure test-compiled test-threads test-gevent test-tls test-kqueue asan leaks test-pythons freethreaded fuzz fuzz-hypothesis soak lint types bench bench-quick wheel docs annotate clean
.DELETE_ON_ERROR:

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

build: $(VENV)/.built ## virtual environment and extensions, ready to use

serve: build ## the example Flask app on http://127.0.0.1:8000 (BIND=, WORKERS=); ^C ends it
	@exec $(BIN)/fastwsgi -w $(WORKERS) -b $(BIND) --access-logfile - $(ARGS) examples.flask_app:app

test: test-compiled test-pure ## the whole suite, compiled and then pure (ARGS="-k chunked")

test-compiled: build ## the suite on the compiled implementation only
	$(call pytest,FASTWSGI_REQUIRE_EXTENSIONS=1)

test-pure: build ## the suite on the pure-Python implementation only
	$(call pytest,FASTWSGI_NO_EXTENSIONS=1)

test-threads: build ## the end-to-end tests on a worker with four threads: all compiled, some pure
	$(call pytest,FASTWSGI_REQUIRE_EXTENSIONS=1 FASTWSGI_TEST_ENGINE="--threads 4",tests/e2e)
	$(call pytest,FASTWSGI_NO_EXTENSIONS=1 FASTWSGI_TEST_ENGINE="--threads 4",$(WIRE))

test-tls: build ## what goes over the wire, over TLS
	mkdir -p build/tls && $(BIN)/python -m tests.certificates build/tls
	$(call pytest,FASTWSGI_REQUIRE_EXTENSIONS=1 FASTWSGI_TEST_CA="$(CURDIR)/build/tls/authority.pem" \
	  FASTWSGI_TEST_ENGINE="--certfile $(CURDIR)/build/tls/certificate.pem --keyfile $(CURDIR)/build/tls/key.pem",\
	  $(filter-out %_wire.py,$(WIRE)))

# Pure: what meets gevent in another way than the compiled poller and its calls.
test-gevent: build ## the end-to-end tests on gevent: all compiled, some pure
	$(BIN)/python -c 'import gevent'
	$(call pytest,FASTWSGI_REQUIRE_EXTENSIONS=1 FASTWSGI_TEST_ENGINE="-k gevent",tests/e2e)
	$(call pytest,FASTWSGI_NO_EXTENSIONS=1 FASTWSGI_TEST_ENGINE="-k gevent",tests/e2e/test_gevent.py $(WIRE))

test-kqueue: build ## the engine's tests on the kqueue backend, which runs over a shim on Linux
	rm -rf build/kqueue && mkdir -p build/kqueue
	cp -r fastwsgi tests examples deploy pyproject.toml setup.py README.md LICENSE build/kqueue && rm -f build/kqueue/fastwsgi/*.so
	cd build/kqueue && FASTWSGI_KQUEUE_SHIM=1 $(BIN)/python setup.py --quiet build_ext --inplace --parallel 4
	cd build/kqueue && $(call pytest,FASTWSGI_TEST_BACKEND=kqueue FASTWSGI_REQUIRE_EXTENSIONS=1,\
	  tests/unit/test_io.py tests/kqueue_shim tests/e2e)

fuzz: build ## what the compiled code covers guides the search for faults; needs clang (SECONDS=, TARGETS=head, REPEAT=)
	$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS) --targets "$(TARGETS)" --repeat "$(REPEAT)"

fuzz-hypothesis: build ## readers of requests against each other, for long (EXAMPLES=100000)
	FASTWSGI_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -o faulthandler_timeout=0 \
	  tests/unit/test_parser_differential.py $(ARGS)

soak: build ## mixed load with faults; nothing is lost, memory stays flat (MINUTES=, or SECONDS=120)
	FASTWSGI_TEST_DEADLINE=60 $(BIN)/python -m tests.soak \
	  $(if $(MINUTES),--minutes $(MINUTES),--seconds $(SECONDS)) $(ARGS)

asan: build ## unit and wire suites with AddressSanitizer and UndefinedBehaviorSanitizer, 10 minutes
	$(BIN)/python -m tests.sanitized $(ARGS)

leaks: build ## what a worker holds after 200,000 requests of each kind, by the hour (REQUESTS=, ONLY=generator,tls)
	$(BIN)/python -m tests.leaks --requests $(REQUESTS) --only "$(ONLY)"

test-pythons: ## the whole suite on several Pythons, each in an environment of its own (PYTHONS=)
	for python in $(PYTHONS); do $(MAKE) test PYTHON=$$python VENV=.venv-$$python || exit 1; done

freethreaded: ## the whole suite on a free-threaded Python, which is built if there is none
	python=$$(tests/freethreaded.sh $(FREETHREADED)) && \
	  PIP_PREFER_BINARY=1 $(MAKE) test VENV=.venv-freethreaded PYTHON=$$python

lint: $(VENV)/.dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev build ## mypy, strict
	$(BIN)/mypy

bench: build ## side by side with other servers, 40 minutes; installs them (ONLY=hello,flask, SERVERS=bjoern,granian)
	$(BIN)/python -m bench.run --only "$(ONLY)" --servers "$(SERVERS)" $(ARGS)

bench-quick: build ## a first look at that, in two minutes once all is installed (ONLY=, SERVERS=)
	$(BIN)/python -m bench.run --quick --only "$(ONLY)" --servers "$(SERVERS)" $(ARGS)

wheel: $(VENV)/.dev ## a wheel and a source distribution in dist/
	$(BIN)/python -m build --outdir dist .

docs: build ## write docs/settings.md; check the links and names in docs/ and README
	$(BIN)/python docs/write_settings.py
	$(BIN)/python -m pytest tests/test_docs.py

annotate: build ## Cython's view of the hot modules: build/annotate/*.html
	mkdir -p build/annotate
	for f in fastwsgi/*.pyx; do $(BIN)/cython -3 -a $$f -o build/annotate/$$(basename $$f .pyx).c || exit 1; done

clean: ## remove all that was built, the virtual environment too
	rm -rf $(VENV) .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f fastwsgi/*.so fastwsgi/*.c fastwsgi/*.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "fastwsgi needs Python 3.10 or newer and '$(PYTHON)' is not: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "'$(PYTHON)' has no venv module: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml setup.py | $(BIN)/python
	$(BIN)/pip install --quiet 'setuptools>=77' 'Cython>=3.1,<4'
	FASTWSGI_NO_EXTENSIONS=1 $(BIN)/pip install --quiet --no-build-isolation --editable '.[test]'
	@FASTWSGI_NO_EXTENSIONS=1 $(BIN)/pip install --quiet --no-build-isolation --only-binary gevent,greenlet --editable '.[gevent]' || \
	  echo "gevent's tests are left out: it does not install on this Python" >&2
	@FASTWSGI_NO_EXTENSIONS=1 $(BIN)/pip install --quiet --no-build-isolation --only-binary watchfiles --editable '.[reload]' || \
	  echo "the tests of --reload are left out: watchfiles does not install on this Python" >&2
	@touch $@

$(VENV)/.built: $(SOURCES) $(VENV)/.installed
	$(BIN)/python setup.py --quiet build_ext --inplace --parallel 4
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	FASTWSGI_NO_EXTENSIONS=1 $(BIN)/pip install --quiet --no-build-isolation --editable '.[test,dev]'
	@touch $@
