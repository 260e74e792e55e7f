"""BID, CLIVE and KonIQ-10k in miniature: photographs with several faults at once, in their owners' layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mimi_lightning.data.miniature import faults
from mimi_lightning.data.miniature.contents import Content
from mimi_lightning.data.miniature.coverage import Span
from mimi_lightning.data.miniature.picture import Layout, Picture, render
from mimi_lightning.data.miniature.writers import write_csv, write_mat, write_sheet

CLIVE_TRAINING = 3
GRADES = np.arange(1, 6)  # of KonIQ's raters


def plan_bid(contents: list[Content], per_content: int, strengths: Span, rng: np.random.Generator) -> list[Picture]:
    """List BID's pictures; their numbers have gaps."""
    count = len(contents) * per_content
    numbers = np.sort(rng.permutation(count + count // 10)[:count]) + 1
    paths = [f"ImageDatabase/DatabaseImage{number:04d}.JPG" for number in numbers]
    return _photographs(paths, contents, strengths, rng)


def label_bid(folder: Path, pictures: pd.DataFrame, grades: np.ndarray) -> None:
    """Write DatabaseGrades.xlsx: image number, mean, an empty column, single grades."""
    header = ("Image Number", "Average Subjective Grade")
    numbers = pictures["path"].str.extract(r"(\d+)\.JPG", expand=False).astype(int)
    rows = [
        (number, mean, None, *single) for number, mean, single in zip(numbers, grades.mean(axis=1), grades, strict=True)
    ]
    write_sheet(folder / "DatabaseGrades.xlsx", "Grades", [header, *rows])


def plan_clive(contents: list[Content], per_content: int, strengths: Span, rng: np.random.Generator) -> list[Picture]:
    """List CLIVE's pictures, those that trained the raters first."""
    training = [f"Images/trainingImages/t{number}.bmp" for number in range(1, CLIVE_TRAINING + 1)]
    numbers = range(1, len(contents) * per_content + 1)
    paths = [f"Images/{number}.{'JPG' if rng.random() < 0.3 else 'bmp'}" for number in numbers]
    chosen = [contents[i] for i in rng.permutation(len(contents))[:CLIVE_TRAINING]]
    return [
        *_photographs(training, chosen, strengths, rng, used=False),
        *_photographs(paths, contents, strengths, rng),
    ]


def label_clive(folder: Path, pictures: pd.DataFrame, grades: np.ndarray) -> None:
    """Write the three .mat files; the names are a cell array."""
    names = np.array([Path(path).name for path in pictures["path"]], dtype=object)
    write_mat(folder / "Data/AllImages_release.mat", {"AllImages_release": names[:, None]})
    write_mat(folder / "Data/AllMOS_release.mat", {"AllMOS_release": grades.mean(axis=1)[None]})
    write_mat(folder / "Data/AllStdDev_release.mat", {"AllStdDev_release": grades.std(axis=1, ddof=1)[None]})


def plan_koniq(contents: list[Content], per_content: int, strengths: Span, rng: np.random.Generator) -> list[Picture]:
    """List KonIQ-10k's pictures; their names are Flickr's numbers."""
    count = len(contents) * per_content
    numbers = sorted(rng.choice(10**6, count, replace=False) + 10**9)
    return _photographs([f"1024x768/{number}.jpg" for number in numbers], contents, strengths, rng)


def label_koniq(folder: Path, pictures: pd.DataFrame, grades: np.ndarray) -> None:
    """Write koniq10k_scores_and_distributions.csv: how often each grade was given, their mean, SD and z-score."""
    mos, whole = grades.mean(axis=1), np.clip(np.round(grades), GRADES[0], GRADES[-1])  # whole already, mostly
    table = {
        "image_name": pictures["path"].str.removeprefix("1024x768/"),
        **{f"c{grade}": (whole == grade).sum(axis=1) for grade in GRADES},
        "c_total": grades.shape[1],
        "MOS": mos.round(6),
        "SD": grades.std(axis=1, ddof=1).round(6),
        "MOS_zscore": (50 + 20 * (mos - mos.mean()) / mos.std()).round(6),
    }
    write_csv(folder / "koniq10k_scores_and_distributions.csv", pd.DataFrame(table))


def _photographs(
    paths: list[str],
    contents: list[Content],
    strengths: Span,
    rng: np.random.Generator,
    used: bool = True,
) -> list[Picture]:
    """Spread contents and strengths evenly over the paths, in random order."""
    count, (mild, worst) = len(paths), strengths
    shown = rng.permutation(count) % len(contents)
    even = mild + (worst - mild) * (rng.permutation(count) + rng.random(count)) / count
    return [
        Picture(path, path, contents[i], render(faults.camera, contents[i], strength, rng), used=used)
        for path, i, strength in zip(paths, shown, even, strict=True)
    ]


LAYOUTS = {
    "bid": Layout("BID", 4, plan_bid, label_bid),
    "clive": Layout("ChallengeDB_release", 5, plan_clive, label_clive),
    "koniq": Layout("koniq-10k", 6, plan_koniq, label_koniq),
}
