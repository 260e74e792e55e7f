"""A scale of one's own: read, fitted by cross-validation, and added to a model that keeps all others."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

from mimi_lightning.cli import main
from mimi_lightning.errors import ConfigError, DatasetError, ScoreError
from mimi_lightning.evaluation.statistics import interval, rmse_of, srcc_of
from mimi_lightning.models.targets import MinMax
from mimi_lightning.module import QualityModel
from mimi_lightning.ruler import calibrate
from mimi_lightning.ruler.choosing import FOLDS, KINDS, Candidate, choose, cross_validate
from mimi_lightning.ruler.own_scores import read_scores
from mimi_lightning.ruler.ruler import load
from mimi_lightning.ruler.scales import NewScale, add_scale, with_regressor

MAPPERS = "mimi_lightning.models.mappers"
PICTURES = 24


def make_model(mapper="Linear", gauge="Free", **arguments):
    """Of two datasets, with random weights."""
    torch.manual_seed(0)
    regressor = {
        "_target_": "mimi_lightning.models.regressor.PooledRegressor",
        "name": "test_resnet",
        "weights": "none",
    }
    facts = {"range": [0.0, 100.0], "labels": [5.0, 90.0], "weight": 1, "size": 20}
    model = QualityModel(
        regressor={**regressor, "stage": -3, "hidden": [8], "pool": "mean_std"},
        mapper={"_target_": f"{MAPPERS}.{mapper}", **arguments},
        objective={"_target_": "mimi_lightning.objectives.Regression"},
        datasets={"csiq": {**facts, "range": [0.0, 1.0], "labels": [0.1, 0.8]}, "live": facts},
        view={"_target_": "mimi_lightning.data.images.TestView", "resize": 64},
        gauge={"_target_": f"mimi_lightning.gauges.{gauge}", **({"dataset": "live"} if gauge == "Anchor" else {})},
        marks={"live": [("a.jpg", 5.0), ("b.jpg", 90.0)]},
    )
    with torch.no_grad():
        for parameter in model.mapper.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures, a checkpoint, and scores that a line makes of what it says of them."""
    folder = tmp_path_factory.mktemp("own")
    model = make_model()
    model.save(folder / "old" / "checkpoints" / "best.ckpt")
    random = np.random.default_rng(0)
    names = [f"{number:02d}.png" for number in range(PICTURES)]
    for number, name in enumerate(names):
        pixels = 128 + (5 + 5 * number) * random.standard_normal((48, 48, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
    proxy = load(folder / "old" / "checkpoints" / "best.ckpt").score([folder / name for name in names])
    table = pd.DataFrame({"image": names, "mos": 3 + 2 * (proxy - proxy.min()) / np.ptp(proxy)})
    table.to_csv(folder / "scores.csv", index=False)
    return folder


@pytest.fixture
def command(folder, tmp_path, monkeypatch):
    """The verb on that checkpoint; the two richest mappers are left to the tests of choosing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calibrate, "KINDS", {kind: KINDS[kind] for kind in ("linear", "logistic")})

    def start(table=folder / "scores.csv", *words, images=folder):
        checkpoint = folder / "old" / "checkpoints" / "best.ckpt"
        return main(["calibrate", str(table), "--checkpoint", str(checkpoint), "--images", str(images), *words])

    return start


class TestReading:
    @pytest.fixture
    def table(self, folder, tmp_path):
        """Writes a changed table of the scores."""

        def write(change):
            file = tmp_path / "changed.csv"
            change(pd.read_csv(folder / "scores.csv")).to_csv(file, index=False)
            return file

        return write

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda rows: rows.head(9), "has 9 scores: 10 are the least"),
            (lambda rows: rows.assign(mos=3), "all 24 scores are 3. There must be better and worse ones"),
            (lambda rows: rows.assign(image="gone.png"), "labels gone.png, but there is no such file"),
            (lambda rows: pd.concat([rows, rows.tail(1)]), r"row 25 has an image that is listed twice .*23\.png"),
            (lambda rows: rows.assign(mos=np.nan), "row 1 has a score that is not a finite number"),
            (lambda rows: rows.rename(columns={"mos": "MOS"}), "has no column 'mos' for mos; it has image, MOS"),
        ],
    )
    def test_bad_tables_are_refused(self, table, folder, change, message):
        with pytest.raises(DatasetError, match=message):
            read_scores(table(change), "mine", (), folder)

    @pytest.mark.parametrize("name", ["proxy", "all", "path", "my scale", ""])
    def test_names_that_mean_something_else(self, folder, name):
        with pytest.raises(DatasetError, match="a scale is called by a word"):
            read_scores(folder / "scores.csv", name, ())

    def test_a_scale_that_is_there(self, folder):
        with pytest.raises(DatasetError, match="has a scale 'live' already: choose another --name"):
            read_scores(folder / "scores.csv", "live", ("csiq", "live"))

    def test_range(self, folder):
        assert read_scores(folder / "scores.csv", "mine", ()).range == pytest.approx((3, 5))
        assert read_scores(folder / "scores.csv", "mine", (), ends=(1, 5.1)).range == (1, 5.1)
        with pytest.raises(DatasetError, match="--range 0 inf: expected two numbers"):
            read_scores(folder / "scores.csv", "mine", (), ends=(0, np.inf))
        with pytest.raises(DatasetError, match="scores run from 3 to 5, beyond --range 4 6"):
            read_scores(folder / "scores.csv", "mine", (), ends=(4, 6))


class TestChoosing:
    """On scores without any picture."""

    scale = MinMax([{"range": [0, 100], "labels": [10.0, 90.0]}])

    @staticmethod
    def draw(number, curve, noise):
        generator = torch.Generator().manual_seed(1)
        q = torch.randn(number, generator=generator)
        return q, (50 + 40 * curve(q) + noise * torch.randn(number, generator=generator)).double()

    def test_every_score_is_left_out_once(self):
        q, mos = self.draw(40, lambda q: q / 3, 5)
        predicted = cross_validate("linear", q, mos, self.scale).predicted
        fold = torch.randperm(40, generator=torch.Generator().manual_seed(0)) % FOLDS
        expected = np.empty(40)
        for k in range(FOLDS):
            line = np.polyfit(q[fold != k].double(), mos[fold != k], 1)
            expected[fold == k] = np.polyval(line, q[fold == k].double())
        np.testing.assert_allclose(predicted, expected, rtol=1e-5)

    @pytest.mark.parametrize(("curve", "kind"), [(lambda q: q / 3, "linear"), (lambda q: (2 * q).tanh(), "logistic")])
    def test_the_simplest_that_says_it_is_chosen(self, curve, kind):
        q, mos = self.draw(50, curve, 4)
        candidates = [cross_validate(each, q, mos, self.scale, folds=2) for each in ("linear", "logistic", "spline")]
        assert choose(candidates).kind == kind
        low, high = choose(candidates).interval()
        assert 3 < low < choose(candidates).rmse < high < 6

    def test_a_simple_one_must_not_be_worse_beyond_its_standard_error(self):
        mos, error = np.zeros(50), np.full(50, 2.0)
        rich = Candidate("minn", mos, error, {})
        perhaps = Candidate("linear", mos, error + np.tile([0.1, -0.09], 25), {})
        surely = Candidate("linear", mos, error + np.tile([0.1, -0.02], 25), {})
        assert choose([perhaps, rich]) is perhaps
        assert choose([surely, rich]) is rich

    def test_it_is_the_same_every_time(self, monkeypatch):
        monkeypatch.setattr("mimi_lightning.models.fitting.ITERATIONS", 3)
        q, mos = self.draw(12, lambda q: q / 3, 5)
        first, second = (cross_validate("minn", q, mos, self.scale, folds=2).predicted for _ in range(2))
        np.testing.assert_array_equal(first, second)


def test_intervals_are_those_of_resampled_pictures():
    random = np.random.default_rng(0)
    score = random.normal(size=60)
    mos = score + random.normal(size=60)
    for figure, plain in ((srcc_of, lambda *of: spearmanr(*of[:2])[0]), (rmse_of, rmse_of)):
        drawn = np.array([plain(score[i], mos[i], 0) for i in random.integers(0, 60, (2000, 60))])
        np.testing.assert_allclose(interval(figure, score, mos), np.quantile(drawn, [0.025, 0.975]), atol=0.03)


class TestAdding:
    """One more scale for a model."""

    new = NewScale(
        "mine",
        {"range": [1.0, 5.0], "labels": [2.0, 4.0], "weight": 1, "size": 30},
        {"_target_": f"{MAPPERS}.Linear"},
        {"slope": torch.tensor([[0.5]]), "offset": torch.tensor([[0.25]])},
        [("c.jpg", 2.0), ("d.jpg", 4.0)],
    )

    @pytest.mark.parametrize(
        ("mapper", "gauge", "arguments"),
        [
            ("Linear", "Free", {}),
            ("MINN", "Range", {"hidden": [8, 8]}),
            ("Spline", "Anchor", {}),
            ("Logistic", "Moments", {}),
            ("MDTVSFA", "Free", {}),
            ("Embedding", "Free", {}),
            ("Heads", "Free", {"hidden": [8]}),
        ],
    )
    def test_all_else_stays_bit_for_bit(self, mapper, gauge, arguments, tmp_path):
        model = make_model(mapper, gauge, **arguments)
        add_scale(add_scale(model, self.new), self.new._replace(name="again")).save(tmp_path / "new.ckpt")
        after = QualityModel.load(tmp_path / "new.ckpt")
        assert after.names == ["again", "csiq", "live", "mine"]
        assert set(after.marks) == {"live", "mine", "again"}
        pixels = torch.randint(0, 256, (3, 3, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        q = torch.linspace(-3, 3, 37)
        with torch.no_grad():
            assert torch.equal(model(pixels), after(pixels))
            for name in model.names:
                old, new = (each.number([name]).expand(37) for each in (model, after))
                mos = model.predict_mos(q, old)
                assert torch.equal(after.predict_mos(q, new), mos)
                if model.mapper.invertible:
                    assert torch.equal(after.align(mos, new), model.align(mos, old))
            expected = 2 + 2 * (torch.nn.functional.softplus(torch.tensor(0.5)) * q + 0.25)
            for name in ("mine", "again"):
                torch.testing.assert_close(after.predict_mos(q, after.number([name]).expand(37)), expected)

    def test_another_network_keeps_the_scales(self):
        model, other = make_model(), make_model()
        with torch.no_grad():
            other.regressor.head[-1].bias.add_(1.0)
        changed = with_regressor(model, other)
        pixels = torch.zeros(2, 3, 48, 48, dtype=torch.uint8)
        assert torch.equal(changed(pixels), other(pixels))
        assert torch.equal(changed.mapper.slope, model.mapper.slope)
        assert changed.marks == model.marks


class TestCommand:
    def test_the_checkpoint_knows_the_scale(self, command, folder, capsys):
        assert command(folder / "scores.csv", "--range", "1", "5") == 0
        said = capsys.readouterr().out
        assert "linear (chosen)" in said
        assert "SRCC 1.000 (1.000 to 1.000), whatever the mapper." in said
        ruler, table = load("mine.ckpt"), pd.read_csv(folder / "scores.csv")
        assert ruler.scales == ("csiq", "live", "mine")
        paths = [folder / name for name in table["image"]]
        np.testing.assert_allclose(ruler.score(paths, scale="mine"), table["mos"], atol=1e-4)
        meaning = ruler.explain(4.0, "mine")
        assert (meaning.low, meaning.high) == (1, 5)
        assert set(dict(meaning.examples)) <= set(table["image"])
        there = ruler.translate([3.2, 4.4], "mine", "live")
        np.testing.assert_allclose(ruler.translate(there, "live", "mine"), [3.2, 4.4], atol=4e-4)

    def test_nothing_is_written_over(self, command, folder, tmp_path):
        (tmp_path / "mine.ckpt").write_text("mine")
        with pytest.raises(ConfigError, match=r"mine\.ckpt is there already: choose another --out"):
            command()
        with pytest.raises(ConfigError, match="there is no folder"):
            command(folder / "scores.csv", "--out", "gone/mine.ckpt")
        assert (tmp_path / "mine.ckpt").read_text() == "mine"

    def test_scores_where_lower_is_better(self, command, folder, tmp_path):
        rows = pd.read_csv(folder / "scores.csv")
        rows.assign(mos=-rows["mos"]).to_csv(tmp_path / "dmos.csv", index=False)
        with pytest.raises(ScoreError, match=r"fall where those of the model rise \(SRCC -1.000\): higher has to be"):
            command(tmp_path / "dmos.csv")
        assert not (tmp_path / "mine.ckpt").exists()

    def test_scores_that_the_model_does_not_see(self, command, folder, tmp_path, capsys):
        rows = pd.read_csv(folder / "scores.csv")
        rows.assign(mos=rows["mos"].sample(frac=1, random_state=3).to_numpy()).to_csv(tmp_path / "any.csv", index=False)
        assert command(tmp_path / "any.csv") == 0
        assert "no better than chance" in capsys.readouterr().out
