"""Do datasets agree? What a ridge regression on frozen features learns from one and can tell of another.

Cheap and before any training: labels of every dataset are z-scored by its training part, features are standardised, and
the regression's penalty is chosen by leaving images out (efficiently, in closed form).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mimi_lightning.evaluation.statistics import corrected_t
from mimi_lightning.metrics import srcc
from mimi_lightning.progress import progress_bar

if TYPE_CHECKING:
    from mimi_lightning.data.datamodule import MixedDataModule

PENALTIES = np.geomspace(1, 1e5, 11)
OTHERS, ALL = "all others", "all"


@dataclass(frozen=True)
class Comparison:
    """What was learned from which datasets, and what it told of each.

    Args:
        srcc: SRCC of the test part over splits: columns split, learned (names joined by "+"), tested, srcc.
        names: of the datasets.
        ratio: size of the test part over that of the training part.
    """

    srcc: pd.DataFrame
    names: Sequence[str]
    ratio: float

    def across(self) -> pd.DataFrame:
        """Mean SRCC over splits: learned from a row's dataset, tested on a column's."""
        means = self.srcc.groupby(["learned", "tested"])["srcc"].mean().unstack()
        return means.reindex(index=[*self.names, OTHERS, ALL], columns=self.names)

    def gains(self) -> pd.DataFrame:
        """What a dataset adds to another: the SRCC of both together less that of the tested one alone.

        Returns:
            Columns giver, taker, and those of `corrected_t`.
        """
        figures = self.srcc.set_index(["learned", "tested", "split"])["srcc"].sort_index()
        rows = []
        for giver, taker in ((a, b) for pair in combinations(self.names, 2) for a, b in (pair, pair[::-1])):
            gain = figures["+".join(sorted((giver, taker))), taker] - figures[taker, taker]
            rows.append({"giver": giver, "taker": taker, **corrected_t(gain, self.ratio)})
        return pd.DataFrame(rows)

    def sentences(self) -> list[str]:
        """Who helps or hurts whom beyond the error bars, and who is on its own."""
        gains = self.gains()
        sure = gains[gains["difference"].abs() > gains["half"]]
        helps, hurts = (
            {(row.giver, row.taker): row.difference for row in rows.itertuples()}
            for rows in (sure[sure["difference"] > 0], sure[sure["difference"] < 0])
        )
        mutual = sorted({tuple(sorted(pair)) for pair in helps if pair[::-1] in helps})
        one_way = {pair: gain for pair, gain in helps.items() if pair[::-1] not in helps}
        alone = [name for name in self.names if not any(name in pair for pair in (*helps, *hurts))]
        return [
            *(f"{a} and {b} help each other." for a, b in mutual),
            *(f"{a} helps {b} ({gain:+.3f})." for (a, b), gain in one_way.items()),
            *(f"{a} hurts {b} ({gain:+.3f})." for (a, b), gain in hurts.items()),
            *(f"{name} is on its own: beyond the error bars it neither helps nor hurts another." for name in alone),
        ]


def compare_datasets(
    features: np.ndarray, table: pd.DataFrame, parts: Mapping[int, pd.Series], progress: bool = True
) -> Comparison:
    """Learn from every dataset, every two, all but one, and all; test on each.

    Args:
        features: of each image, [N, F].
        table: dataset and mos of each image.
        parts: of each split, the part of each image.
        progress: show a progress bar.

    Raises:
        ScoreError: a dataset whose scores are all alike in a part.
    """
    names = sorted(table["dataset"].unique())
    dataset, mos = table["dataset"].to_numpy(), table["mos"].to_numpy()
    rows = []
    targets = {split: _z_scores(mos, dataset, part.to_numpy() == "train") for split, part in parts.items()}
    jobs = [(split, *source) for split in parts for source in _sources(names)]
    with progress_bar(progress) as bar:
        for split, learned, sources in bar.track(jobs, description="Regressions"):
            train, test = (parts[split].to_numpy() == name for name in ("train", "test"))
            target = targets[split]
            used = train & np.isin(dataset, sources)
            model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(features[used], target[used])
            for tested in sorted({*names} - {*sources}) if learned == OTHERS else names:
                of = test & (dataset == tested)
                found = srcc(model.predict(features[of]), mos[of])
                rows.append({"split": split, "learned": learned, "tested": tested, "srcc": found})
    return Comparison(pd.DataFrame(rows), names, float(test.sum() / train.sum()))


def _z_scores(mos: np.ndarray, dataset: np.ndarray, train: np.ndarray) -> np.ndarray:
    groups = pd.Series(np.where(train, mos, np.nan)).groupby(dataset)
    return ((mos - groups.transform("mean")) / groups.transform("std")).to_numpy()


def _sources(names: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What is learned from together, and what that is called."""
    yield from ((name, (name,)) for name in names)
    yield from (("+".join(pair), pair) for pair in combinations(names, 2))
    yield from ((OTHERS, tuple(other for other in names if other != name)) for name in names)
    yield ALL, tuple(names)


def compare(settings: dict[str, Any], splits: int) -> Comparison:
    """Compare the datasets of a configuration on features of its backbone, over its first splits.

    Raises:
        MimiError: datasets that cannot be read, or a backbone that something learns before.
    """
    import torch  # only now: the rest of this file needs no network

    from mimi_lightning.contracts import Regressor
    from mimi_lightning.data.features import keep_features
    from mimi_lightning.specs import build
    from mimi_lightning.train import make_data

    every = [make_data({**settings, "split": split, "tasks": None}) for split in range(1, 1 + splits)]
    for data in every:
        data.setup()
    first, device = every[0], torch.device("cuda" if torch.cuda.is_available() else "cpu")
    regressor = build(settings["backbone"], Regressor)
    rows = keep_features(first, regressor, settings, {first.test_view: 1}, device)[first.test_view]
    features = rows.__getitems__([(row, 0) for row in range(len(rows))])["features"].numpy()
    return compare_datasets(features, first.table, _parts(every))


def _parts(every: Sequence[MixedDataModule]) -> dict[int, pd.Series]:
    """Part of each image of the first table, in every split; one that a split leaves out is in none."""
    images = pd.MultiIndex.from_frame(every[0].table[["dataset", "image"]])
    return {data.split: data.table.set_index(["dataset", "image"])["part"].reindex(images) for data in every}


def show(comparison: Comparison) -> None:
    """Print what can be told across datasets, and what it says."""
    console = Console()
    table = Table(title="SRCC of a ridge regression: learned from a row, tested on a column", title_justify="left")
    for heading in ("", *comparison.names):
        table.add_column(heading, justify="left" if not heading else "right")
    for learned, row in comparison.across().iterrows():
        cells = [f"[bold]{value:.3f}[/bold]" if name == learned else f"{value:.3f}" for name, value in row.items()]
        table.add_row(str(learned), *cells, end_section=learned == comparison.names[-1])
    console.print(table)
    for sentence in comparison.sentences():
        console.print(sentence, highlight=False)
