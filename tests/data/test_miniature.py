import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mimi_lightning.data.annotations import read_annotations
from mimi_lightning.data.miniature import MARKER, build, contents, datasets, make_miniature
from mimi_lightning.data.miniature.coverage import OWN, RATERS, SCALE, SHARED, SPREAD
from mimi_lightning.data.miniature.datasets import LAYOUTS
from mimi_lightning.errors import DatasetError

# as the fixture `miniature`
SMALL = {"side": 64, "references": 10, "scenes": 10, "per_content": 2, "progress": False}


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read(folder: Path, name: str) -> pd.DataFrame:
    reader = f"mimi_lightning.data.owners.{name}.read"
    return read_annotations(name, reader, folder / LAYOUTS[name].folder, "https://owner.example")


@pytest.fixture
def fake_build(monkeypatch):
    """Build a folder of one file at once, to test what happens around it."""

    def write(root, photos, parameters, progress):
        (root / "hidden_quality.csv").write_text("dataset,image,hidden_quality\n")

    monkeypatch.setattr("mimi_lightning.data.miniature.datasets.write_datasets", write)


class TestWhatIsBuilt:
    def test_same_seed_same_bytes_from_one_process_or_two(self, miniature, tmp_path, monkeypatch):
        monkeypatch.setattr(datasets, "WORTH_A_WORKER", 60)
        monkeypatch.setattr("joblib.cpu_count", lambda: 2)
        again = make_miniature(tmp_path / "again", **SMALL)
        assert hashes(again) == hashes(miniature)

    def test_other_seed_other_pictures(self, miniature, tmp_path):
        other = make_miniature(tmp_path / "other", **{**SMALL, "per_content": 1}, seed=5)
        shared = hashes(other).keys() & hashes(miniature).keys()
        pictures = [name for name in shared if name.endswith((".bmp", ".png")) and "ref" not in name]
        assert pictures
        assert all(hashes(other)[name] != hashes(miniature)[name] for name in pictures)

    def test_every_dataset_has_contents_enough_for_three_parts(self, miniature):
        scenes = pd.read_csv(miniature / "contents.csv").groupby("dataset")["content"].nunique()
        for name in contents.SYNTHETIC:
            assert read(miniature, name)["reference"].nunique() == 10
        assert scenes.to_dict() == dict.fromkeys(contents.PHOTOGRAPHIC, 10)

    def test_contents_name_the_references_of_the_annotations(self, miniature):
        listed = pd.read_csv(miniature / "contents.csv")
        for name in contents.PHOTOGRAPHIC:
            assert set(listed.loc[listed["dataset"] == name, "reference"]) == set(read(miniature, name)["reference"])

    def test_some_references_are_the_same_pixels_in_all_synthetic_datasets(self, miniature):
        owners = defaultdict(set)
        for name in contents.SYNTHETIC:
            for reference in read(miniature, name)["reference"].unique():
                pixels = np.asarray(Image.open(miniature / LAYOUTS[name].folder / reference).convert("RGB"))
                owners[pixels.tobytes()].add(name)
        sharers = sorted(len(names) for names in owners.values())
        assert sharers == [1] * 21 + [3] * 3

    def test_hidden_quality_is_a_jod(self, miniature):
        hidden = pd.read_csv(miniature / "hidden_quality.csv")
        assert hidden["hidden_quality"].between(-10, 10).all()
        assert (hidden["hidden_quality"].round(4) == hidden["hidden_quality"]).all()
        assert set(hidden["dataset"]) == set(LAYOUTS)

    def test_labels_pool_worse_than_a_common_score(self, miniature):
        tables = [read(miniature, name) for name in LAYOUTS]
        pooled = pd.concat(
            table.assign(rescaled=(table["mos"] - table["mos"].min()) / np.ptp(table["mos"])) for table in tables
        ).merge(pd.read_csv(miniature / "hidden_quality.csv"), on=["dataset", "image"])
        assert 0.5 < pooled["rescaled"].corr(pooled["hidden_quality"], method="spearman") < 0.9

    def test_marker_says_what_it_is(self, miniature):
        marker = json.loads((miniature / MARKER).read_text())
        assert "pseudo-MOS" in marker["what"]
        assert marker["parameters"]["seed"] == build.SEED
        assert "BID/DatabaseGrades.xlsx" in marker["labels"]


@pytest.mark.parametrize("coverage", [OWN, SHARED])
@pytest.mark.parametrize("name", LAYOUTS)
class TestScales:
    def test_clean_scale_increases_strictly_and_bends(self, name, coverage):
        scale = coverage.scales[name]
        steps = np.diff(scale.clean(np.linspace(3, 10, 701)))
        assert (steps > 0).all()
        assert steps.max() > 1.5 * steps.min()

    def test_raters_agree_with_the_clean_scale_on_average(self, name, coverage):
        scale = coverage.scales[name]
        jod = np.full(400, scale.centre)
        grades = scale.grade(jod, np.random.default_rng(0))
        assert grades.shape == (400, scale.raters)
        assert grades.min() >= scale.limits[0]
        assert grades.max() <= scale.limits[1]
        assert grades.mean() == pytest.approx(scale.clean(jod[0]), abs=0.02 * (scale.high - scale.low))


@pytest.mark.parametrize("name", LAYOUTS)
class TestOneOpinion:
    JOD = np.linspace(4, 10, 300)

    def test_slope_is_that_of_the_clean_scale(self, name):
        scale, step = SCALE.scales[name], 1e-5
        slope = (scale.clean(self.JOD + step) - scale.clean(self.JOD - step)) / (2 * step)
        np.testing.assert_allclose(scale.slope(self.JOD), slope, rtol=1e-6)

    def test_mos_is_the_clean_grade_of_the_mean_opinion(self, name):
        opinions = self.JOD + SPREAD * np.random.default_rng(1).standard_normal((300, RATERS)).mean(axis=1)
        mos = SCALE.scales[name].grade(self.JOD, np.random.default_rng(1)).mean(axis=1)
        np.testing.assert_allclose(mos, SCALE.scales[name].clean(opinions), rtol=1e-12)

    def test_curves_and_pictures_are_those_of_the_shared_range(self, name):
        np.testing.assert_array_equal(SCALE.scales[name].clean(self.JOD), SHARED.scales[name].clean(self.JOD))
        assert SCALE.strengths[name] == SHARED.strengths[name]


class TestCoverage:
    @pytest.fixture(scope="class")
    def scale(self, tmp_path_factory):
        """The pictures are those of `shared` as well."""
        return make_miniature(tmp_path_factory.mktemp("coverage") / "scale", **SMALL, coverage="scale")

    def test_all_datasets_share_a_range_that_they_do_not_have_of_their_own(self, miniature, scale):
        def apart(folder):
            quality = pd.read_csv(folder / "hidden_quality.csv").groupby("dataset")["hidden_quality"]
            return quality.quantile([0.1, 0.5, 0.9]).unstack().agg(np.ptp).max()

        assert 2 * apart(scale) < apart(miniature)

    @pytest.mark.parametrize("name", LAYOUTS)
    def test_every_label_has_a_deviation_and_tells_the_quality(self, scale, name):
        table = read(scale, name).merge(pd.read_csv(scale / "hidden_quality.csv"))
        assert (table["std"] > 0).all()
        assert table["mos"].corr(table["hidden_quality"], method="spearman") > 0.9
        assert table["mos"].between(*OWN.scales[name].limits).all()

    def test_an_unknown_one_is_refused(self, tmp_path):
        with pytest.raises(DatasetError, match="coverage must be own or shared or scale, not all"):
            make_miniature(tmp_path / "miniature", coverage="all")

    def test_a_build_from_before_there_was_a_choice_is_of_own_coverage(self, tmp_path, fake_build):
        folder = make_miniature(tmp_path / "miniature")
        marker = json.loads((folder / MARKER).read_text())
        assert marker["parameters"].pop("coverage") == "own"
        (folder / MARKER).write_text(json.dumps(marker))
        assert make_miniature(folder) == folder
        with pytest.raises(DatasetError, match="coverage own instead of shared"):
            make_miniature(folder, coverage="shared")


class TestContents:
    def make(self, count):
        return [contents.Content(f"c{i}", np.zeros((2, 2, 3), np.uint8)) for i in range(count)]

    @pytest.mark.parametrize("count", [20, 44, 60, 300])
    def test_no_content_is_both_reference_and_photograph(self, count):
        dealt = contents.deal_contents(self.make(count), references=12, scenes=20, seed=1)
        roles = [
            {c.name for name in names for c in dealt[name]} for names in (contents.SYNTHETIC, contents.PHOTOGRAPHIC)
        ]
        assert not roles[0] & roles[1]
        for dealt_contents in dealt.values():
            assert len({content.name for content in dealt_contents}) == len(dealt_contents) >= contents.MINIMUM

    def test_enough_contents_are_shared_by_references_only(self):
        dealt = contents.deal_contents(self.make(300), references=12, scenes=20, seed=1)
        scenes = [content.name for name in contents.PHOTOGRAPHIC for content in dealt[name]]
        assert len(set(scenes)) == len(scenes) == 60

    def test_too_few_contents_are_refused(self):
        with pytest.raises(DatasetError, match="19 windows"):
            contents.deal_contents(self.make(19), references=12, scenes=20, seed=1)

    def test_windows_do_not_overlap(self):
        photo = np.random.default_rng(0).integers(0, 256, (70, 100, 3), np.uint8)
        windows = list(contents._windows("p", photo, 32))
        assert [window.name for window in windows] == ["p01", "p02", "p03", "p04", "p05", "p06"]
        joined = np.vstack([np.hstack([w.pixels for w in windows[:3]]), np.hstack([w.pixels for w in windows[3:]])])
        assert (joined == photo[3:67, 2:98]).all()


class TestOwnPhotos:
    @pytest.fixture
    def photos(self, tmp_path):
        folder = tmp_path / "photos"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for name, size in (("b.jpg", (900, 1600)), ("a.png", (200, 200))):
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / name)
        (folder / "notes.txt").write_text("no picture")
        return folder

    def test_large_ones_are_shrunk_and_cut(self, photos):
        cut = contents.cut_contents(photos, 64)
        assert len([c for c in cut if c.name.startswith("photo01x")]) == 3 * 3
        assert len([c for c in cut if c.name.startswith("photo02x")]) == 6 * 12

    def test_formats_that_pillow_does_not_read_are_no_pictures(self, photos, monkeypatch):
        Image.new("RGB", (8, 8)).save(photos / "c.webp")
        (photos / "d.jxl").write_bytes(b"")
        monkeypatch.setattr(Image, "registered_extensions", lambda: {".webp": "WEBP", ".png": "PNG"})
        assert [path.name for path in contents.list_photos(photos)] == ["a.png", "c.webp"]

    def test_they_build_the_six_datasets(self, photos, tmp_path):
        folder = make_miniature(tmp_path / "own", photos=str(photos), **{**SMALL, "per_content": 1, "side": 32})
        assert {name: len(read(folder, name)) for name in LAYOUTS} == dict.fromkeys(LAYOUTS, 10)

    def test_another_folder_is_another_build(self, photos, tmp_path, fake_build):
        folder = make_miniature(tmp_path / "own", photos=photos, **SMALL)
        (photos / "a.png").unlink()
        with pytest.raises(DatasetError, match="other parameters: photos"):
            make_miniature(folder, photos=photos, **SMALL)

    def test_empty_missing_and_broken_ones_are_named(self, photos, tmp_path):
        with pytest.raises(DatasetError, match=r"no folder of photographs .*nowhere; `make photos` gets some"):
            make_miniature(tmp_path / "own", photos=tmp_path / "nowhere")
        (tmp_path / "empty").mkdir()
        with pytest.raises(DatasetError, match="no pictures in"):
            make_miniature(tmp_path / "own", photos=tmp_path / "empty")
        (photos / "b.jpg").write_bytes(b"broken")
        with pytest.raises(DatasetError, match=r"b\.jpg cannot be read"):
            make_miniature(tmp_path / "own", photos=photos)
        assert not (tmp_path / "own").exists()

    def test_too_few_windows_are_refused(self, photos, tmp_path):
        (photos / "b.jpg").unlink()
        with pytest.raises(DatasetError, match=r"give 1 windows .* at least 20"):
            make_miniature(tmp_path / "own", photos=photos)


class TestBuildOnce:
    def test_reuse_is_instant_and_loads_nothing(self, miniature):
        before = {path: path.stat().st_mtime_ns for path in miniature.rglob("*")}
        code = (
            "import sys; from mimi_lightning.data.miniature import make_miniature; "
            f"make_miniature({str(miniature)!r}, **{SMALL!r}); "
            "print([m for m in ('torch', 'pandas', 'skimage', 'sklearn', 'pycvvdp') if m in sys.modules])"
        )
        start = time.perf_counter()
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert time.perf_counter() - start < 2
        assert run.stdout.strip() == "[]"
        assert before == {path: path.stat().st_mtime_ns for path in miniature.rglob("*")}

    def test_interrupted_build_leaves_nothing(self, tmp_path, monkeypatch, fake_build):
        def stop(root, photos, parameters, progress):
            (root / "BID").mkdir()
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("mimi_lightning.data.miniature.datasets.write_datasets", stop)
            with pytest.raises(KeyboardInterrupt):
                make_miniature(tmp_path / "miniature")
        assert list(tmp_path.iterdir()) == []
        assert (make_miniature(tmp_path / "miniature") / MARKER).is_file()

    def test_remains_of_a_killed_build_are_removed(self, tmp_path, fake_build):
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        name = f".miniature.building-{os.uname().nodename}-"
        (tmp_path / f"{name}{dead.pid}").mkdir()
        (tmp_path / f"{name}{os.getppid()}").mkdir()
        make_miniature(tmp_path / "miniature")
        assert {path.name for path in tmp_path.iterdir()} == {"miniature", f"{name}{os.getppid()}"}

    def test_slower_of_two_builders_takes_the_other_ones(self, tmp_path, monkeypatch, fake_build):
        def be_overtaken(root, photos, parameters, progress):
            monkeypatch.undo()
            shutil.copytree(finished, tmp_path / "miniature")

        finished = make_miniature(tmp_path / "finished")
        monkeypatch.setattr("mimi_lightning.data.miniature.datasets.write_datasets", be_overtaken)
        make_miniature(tmp_path / "miniature")
        assert {path.name for path in tmp_path.iterdir()} == {"finished", "miniature"}

    def test_other_parameters_are_refused(self, tmp_path, fake_build):
        folder = make_miniature(tmp_path / "miniature", seed=1)
        with pytest.raises(DatasetError, match=r"seed 1 instead of 2, side 160 instead of 64\. Delete it or choose"):
            make_miniature(folder, seed=2, side=64)

    def test_changed_labels_are_refused(self, tmp_path, fake_build):
        folder = make_miniature(tmp_path / "miniature")
        (folder / "hidden_quality.csv").write_text("other")
        with pytest.raises(DatasetError, match=r"hidden_quality\.csv is missing or was changed"):
            make_miniature(folder)

    def test_files_added_later_do_no_harm(self, tmp_path, fake_build):
        folder = make_miniature(tmp_path / "miniature")
        (folder / "splits").mkdir()
        assert make_miniature(folder) == folder

    def test_other_peoples_folders_are_left_alone(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("mine")
        with pytest.raises(DatasetError, match="holds other files"):
            make_miniature(tmp_path)
        with pytest.raises(DatasetError, match="is not a folder"):
            make_miniature(tmp_path / "thesis.txt")

    def test_empty_folder_is_used(self, tmp_path, fake_build):
        (tmp_path / "miniature").mkdir()
        assert (make_miniature(tmp_path / "miniature") / MARKER).is_file()

    def test_senseless_sizes_are_refused(self, tmp_path):
        with pytest.raises(DatasetError, match="side must be at least 32, not 8"):
            make_miniature(tmp_path / "miniature", side=8)

    def test_missing_package_names_the_extra(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "skimage", None)
        with pytest.raises(DatasetError, match=r'need skimage: pip install "mimi-lightning\[miniature\]"'):
            make_miniature(tmp_path / "miniature")
