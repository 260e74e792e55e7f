"""LIVE release 2: five distortions of 29 references; DMOS, where lower is better."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mimi_lightning.data.owners.folder import label_file, list_pictures
from mimi_lightning.data.owners.matlab import read_vector, require_equal_lengths
from mimi_lightning.errors import DatasetError

WORST = 111.7747  # the largest realigned DMOS; mos = WORST - dmos
FOLDERS = {  # the labels follow each other in this order of the folders
    "jp2k": "jpeg2000 compression",
    "jpeg": "jpeg compression",
    "wn": "white noise",
    "gblur": "gaussian blur",
    "fastfading": "fastfading",
}


def read(folder: Path) -> pd.DataFrame:
    """Read LIVE from `databaserelease2`.

    mos = 111.7747 - dmos; undistorted copies (`orgs == 1`) are left out. The realigned scores are preferred; the
    older `dmos.mat` has no standard deviations.

    Args:
        folder: holds dmos_realigned.mat or dmos.mat, refnames_all.mat, refimgs and the five distortion folders.

    Raises:
        DatasetError: a file is missing or the labels do not agree with the pictures.
    """
    labels = label_file(folder, "dmos_realigned.mat", "dmos.mat")
    references = label_file(folder, "refnames_all.mat")
    realigned = labels.name == "dmos_realigned.mat"
    images = [(kind, name) for kind in FOLDERS for name in list_pictures(folder / kind)]
    columns = {
        "dmos": read_vector(labels, "dmos_new" if realigned else "dmos"),
        "orgs": read_vector(labels, "orgs"),
        "reference": read_vector(references, "refnames_all"),
    }
    if realigned:
        columns["std"] = read_vector(labels, "dmos_std")
    require_equal_lengths(labels, **columns)
    if len(columns["dmos"]) != len(images):
        raise DatasetError(
            f"{labels} labels {len(columns['dmos'])} pictures, but the folders {', '.join(FOLDERS)} "
            f"of {folder} hold {len(images)}. Unpack the dataset again."
        )
    rows = pd.DataFrame(columns).assign(
        image=[f"{kind}/{name}" for kind, name in images],
        distortion=[FOLDERS[kind] for kind, _ in images],
        reference=lambda table: "refimgs/" + table["reference"],
        mos=lambda table: WORST - table["dmos"],
    )
    rows = rows[rows["orgs"] == 0].drop(columns=["dmos", "orgs"])
    if not realigned:
        rows.attrs["notes"] = [f"The scores are those of the older {labels.name}: there is no dmos_realigned.mat."]
    return rows
