import doctest

import numpy as np
import pytest
import torch
from PIL import Image

import mimi_lightning
from mimi_lightning.errors import ConfigError, DatasetError
from mimi_lightning.ruler import ruler as module
from mimi_lightning.ruler.pictures import as_picture
from mimi_lightning.ruler.ruler import load
from tests.ruler.conftest import make_model


def test_examples_in_the_docstrings_hold(checkpoint, picture):
    known = {"load": mimi_lightning.load, "Image": Image, "checkpoint": checkpoint, "picture": str(picture)}
    assert doctest.testmod(module, extraglobs=known) == (0, 4)


@pytest.mark.parametrize(
    "kind",
    ["str", "path", "image", "array", "tensor", "uint16 array", "uint16 tensor", "read-only array"],
)
def test_a_picture_has_one_score_however_it_comes(kind, ruler, picture, pixels):
    frozen = pixels.copy()
    frozen.setflags(write=False)
    given = {
        "str": str(picture),
        "path": picture,
        "image": Image.open(picture),
        "array": pixels,
        "tensor": torch.tensor(pixels).permute(2, 0, 1),
        "uint16 array": pixels.astype(np.uint16) * 257,
        "uint16 tensor": torch.tensor(pixels.astype(np.uint16) * 257).permute(2, 0, 1),
        "read-only array": frozen,
    }[kind]
    assert float(ruler.score(given)) == ruler.score(picture)


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor], ids=["array", "tensor"])
def test_pictures_of_floats_are_the_same_pictures_but_for_rounding(make, ruler, pixels):
    small, large = pixels[:48, :48], pixels
    for picture, tolerance in ((small, 1e-6), (large, 2e-2)):  # resizing does not round floats
        floats = make(picture / 255)
        floats = floats.permute(2, 0, 1) if make is torch.as_tensor else floats
        assert float(ruler.score(floats)) == pytest.approx(ruler.score(picture), abs=tolerance)


def test_grey_transparency_palette_and_rotation_follow_one_rule(ruler, pixels, tmp_path):
    grey = pixels[..., 0]
    assert ruler.score(grey) == ruler.score(np.stack([grey] * 3, -1)) == ruler.score(grey[..., None])
    assert ruler.score(grey / 255) == pytest.approx(ruler.score(np.stack([grey] * 3, -1) / 255))
    see_through = np.dstack([pixels, np.zeros_like(grey)])
    assert ruler.score(see_through) == ruler.score(np.full_like(pixels, 128))
    few = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE, colors=32)
    assert ruler.score(few) == ruler.score(few.convert("RGB"))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "lying.png", exif=exif)
    assert ruler.score(tmp_path / "lying.png") == ruler.score(pixels)
    cmyk = Image.fromarray(pixels).convert("CMYK")
    assert ruler.score(cmyk) == ruler.score(cmyk.convert("RGB"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.full((3, 4, 3), 1.5), "0..1, not 1.5 to 1.5"),
        (torch.full((3, 4, 4), -0.1), "0..1, not -0.1"),
        (torch.full((3, 4, 4), torch.nan), "0..1, not nan"),
        (np.zeros((4, 4, 3), np.int64), "not torch.int64"),
        (np.array([["a"]]), "not <U1"),
        (torch.zeros(4), "this one has"),
        (torch.zeros(2, 4, 4), "1 or 3 channels"),
        (torch.zeros(4, 5, 6, dtype=torch.uint8).permute(2, 1, 0), "1 to 4 channels"),
        (np.zeros((0, 4, 3), np.uint8), "this one has"),
        (Image.new("F", (4, 4)), "32 bits"),
        ("nowhere.png", "nowhere.png is missing"),
        (None, "NoneType is no picture"),
        ([], "no picture to score"),
    ],
)
def test_what_is_no_picture_is_refused(given, said, ruler):
    with pytest.raises(DatasetError, match=said):
        ruler.score(given)


def test_a_score_depends_on_no_other_picture(ruler, picture, pixels):
    others = [pixels[:, ::-1], pixels[::-1], pixels[:40, :40], pixels]
    alone = [ruler.score(other) for other in others]
    together = ruler.score([*others, picture])
    assert together == pytest.approx([*alone, ruler.score(picture)], abs=1e-5)
    assert ruler.score(list(reversed(others))) == pytest.approx(together[3::-1], abs=1e-5)
    assert ruler.score(np.stack([pixels, pixels[::-1]])) == pytest.approx([alone[3], alone[1]], abs=1e-5)


def test_of_many_pictures_one_batch_is_held_at_a_time(ruler, pixels, monkeypatch):
    monkeypatch.setattr(module, "TOGETHER", 2)
    done = []
    monkeypatch.setattr(module, "as_picture", lambda *told: done.append("read") or as_picture(*told))
    hook = ruler.model.regressor.register_forward_hook(lambda *_: done.append("scored"))
    ruler.score([pixels] * 5)
    hook.remove()
    assert done == ["read", "read", "scored", "read", "read", "scored", "read", "scored"]


def test_scores_come_as_pictures_do(ruler, pixels):
    tensor = torch.tensor(pixels).permute(2, 0, 1)
    assert isinstance(ruler.score(pixels), float)
    assert ruler.score([pixels]).shape == (1,)
    assert ruler.score(tensor).shape == ()
    assert ruler.score(tensor[None].repeat(2, 1, 1, 1)).shape == (2,)


def test_native_scores_and_deviations_are_those_of_the_model(checkpoint, pixels):
    model = make_model(regressor={**make_model().hparams.regressor, "says": "deviation"}).eval()
    ruler = module.Ruler(model)
    view = torch.tensor(pixels[:48, :48]).permute(2, 0, 1)
    judgement = model.judge(view[None])
    number = model.number(["live"])
    expected = [each.item() for each in model.predict(judgement.proxy, judgement.std, number)]
    assert ruler.score(pixels[:48, :48], scale="live", with_std=True) == pytest.approx(expected)
    assert ruler.score(pixels[:48, :48], with_std=True) == pytest.approx((judgement.proxy.item(), judgement.std.item()))
    assert np.isnan(load(checkpoint, "cpu").score(pixels, with_std=True)[1])
    with pytest.raises(ConfigError, match="does not know koniq; it knows csiq, live"):
        ruler.score(pixels, scale="koniq")


def test_a_scale_whose_labels_nobody_knows_is_refused(pixels):
    facts = make_model().hparams.datasets
    ruler = module.Ruler(make_model(datasets={**facts, "csiq": {**facts["csiq"], "labels": [np.nan, np.nan]}}))
    assert ruler.scales == ("live",)
    assert np.isfinite(ruler.score(pixels, scale="live"))
    for use in (lambda: ruler.score(pixels, scale="csiq"), lambda: ruler.translate([0.5], "csiq", "live")):
        with pytest.raises(ConfigError, match="proxy scores of csiq alone"):
            use()


@pytest.mark.parametrize("side", [40, 60], ids=["as it is", "resized"])
def test_gradients_reach_a_picture_of_floats(side, pixels):
    ruler = module.Ruler(make_model())
    picture = torch.tensor(0.1 + 0.8 * pixels[:side, :side] / 255).permute(2, 0, 1).requires_grad_()
    score = ruler.score(picture)
    score.backward()
    step = 1e-3 * picture.grad / picture.grad.abs().max()  # the way on which the score changes most
    with torch.no_grad():
        difference = ruler.score(picture + step) - ruler.score(picture - step)
    assert (picture.grad * 2 * step).sum().item() == pytest.approx(difference.item(), rel=3e-2)
    assert not any(parameter.requires_grad for parameter in ruler.model.parameters())


def test_nothing_learns_where_no_picture_does(ruler, pixels):
    assert not ruler.score(torch.tensor(pixels).permute(2, 0, 1) / 255).requires_grad


@pytest.mark.parametrize("mapper", ["linear", "logistic", "Monotone", "minn", "Spline"])
def test_translation_there_and_back_ends_where_it_began(mapper):
    ruler = module.Ruler(make_model(mapper))
    scores = np.linspace(0.15, 0.85, 15)
    there = ruler.translate(scores, "csiq", "live")
    assert (np.diff(there) > 0).all()
    assert ruler.translate(there, "live", "csiq") == pytest.approx(scores, abs=1e-4)
    assert ruler.translate(0.5, "csiq", "live") == pytest.approx(there[7], abs=1e-3)
    assert ruler.translate(0.5, "csiq", "live").shape == ()
    proxy = ruler.translate(scores, "csiq", "proxy")
    assert ruler.translate(proxy, "proxy", "csiq") == pytest.approx(scores, abs=1e-4)


def test_translation_outside_of_what_is_reached_is_not_a_number_or_clamped(ruler):
    inside, outside = ruler.translate([0.5, 7.0], "csiq", "live")
    assert np.isfinite(inside)
    assert np.isnan(outside)
    low, high = ruler.translate([-3.0, 7.0], "csiq", "live", clamp=True)
    assert 0 <= low < high <= 100
    with pytest.raises(ConfigError, match="does not know koniq"):
        ruler.translate([1.0], "koniq", "live")


def test_a_mapper_without_inverse_translates_nothing(monkeypatch):
    ruler = module.Ruler(make_model())
    monkeypatch.setattr(type(ruler.model.mapper), "invertible", False)
    with pytest.raises(ConfigError, match="has no inverse"):
        ruler.translate([0.5], "csiq", "live")


def test_a_score_is_explained_by_range_percentile_and_pictures(ruler):
    meaning = ruler.explain(30.2, "live", examples=2)
    assert (meaning.low, meaning.high, meaning.outside) == (0.0, 100.0, False)
    assert meaning.percentile == pytest.approx(100 * 31 / 101)
    assert meaning.examples == [("marks/30.bmp", 30.0), ("marks/31.bmp", 31.0)]
    assert ruler.explain(101, "live").outside
    unknown = ruler.explain(0.5, "csiq")
    assert unknown.examples == []
    assert np.isnan(unknown.percentile)


def test_half_precision_is_of_the_network_alone(ruler, checkpoint, pixels):
    fast = load(checkpoint, "cpu", "bf16")
    score = fast.score(torch.tensor(pixels).permute(2, 0, 1))
    assert score.dtype == torch.float32
    assert float(score) != ruler.score(pixels)
    assert float(score) == pytest.approx(ruler.score(pixels), abs=2e-2)
    with pytest.raises(ConfigError, match="expected 32 or bf16"):
        load(checkpoint, "cpu", "16")


def test_checkpoints_that_cannot_score_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="There is no checkpoint"):
        load(tmp_path / "none.ckpt")
    make_model(view=None).save(tmp_path / "old.ckpt")
    with pytest.raises(ConfigError, match="does not say what testing saw"):
        load(tmp_path / "old.ckpt")
    make_model().save(tmp_path / "good.ckpt")
    with pytest.raises(ConfigError, match="device toaster cannot be used"):
        load(tmp_path / "good.ckpt", "toaster")
