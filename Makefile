# `make` lists the targets. CI and the README run these very commands.
PYTHON ?= python3
BIN := .venv/bin
MIMI := $(BIN)/python -m mimi_lightning

.DEFAULT_GOAL := help
.PHONY: help demo photos test test-slurm fuzz mutants chaos lint format bench bench-compare wheel clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(BIN)/.miniature ## Train and test on six miniature datasets of real photographs, in minutes, without any download
	$(MIMI) experiment=demo

photos: $(BIN)/.miniature ## Get 44 photographs for data=miniature_study (Debian or Ubuntu; 170 MB)
	$(BIN)/python experiments/miniature/photos.py

test: $(BIN)/.dev ## Run the test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(or $(ARGS),-n 2 --dist worksteal)

test-slurm: $(BIN)/.dev ## Sweep through a Slurm of this machine, and kill its jobs (Debian or Ubuntu, root; four minutes)
	test -x /usr/sbin/slurmctld && test -x /usr/sbin/munged || apt-get install --no-install-recommends --yes slurm-wlm munge
	$(BIN)/python -m tests.slurm

mutants: $(BIN)/.mutants ## Change the mathematics, metrics, samplers and splits, and count what no test notices (an hour)
	OMP_NUM_THREADS=1 $(BIN)/mutmut run $(ARGS)
	$(BIN)/mutmut results
	@$(BIN)/mutmut results --all true | awk '!/not checked/ {sub(/\.x.*/, "", $$1); all[$$1]++; dead[$$1] += /killed|timeout/} \
	  END {for (m in all) printf "%-36s %3.0f %% of %d noticed\n", m, 100 * dead[m] / all[m], all[m]}'

chaos: $(BIN)/.dev ## Kill training 50 times on two filesystems, and compare with a run that nobody killed (a quarter of an hour)
	OMP_NUM_THREADS=1 $(BIN)/python experiments/chaos.py $(ARGS)

fuzz: $(BIN)/.dev ## Draw thousands of wrong inputs, and count what becomes of them (half an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(ARGS)

lint: $(BIN)/.dev ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(BIN)/.dev ## Mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BIN)/.dev ## Time all benchmarks, each side by side with its plain formulation, into benchmarks/results.json (an hour)
	$(BIN)/python -m benchmarks $(ARGS)

bench-compare: $(BIN)/.dev ## Hold two files of results against each other: A=old.json B=new.json (those of the last two times)
	$(BIN)/python -m benchmarks.compare $(or $(A),benchmarks/results.former.json) $(or $(B),benchmarks/results.json)

bench-step: ## Time training steps and a test pass of MIMI-ResNet34 against the plain formulation
bench-mapper: ## Time the mapper against its plain formulation
bench-mappers: ## Time a training step of every mapper beside MINN's
bench-backbones: ## Time backbones with poolings and adapters
bench-data: ## Time the loader against its plain formulation, and `data check`
bench-rows: ## Time setting up datasets of up to a million rows
bench-report: ## Time the report of three models over ten full-size splits
bench-clip: ## Time the vision-language regressor against its plain formulation (half an hour)
bench-clip-memory: ## Tell the peak memory of its training step
bench-score: ## Time `score` against the plain loop
bench-export: ## Time exported files, and tell what 8 bits cost the demo's checkpoint
bench-flops: ## Count FLOPs and bytes of a step of the published variants
bench-gpu: ## Time steps and test passes of the published variants on a GPU
bench-profile-step: ## Tell where the time of a training step goes, for every published variant

BENCHMARKS := $(addprefix bench-,step mapper mappers backbones data rows report clip clip-memory score export gpu flops profile-step)
.PHONY: $(BENCHMARKS)
$(BENCHMARKS): bench-%: $(BIN)/.dev
	$(BIN)/python -m benchmarks.$(subst -,_,$*) $(ARGS)

wheel: $(BIN)/.dev ## Build the wheel into dist/
	$(BIN)/pip wheel --no-deps --wheel-dir dist .

clean: ## Remove the environment, the miniature datasets and all outputs
	rm -rf .venv dist miniature miniature_* outputs mutants

# One environment; `mutants` holds all that `dev` does, and `dev` all that `miniature` does.
$(BIN)/.%: pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	touch $@
