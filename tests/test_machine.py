"""What `trainer.precision=auto` chooses, and when it must not choose anew."""

import json

import pytest
import torch

from mimi_lightning import machine
from mimi_lightning.run_folder import RunFolder


@pytest.fixture
def settings():
    trainer = {"accelerator": "cpu", "precision": "auto", "gradient_clip_val": None, "max_epochs": 1}
    return {"trainer": trainer, "optimizer": {"_target_": "torch.optim.Adam"}, "overwrite": False}


@pytest.fixture
def processor(monkeypatch):
    """Let this processor have AMX, or neither it nor AVX512-BF16."""

    def pretend(amx: bool) -> None:
        told = {"cpu_name": "a processor", "amx_bf16": amx, "avx512_bf16": False}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)

    return pretend


@pytest.fixture
def card(monkeypatch):
    """Let there be a GPU, with bfloat16 or without."""

    def pretend(bfloat: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")

    return pretend


@pytest.mark.parametrize(("amx", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_processor_gets_what_it_multiplies(settings, processor, tmp_path, capsys, amx, precision):
    processor(amx)
    chosen = machine.settle(settings, RunFolder(tmp_path))
    assert chosen["trainer"] == settings["trainer"] | {"precision": precision}
    assert chosen["optimizer"]["fused"] is True
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert said.startswith("a processor, ")
    assert f"precision {precision} (trainer=exact" in said


@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cuda"])
@pytest.mark.parametrize(("bfloat", "precision"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_a_card_gets_what_it_multiplies(settings, card, tmp_path, capsys, accelerator, bfloat, precision):
    card(bfloat)
    settings["trainer"]["accelerator"] = accelerator
    assert machine.settle(settings, RunFolder(tmp_path))["trainer"]["precision"] == precision
    assert capsys.readouterr().out.startswith(f"a card: precision {precision}")


def test_an_old_pytorch_that_tells_nothing_gets_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert machine.best_precision("cpu") == "32-true"
    assert "threads" in machine.describe("cpu")


def test_other_devices_get_float32():
    assert [machine.best_precision(device) for device in ("mps", "xpu")] == ["32-true", "32-true"]


def test_a_precision_of_ones_own_is_left_alone(settings, tmp_path, capsys):
    settings["trainer"]["precision"] = "32-true"
    assert machine.settle(settings, RunFolder(tmp_path)) == settings
    assert capsys.readouterr().out == ""


def test_an_optimiser_that_cannot_is_not_fused(settings, processor, tmp_path):
    processor(amx=True)
    settings["optimizer"] = {"_target_": "torch.optim.LBFGS"}
    assert "fused" not in machine.settle(settings, RunFolder(tmp_path))["optimizer"]
    settings["optimizer"] = {"_target_": "torch.optim.Adam", "fused": False}
    assert machine.settle(settings, RunFolder(tmp_path))["optimizer"]["fused"] is False
    settings["optimizer"] = {"_target_": "torch.optim.Adam", "foreach": True}  # torch refuses both
    assert "fused" not in machine.settle(settings, RunFolder(tmp_path))["optimizer"]


def test_gradients_clipped_in_float16_are_unscaled_before_the_step(settings, card, tmp_path):
    card(bfloat=False)
    settings["trainer"] |= {"accelerator": "gpu", "gradient_clip_val": 1.0}
    assert "fused" not in machine.settle(settings, RunFolder(tmp_path))["optimizer"]


@pytest.mark.parametrize("begun", ["checkpoints/last.ckpt", "metrics.json"])
def test_a_run_keeps_the_precision_that_it_was_begun_with(settings, processor, tmp_path, begun):
    processor(amx=True)
    (tmp_path / "config.yaml").write_text("trainer: {precision: 32-true}\n")
    assert machine.settle(settings, RunFolder(tmp_path))["trainer"]["precision"] == "bf16-mixed"  # nothing is there yet
    (tmp_path / begun).parent.mkdir(exist_ok=True)
    (tmp_path / begun).touch()
    assert machine.settle(settings, RunFolder(tmp_path))["trainer"]["precision"] == "32-true"
    settings["overwrite"] = True
    assert machine.settle(settings, RunFolder(tmp_path))["trainer"]["precision"] == "bf16-mixed"


@pytest.mark.parametrize("asked", ["auto", "bf16-mixed"])
@pytest.mark.parametrize("optimizer", [{}, {"fused": True}])
def test_a_run_keeps_the_steps_that_it_was_begun_with(settings, processor, tmp_path, asked, optimizer):
    """A fused step may round otherwise, and runs of former versions took none."""
    processor(amx=True)
    begun = {"trainer": {"precision": "bf16-mixed"}, "optimizer": {"_target_": "torch.optim.Adam", **optimizer}}
    (tmp_path / "config.yaml").write_text(json.dumps(begun))
    (tmp_path / "metrics.json").touch()
    settings["trainer"]["precision"] = asked
    assert machine.settle(settings, RunFolder(tmp_path))["optimizer"] == begun["optimizer"]


def test_a_run_that_does_not_say_its_precision_is_of_float32(settings, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 3\n")
    (tmp_path / "metrics.json").touch()
    assert machine.settle(settings, RunFolder(tmp_path))["trainer"]["precision"] == "32-true"


HOOKS = ("train_epoch_start", "validation_start", "validation_end", "test_start", "test_end")


@pytest.mark.parametrize(("search", "compiled"), [(True, False), (False, True)])
def test_crops_alone_are_searched_and_compiled_for(monkeypatch, search, compiled):
    stances, searches = [], []
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.compiler, "set_stance", stances.append)
    shapes = machine.FixedShapes(search, compiled)
    for hook in HOOKS:
        getattr(shapes, f"on_{hook}")(None, None)
        searches.append(torch.backends.cudnn.benchmark)
    assert searches == [search, False, search, False, False]
    assert stances == (["default", "force_eager", "default", "force_eager", "default"] if compiled else [])


def test_what_cannot_be_compiled_runs_as_it_is_and_that_is_said(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no compiler\nand a long story")

    monkeypatch.setattr("torch._dynamo.lookup_backend", lambda name: broken)
    layer = torch.nn.Linear(3, 2)
    expected = layer(torch.ones(1, 3))
    layer.compile(backend=machine.compile_or_not)
    with pytest.warns(UserWarning, match=r"torch.compile cannot be used here and is left out: no compiler$"):
        assert torch.equal(layer(torch.ones(1, 3)), expected)
