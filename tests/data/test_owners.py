"""Every owner's reader, on the miniature of its dataset and on cases that the miniature does not have."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import loadmat, savemat
from scipy.stats import spearmanr

from mimi_lightning.data.annotations import COLUMNS, read_annotations
from mimi_lightning.data.owners import bid, clive, csiq, kadid, koniq, live
from mimi_lightning.errors import DatasetError

URL = "https://owner.example/download"


@dataclass
class Owner:
    name: str
    folder: str
    range: tuple[float, float]
    labels: tuple[str, ...]
    synthetic: bool = True


OWNERS = [
    Owner("live", "databaserelease2", (0, 114.4147), ("dmos_realigned.mat", "refnames_all.mat")),
    Owner("csiq", "CSIQ", (0, 1), ("csiq.DMOS.xlsx",)),
    Owner("kadid", "kadid10k", (1, 4.93), ("dmos.csv",)),
    Owner("bid", "BID", (0.1638, 4.9198), ("DatabaseGrades.xlsx",), synthetic=False),
    Owner(
        "clive",
        "ChallengeDB_release",
        (3.42, 92.432),
        ("Data/AllImages_release.mat", "Data/AllMOS_release.mat", "Data/AllStdDev_release.mat"),
        synthetic=False,
    ),
    Owner("koniq", "koniq-10k", (1.0962, 4.31), ("koniq10k_scores_and_distributions.csv",), synthetic=False),
]


def read(owner: Owner, folder: Path) -> pd.DataFrame:
    return read_annotations(owner.name, f"mimi_lightning.data.owners.{owner.name}.read", folder, URL)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


@pytest.fixture(params=OWNERS, ids=lambda owner: owner.name)
def owner(request) -> Owner:
    return request.param


@pytest.fixture
def folder(owner, miniature) -> Path:
    return miniature / owner.folder


@pytest.fixture
def copy(owner, folder, tmp_path) -> Path:
    return shutil.copytree(folder, tmp_path / owner.folder)


class TestEveryOwner:
    """What holds for all six."""

    def test_table_is_complete(self, owner, folder):
        table = read(owner, folder)
        assert tuple(table.columns) == COLUMNS
        assert len(table) >= 15
        assert table["image"].is_unique
        assert set(table["dataset"]) == {owner.name}

    def test_rows_are_the_scored_pictures(self, owner, folder, miniature):
        hidden = pd.read_csv(miniature / "hidden_quality.csv")
        assert set(read(owner, folder)["image"]) == set(hidden.loc[hidden["dataset"] == owner.name, "image"])

    def test_higher_is_better(self, owner, folder, miniature):
        hidden = pd.read_csv(miniature / "hidden_quality.csv")
        table = read(owner, folder).merge(hidden, on=["dataset", "image"], validate="one_to_one")
        assert spearmanr(table["mos"], table["hidden_quality"]).statistic > 0.85

    def test_scores_are_native(self, owner, folder):
        table = read(owner, folder)
        low, high = owner.range
        assert table["mos"].between(low, high).all()
        assert np.ptp(table["mos"]) > 0.4 * (high - low)
        assert table["std"].between(0.001 * (high - low), 0.5 * (high - low)).all()

    def test_pictures_and_references_exist(self, owner, folder):
        table = read(owner, folder)
        assert all((folder / path).is_file() for path in [*table["image"], *table["reference"]])
        own = table["reference"] == table["image"]
        assert not own.any() if owner.synthetic else own.all()

    def test_distortion_is_known_where_the_owner_tells(self, owner, folder):
        table = read(owner, folder)
        assert (table["distortion"] != "").all() == owner.synthetic
        assert table["level"].notna().all() == (owner.name in ("csiq", "kadid"))

    def test_missing_label_file_is_named_with_the_owners_page(self, owner, copy):
        for name in owner.labels:
            (copy / name).rename(copy / "hidden")
            with pytest.raises(DatasetError) as caught:
                read(owner, copy)
            assert str(copy / name) in str(caught.value)
            assert URL in str(caught.value)
            (copy / "hidden").rename(copy / name)

    def test_damaged_label_file_is_named(self, owner, copy):
        for name in owner.labels:
            original = (copy / name).read_bytes()
            (copy / name).write_bytes(b"not a label file")
            with pytest.raises(DatasetError) as caught:
                read(owner, copy)
            assert str(copy / name) in str(caught.value)
            (copy / name).write_bytes(original)

    def test_missing_picture_is_refused_with_both_counts(self, owner, copy):
        image = read(owner, copy)["image"].iloc[0]
        total = self._labelled(owner, copy)
        (copy / image).unlink()
        with pytest.raises(DatasetError, match=rf"labels {total} pictures.*(holds?) {total - 1}\b"):
            read(owner, copy)

    def test_picture_without_a_label_is_refused(self, owner, copy):
        image = copy / read(owner, copy)["image"].iloc[0]
        total = self._labelled(owner, copy)
        extra = {"kadid": "I99_01_01.png", "bid": "DatabaseImage9999.JPG"}.get(owner.name, f"extra{image.suffix}")
        shutil.copy(image, image.with_name(extra))
        with pytest.raises(DatasetError, match=rf"labels {total} pictures.*(holds?) {total + 1}\b"):
            read(owner, copy)

    def _labelled(self, owner, copy):
        undistorted = loadmat(copy / "dmos_realigned.mat")["orgs"].sum() if owner.name == "live" else 0
        return len(read(owner, copy)) + int(undistorted)


class TestLive:
    """Blocks of five folders in one vector."""

    @pytest.fixture
    def folder(self, tmp_path):
        counts = {"jp2k": 11, "jpeg": 2, "wn": 3, "gblur": 1, "fastfading": 2}
        for kind, count in counts.items():
            for number in range(1, count + 1):
                picture(tmp_path / kind / f"img{number}.bmp")
        names = np.array([f"ref{i}.bmp" for i in range(19)], dtype=object)
        orgs = np.zeros(19)
        orgs[10] = 1
        savemat(tmp_path / "refnames_all.mat", {"refnames_all": names[None]})
        savemat(tmp_path / "dmos.mat", {"dmos": np.arange(19.0)[None], "orgs": orgs[None]})
        return tmp_path

    def test_blocks_follow_the_folders_in_natural_order(self, folder):
        table = live.read(folder).set_index("image")
        assert len(table) == 18
        assert "jp2k/img11.bmp" not in table.index
        assert table.loc["jp2k/img2.bmp", "mos"] == live.WORST - 1
        assert table.loc["jpeg/img1.bmp", "mos"] == live.WORST - 11
        assert table.loc["fastfading/img2.bmp", "reference"] == "refimgs/ref18.bmp"
        assert table.loc["fastfading/img2.bmp", "distortion"] == "fastfading"

    def test_realigned_scores_are_preferred(self, folder):
        assert "std" not in live.read(folder)
        labels = {"dmos_new": np.full((1, 19), 7.0), "orgs": np.zeros((1, 19)), "dmos_std": np.full((1, 19), 2.0)}
        savemat(folder / "dmos_realigned.mat", labels)
        assert set(live.read(folder)["mos"]) == {live.WORST - 7}
        assert set(live.read(folder)["std"]) == {2.0}

    def test_vectors_of_different_lengths_are_refused(self, folder):
        savemat(folder / "dmos.mat", {"dmos": np.zeros((1, 19)), "orgs": np.zeros((1, 18))})
        with pytest.raises(DatasetError, match="dmos 19, orgs 18"):
            live.read(folder)

    def test_variable_of_another_name_is_refused(self, folder):
        savemat(folder / "dmos.mat", {"scores": np.zeros((1, 19))})
        with pytest.raises(DatasetError, match=r"no variable 'dmos'; it has scores"):
            live.read(folder)


class TestCsiq:
    """A sheet in which one picture's name is a number."""

    HEADER = ("image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos")

    def write(self, folder, rows, header=HEADER, first=4):
        for name, _, kind, level, *_ in rows:
            directory, token, _ = csiq.KINDS[str(kind).lower()]
            stem = int(name) if isinstance(name, float) else name
            picture(folder / "dst_imgs" / directory / f"{stem}.{token}.{level}.png")
        table = pd.DataFrame(rows, columns=header)
        options = {"sheet_name": csiq.SHEET, "startrow": first - 1, "startcol": 3, "index": False}
        table.to_excel(folder / "csiq.DMOS.xlsx", **options)

    def test_number_is_a_name(self, tmp_path):
        self.write(tmp_path, [(1600, 1, "noise", 1, 0.1, 0.25), ("lake", 5, "jpeg 2000", 3, 0.2, 0.5)])
        table = csiq.read(tmp_path)
        assert table["image"].tolist() == ["dst_imgs/awgn/1600.AWGN.1.png", "dst_imgs/jpeg2000/lake.jpeg2000.3.png"]
        assert table["reference"].tolist() == ["src_imgs/1600.png", "src_imgs/lake.png"]
        assert table["mos"].tolist() == [0.75, 0.5]
        assert table["distortion"].tolist() == ["white noise", "jpeg2000 compression"]

    def test_column_of_decimal_numbers_is_a_column_of_names(self, tmp_path):
        self.write(tmp_path, [(1600.0, 1, "noise", 1, 0.1, 0.25)])
        assert csiq.read(tmp_path)["reference"].tolist() == ["src_imgs/1600.png"]

    def test_header_elsewhere_is_explained(self, tmp_path):
        self.write(tmp_path, [("lake", 1, "noise", level, 0.1, 0.25) for level in range(1, 6)], first=1)
        with pytest.raises(DatasetError, match=r"must have the header image, dst_type, .* on row 4"):
            csiq.read(tmp_path)

    def test_unknown_distortion_is_refused(self, tmp_path):
        self.write(tmp_path, [("lake", 1, "noise", 1, 0.1, 0.25)])
        table = pd.DataFrame([("lake", 1, "rain", 1, 0.1, 0.25)], columns=self.HEADER)
        options = {"sheet_name": csiq.SHEET, "startrow": 3, "startcol": 3, "index": False}
        table.to_excel(tmp_path / "csiq.DMOS.xlsx", **options)
        with pytest.raises(DatasetError, match="unknown dst_type 'rain'"):
            csiq.read(tmp_path)


class TestBid:
    """Sheets of either form, with and without a header."""

    ROWS = ((3, 2.5, None, 2.0, 3.0), (10, 4.0, None, 4.0, None))

    @pytest.fixture
    def folder(self, tmp_path):
        picture(tmp_path / "ImageDatabase/DatabaseImage0003.JPG")
        picture(tmp_path / "ImageDatabase/DatabaseImage0010.jpg")
        return tmp_path

    @pytest.mark.parametrize("header", [(), (("Image Number", "Average Subjective Grade", None, None, None),)])
    def test_header_does_not_matter(self, folder, header):
        rows = pd.DataFrame([*header, *self.ROWS])
        rows.to_excel(folder / "DatabaseGrades.xlsx", header=False, index=False)
        table = bid.read(folder)
        assert table["image"].tolist() == ["ImageDatabase/DatabaseImage0003.JPG", "ImageDatabase/DatabaseImage0010.jpg"]
        assert table["mos"].tolist() == [2.5, 4.0]
        assert table["std"].iloc[0] == pytest.approx(np.sqrt(0.5))
        assert np.isnan(table["std"].iloc[1])

    def test_single_grades_may_be_absent(self, folder):
        pd.DataFrame([row[:2] for row in self.ROWS]).to_excel(folder / "DatabaseGrades.xlsx", header=False, index=False)
        assert bid.read(folder)["std"].isna().all()

    def test_older_sheet_is_read_by_its_own_reader(self, folder, monkeypatch):
        sheet = folder / "DatabaseGrades.xls"
        sheet.write_bytes(b"")
        monkeypatch.setattr(pd, "read_excel", lambda path, **options: {sheet: pd.DataFrame(self.ROWS)}[path])
        assert bid.read(folder)["mos"].tolist() == [2.5, 4.0]

    def test_both_forms_are_named_when_missing(self, folder):
        with pytest.raises(DatasetError, match=r"DatabaseGrades\.xlsx or .*DatabaseGrades\.xls\b"):
            bid.read(folder)

    def test_sheet_without_numbers_is_explained(self, folder):
        pd.DataFrame([("a", "b")]).to_excel(folder / "DatabaseGrades.xlsx", header=False, index=False)
        with pytest.raises(DatasetError, match="column 1 must hold the image number"):
            bid.read(folder)


class TestClive:
    """Training pictures anywhere in the list."""

    NAMES = ("3.bmp", "t1.bmp", "12.JPG", "t2.bmp")

    @pytest.fixture
    def folder(self, tmp_path):
        names = np.array(self.NAMES, dtype=object)
        (tmp_path / "Data").mkdir()
        savemat(tmp_path / "Data/AllImages_release.mat", {"AllImages_release": names[:, None]})
        savemat(tmp_path / "Data/AllMOS_release.mat", {"AllMOS_release": np.array([[10.0, 20, 30, 40]])})
        savemat(tmp_path / "Data/AllStdDev_release.mat", {"AllStdDev_release": np.full((1, 4), 5.0)})
        picture(tmp_path / "Images/3.bmp")
        picture(tmp_path / "Images/12.JPG")
        return tmp_path

    def test_training_pictures_are_those_of_their_folder(self, folder):
        picture(folder / "Images/trainingImages/t1.bmp")
        picture(folder / "Images/trainingImages/t2.bmp")
        assert clive.read(folder)["mos"].tolist() == [10.0, 30.0]

    def test_names_tell_training_pictures_without_their_folder(self, folder):
        assert clive.read(folder)["image"].tolist() == ["Images/3.bmp", "Images/12.JPG"]


class TestKoniq:
    """Large or small pictures."""

    @pytest.fixture
    def folder(self, tmp_path):
        table = pd.DataFrame({"image_name": ["7.jpg"], "MOS": [3.5], "SD": [0.6]})
        table.to_csv(tmp_path / "koniq10k_scores_and_distributions.csv", index=False)
        picture(tmp_path / "512x384/7.jpg")
        return tmp_path

    def test_small_pictures_stand_in(self, folder):
        assert koniq.read(folder)["image"].tolist() == ["512x384/7.jpg"]

    def test_large_pictures_are_preferred(self, folder):
        picture(folder / "1024x768/7.jpg")
        assert koniq.read(folder)["image"].tolist() == ["1024x768/7.jpg"]

    def test_missing_pictures_name_the_large_ones(self, folder):
        shutil.rmtree(folder / "512x384")
        with pytest.raises(DatasetError, match=r"no folder of pictures .*1024x768"):
            koniq.read(folder)

    def test_missing_column_is_named(self, folder):
        (folder / "koniq10k_scores_and_distributions.csv").write_text("image_name,MOS\n7.jpg,3\n")
        with pytest.raises(DatasetError, match="no column 'SD'"):
            koniq.read(folder)


class TestKadid:
    """A `dmos` that is higher for better pictures and a `var` that is a standard deviation."""

    def write(self, folder, name):
        (folder / "dmos.csv").write_text(f"dist_img,ref_img,dmos,var\n{name},I81.png,4.57,0.49\n")
        picture(folder / "images" / name)
        picture(folder / "images/I81.png")

    def test_columns_mean_what_they_hold(self, tmp_path):
        self.write(tmp_path, "I81_25_05.png")
        row = kadid.read(tmp_path).iloc[0]
        assert (row["mos"], row["std"], row["level"]) == (4.57, 0.49, 5)
        assert (row["reference"], row["distortion"]) == ("images/I81.png", "contrast")

    @pytest.mark.parametrize("name", ["I81_26_01.png", "I81_00_01.png", "photo.png"])
    def test_unknown_names_are_refused(self, tmp_path, name):
        self.write(tmp_path, name)
        with pytest.raises(DatasetError, match=f"'{name}' is not a name like"):
            kadid.read(tmp_path)
