"""A scale of one's own for a trained model: a mapper on its proxy scores, which stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mimi_lightning.errors import DatasetError, ScoreError
from mimi_lightning.evaluation.statistics import interval, srcc_of
from mimi_lightning.metrics import srcc
from mimi_lightning.module import QualityModel
from mimi_lightning.progress import progress_bar
from mimi_lightning.ruler.choosing import KINDS, Candidate, choose, cross_validate
from mimi_lightning.ruler.files import score_files
from mimi_lightning.ruler.own_scores import OwnScores
from mimi_lightning.ruler.ruler import Ruler
from mimi_lightning.ruler.scales import NewScale, learn_facts, marks_of, target_scale


@dataclass(frozen=True)
class Calibration:
    """What a calibration came to.

    Args:
        scale: what a model has to know of it.
        candidates: mappers of all kinds, from the simplest to the richest.
        chosen: one of them.
        srcc: of proxy scores and the own ones, which a mapper changes nothing of.
        srcc_interval: 95 %, by bootstrap.
    """

    scale: NewScale
    candidates: list[Candidate]
    chosen: Candidate
    srcc: float
    srcc_interval: tuple[float, float]


def proxy_scores(ruler: Ruler, paths: list[Path], progress: bool = True) -> Tensor:
    """Proxy scores [N] of picture files.

    Raises:
        DatasetError: one that cannot be read.
    """
    with progress_bar(progress) as bar:
        rows = list(bar.track(score_files(ruler, [str(path) for path in paths]), len(paths), description="Scores"))
    for row in rows:
        if "error" in row:
            raise DatasetError(row["error"])
    return torch.tensor([row["proxy"] for row in rows])


def calibrate(ruler: Ruler, scores: OwnScores, progress: bool = True) -> Calibration:
    """Score the pictures once, and fit the mapper that cross-validation chooses.

    Args:
        ruler: of the trained model.
        scores: one's own.
        progress: show a bar.

    Raises:
        DatasetError: a picture that cannot be read.
        ScoreError: the scores fall where those of the model rise.
    """
    return fit_scale(ruler.model, scores, proxy_scores(ruler, scores.paths, progress))


def fit_scale(model: QualityModel, scores: OwnScores, q: Tensor) -> Calibration:
    """Fit the mapper that cross-validation chooses.

    Args:
        model: the trained one.
        scores: one's own.
        q: proxy scores of their pictures, [N].

    Raises:
        ScoreError: the scores fall where those of the model rise.
    """
    proxy, own = q.double().numpy(), scores.rows["mos"].to_numpy()
    order, (low, high) = srcc(proxy, own), interval(srcc_of, proxy, own)
    if high < 0:
        raise ScoreError(
            f"The scores of {scores.name} fall where those of the model rise (SRCC {order:.3f}): higher has to be "
            "better. Change their sign, or take them from the highest one."
        )
    facts = learn_facts(model, scores)
    scale = target_scale(model, facts)
    candidates = [cross_validate(kind, q, torch.tensor(own), scale) for kind in KINDS]
    chosen = choose(candidates)
    new = NewScale(scores.name, facts, KINDS[chosen.kind], chosen.rows, marks_of(scores))
    return Calibration(new, candidates, chosen, order, (low, high))


def show(calibration: Calibration, scores: OwnScores) -> None:
    """Print what it came to."""
    number, low, high = len(scores.rows), *scores.range
    title = f"{scores.name}: {number} scores, {low:g} to {high:g}"
    table = Table(title=title, title_justify="left")
    table.add_column("mapper")
    table.add_column("RMSE, cross-validated", justify="right")
    table.add_column("95 %")
    for candidate in calibration.candidates:
        chosen = candidate is calibration.chosen
        table.add_row(
            f"{candidate.kind} (chosen)" if chosen else candidate.kind,
            f"{candidate.rmse:.4g}",
            "{:.4g} to {:.4g}".format(*candidate.interval()),
            style="bold" if chosen else None,
        )
    console = Console(soft_wrap=True)
    console.print(table)
    spread = float(np.std(scores.rows["mos"]))
    low, high = calibration.srcc_interval
    console.print(f"Always guessing the mean would be wrong by {spread:.4g}.", highlight=False)
    console.print(f"SRCC {calibration.srcc:.3f} ({low:.3f} to {high:.3f}), whatever the mapper.", highlight=False)
    if low <= 0:
        console.print(
            "[bold]The model may well order these pictures no better than chance: the scale says little. "
            "`finetune` teaches it your scores.[/bold]"
        )
