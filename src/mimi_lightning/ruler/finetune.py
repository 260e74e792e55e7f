"""A trained model that learns the pictures of a scale of one's own, and not only the scale."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from omegaconf import OmegaConf

from mimi_lightning import config
from mimi_lightning.contracts import Mapper, Regressor
from mimi_lightning.data.places import place
from mimi_lightning.errors import ConfigError, MimiError
from mimi_lightning.models.mappers import Joined
from mimi_lightning.module import QualityModel
from mimi_lightning.ruler.calibrate import calibrate
from mimi_lightning.ruler.cost import before_and_after, show
from mimi_lightning.ruler.own_scores import OwnScores
from mimi_lightning.ruler.ruler import Ruler
from mimi_lightning.ruler.scales import add_scale, alone, unbound, with_regressor
from mimi_lightning.run_folder import RunFolder, Settings
from mimi_lightning.specs import build, find_class
from mimi_lightning.train import make_data, train

# What learns, as what a regressor is told of it.
LEARNING: dict[str, dict[str, Any]] = {
    "head": {"freeze": "all", "keep_scaling": True},
    "late": {"freeze": "early", "keep_scaling": True},
    "all": {"freeze": "norm", "keep_scaling": True},
    "lora": {"lora": {"rank": 8, "alpha": 16}, "freeze": "none", "keep_scaling": True},
}
TOLD = ("backbone", "dataset", "freeze", "init", "labels", "mapper", "paths.run", "view.test")  # by the checkpoint
PATCHES = "mimi_lightning.data.patches."

# So few pictures choose an epoch by luck: the last one counts.
DEFAULTS = (
    "objective=regression",
    "gauge=none",
    "tasks=none",
    "data.quota=16",
    "optimizer.lr=1.0e-4",
    "trainer.max_epochs=20",
    "trainer.check_val_every_n_epoch=${trainer.max_epochs}",
)


@dataclass(frozen=True)
class Plan:
    """What is finetuned, and how.

    Args:
        checkpoint: of the trained model.
        scores: one's own.
        table: their file.
        columns: of the table, see `read_scores`.
        learn: of `LEARNING`.
        words: of the command line, for the run and for the old datasets.
        config_dir: of datasets of the user's.
    """

    checkpoint: Path
    scores: OwnScores
    table: Path
    columns: dict[str, str]
    learn: str
    words: Sequence[str] = ()
    config_dir: Path | None = None


def finetune(plan: Plan, model: QualityModel, out: Path) -> None:
    """Fit a mapper to the training part of the scores, train the network behind it, and keep all scales.

    The mapper stays as it was fitted, and with it what a proxy score means. The training is an ordinary run.

    Args:
        plan: of it.
        model: that of the checkpoint.
        out: the checkpoint to write, which knows the scale beside those of the model.

    Raises:
        MimiError: whatever a user can mend.
    """
    reader = unbound(model.mapper)
    if isinstance(reader, Joined):  # which reads as its first part does
        reader = reader.parts[0]
    if type(reader).read is not Mapper.read:
        raise ConfigError(
            f"Its mapper {type(reader).__name__} reads scores of its own from the network, which finetune would "
            "not teach: calibrate it instead."
        )
    if (config.conf_dir() / "dataset" / f"{plan.scores.name}.yaml").is_file():
        raise ConfigError(f"--name {plan.scores.name} is a dataset of the project: choose another.")
    settings = run_settings(plan, model)
    run = RunFolder(Path(settings["paths"]["run"]))
    build(settings["backbone"], Regressor)  # or refuse it, before anything is written
    new = calibrate(Ruler(model), plan.scores._replace(rows=_training_part(settings))).scale
    start = run.path.with_name(f"{run.path.name}_calibrated.ckpt")
    alone(model, new).save(start)
    train(OmegaConf.create({**settings, "mapper": dict(new.mapper), "init": str(start)}))
    tuned = QualityModel.load(run.file("checkpoint"))
    rows = tuned.mapper.rows([new.name])
    add_scale(with_regressor(model, tuned), new._replace(rows=rows)).save(out)
    table = before_and_after(start, run.file("checkpoint"), settings, run.file("labels"))
    try:
        table = pd.concat([table, measure_cost(plan, model, out)])
    except MimiError as error:  # all is done but this
        print(f"What it cost on {', '.join(model.names)} is not known: {error}")
    show(table)


def run_settings(plan: Plan, model: QualityModel) -> Settings:
    """The configuration of the run: the scores as a dataset, the network and its views as the checkpoint tells them."""
    name = plan.scores.name
    patches = model.hparams.view["_target_"].startswith(PATCHES)
    own = [f"dataset=[{name}]", f"name={name}", f"view={'patches' if patches else 'crop'}"]
    given = {word.partition("=")[0].lstrip("+~") for word in plan.words}
    if told := sorted(key for key in given if f"{key}.".startswith(tuple(f"{each}." for each in TOLD))):
        raise ConfigError(
            f"{', '.join(told)}: the checkpoint tells that, and --learn what of its network learns. Leave it out."
        )
    words = [word for word in (*own, *DEFAULTS) if word.partition("=")[0] not in given]
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(plan, Path(folder))
        settings = OmegaConf.to_container(config.load([*words, *plan.words], Path(folder)), resolve=True)
    place = Path(settings["paths"]["outputs"]) / settings["name"]
    settings["paths"]["run"] = str(place / model.regressor.name / config.split_folder(settings["split"]))
    settings["splits"]["store"], settings["data"]["feature_store"] = str(place / "splits"), str(place / "features")
    settings["view"] |= _views(plan, given)
    settings["view"]["test"] = dict(model.hparams.view)
    settings |= {"labels": dict(model.hparams.labels), "backbone": _backbone(model, plan.learn), "freeze": ["mappers"]}
    return settings


def write_dataset(plan: Plan, folder: Path) -> None:
    """Write the scores as a dataset of one's own (docs/own-dataset.md), for --config-dir."""
    node = {
        "defaults": ["base/table@_here_", "_self_"],
        "folder": str(plan.scores.images.absolute()),
        "range": list(plan.scores.range),
        "table": {"file": str(plan.table.absolute()), **plan.columns},
    }
    file = folder / "dataset" / f"{plan.scores.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"# @package datasets.{plan.scores.name}\n{yaml.safe_dump(node, sort_keys=False)}")


def measure_cost(plan: Plan, model: QualityModel, out: Path) -> pd.DataFrame:
    """What became of the old datasets' test parts, see `before_and_after`.

    Raises:
        ConfigError: none of them is at hand, or nobody knows which images the checkpoint was trained on.
    """
    labels = RunFolder(plan.checkpoint.resolve().parent.parent).file("labels")
    if not labels.is_file():
        raise ConfigError(f"there is no {labels}, which tells what the checkpoint was trained on.")
    settings = _old_datasets(plan, model)
    if not settings["datasets"]:
        raise ConfigError("none of them lies there. Say where: paths.datasets=DIR.")
    return before_and_after(plan.checkpoint, out, settings, labels)


def _old_datasets(plan: Plan, model: QualityModel) -> Settings:
    """A configuration of those datasets of the model that are there."""
    folders = [folder / "dataset" for folder in (config.conf_dir(), plan.config_dir) if folder]
    known = [name for name in model.names if any((folder / f"{name}.yaml").is_file() for folder in folders)]
    words = [word for word in plan.words if word.startswith(("data=", "data.", "paths.", "trainer"))]
    cfg = config.load([f"dataset=[{','.join(known)}]", *words], plan.config_dir)
    settings = OmegaConf.to_container(cfg, resolve=True)
    root = place(settings["data"]["root"])
    settings["datasets"] = {name: d for name, d in settings["datasets"].items() if (root / d["folder"]).is_dir()}
    return settings


def _training_part(settings: Settings) -> pd.DataFrame:
    data = make_data({**settings, "tasks": None})
    data.setup()
    return data.table[data.table["part"] == "train"].reset_index(drop=True)


def _views(plan: Plan, given: set[str]) -> dict[str, Any]:
    """Views of the run that made the checkpoint, if its folder tells and nobody asks for others."""
    folder = RunFolder(plan.checkpoint.resolve().parent.parent)
    if any(key.startswith("view") for key in given) or not folder.described:
        return {}
    return folder.read_settings().get("view", {})  # a config.yaml may be of something else


def _backbone(model: QualityModel, learn: str) -> dict[str, Any]:
    """The network of the checkpoint, told what of it learns."""
    spec = dict(model.hparams.regressor)
    takes = inspect.signature(find_class(spec, Regressor)).parameters
    told = {key: value for key, value in LEARNING[learn].items() if key in takes}
    if (spec.get("lora") or {}).get("rank"):
        if learn != "lora":
            raise ConfigError(
                f"--learn {learn}: its network learns by adapters. Choose --learn lora, which goes on so."
            )
        told["lora"] = spec["lora"]
    if not told and learn != "all":
        raise ConfigError(f"--learn {learn}: backbone {spec['name']} learns as a whole. Choose --learn all.")
    return {**spec, **told, "weights": "none"}
