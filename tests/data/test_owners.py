"""What every owner's reader must do, the six on the miniature of their dataset, and cases that it does not have.

The test of another dataset inherits `OwnerContract`: see test_tid2013.py.
"""

import shutil
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import loadmat, savemat
from scipy.stats import spearmanr

from mimi_lightning.data.annotations import ANNOTATION_COLUMNS, read_annotations
from mimi_lightning.data.owners import bid, clive, csiq, kadid, koniq, live
from mimi_lightning.data.splits import partition
from mimi_lightning.errors import DatasetError
from mimi_lightning.evaluation.study import described_datasets
from mimi_lightning.vocabulary import GROUP_OF


def picture(path: Path) -> None:
    """Write a picture that differs from those of other names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), tuple(zlib.crc32(path.name.encode()).to_bytes(4, "big")[:3])).save(path)


class OwnerContract:
    """What holds for every dataset. A subclass names it, and its fixture `folder` writes a few files as its owner does.

    Pictures of three different contents at least, so that they can be split.
    """

    name: str  # of conf/dataset/<name>.yaml
    labels: tuple[str, ...]  # label files that must be there

    @pytest.fixture
    def folder(self) -> Path:
        raise NotImplementedError("the dataset's folder, as its owner distributes it")

    @pytest.fixture
    def copy(self, folder, tmp_path_factory) -> Path:
        return shutil.copytree(folder, tmp_path_factory.mktemp("copy") / folder.name)

    def extra(self, image: Path) -> str:
        """Name that a picture without a label could have."""
        return f"extra{image.suffix}"

    def labelled(self, folder: Path) -> int:
        """Number of pictures with a label, whether they are used or not."""
        return len(self.read(folder))

    @property
    def described(self):
        return described_datasets()[self.name]

    def read(self, folder: Path) -> pd.DataFrame:
        return read_annotations(self.name, self.described.reader, folder, self.described.url)

    def test_table_is_complete(self, folder):
        table = self.read(folder)
        assert tuple(table.columns) == ANNOTATION_COLUMNS
        assert table["image"].is_unique
        assert set(table["dataset"]) == {self.name}

    def test_scores_lie_in_the_published_range(self, folder):
        assert self.read(folder)["mos"].between(*self.described.range).all()

    def test_pictures_and_references_exist(self, folder):
        table = self.read(folder)
        assert all((folder / path).is_file() for path in [*table["image"], *table["reference"]])

    def test_no_reference_stands_in_two_parts(self, folder, tmp_path):
        table = self.read(folder)
        parts = partition(table, folder.parent, {self.name: folder.name}, tmp_path / "splits", seed=1)
        assert set(parts["split01"]) == {"train", "val", "test"}
        assert parts["split01"].groupby(table["reference"]).nunique().eq(1).all()

    def test_missing_label_file_is_named_with_the_owners_page(self, copy):
        for name in self.labels:
            (copy / name).rename(copy / "hidden")
            with pytest.raises(DatasetError) as caught:
                self.read(copy)
            assert str(copy / name) in str(caught.value)
            assert self.described.url in str(caught.value)
            (copy / "hidden").rename(copy / name)

    def test_damaged_label_file_is_named(self, copy):
        for name in self.labels:
            original = (copy / name).read_bytes()
            (copy / name).write_bytes(b"not a label file")
            with pytest.raises(DatasetError) as caught:
                self.read(copy)
            assert str(copy / name) in str(caught.value)
            (copy / name).write_bytes(original)

    def test_missing_picture_is_refused_with_both_counts(self, copy):
        image = self.read(copy)["image"].iloc[0]
        total = self.labelled(copy)
        (copy / image).unlink()
        with pytest.raises(DatasetError, match=rf"labels {total} pictures.*(holds?) {total - 1}\b"):
            self.read(copy)

    def test_picture_without_a_label_is_refused(self, copy):
        image = copy / self.read(copy)["image"].iloc[0]
        total = self.labelled(copy)
        shutil.copy(image, image.with_name(self.extra(image)))
        with pytest.raises(DatasetError, match=rf"labels {total} pictures.*(holds?) {total + 1}\b"):
            self.read(copy)


class MiniatureContract(OwnerContract):
    """What holds where a hidden quality is known."""

    synthetic = True
    levels = False  # whether names tell the level of a distortion

    @pytest.fixture
    def folder(self, miniature) -> Path:
        return miniature / self.described.folder

    @pytest.fixture
    def hidden(self, miniature) -> pd.DataFrame:
        return pd.read_csv(miniature / "hidden_quality.csv").query(f"dataset == '{self.name}'")

    def test_rows_are_the_scored_pictures(self, folder, hidden):
        images = self.read(folder)["image"]
        assert len(images) >= 15
        assert set(images) == set(hidden["image"])

    def test_higher_is_better(self, folder, hidden):
        table = self.read(folder).merge(hidden, on=["dataset", "image"], validate="one_to_one")
        assert spearmanr(table["mos"], table["hidden_quality"]).statistic > 0.85

    def test_scores_are_native(self, folder):
        table, span = self.read(folder), np.ptp(self.described.range)
        assert np.ptp(table["mos"]) > 0.4 * span
        assert table["std"].between(0.001 * span, 0.5 * span).all()

    def test_only_distorted_pictures_have_another_reference(self, folder):
        table = self.read(folder)
        own = table["reference"] == table["image"]
        assert not own.any() if self.synthetic else own.all()

    def test_distortion_is_known_where_the_owner_tells(self, folder):
        table = self.read(folder)
        assert (table["distortion"] != "").all() == self.synthetic
        assert table["level"].notna().all() == self.levels


class TestMiniatureLive(MiniatureContract):
    name = "live"
    labels = ("dmos_realigned.mat", "refnames_all.mat")

    def labelled(self, folder):
        return len(self.read(folder)) + int(loadmat(folder / "dmos_realigned.mat")["orgs"].sum())


class TestMiniatureCsiq(MiniatureContract):
    name = "csiq"
    labels = ("csiq.DMOS.xlsx",)
    levels = True


class TestMiniatureKadid(MiniatureContract):
    name = "kadid"
    labels = ("dmos.csv",)
    levels = True

    def extra(self, image):
        return "I99_01_01.png"


class TestMiniatureBid(MiniatureContract):
    name = "bid"
    labels = ("DatabaseGrades.xlsx",)
    synthetic = False

    def extra(self, image):
        return "DatabaseImage9999.JPG"


class TestMiniatureClive(MiniatureContract):
    name = "clive"
    labels = ("Data/AllImages_release.mat", "Data/AllMOS_release.mat", "Data/AllStdDev_release.mat")
    synthetic = False


class TestMiniatureKoniq(MiniatureContract):
    name = "koniq"
    labels = ("koniq10k_scores_and_distributions.csv",)
    synthetic = False


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
        assert live.read(folder).attrs["notes"] == [
            "The scores are those of the older dmos.mat: there is no dmos_realigned.mat."
        ]
        labels = {"dmos_new": np.full((1, 19), 7.0), "orgs": np.zeros((1, 19)), "dmos_std": np.full((1, 19), 2.0)}
        savemat(folder / "dmos_realigned.mat", labels)
        assert set(live.read(folder)["mos"]) == {live.WORST - 7}
        assert set(live.read(folder)["std"]) == {2.0}
        assert not live.read(folder).attrs

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

    ROWS = ((3, 2.5, 9.0, 2.0, 3.0), (10, 4.0, 9.0, 4.0, None))  # single grades begin in the fourth column

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

    def test_training_pictures_among_the_others_are_left_out_and_named(self, folder):
        assert "notes" not in clive.read(folder).attrs
        picture(folder / "Images/t1.bmp")
        picture(folder / "Images/t2.bmp")
        table = clive.read(folder)
        assert table["mos"].tolist() == [10.0, 30.0]
        assert "Images holds t1.bmp, t2.bmp, which trained the raters" in table.attrs["notes"][0]

    def test_what_systems_leave_is_no_picture(self, folder):
        (folder / "Images/._3.bmp").write_text("resource fork")
        (folder / "Images/Thumbs.db").write_text("thumbnails")
        assert len(clive.read(folder)) == 2

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

    PUBLISHED = (  # codes 01 to 25, in the words of the LIQE lists
        "gaussian blur, lens, motion, diffusion, shifting, color quantization, oversaturation, desaturation, "
        "jpeg2000 compression, jpeg compression, white noise, white with color, impulse, multiplicative, "
        "white noise with denoise, brighten, darken, shifting the mean, jitter, noneccentricity patch, pixelate, "
        "quantization, color blocking, sharpness, contrast"
    )

    def write(self, folder, name):
        (folder / "dmos.csv").write_text(f"dist_img,ref_img,dmos,var\n{name},I81.png,4.57,0.49\n")
        picture(folder / "images" / name)
        picture(folder / "images/I81.png")

    def test_columns_mean_what_they_hold(self, tmp_path):
        self.write(tmp_path, "I81_25_05.png")
        row = kadid.read(tmp_path).iloc[0]
        assert (row["mos"], row["std"], row["level"]) == (4.57, 0.49, 5)
        assert kadid.read(tmp_path, root_of_var=True).iloc[0]["std"] == pytest.approx(0.7)
        assert (row["reference"], row["distortion"]) == ("images/I81.png", "contrast")

    def test_every_code_is_the_published_distortion(self, tmp_path):
        names = [f"I81_{code:02d}_01.png" for code in range(1, 26)]
        for name in (*names, "I81.png"):
            picture(tmp_path / "images" / name)
        rows = "".join(f"{name},I81.png,3,0.5\n" for name in names)
        (tmp_path / "dmos.csv").write_text("dist_img,ref_img,dmos,var\n" + rows)
        published = self.PUBLISHED.split(", ")
        assert kadid.read(tmp_path)["distortion"].tolist() == published
        assert set(published) <= set(GROUP_OF)

    @pytest.mark.parametrize("name", ["I81_26_01.png", "I81_00_01.png", "photo.png"])
    def test_unknown_names_are_refused(self, tmp_path, name):
        self.write(tmp_path, name)
        with pytest.raises(DatasetError, match=f"'{name}' is not a name like"):
            kadid.read(tmp_path)
