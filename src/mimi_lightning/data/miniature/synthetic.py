"""LIVE, CSIQ and KADID-10k in miniature: reference x distortion x level, in their owners' layouts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mimi_lightning.data.miniature import faults
from mimi_lightning.data.miniature.contents import Content
from mimi_lightning.data.miniature.coverage import Span
from mimi_lightning.data.miniature.picture import Layout, Picture, render
from mimi_lightning.data.miniature.writers import write_csv, write_mat, write_sheet
from mimi_lightning.data.owners import csiq, live

LEVELS = 5
LIVE_COPIES = 2  # undistorted pictures in every folder
LIVE_FAULTS = {
    "jp2k": faults.jpeg2000,
    "jpeg": faults.jpeg,
    "wn": faults.white_noise,
    "gblur": faults.gaussian_blur,
    "fastfading": faults.fast_fading,
}
CSIQ_FAULTS = {
    "noise": faults.white_noise,
    "blur": faults.gaussian_blur,
    "contrast": faults.contrast_loss,
    "fnoise": faults.pink_noise,
    "jpeg": faults.jpeg,
    "jpeg 2000": faults.jpeg2000,
}
KADID_FAULTS = {
    "01": faults.gaussian_blur,
    "02": faults.lens_blur,
    "03": faults.motion_blur,
    "06": faults.color_quantization,
    "07": faults.oversaturation,
    "08": faults.desaturation,
    "09": faults.jpeg2000,
    "10": faults.jpeg,
    "11": faults.white_noise,
    "13": faults.impulse,
    "16": faults.brighten,
    "17": faults.darken,
    "21": faults.pixelate,
    "22": faults.quantization,
    "25": faults.contrast_loss,
}


@dataclass(frozen=True)
class Job:
    """A reference to be distorted: how, in which of the levels, and how strongly."""

    content: Content
    kind: str
    level: int
    strength: float


def draw_jobs(
    contents: list[Content],
    kinds: Iterable[str],
    per_content: int,
    strengths: Span,
    rng: np.random.Generator,
) -> list[Job]:
    """Draw distortions and levels for every reference, all distortions about equally often.

    Args:
        contents: the references.
        kinds: the owner's names of the distortions.
        per_content: pictures of each reference, at most five of a kind.
        strengths: of the mildest and of the worst picture; every level covers a fifth of the way.
        rng: source of levels and strengths.
    """
    kinds, (mild, worst) = list(kinds), strengths
    jobs = []
    for row, content in enumerate(contents):
        chosen = [kinds[(row * per_content + k) % len(kinds)] for k in range(per_content)]
        for kind in kinds:
            for level in sorted(rng.permutation(LEVELS)[: chosen.count(kind)].tolist()):
                strength = mild + (worst - mild) * (level + rng.random()) / LEVELS
                jobs.append(Job(content, kind, level + 1, strength))
    return jobs


def plan_live(contents: list[Content], per_content: int, strengths: Span, rng: np.random.Generator) -> list[Picture]:
    """List LIVE's pictures folder by folder; undistorted copies hide among the numbers."""
    jobs = draw_jobs(contents, LIVE_FAULTS, per_content, strengths, rng)
    pictures = []
    for kind, fault in LIVE_FAULTS.items():
        shown = [(job.content, render(fault, job.content, job.strength, rng)) for job in jobs if job.kind == kind]
        undistorted = len(shown)
        copied = [contents[i] for i in rng.permutation(len(contents))[:LIVE_COPIES]]
        shown += [(content, content.pixels.copy) for content in copied]
        for number, i in enumerate(rng.permutation(len(shown)).tolist(), start=1):
            content, make = shown[i]
            path, reference = f"{kind}/img{number}.bmp", f"refimgs/{content.name}.bmp"
            pictures.append(Picture(path, reference, content, make, kind, used=i < undistorted))
    return pictures


def label_live(folder: Path, pictures: pd.DataFrame, grades: np.ndarray) -> None:
    """Write dmos_realigned.mat and refnames_all.mat: dmos = 111.7747 - mos, and 0 for undistorted copies."""
    copies = ~pictures["used"].to_numpy(bool)
    dmos = np.where(copies, 0.0, live.WORST - grades.mean(axis=1))
    std = np.where(copies, 0.0, grades.std(axis=1, ddof=1))
    names = pictures["reference"].str.removeprefix("refimgs/").to_numpy(object)
    write_mat(
        folder / "dmos_realigned.mat",
        {"dmos_new": dmos[None], "orgs": copies[None].astype(np.uint8), "dmos_std": std[None]},
    )
    write_mat(folder / "refnames_all.mat", {"refnames_all": names[None]})


def plan_csiq(contents: list[Content], per_content: int, strengths: Span, rng: np.random.Generator) -> list[Picture]:
    """List CSIQ's pictures; the first reference has a number for a name, as picture 1600 of the real one."""
    names = {content: content.name for content in contents} | {contents[0]: "1600"}
    pictures = []
    for job in draw_jobs(contents, CSIQ_FAULTS, per_content, strengths, rng):
        directory, token, _ = csiq.KINDS[job.kind]
        path = f"dst_imgs/{directory}/{names[job.content]}.{token}.{job.level}.png"
        make = render(CSIQ_FAULTS[job.kind], job.content, job.strength, rng)
        pictures.append(Picture(path, f"src_imgs/{names[job.content]}.png", job.content, make, job.kind, job.level))
    return pictures


def label_csiq(folder: Path, pictures: pd.DataFrame, grades: np.ndarray) -> None:
    """Write csiq.DMOS.xlsx: dmos = 1 - mos, the header on row 4, the table in the columns D to I."""
    kinds = list(CSIQ_FAULTS)
    header = ("image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos")
    rows = zip(
        [_cell(Path(reference).stem) for reference in pictures["reference"]],
        [kinds.index(kind) + 1 for kind in pictures["kind"]],
        pictures["kind"],
        pictures["level"],
        grades.std(axis=1, ddof=1),
        1 - grades.mean(axis=1),
        strict=True,
    )
    write_sheet(folder / "csiq.DMOS.xlsx", csiq.SHEET, [header, *rows], row=csiq.HEADER_ROW - 1, column=3)


def plan_kadid(contents: list[Content], per_content: int, strengths: Span, rng: np.random.Generator) -> list[Picture]:
    """List KADID-10k's pictures by name: reference, distortion, level."""
    numbers = {content: number for number, content in enumerate(contents, start=1)}
    pictures = []
    for job in draw_jobs(contents, KADID_FAULTS, per_content, strengths, rng):
        reference = f"images/I{numbers[job.content]:02d}"
        make = render(KADID_FAULTS[job.kind], job.content, job.strength, rng)
        path = f"{reference}_{job.kind}_{job.level:02d}.png"
        pictures.append(Picture(path, f"{reference}.png", job.content, make, job.kind, job.level))
    return pictures


def label_kadid(folder: Path, pictures: pd.DataFrame, grades: np.ndarray) -> None:
    """Write dmos.csv, where `dmos` is higher for better pictures and `var` is a standard deviation."""
    table = {
        "dist_img": pictures["path"].str.removeprefix("images/"),
        "ref_img": pictures["reference"].str.removeprefix("images/"),
        "dmos": grades.mean(axis=1).round(4),
        "var": grades.std(axis=1, ddof=1).round(4),
    }
    write_csv(folder / "dmos.csv", pd.DataFrame(table))


def _cell(name: str) -> int | str:
    return int(name) if name.isdigit() else name


LAYOUTS = {
    "live": Layout("databaserelease2", 10, plan_live, label_live),
    "csiq": Layout("CSIQ", 12, plan_csiq, label_csiq),
    "kadid": Layout("kadid10k", 15, plan_kadid, label_kadid),
}
