"""Run a study: every variant on the same splits and seeds, then what it comes to.

    python experiments/study.py mappers                          on the miniature datasets, two processes
    python experiments/study.py mappers --on six paths.datasets=/data/iqa trainer=gpu

A study is a folder here with its `study.yaml`: the question, the variants as words of the command line, the conditions
(what they are trained on) and the number of seeds. Each run is an ordinary run of the main job, in a folder of its own
below outputs/studies/NAME; one that is finished is not run again. Of the weights nothing is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import multiprocessing
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

sys.path.insert(0, str(Path(__file__).parents[1]))  # `python experiments/study.py` looks beside this file alone

from experiments.outcome import TOLD, record, report
from mimi_lightning import config
from mimi_lightning.errors import MimiError
from mimi_lightning.progress import progress_bar
from mimi_lightning.run_folder import RunFolder

HERE = Path(__file__).parent
SEED = 19901116
SHOWN = 3  # runs that are named when many failed for one reason


@dataclass(frozen=True)
class Job:
    """One run of a study."""

    condition: str
    variant: str
    split: int
    seed: int
    words: tuple[str, ...]
    outputs: Path

    def override(self) -> list[str]:
        """Words of the command line."""
        name = f"name={self.condition}/{self.variant}/seed{self.seed}"
        return [*self.words, name, f"paths.outputs={self.outputs}", f"split={self.split}", f"seed={SEED + self.seed}"]


def main(argv: list[str]) -> int:
    """Run a study; the exit code is 1 when a run failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=sorted(file.parent.name for file in HERE.glob("*/study.yaml")))
    parser.add_argument("words", metavar="KEY=VALUE", nargs="*", help="for every run")
    parser.add_argument("--on", metavar="CONDITION", action="append", help="those of conditions.yaml (the study's own)")
    parser.add_argument("--variants", metavar="NAME", nargs="+", help="only these")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--seeds", type=int, help="as study.yaml says")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each (%(default)s)")
    parser.add_argument("--out", type=Path, help="outputs/studies/STUDY")
    args = parser.parse_intermixed_args(argv)
    study = yaml.safe_load((HERE / args.study / "study.yaml").read_text())
    for given, known, what in ((args.variants, study["variants"], "--variants"), (args.on, _conditions(), "--on")):
        if unknown := [name for name in given or () if name not in known]:
            parser.error(f"{what} {' '.join(unknown)}: there are {', '.join(known)}")
    out = args.out or Path("outputs/studies") / args.study
    failed = run(plan(study, args, out), args.jobs)
    for reason, names in _by_reason(failed).items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        print(f"failed: {'; '.join(names[:SHOWN])}{more}\n{reason}", file=sys.stderr)
    report(study, out)
    return 1 if failed else 0


def _by_reason(failed: list[tuple[Job, str]]) -> dict[str, list[str]]:
    """What failed for one reason, said once."""
    reasons: dict[str, list[str]] = {}
    for job, reason in failed:
        reasons.setdefault(reason, []).append(f"{job.condition} {job.variant}, split {job.split}, seed {job.seed}")
    return reasons


def _conditions() -> dict[str, list[str]]:
    return yaml.safe_load((HERE / "conditions.yaml").read_text())


def plan(study: dict, args: argparse.Namespace, out: Path) -> list[Job]:
    """All runs: those of one split and seed together, so that what is there of a study half done can be compared."""
    conditions = _conditions()
    variants = {name: study["variants"][name] for name in args.variants or study["variants"]}
    seeds = range(args.seeds or study["seeds"])
    return [
        Job(on, name, split, seed, (*conditions[on], *study.get("common", ()), *words, *args.words), out)
        for on, seed, split, (name, words) in itertools.product(
            args.on or study["conditions"], seeds, range(1, args.splits + 1), variants.items()
        )
    ]


def run(jobs: list[Job], processes: int) -> list[tuple[Job, str]]:
    """Train in processes of one thread each; returns what failed, and why."""
    failed = []
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # read when a process begins
    spawn = multiprocessing.get_context("spawn")
    with progress_bar() as bar, ProcessPoolExecutor(processes, spawn) as pool:
        futures = {pool.submit(train, job): job for job in jobs}
        for future in bar.track(as_completed(futures), total=len(jobs), description="Runs"):
            if reason := future.result():
                failed.append((futures[future], reason))
    return failed


def train(job: Job) -> str | None:
    """Run one job, unless it is finished; returns why it failed."""
    from mimi_lightning.train import train as main_job

    config.register_resolvers()
    try:
        with initialize_config_dir(str(config.conf_dir()), version_base="1.3"):
            cfg = compose("config", job.override(), return_hydra_config=True)
            hydra = cfg.hydra
            with open_dict(cfg):
                del cfg["hydra"]
            config.check(cfg, hydra)
            folder = RunFolder(Path(cfg.paths.run))
            begin = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                main_job(cfg)  # which only shows a finished run, and refuses one with other settings
        if not (folder.path / TOLD).is_file():
            record(folder, job, time.perf_counter() - begin)
        shutil.rmtree(folder.last.parent, ignore_errors=True)
    except MimiError as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
