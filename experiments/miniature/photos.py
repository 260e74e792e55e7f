"""`make photos`: a folder of photographs for data=miniature_study.

They are the photographs among the wallpapers of four Debian packages, unpacked without installing anything, and those
that scikit-image and scikit-learn bring along. photographs.csv lists the former by package. All have been looked at:
drawings, smaller copies of the same photograph and those without any detail are left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
from PIL import Image

from mimi_lightning.data.miniature.contents import bundled_photos, list_photos
from mimi_lightning.errors import DatasetError, MimiError
from mimi_lightning.files import work_folder

LIST = Path(__file__).with_name("photographs.csv")
REMEDY = """This takes apt-get and dpkg of Debian or Ubuntu, and their lists of packages (apt-get update).
Or put some 45 photographs of your own, of 768 pixels or more, into {}: data=miniature_study takes any."""


def get_photos(folder: Path) -> None:
    """Make the folder, whole or not at all; one that holds photographs already is left as it is.

    Raises:
        DatasetError: the packages cannot be had, or the folder holds something else.
    """
    if folder.is_dir() and any(folder.iterdir()):
        print(f"{folder} holds {len(list_photos(folder))} photographs already; delete it to get them anew.")
        return
    listed = pd.read_csv(LIST)
    with work_folder(folder) as work:
        found = work / "photos"
        found.mkdir()
        try:
            unpack(work, sorted(set(listed["package"])))
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or str(error)
            raise DatasetError(f"The packages cannot be had: {reason.strip()}\n{REMEDY.format(folder)}") from error
        for row in listed.itertuples():
            if (file := work / row.package / row.file.lstrip("/")).is_file():
                file.rename(found / row.photograph)
            else:
                print(f"Left out: this version of {row.package} has no {row.file}. Figures of studies will differ.")
        for name, photo in bundled_photos():
            Image.fromarray(photo).save(found / f"{name}.bmp")  # the same file on every machine
        found.rename(folder)
    print(f"{folder}: {len(list_photos(folder))} photographs")


def unpack(work: Path, packages: list[str]) -> None:
    """Unpack each package into a folder of its name, without root and without installing it."""
    print(f"Downloading {', '.join(packages)} (170 MB)")
    subprocess.run(["apt-get", "download", *packages], cwd=work, check=True, capture_output=True, text=True)
    for archive in sorted(work.glob("*.deb")):
        into = work / archive.name.partition("_")[0]
        subprocess.run(["dpkg", "-x", archive, into], check=True, capture_output=True, text=True)


if __name__ == "__main__":
    try:
        get_photos(Path(os.environ.get("MIMI_PHOTOS", "photos")).absolute())
    except MimiError as error:
        sys.exit(f"Error: {error}")
