"""Benchmarks: both sides compute the same, take turns, and are held against earlier results."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from benchmarks import BENCHMARKS, __main__, clip, compare, data, flops, harness, profile_step, score, step
from benchmarks.harness import Case, Fact, Timing, alternate
from mimi_lightning import config
from mimi_lightning.data.images import ImageFiles, TrainView
from mimi_lightning.models.clip import CLIPRegressor

MAKEFILE = Path(__file__).parents[1] / "Makefile"


def test_sides_take_turns_and_first_calls_warm():
    called = []

    def side(name, seconds):
        return lambda: called.append(name) or seconds

    plain, ours = alternate(Case("step", {"plain": side("plain", 3.0), "ours": side("ours", 1.0)}, items=4), 2)
    assert called == ["plain", "ours"] * 3
    assert (plain, ours) == (Timing("step", "plain", 4, [3.0, 3.0]), Timing("step", "ours", 4, [1.0, 1.0]))


def test_median_and_quartiles():
    timing = Timing("step", "ours", 1, [5.0, 1.0, 2.0, 100.0, 3.0])
    assert (timing.median, timing.spread) == (3.0, (2.0, 5.0))
    assert Timing("step", "ours", 1, [5.0]).spread == (5.0, 5.0)


def results(**seconds):
    """Results of one benchmark with these sides."""
    timings = [Timing("step", side, 1, values)._asdict() for side, values in seconds.items()]
    around = {"when": "today", "commit": "abc", "quick": False, "processor": "Xeon", "cores": 2, "versions": {}}
    return {**around, "found": {"mapper": {"where": "2 threads", "timings": timings, "facts": []}}}


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ([9.0, 1.0, 1.1, 1.2, 1.3], "faster"),
        ([1.0, 3.0, 3.1, 3.2, 3.3], "slower"),
        ([1.0, 1.0, 1.9, 2.0, 2.0], ""),
        ([1.0, 1.0, 1.0, 1.0], ""),
    ],
)
def test_only_what_lies_beyond_the_spread_of_both_is_another_speed(new, said):
    old, new = (compare.timings(results(ours=values)) for values in ([1.8, 1.9, 2.0, 2.2, 2.4], new))
    assert compare.verdict(*old.values(), *new.values()) == said


def test_two_files_are_held_against_each_other(tmp_path, monkeypatch, capsys):
    other = {**results(ours=5 * [1.0], new=5 * [7.0]), "cores": 64}
    for name, found in ("a", results(ours=5 * [2.0], plain=5 * [3.0])), ("b", other):
        (tmp_path / name).write_text(json.dumps(found))
    monkeypatch.setattr("sys.argv", ["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    compare.main()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert ["mapper", "step", "ours", "2 s", "1 s", "0.50", "faster"] in rows
    assert ["mapper", "step", "plain", "3 s", "-", "", ""] in rows
    assert ["mapper", "step", "new", "-", "7 s", "", ""] in rows


def test_what_was_measured_otherwise_is_told():
    old, new = results(ours=[1.0]), results(ours=[1.0])
    assert not list(compare.differences(old, new))
    new["found"]["mapper"]["where"] = "1 thread"
    assert list(compare.differences(old, {**new, "quick": True})) == [
        "quick: False and True",
        "mapper: 2 threads and 1 thread",
    ]


WHOLE = json.dumps(results(ours=[1.0]))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", '{"found": {"mapper": {}}}', '{"found": {}}', '{"found": []}', WHOLE.replace('"commit"', '"x"')),
        *(WHOLE.replace("[1.0]", seconds) for seconds in ("[]", "[0]", '["x"]', "3")),
    ],
)
def test_a_file_of_something_else_holds_no_results(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(SystemExit, match=r"results\.json holds no results of benchmarks"):
        compare.read(tmp_path / "results.json")


def test_what_was_measured_stays_where_another_benchmark_fails(tmp_path, monkeypatch, capsys):
    found = results(ours=[1.0])["found"]["mapper"]
    monkeypatch.setattr(__main__, "run", lambda name, words: None if name == "clip" else found)
    file = tmp_path / "results.json"
    file.write_text("of before")
    monkeypatch.setattr("sys.argv", ["benchmarks", "mapper", "clip", "rows", "--out", str(file)])
    assert __main__.main() == 1
    written = compare.read(file)
    assert [*written["found"]] == ["mapper", "rows"]
    assert written["processor"]
    assert torch.__version__.startswith(written["versions"]["torch"])
    assert (tmp_path / "results.former.json").read_text() == "of before"
    assert "Not measured: clip" in capsys.readouterr().err


def test_a_look_whether_all_run_replaces_nothing_that_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(__main__, "run", lambda name, words: results(ours=[1.0])["found"]["mapper"])
    monkeypatch.setattr(__main__, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(__main__, "QUICK", tmp_path / "results.quick.json")
    for words in ([], ["--quick"], ["--quick"]):
        monkeypatch.setattr("sys.argv", ["benchmarks", "mapper", *words])
        assert __main__.main() == 0
    assert not json.loads((tmp_path / "results.json").read_text())["quick"]


def test_every_benchmark_has_cases_and_a_target():
    for name in BENCHMARKS:
        assert callable(importlib.import_module(f"benchmarks.{name}").cases)
        assert f"\nbench-{name}: ## " in MAKEFILE.read_text()


@pytest.mark.parametrize("name", ["mapper", "rows", "clip"])
def test_benchmarks_run_small(name, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", [name, "--quick", "--json", str(tmp_path / "found.json")])
    monkeypatch.setattr(clip, "keep_memory", lambda: None)  # for good, of this process
    harness.main(importlib.import_module(f"benchmarks.{name}").cases)
    found = json.loads((tmp_path / "found.json").read_text())
    assert all(seconds > 0 for timing in found["timings"] for seconds in timing["seconds"])
    assert [Fact(**fact) for fact in found["facts"]]


def test_a_profile_tells_all_parts_of_a_step(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["profile", "--quick", "--steps=1"])
    monkeypatch.setattr(profile_step, "EXPERIMENTS", ["mimi_clip"])
    monkeypatch.setattr(profile_step, "keep_memory", lambda: None)
    profile_step.main()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    shares = {part: float(share.rstrip("%")) for part, _, share in filter(None, rows)}
    assert shares.keys() == {*profile_step.PARTS, "other"} - {"pooling", "head"}
    assert sum(shares.values()) == pytest.approx(100, abs=1)
    assert 0 <= shares["other"] < 30


def small_cost(quota):
    words = ["experiment=mimi_resnet34", "splits=generated"]
    backbone = ["backbone=resnet18", "backbone.weights=none", "backbone.hidden=[8]"]
    small = config.load([*words, *backbone, "dataset=[koniq,live]", "view.train.crop=64", f"data.quota={quota}"])
    return flops.count(OmegaConf.to_container(small, resolve=True))


def test_what_an_image_costs_and_what_a_batch_costs():
    one, two = small_cost(1), small_cost(2)
    assert (one.images, two.images) == (2, 4)
    assert two.pixels == 2 * one.pixels == 4 * 3 * 64**2
    assert two.step - two.mapper == 2 * (one.step - one.mapper) > 0
    assert two.mapper == one.mapper > 0
    assert (two.test, two.weights) == (one.test, one.weights)
    assert one.activations < two.activations < 2 * one.activations  # the mapper's table is there once


def test_activations_are_counted_once_and_without_weights():
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4)).to("meta")
    kept = flops.Kept(network)
    with kept:
        network(torch.empty(2, 3, device="meta"))
    assert kept.bytes == 4 * (2 * 3 + 2 * 4)


def test_the_plain_vision_language_network_computes_the_same():
    model = clip.tiny_model()
    plain, ours = (clip.make(kind, model).eval() for kind in (clip.PlainRegressor, CLIPRegressor))
    patches = clip.random_patches(plain, 3, 4)
    with torch.no_grad():
        expected, found = plain(patches), ours(patches)
    torch.testing.assert_close(found.proxy, expected.proxy, rtol=0, atol=1e-5)
    for task in expected.tasks:
        torch.testing.assert_close(found.tasks[task], expected.tasks[task], rtol=0, atol=1e-6)


def test_the_plain_vision_language_step_in_parts_has_the_gradients_of_ours():
    model = clip.tiny_model()
    gradients = []
    for kind in clip.PlainRegressor, CLIPRegressor:
        step = clip.Step(clip.make(kind, model).train(), 2)
        step.optimizer.zero_grad = lambda: None
        step()
        gradients.append({name: p.grad for name, p in step.regressor.clip.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-3 * gradient.abs().max().item())


def test_the_plain_loop_scores_as_the_network_does(tmp_path):
    model = score.make_model("resnet18", "backbone.stage=-2", "backbone.hidden=[8]").eval()
    file = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (72, 96, 3), dtype=np.uint8)).save(file)
    (expected,), (found,) = (side(model)([str(file)]) for side in (lambda m: score.ours(m, "32"), score.plain_loop))
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_plain_loader_makes_the_same_pictures(tmp_path, monkeypatch, suffix):
    """A crop of all of it, so that chance has mirroring alone."""
    monkeypatch.setattr(data, "CROP", 64)
    monkeypatch.setattr(data, "RESIZE", 64)
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8))
    smooth.resize((96, 96), Image.Resampling.BICUBIC).save(tmp_path / f"picture{suffix}", quality=95)
    files = [tmp_path / f"picture{suffix}"]
    ((plain, _),) = data.plain_loader(files)
    ours = TrainView(64, 64)(ImageFiles(files, 64)[0], 0)
    (ours,) = data.normalised([ours[None]])
    gaps = [(plain - each).abs().max().item() for each in (ours, ours.flip(-1))]
    assert min(gaps) < 0.05 < max(gaps)


@pytest.mark.parametrize("channels", [16, 512])
def test_a_plain_training_step_computes_the_same(channels):
    model, batch = step.make(48, 2, "backbone=resnet18", "backbone.stage=-3", f"backbone.max_channels={channels}")
    steps = step.plain_step(model, batch), step.our_step(model, batch, "32-true")
    for _ in range(3):
        plain, ours = (take() for take in steps)
        torch.testing.assert_close(ours, plain, rtol=2e-4, atol=0)
