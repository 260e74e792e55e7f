"""The main job: compose -> fit -> test -> predictions table, figures of the protocol, one picture."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from omegaconf import DictConfig, OmegaConf

from mimi_lightning import machine, slurm
from mimi_lightning.callbacks import Bar
from mimi_lightning.data.datamodule import MixedDataModule
from mimi_lightning.data.features import keep_features
from mimi_lightning.data.miniature import make_miniature
from mimi_lightning.errors import GOES_ON, ConfigError, MimiError, Terminated
from mimi_lightning.loggers import finish, log_results
from mimi_lightning.memory import keep_memory
from mimi_lightning.models.targets import TargetScale
from mimi_lightning.module import QualityModel, build_labels
from mimi_lightning.processes import gathered, leads
from mimi_lightning.quiet import quiet
from mimi_lightning.refit import Refit, fit_best
from mimi_lightning.results import show_results, write_results
from mimi_lightning.resume import LastState, Relocation, WholeCheckpoints
from mimi_lightning.ruler.marks import choose_marks
from mimi_lightning.run_folder import RunFolder, Settings
from mimi_lightning.specs import build, find_class
from mimi_lightning.start import check_freeze, refuse_seen, start_from

# Keys of `data` that the data module is not told: datasets refer to the first, the last are `keep_features`'s.
ELSEWHERE = ("quota", "quota_scope", "features", "views", "feature_store")

# Groups of which a model is made, beside its backbone.
PARTS = ("mapper", "gauge", "labels", "objective", "tasks", "optimizer", "scheduler")

# What torch says, in words of its libraries, where another process of several is gone.
LOST = re.compile("gloo|nccl|TCPStore|connection (closed|reset)", re.IGNORECASE)


def train(cfg: DictConfig) -> float | None:
    """Train, test and report one split; `config.check` has passed the configuration.

    The run folder holds config.yaml, checkpoints/, logs/ and, when the run is finished, predictions.csv, metrics.json
    and mappings.png. An unfinished run goes on from its last state, a finished one is only shown.

    Returns:
        The figure of validation that is monitored, of the best epoch, as a search asks for it; None in other processes
        than the first, and of runs of former versions.

    Raises:
        MimiError: whatever a user can mend.
        Terminated: the process was told to end.
    """
    settings: Settings = OmegaConf.to_container(cfg, resolve=True)
    check_freeze(settings["init"], settings["freeze"])
    run = RunFolder(Path(settings["paths"]["run"]))
    settings = machine.settle(settings, run)
    try:
        with quiet(), slurm.warned(), run.held() if leads() else nullcontext():
            if leads():
                run.enter(settings)
            if settings["overwrite"] or not run.covers(settings):
                _run(run, settings)
            if leads():
                show_results(run)
                return run.read_metrics().get("validation", {}).get(settings["monitor"])
            return None
    except Terminated:
        if leads():
            slurm.requeue()
        raise


def _run(run: RunFolder, settings: Settings) -> None:
    data, model, trainer = _prepare(run, settings)
    goes_on = run.begun and not settings["overwrite"]  # another rank may not have removed the old run yet
    with _ending(run, trainer):
        trainer.fit(model, data, ckpt_path=run.last if goes_on else None)
        if model.mapper.refits or not model.objective.teaches:
            if leads():
                fit_best(run, model, data)
            trainer.strategy.barrier()
        trainer.test(model, data, ckpt_path="best", verbose=False)
        skipped = set().union(*gathered(data.skipped))
        if trainer.is_global_zero:
            name = "/".join(run.path.parts[-3:])
            best = {settings["monitor"]: float(trainer.checkpoint_callback.best_model_score)}
            figures = write_results(run, name, data, model, best, len(skipped))
            log_results(trainer.loggers, figures, best, run)
            run.former.unlink(missing_ok=True)


def _prepare(run: RunFolder, settings: Settings) -> tuple[MixedDataModule, QualityModel, lightning.Trainer]:
    """Make all that trains, and record the run when nothing of it is refused any more."""
    old = QualityModel.load(settings["init"]) if settings["init"] else None
    data = make_data(settings)
    data.setup()
    if old:
        refuse_seen(settings["init"], data.table)
    # Only now: building datasets or a cache, which happens once, may draw random numbers.
    lightning.seed_everything(settings["seed"], workers=True, verbose=False)
    model = make_model(settings, data, old)
    model.configure_optimizers()  # which refuses rates and schedules that make no sense
    trainer = _make_trainer(run, settings)
    if settings["data"]["quota_scope"] == "global":
        data.share_quota(trainer.world_size, model.objective.pictures)
    if settings["trainer"]["compile"]:
        model.regressor.compile(backend=machine.compile_or_not)
    if leads():
        run.record(settings, data.table[["dataset", "image", "part", "mos"]])
    if settings["data"]["features"]:
        views = {data.train_view: settings["data"]["views"], data.test_view: 1}
        data.kept = keep_features(data, model.regressor, settings, views, trainer.strategy.root_device)
    if trainer.strategy.root_device.type == "cpu":
        keep_memory()
    return data, model, trainer


@contextmanager
def _ending(run: RunFolder, trainer: lightning.Trainer) -> Iterator[None]:
    """Say in the project's own words what ends training, and finish its loggers."""
    try:
        yield
    except SIGTERMException as stop:
        raise Terminated(f"The state of {run.path} is saved. The same command goes on from there.") from stop
    except MisconfigurationException as error:
        raise ConfigError(f"The trainer cannot go on with this configuration: {error}") from error
    except RuntimeError as error:
        if trainer.world_size == 1 or not LOST.search(str(error)):
            raise
        raise MimiError(
            "Another process of this training has ended: look above for what it said. When that is mended, the same "
            "command goes on from where it was."
        ) from error
    except (KeyboardInterrupt, SystemExit) as stop:  # Lightning exits on Ctrl-C
        raise KeyboardInterrupt(GOES_ON) from stop
    finally:
        finish(trainer.loggers, "success" if trainer.state.finished else "failed")


def make_data(settings: Settings) -> MixedDataModule:
    """The data module of a resolved configuration; builds the miniature datasets first where they are asked for."""
    arguments = {key: value for key, value in settings["data"].items() if key not in ELSEWHERE}
    arguments |= {f"{stage}_view": build(view, Callable) for stage, view in settings["view"].items()}
    arguments["labels"] = build_labels(settings["tasks"])
    miniature = arguments.pop("miniature")
    if miniature is not None:
        make_miniature(Path(arguments["root"]), **miniature)
    return MixedDataModule(
        settings["datasets"], settings["split"], settings["seed"], splits=settings["splits"], **arguments
    )


def make_model(settings: Settings, data: MixedDataModule, old: QualityModel | None = None) -> QualityModel:
    """The model of a resolved configuration, started from an old one; target scales come from the training part."""
    labels, sizes = data.training_labels(), data.sizes()
    scale = find_class(settings["labels"], TargetScale)
    facts = {
        name: {"range": d["range"], "labels": scale.learn(labels[name]), "weight": d["weight"], "size": sizes[name]}
        for name, d in settings["datasets"].items()
    }
    parts = {key: settings[key] for key in PARTS}
    parts |= {"regressor": settings["backbone"], "datasets": facts, "view": settings["view"]["test"]}
    parts["marks"] = choose_marks(data.table[data.table["part"] == "train"])
    return start_from(old, parts, settings["freeze"] or ()) if old else QualityModel(**parts)


def _make_trainer(run: RunFolder, settings: Settings) -> lightning.Trainer:
    best = ModelCheckpoint(
        run.last.parent,
        filename="best",
        monitor=settings["monitor"],
        mode="max",
        enable_version_counter=False,
    )
    last = LastState(run.last, settings["checkpoint"]["every_minutes"])
    arguments = dict(settings["trainer"])
    shapes = machine.FixedShapes(search=not arguments["deterministic"], compiled=arguments.pop("compile"))
    bar = [Bar()] if arguments.get("enable_progress_bar", True) else []
    try:
        return lightning.Trainer(
            **arguments,
            default_root_dir=run.path,
            logger=[CSVLogger(run.path, name="logs"), *_build_all(settings["logger"], Logger)],
            plugins=[WholeCheckpoints()],
            # Testing takes the best weights of the first.
            callbacks=[
                best,
                last,
                *bar,
                shapes,
                Relocation(),
                Refit(),
                *_build_all(settings.get("callbacks", {}), Callback),
            ],
            use_distributed_sampler=False,  # the project's samplers know their rank
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, ModuleNotFoundError) as error:
        raise ConfigError(f"The trainer cannot be set up: {error}") from error


def _build_all(nodes: Settings, kind: type) -> list[Any]:
    """Construct every option of a group of several."""
    return [build(node, kind) for node in nodes.values()]
