"""The model card of a checkpoint: what it learned from, how well it does, what it is for, and on what terms."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from mimi_lightning.evaluation.predictions import read_predictions
from mimi_lightning.evaluation.statistics import CONFIDENCE, RESAMPLES, bootstrap
from mimi_lightning.evaluation.study import Run
from mimi_lightning.models.origins import origin
from mimi_lightning.module import QualityModel

OWNER = "see its owner"
PARTS = ("mapper", "objective", "gauge", "labels")
MINIATURE = (
    "**This one is a demonstration, not for use**: its datasets are miniatures, and their pseudo-MOS comes from "
    "ColorVideoVDP, not from people."
)
SHOWN = {"srcc": "SRCC", "plcc": "PLCC"}
MEANS = {"weighted": "mean, weighted by size", "mean": "mean"}
TAGS = ["image-quality-assessment", "no-reference", "mimi"]


def card_of_run(run: Run) -> str:
    """The card of a run's best checkpoint, from what lies in its folder; its predictions.csv and labels.csv suffice."""
    settings, metrics = run.settings, run.metrics
    predictions, labels = read_predictions(run.folder.file("predictions")), run.folder.file("labels")
    names = sorted(settings["datasets"])
    # Nothing but a miniature knows a quality that its datasets share; its folder may also have been built beforehand.
    miniature = bool(settings["data"].get("miniature") or metrics["alignment"])
    return _fill(
        metrics["run"],
        names,
        metadata={"model-index": [{"name": metrics["run"], "results": _results(metrics["figures"])}]},
        summary=_summary(names) + (f" {MINIATURE}" if miniature else ""),
        figures=_figures(metrics["figures"], predictions, metrics["sizes"]),
        data=_data(settings["datasets"], metrics["partition"], labels, miniature),
        pretrained=_pretrained(settings),
        provenance=_provenance(run),
    )


def card_of_checkpoint(name: str, model: QualityModel) -> str:
    """The card of a checkpoint whose run is not known: it says what the checkpoint tells, and what nobody does."""
    facts = model.hparams.datasets
    rows = [[dataset, str(facts[dataset]["size"]), _interval(*facts[dataset]["range"])] for dataset in model.names]
    return _fill(
        name,
        [dataset for dataset, known in zip(model.names, model.scale.known, strict=True) if known],
        metadata={},
        summary=_summary(model.names),
        figures="The checkpoint came without its run: its figures are not known. `python -m mimi_lightning evaluate` "
        "makes some, on datasets of yours.",
        data=_table(["dataset", "images", "published range"], rows) + "\n\nFor the licence of each, see its owner.",
        pretrained="The checkpoint does not tell which weights its backbone began with.",
        provenance="The checkpoint came without its run.",
    )


def _fill(name: str, scales: Sequence[str], metadata: Mapping[str, Any], **sections: str) -> str:
    """Fill the template card.md; metadata is what the hub reads."""
    told = {"license": "other", "library_name": "mimi-lightning", "tags": TAGS, **metadata}
    template = Template(files(__package__).joinpath("card.md").read_text(encoding="utf-8"))
    native = "# Its native scales are not known."
    if scales:
        native = f'ruler.score("picture.jpg", scale="{scales[0]}")  # on the scale of a dataset: {", ".join(scales)}'
    return template.substitute(sections, name=name, native=native, metadata=OmegaConf.to_yaml(told))


def _summary(names: Sequence[str]) -> str:
    count = f"{len(names)} datasets" if len(names) > 1 else "one dataset"
    return f"Learned from {count} ({', '.join(names)}) with MIMI Lightning."


def _results(figures: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Figures as the hub reads them, without those that could not be computed."""
    return [
        {
            "task": {"type": TAGS[0]},
            "dataset": {"type": name, "name": name, "split": "test"},
            "metrics": [{"type": figure, "value": row[figure]} for figure in told],
        }
        for name, row in figures.items()
        if name not in MEANS and (told := [figure for figure in SHOWN if row[figure] is not None])
    ]


def _figures(figures: Mapping[str, Mapping[str, Any]], predictions: pd.DataFrame, sizes: Mapping[str, int]) -> str:
    intervals = bootstrap(predictions, sizes)
    errors = ((predictions["prediction"] - predictions["mos"]) ** 2).groupby(predictions["dataset"]).mean() ** 0.5
    rows = []
    for name, row in figures.items():
        ends = {figure: intervals.loc[name, [f"{figure}_low", f"{figure}_high"]] for figure in SHOWN}
        cells = [f"{_number(row[figure])} {_interval(*ends[figure], '.3f')}".strip() for figure in SHOWN]
        rows.append([MEANS.get(name, name), str(row["n"]), *cells, f"{errors[name]:.4g}" if name in errors else ""])
    said = (
        f"SRCC and PLCC of proxy scores against MOS, on the test part of this split; in brackets {CONFIDENCE:.0%} "
        f"intervals of {RESAMPLES} bootstrap samples of its images, which do not say how another split would differ. "
        "RMSE of scores on the dataset's own scale, in its units: about as much the score of a single picture is off."
    )
    notes = "\n".join(f"- {name}: {row['note']}" for name, row in figures.items() if row["note"])
    return "\n\n".join(filter(None, [_table(["dataset", "images", *SHOWN.values(), "RMSE"], rows), said, notes]))


def _data(datasets: Mapping[str, Any], partition: Mapping[str, Any], labels: Path, miniature: bool) -> str:
    counts = pd.read_csv(labels).groupby(["dataset", "part"]).size()
    rows = []
    for name, node in sorted(datasets.items()):
        linked = f"[{name}]({node['url']})" if str(node["url"]).startswith("http") and not miniature else name
        licence = "that of the photographs it was made of" if miniature else node.get("licence") or OWNER
        parts = [f"{counts.get((name, part), 0):,}" for part in ("train", "val", "test")]
        shares = [str(node["quota"]), f"{node['weight']:g}"]
        rows.append([linked, *parts, _interval(*node["range"]), *shares, partition["sources"][name], licence])
    heading = ["dataset", "train", "val", "test", "published range", "quota", "weight", "partition", "licence"]
    lines = [
        f"- partition: protocol `{partition['protocol']}`, SHA-256 `{partition['sha256']}`",
        f"- images, parts and labels (labels.csv): SHA-256 `{hashlib.sha256(labels.read_bytes()).hexdigest()}`",
        *(f"- {number:,} images of {name} are in no part" for name, number in partition["left_out"].items()),
    ]
    quota = "`quota` is a dataset's share of the images in a batch, `weight` that of its error in the loss."
    return "\n\n".join([_table(heading, rows), quota, "\n".join(lines)])


def _pretrained(settings: Mapping[str, Any]) -> str:
    """Of the backbone; of a run that started from a checkpoint, its name."""
    if settings.get("init"):
        start = "/".join(Path(settings["init"]).parts[-5:])
        return f"Training started from the checkpoint `{start}`: what its card says holds for this one, too."
    return origin(settings["backbone"])


def _provenance(run: Run) -> str:
    settings, metrics = run.settings, run.metrics
    lines = {
        "network": settings["backbone"]["name"],
        **{part: settings[part]["_target_"].rpartition(".")[2] for part in PARTS if part in settings},
        "split": run.split,
        "epochs": f"{settings['trainer']['max_epochs']}; the best was {metrics['best_epoch']}, counted from 0",
        "seed": metrics["seed"],
        "versions": ", ".join(f"{name} {version}" for name, version in metrics["versions"].items()),
        "commit": metrics["commit"] or "not known",
        "images that could not be read": metrics["skipped"],
        **({"note": run.departure} if run.departure else {}),
    }
    return "\n".join(f"- {key}: {value}" for key, value in lines.items())


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _number(value: float | None) -> str:
    """Figures that could not be computed are null in metrics.json."""
    return "" if value is None else f"{value:.3f}"


def _interval(low: float, high: float, form: str = "g") -> str:
    return "" if math.isnan(low) else f"[{low:{form}}, {high:{form}}]"
