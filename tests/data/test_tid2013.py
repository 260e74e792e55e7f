"""TID2013, on a few files like its owners'."""

import pytest
from test_owners import OwnerContract, picture

from mimi_lightning.data.owners import tid2013
from mimi_lightning.errors import DatasetError
from mimi_lightning.vocabulary import GROUP_OF

NAMES = [f"{ref}_{kind:02d}_{level}" for ref in ("I01", "i02", "I25") for kind in range(1, 25) for level in (1, 5)]


class TestTid2013(OwnerContract):
    """Names of labels and of files differ in their letters, and not everywhere in the same way."""

    name = "tid2013"
    labels = ("mos_with_names.txt",)

    @pytest.fixture
    def folder(self, tmp_path):
        for number, name in enumerate(NAMES):
            picture(tmp_path / "tid2013/distorted_images" / (f"{name}.bmp" if number % 3 else f"{name.lower()}.BMP"))
        for reference in ("I01.BMP", "i02.BMP", "i25.bmp"):
            picture(tmp_path / "tid2013/reference_images" / reference)
        scores = [7 - int(name[-1]) - i / 1000 for i, name in enumerate(NAMES)]
        lines = [f"{mos:.5f} {name}.bmp\n" for mos, name in zip(scores, NAMES, strict=True)]
        (tmp_path / "tid2013/mos_with_names.txt").write_text("".join(lines))
        (tmp_path / "tid2013/mos_std.txt").write_text("".join(f"{i / 1000}\n" for i in range(len(NAMES))))
        return tmp_path / "tid2013"

    def extra(self, image):
        return "i99_01_1.bmp"

    def test_names_tell_reference_distortion_and_level(self, folder):
        table = tid2013.read(folder)
        first, last = table.iloc[0], table.iloc[-1]
        assert first[["image", "reference"]].tolist() == ["distorted_images/i01_01_1.BMP", "reference_images/I01.BMP"]
        assert last[["image", "reference"]].tolist() == ["distorted_images/I25_24_5.bmp", "reference_images/i25.bmp"]
        assert first[["mos", "std", "level"]].tolist() == [6, 0, 1]
        assert last[["mos", "std", "level"]].tolist() == [pytest.approx(2 - 0.143), 0.143, 5]
        assert (first["distortion"], last["distortion"]) == ("white noise", "sparse sampling and reconstruction")

    def test_published_words_stand_where_they_say_the_same(self, folder):
        words = enumerate(tid2013.read(folder)["distortion"].iloc[:48:2], start=1)
        assert {code: word for code, word in words if word in GROUP_OF} == {
            1: "white noise",
            6: "impulse",
            8: "gaussian blur",
            10: "jpeg compression",
            11: "jpeg2000 compression",
            14: "noneccentricity patch",
            16: "shifting the mean",
            17: "contrast",
            19: "multiplicative",
            22: "color quantization",
        }

    def test_std_may_be_absent_but_not_of_other_pictures(self, folder):
        (folder / "mos_std.txt").write_text("0.1\n0.2\n")
        with pytest.raises(DatasetError, match=r"mos_std\.txt has 2 numbers for 144 pictures"):
            tid2013.read(folder)
        (folder / "mos_std.txt").unlink()
        assert "std" not in tid2013.read(folder)

    def test_missing_reference_is_named(self, folder):
        (folder / "reference_images/i02.BMP").unlink()
        with pytest.raises(DatasetError, match=r"reference_images holds 2: there is no picture i02\.bmp"):
            tid2013.read(folder)

    @pytest.mark.parametrize("name", ["i01_25_1.bmp", "i01_00_1.bmp", "i01.bmp", "5.2"])
    def test_unknown_names_are_refused(self, folder, name):
        (folder / "mos_with_names.txt").write_text(f"5.2 {name}\n")
        with pytest.raises(DatasetError, match=f"'{name}' is not a name like"):
            tid2013.read(folder)
