"""Names that differ only in case, `./`, slashes or Unicode form are one file, one image, one reference."""

import pandas as pd
import pytest
from PIL import Image

from mimi_lightning.data.annotations import add_scenes, complete
from mimi_lightning.data.names import Folder, plain_name
from mimi_lightning.data.owners import table
from mimi_lightning.data.owners.folder import match_pictures
from mimi_lightning.data.splits import SPLIT_COLUMNS, partition
from mimi_lightning.errors import DatasetError

COMPOSED, DECOMPOSED = "\u00e9.png", "e\u0301.png"


@pytest.fixture
def folder(tmp_path):
    for name in ("Images/a.JPG", "Images/b.png", "Images/B.png", f"Images/{DECOMPOSED}", "c.bmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("name", ["images/i01.bmp", "./Images//I01.BMP", "images/I01.bmp/", "images/x/../i01.bmp"])
def test_spellings_of_a_name_are_one(name):
    assert plain_name(name) == "images/i01.bmp"
    assert plain_name(COMPOSED) == plain_name(DECOMPOSED)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Images/a.JPG", "Images/a.JPG"),
        ("images/A.jpg", "Images/a.JPG"),
        (".//Images/./a.jpg/", "Images/a.JPG"),
        (f"Images/{COMPOSED}", f"Images/{DECOMPOSED}"),
        ("Images/b.png", "Images/b.png"),
        ("Images/B.png", "Images/B.png"),
        ("Images/d.png", None),
        ("../c.bmp", None),
        ("/etc/passwd", None),
        ("c.bmp/c.bmp", None),
        ("a long, long prompt " * 40, None),
    ],
)
def test_a_file_is_found_as_written_or_else_by_another_spelling(folder, name, found):
    if (folder / "images").exists():
        pytest.skip("needs a disk that knows large from small letters")
    assert Folder(folder).find(name) == found


def test_a_name_that_may_be_two_files_is_refused(folder):
    with pytest.raises(DatasetError, match=r"'Images/b\.PNG' may be B\.png or b\.png in .*Images, .* Write it as one"):
        Folder(folder).find("Images/b.PNG")


def test_images_are_listed_once_and_references_spelt_alike(folder):
    rows = pd.DataFrame(
        {"image": ["images/A.JPG", "./c.BMP", "x.png"], "mos": 1, "reference": ["I01", "./i01", "C.bmp"]}
    )
    spelt = complete(rows, "own", folder).set_index("image")["reference"].to_dict()
    assert spelt == {"Images/a.JPG": spelt["c.bmp"], "c.bmp": spelt["Images/a.JPG"], "x.png": "c.bmp"}
    with pytest.raises(DatasetError, match=r"row 2 has an image that is listed twice \(image './C\.bmp'"):
        complete(rows.assign(image=["c.bmp", "./C.bmp", "x.png"]), "own", folder)


def test_a_link_out_of_the_folder_is_refused_by_any_spelling(folder):
    (folder / "link.png").symlink_to(folder.parent / "elsewhere.png")
    rows = pd.DataFrame({"image": ["LINK.png"], "mos": 1})
    with pytest.raises(DatasetError, match="a file outside the folder as its image"):
        complete(rows, "own", folder)


def test_labels_and_pictures_agree_however_they_are_spelt(folder):
    match_pictures(folder, folder, ["I01.png", "i02.PNG"], ["i01.PNG", "i02.PNG"])
    match_pictures(folder, folder, [1, 2], [2, 1])
    with pytest.raises(DatasetError, match=r"labels 2 pictures, but .* holds 1: there is no picture i03\.png"):
        match_pictures(folder, folder, ["I01.png", "i03.png"], ["i01.PNG"])
    with pytest.raises(DatasetError, match=r"there is no label for i02\.PNG"):
        match_pictures(folder, folder, ["I01.png"], ["i01.PNG", "i02.PNG"])


def test_scenes_are_found_by_any_spelling_of_the_reference(tmp_path):
    (tmp_path / "scenes.csv").write_text("dataset,reference,scenes\nown,./Refs/I01.BMP,night\n")
    rows = pd.DataFrame({"dataset": "own", "reference": ["refs/i01.bmp", "i02"], "scenes": ["", "human"]})
    assert add_scenes(rows, tmp_path / "scenes.csv")["scenes"].tolist() == ["night", "human"]


def test_a_photograph_that_its_owner_spells_in_two_ways_stands_in_one_part(tmp_path):
    """TID2013 as its owners ship it, by the table of docs/own-dataset.md: I01 and i01, .BMP and .bmp."""
    home = tmp_path / "tid"
    for kind in ("distorted_images", "reference_images"):
        (home / kind).mkdir(parents=True)
    lines = []
    for r in range(1, 13):
        Image.new("RGB", (8, 8), (r, 0, 0)).save(
            home / "reference_images" / (f"I{r:02}.BMP" if r % 2 else f"i{r:02}.bmp")
        )
        for d in range(1, 5):
            letter, ending = "iI"[d % 2], ("bmp", "BMP")[d // 2 % 2]
            Image.new("RGB", (8, 8), (r, d, 0)).save(home / "distorted_images" / f"{letter}{r:02}_{d:02}_1.{ending}")
            lines.append(f"{d} {letter}{r:02}_{d:02}_1.bmp\n")
    (home / "mos.txt").write_text("".join(lines))
    where = {"image": "distorted_images/{1}", "mos": 0, "reference": "reference_images/{1:.3}.BMP"}
    rows = complete(table.read(home, file="mos.txt", **where), "tid", home)
    assert rows["reference"].nunique() == 12
    parts = partition(rows, tmp_path, {"tid": "tid"}, tmp_path / "splits", 1)
    number = parts["image"].str.extract(r"(\d\d)_")[0]
    assert all((parts.groupby(number)[column].nunique() == 1).all() for column in SPLIT_COLUMNS)
