"""The main job: compose -> fit -> test -> predictions table, figures of the protocol, one picture."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from mimi_lightning import __version__
from mimi_lightning.data.datamodule import MixedDataModule
from mimi_lightning.data.miniature import make_miniature
from mimi_lightning.errors import ConfigError, ScoreError
from mimi_lightning.evaluation.alignment import pooled_srcc, read_hidden_quality
from mimi_lightning.evaluation.figures import draw_mappings
from mimi_lightning.evaluation.predictions import make_predictions
from mimi_lightning.evaluation.protocol import score_run, terminal_table
from mimi_lightning.module import QualityModel, build

Settings = dict[str, Any]

# Keys of `data` that nothing here reads: other nodes refer to them.
REFERRED = ("quota", "resize", "crop", "test_resize", "small_images")

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips and its account of what is obvious
warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")  # Lightning's own, in its newest release


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
    if not (run / "metrics.json").is_file():
        _run(run, settings)
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        show(run)


def show(run: Path) -> None:
    """Print a finished run: figures of every dataset, alignment where it can be told, and what lies where."""
    metrics = json.loads((run / "metrics.json").read_text())
    console = Console(soft_wrap=True)
    figures = pd.DataFrame.from_dict(metrics["figures"], orient="index")
    title = f"{metrics['run']}, test part: proxy score against MOS, best epoch {metrics['best_epoch']}"
    console.print(terminal_table(figures, title))
    if metrics["alignment"]:
        console.print("Pooled SRCC over all test parts against the hidden quality (pseudo-MOS):")
        console.print("   ".join(f"{name} [bold]{value:.4f}[/bold]" for name, value in metrics["alignment"].items()))
    if metrics["tasks"]:
        console.print("   ".join(f"{name} [bold]{value:.3f}[/bold]" for name, value in metrics["tasks"].items()))
    if metrics["skipped"]:
        console.print(f"[bold]{metrics['skipped']} images could not be read and were left out.[/bold]")
    for what, name in [
        ("predictions", "predictions.csv"),
        ("figures", "metrics.json"),
        ("picture", "mappings.png"),
        ("checkpoint", "checkpoints/best.ckpt"),
    ]:
        console.print(f"{what:<12}{run / name}", highlight=False)


def _run(run: Path, settings: Settings) -> None:
    lightning.seed_everything(settings["seed"], workers=True, verbose=False)
    data = make_data(settings)
    data.setup()
    model = make_model(settings, data)
    trainer = _make_trainer(run, settings)
    last = run / "checkpoints" / "last.ckpt"
    try:
        trainer.fit(model, data, ckpt_path=last if last.is_file() else None)
        trainer.test(model, data, ckpt_path="best", verbose=False)
        if trainer.is_global_zero:
            _write_results(run, settings, data, model, trainer)
    finally:
        for logger in trainer.loggers:
            logger.finalize("success" if trainer.state.finished else "failed")


def make_data(settings: Settings) -> MixedDataModule:
    """The data module of a resolved configuration; builds the miniature datasets first where they are asked for."""
    arguments = {key: value for key, value in settings["data"].items() if key not in REFERRED}
    arguments |= {f"{stage}_view": build(view, Callable) for stage, view in settings["view"].items()}
    miniature = arguments.pop("miniature")
    if miniature is not None:
        make_miniature(Path(arguments["root"]), **miniature)
    return MixedDataModule(settings["datasets"], settings["split"], settings["seed"], **arguments)


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
        optimizer=settings["optimizer"],
        scheduler=settings["scheduler"],
    )


def _make_trainer(run: Path, settings: Settings) -> lightning.Trainer:
    best = ModelCheckpoint(
        run / "checkpoints",
        filename="best",
        monitor=settings["monitor"],
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    try:
        return lightning.Trainer(
            **settings["trainer"],
            default_root_dir=run,
            logger=instantiate(settings["logger"]),
            callbacks=[best],
            use_distributed_sampler=False,  # the project's samplers know their rank
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, ModuleNotFoundError) as error:
        raise ConfigError(f"The trainer cannot be set up: {error}") from error


def _enter(run: Path, settings: Settings) -> None:
    """Start, go on, or refuse: a folder holds one run of one configuration."""
    if int(os.environ.get("LOCAL_RANK", 0)) > 0 or int(os.environ.get("SLURM_PROCID", 0)) > 0:
        return
    stored = run / "config.yaml"
    if settings["overwrite"] and stored.is_file():
        shutil.rmtree(run)
    if stored.is_file():
        changed = sorted(_differences(OmegaConf.to_container(OmegaConf.load(stored)), settings))
        if changed:
            raise ConfigError(
                f"{run} holds a run with another configuration ({', '.join(changed)}).\n"
                "Choose another name=..., or overwrite=true to start anew and lose it."
            )
    run.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create({**settings, "overwrite": False}), stored)


def _differences(old: Any, new: Any, prefix: str = "") -> set[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = (old.keys() | new.keys()) - ({"overwrite"} if not prefix else set())
        return {path for key in keys for path in _differences(old.get(key), new.get(key), f"{prefix}{key}.")}
    return set() if old == new else {prefix.rstrip(".")}


def _write_results(
    run: Path, settings: Settings, data: MixedDataModule, model: QualityModel, trainer: lightning.Trainer
) -> None:
    model.cpu().eval()
    name = run.relative_to(settings["paths"]["outputs"]).as_posix()
    predictions = make_predictions(data.table, model.scores, name, settings["split"])
    figures = score_run(predictions, data.sizes())
    draw_mappings(model, predictions, figures, run / "mappings.png")
    predictions.to_csv(run / "predictions.csv", index=False)
    metrics = {
        "run": name,
        "figures": json.loads(figures.to_json(orient="index", double_precision=15)),
        "tasks": model.accuracies,
        "alignment": _alignment(data, model, predictions),
        "best_epoch": torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)["epoch"],
        "skipped": len(data.skipped),
        "partition": {"protocol": f"generated-{data.split_seed}", "sha256": data.fingerprint},
        "seed": settings["seed"],
        "versions": {"mimi_lightning": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    draft = run / "metrics.json.part"  # metrics.json marks a finished run: it must appear whole, and last
    draft.write_text(json.dumps(metrics, indent=2) + "\n")
    draft.replace(run / "metrics.json")


def _alignment(data: MixedDataModule, model: QualityModel, predictions: pd.DataFrame) -> dict[str, float]:
    """Only the miniature knows a quality that its datasets share; nothing before this point reads it."""
    hidden = data.root / "hidden_quality.csv"
    if not hidden.is_file():
        return {}
    try:
        return pooled_srcc(model, predictions, data.table, read_hidden_quality(hidden))
    except ScoreError:
        return {}
