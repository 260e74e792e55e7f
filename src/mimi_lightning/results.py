"""What a model says of its images: the predictions table, and all else that a finished run leaves in its folder."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities import rank_zero_warn
from rich.console import Console
from torch import Tensor

from mimi_lightning import __version__
from mimi_lightning.data.datamodule import MixedDataModule
from mimi_lightning.errors import ScoreError
from mimi_lightning.evaluation.alignment import align_run, read_quality
from mimi_lightning.evaluation.figures import draw_mappings
from mimi_lightning.evaluation.predictions import PREDICTION_COLUMNS, read_predictions
from mimi_lightning.evaluation.protocol import FIGURES, score_run, terminal_table
from mimi_lightning.evaluation.study import Run, read_run
from mimi_lightning.files import aside
from mimi_lightning.module import QualityModel
from mimi_lightning.ruler.card import card_of_run
from mimi_lightning.run_folder import FILES, RunFolder

HIDDEN = "hidden_quality.csv"  # at the root of the miniature datasets


@torch.no_grad()
def make_predictions(
    annotations: pd.DataFrame, scores: Mapping[str, Tensor], model: QualityModel, run: str, split: int
) -> pd.DataFrame:
    """Join collected scores with the annotations they belong to.

    Args:
        annotations: annotations table with the split's `part`.
        scores: columns of a `ScoreTable`, each [N].
        model: aligns the labels of the datasets that it knows.
        run: name of the run.
        split: 1..10.

    Returns:
        The predictions table, sorted by dataset and image.
    """
    rows = annotations.loc[scores["index"].numpy(), ["dataset", "part", "image", "mos", "distortion", "level"]]
    rows = rows.assign(
        run=run,
        split=split,
        proxy=scores["proxy"].numpy(),
        prediction=scores["prediction"].double().numpy(),
        std=scores["std"].double().numpy(),
        aligned=np.nan,
    )
    known = rows["dataset"].isin(model.names)
    number = model.number(rows.loc[known, "dataset"])
    rows.loc[known, "aligned"] = model.align(torch.tensor(rows.loc[known, "mos"].to_numpy()), number).double().numpy()
    return rows.sort_values(["dataset", "image"], ignore_index=True)[PREDICTION_COLUMNS]


@torch.no_grad()
def mapping_curves(model: QualityModel, predictions: pd.DataFrame, points: int = 300) -> pd.DataFrame:
    """The score mapper of every dataset over the proxy axis: where scores, aligned labels and published ranges lie.

    Ends of a range that are farther from all scores than these are from each other are not reached.

    Returns:
        Columns dataset, proxy, mos (native scale).
    """
    seen = predictions[["proxy", "aligned"]]
    low, high = float(seen.min().min()), float(seen.max().max())
    number = model.number(model.names)
    ends = model.align(model.scale.ranges, number[:, None]).clamp(2 * low - high, 2 * high - low)
    proxy = torch.linspace(min(low, float(ends.min())), max(high, float(ends.max())), points)
    curves = {name: model.predict_mos(proxy, n) for name, n in zip(model.names, number, strict=True)}
    return pd.concat(
        pd.DataFrame({"dataset": name, "proxy": proxy.numpy(), "mos": mos.double().numpy()})
        for name, mos in curves.items()
    )


def write_results(
    run: RunFolder, name: str, data: MixedDataModule, model: QualityModel, best: Mapping[str, float], skipped: int
) -> pd.DataFrame:
    """Write predictions.csv, mappings.csv, mappings.png, the model card and, when all else is there, metrics.json.

    Args:
        run: the run's folder.
        name: of the run, such as `mimi_resnet34/resnet34/split03`.
        data: the data it was trained and tested on.
        model: the model, after testing its best weights.
        best: figures of validation that these were chosen by.
        skipped: number of images that could not be read and were left out.

    Returns:
        The figures of `score_run`.
    """
    model.cpu().eval()
    with aside(run.file("predictions")) as draft:
        make_predictions(data.table, model.scores, model, name, data.split).to_csv(draft, index=False)
    predictions = read_predictions(run.file("predictions"))  # as every report will: their figures are the same
    figures = score_run(predictions, data.sizes())
    curves = mapping_curves(model, predictions)
    ranges = dict(zip(model.names, model.scale.ranges.tolist(), strict=True))
    with aside(run.file("picture")) as draft:
        draw_mappings(curves, predictions, ranges, figures).savefig(draft, format="png", dpi=150)
    with aside(run.file("mappings")) as draft:
        curves.to_csv(draft, index=False)
    metrics = {
        "run": name,
        "figures": json.loads(figures.to_json(orient="index", double_precision=15)),
        "tasks": model.accuracies,
        "alignment": _alignment(data, predictions),
        "best_epoch": torch.load(run.file("checkpoint"), map_location="cpu", weights_only=True)["epoch"],
        "validation": dict(best),
        "skipped": skipped,
        "partition": {
            "protocol": data.protocol.protocol,
            "sha256": data.parts.sha256,
            "sources": data.parts.sources,
            "left_out": data.parts.left_out,
        },
        "sizes": data.sizes(),
        "seed": data.seed,
        "versions": {"mimi_lightning": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "commit": _commit(),
    }
    described = Run(run, name.rpartition("/")[0], data.split, run.read_settings(), metrics)
    with aside(run.file("card")) as draft:
        draft.write_text(card_of_run(described), encoding="utf-8")
    with aside(run.file("figures")) as draft:
        draft.write_text(json.dumps(metrics, indent=2) + "\n")
    return figures


def show_results(folder: RunFolder) -> None:
    """Print a finished run: figures of every dataset, alignment where it can be told, and what lies where."""
    run = read_run(folder)
    metrics = run.metrics
    console = Console(soft_wrap=True)
    figures = pd.DataFrame.from_dict(metrics["figures"], orient="index").astype(dict.fromkeys(FIGURES, float))
    title = f"{metrics['run']}, test part: proxy score against MOS, best epoch {metrics['best_epoch']}"
    console.print(terminal_table(figures, title))
    if metrics["tasks"]:
        console.print("   ".join(f"{name} [bold]{value:.3f}[/bold]" for name, value in metrics["tasks"].items()))
    if alignment := metrics["alignment"]:
        console.print(f"Pooled SRCC of {alignment[0]['n']} test images against the hidden quality (pseudo-MOS):")
        console.print("   ".join(f"{row['scores']} [bold]{row['srcc']:.4f}[/bold]" for row in alignment))
    if metrics["skipped"]:
        console.print(f"[bold]{metrics['skipped']} images could not be read and were left out.[/bold]")
    for dataset, number in metrics["partition"]["left_out"].items():
        console.print(f"[bold]{number:,} images of {dataset} are in no part of this split and were left out.[/bold]")
    if run.departure:
        console.print(f"[bold]{run.departure}[/bold]", highlight=False)
    for what in FILES:
        if folder.file(what).is_file():  # runs of former versions have no card
            console.print(f"{what:<12}{folder.file(what)}", highlight=False)


def _commit() -> str | None:
    """Commit of the checkout that ran, with `-dirty` when files were changed; None when installed as a package."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists() or (git := shutil.which("git")) is None:
        return None
    words = [git, "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip() or None


def _alignment(data: MixedDataModule, predictions: pd.DataFrame) -> list[dict[str, float | str]]:
    """Only the miniature knows a quality that its datasets share; nothing before this point reads it."""
    hidden = data.root / HIDDEN
    if not hidden.is_file():
        return []
    try:
        rows, _ = align_run(predictions, data.table, read_quality(hidden, data.table, {}))
        return rows.to_dict("records")
    except ScoreError as error:
        rank_zero_warn(f"The alignment with {hidden} cannot be told: {error}")
        return []
