"""The main job: compose -> fit -> test -> predictions table, figures of the protocol, one picture."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from mimi_lightning.data.datamodule import MixedDataModule
from mimi_lightning.data.miniature import make_miniature
from mimi_lightning.errors import ConfigError
from mimi_lightning.evaluation.results import show_results, write_results
from mimi_lightning.evaluation.study import FINISHED
from mimi_lightning.loggers import finish, log_results
from mimi_lightning.memory import keep_memory
from mimi_lightning.module import QualityModel, build, build_labels

Settings = dict[str, Any]

LAST = "checkpoints/last.ckpt"  # of a run: its state after its last epoch

# Keys that decide how fast a run is or what it shows, and none of its figures: they may change when it goes on.
HARMLESS = (
    "overwrite",
    "published_splits",
    "logger",
    # Of former versions; what they came to stands in `view`.
    "data.resize",
    "data.crop",
    "data.test_resize",
    "data.small_images",
    "data.cache",
    "data.workers",
    "backbone.checkpointing",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
)

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips and its account of what is obvious
# Lightning's own, in its newest release; of what is meant to be so: testing takes the first checkpoint callback's best
# weights, and the project's samplers return every index.
for said in (".*treespec, LeafSpec.*", ".*configured with multiple `ModelCheckpoint`.*", ".*custom batch sampler.*"):
    warnings.filterwarnings("ignore", message=said)


def train(cfg: DictConfig) -> None:
    """Train, test and report one split; `config.check` has passed the configuration.

    The run folder holds config.yaml, checkpoints/, logs/ and, when the run is finished, predictions.csv, metrics.json
    and mappings.png. An unfinished run goes on from its last epoch, a finished one is only shown.

    Raises:
        MimiError: whatever a user can mend.
    """
    settings: Settings = OmegaConf.to_container(cfg, resolve=True)
    run = Path(settings["paths"]["run"])
    _enter(run, settings)
    if settings["overwrite"] or not (run / FINISHED).is_file():
        _run(run, settings)
    if rank_zero_only.rank == 0:
        show_results(run)


def _run(run: Path, settings: Settings) -> None:
    data = make_data(settings)
    data.setup()
    # Only now: building datasets or a cache, which happens once, may draw random numbers.
    lightning.seed_everything(settings["seed"], workers=True, verbose=False)
    model = make_model(settings, data)
    trainer = _make_trainer(run, settings)
    if trainer.strategy.root_device.type == "cpu":
        keep_memory()
    last = run / LAST
    goes_on = last.is_file() and not settings["overwrite"]  # another rank may not have removed the old run yet
    try:
        trainer.fit(model, data, ckpt_path=last if goes_on else None)
        trainer.test(model, data, ckpt_path="best", verbose=False)
        skipped = _gather(data.skipped, trainer.world_size)
        if trainer.is_global_zero:
            name = "/".join(run.parts[-3:])
            best = trainer.checkpoint_callback
            figures = write_results(run, name, data, model, Path(best.best_model_path), len(skipped))
            log_results(trainer.loggers, figures, {settings["monitor"]: float(best.best_model_score)}, run)
    except SystemExit as stop:  # how Lightning ends on Ctrl-C
        raise KeyboardInterrupt from stop
    finally:
        finish(trainer.loggers, "success" if trainer.state.finished else "failed")


def make_data(settings: Settings) -> MixedDataModule:
    """The data module of a resolved configuration; builds the miniature datasets first where they are asked for."""
    arguments = {key: value for key, value in settings["data"].items() if key != "quota"}  # datasets refer to it
    arguments |= {f"{stage}_view": build(view, Callable) for stage, view in settings["view"].items()}
    arguments["labels"] = build_labels(settings["tasks"])
    miniature = arguments.pop("miniature")
    if miniature is not None:
        make_miniature(Path(arguments["root"]), **miniature)
    return MixedDataModule(
        settings["datasets"], settings["split"], settings["seed"], splits=settings["splits"], **arguments
    )


def make_model(settings: Settings, data: MixedDataModule) -> QualityModel:
    """The model of a resolved configuration; target scales come from the training part."""
    labels, sizes = data.label_ranges(), data.sizes()
    facts = {
        name: {"range": d["range"], "labels": labels[name], "weight": d["weight"], "size": sizes[name]}
        for name, d in settings["datasets"].items()
    }
    return QualityModel(
        regressor=settings["backbone"],
        mapper=settings["mapper"],
        objective=settings["objective"],
        datasets=facts,
        tasks=settings["tasks"],
        view=settings["view"]["test"],
        optimizer=settings["optimizer"],
        scheduler=settings["scheduler"],
    )


def _make_trainer(run: Path, settings: Settings) -> lightning.Trainer:
    best = ModelCheckpoint(
        run / "checkpoints",
        filename="best",
        monitor=settings["monitor"],
        mode="max",
        enable_version_counter=False,
    )
    # Every epoch, whether it was validated or not: an interrupted run goes on from here.
    last = ModelCheckpoint(
        run / "checkpoints", filename="last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    try:
        return lightning.Trainer(
            **settings["trainer"],
            default_root_dir=run,
            logger=[CSVLogger(run, name="logs"), *_build_all(settings["logger"], Logger)],
            callbacks=[best, last, *_build_all(settings.get("callbacks", {}), Callback)],  # testing takes the first's
            use_distributed_sampler=False,  # the project's samplers know their rank
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, ModuleNotFoundError) as error:
        raise ConfigError(f"The trainer cannot be set up: {error}") from error


def _build_all(nodes: Settings, kind: type) -> list[Any]:
    """Construct every option of a group of several."""
    return [build(node, kind) for node in nodes.values()]


def _enter(run: Path, settings: Settings) -> None:
    """Start, go on, or refuse: a folder holds one run of one configuration, from its first epoch on."""
    if rank_zero_only.rank > 0:
        return
    stored = run / "config.yaml"
    if stored.is_file():
        changed = sorted(_differences(OmegaConf.to_container(OmegaConf.load(stored)), settings))
        begun = any((run / kept).is_file() for kept in (LAST, FINISHED))
        if changed and begun and not settings["overwrite"]:
            raise ConfigError(
                f"{run} holds a run with another configuration ({', '.join(changed)}).\n"
                "Choose another name=..., or overwrite=true to start anew and lose it."
            )
        if changed or settings["overwrite"]:
            shutil.rmtree(run)
    run.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create({**settings, "overwrite": False}), stored)


def _differences(old: Any, new: Any, key: str = "") -> set[str]:
    """Keys that differ, but for those that are harmless."""
    if key in HARMLESS:
        return set()
    if isinstance(old, dict) and isinstance(new, dict):
        names = old.keys() | new.keys()
        prefix = f"{key}." if key else ""
        return {path for name in names for path in _differences(old.get(name), new.get(name), prefix + name)}
    return set() if old == new else {key}


def _gather(names: set[str], world: int) -> set[str]:
    """Union of every process's names."""
    gathered = [names] * world
    if world > 1:
        torch.distributed.all_gather_object(gathered, names)
    return set().union(*gathered)
