"""A run that was interrupted at any moment goes on to the same last digit."""

import os
import random
import signal
import subprocess

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves
from hydra import compose, initialize_config_dir
from lightning.pytorch.utilities.exceptions import SIGTERMException

from mimi_lightning import config, slurm, train
from mimi_lightning.errors import ConfigError, Terminated
from mimi_lightning.module import QualityModel
from mimi_lightning.resume import random_states, set_random_states, write_checkpoint

MIX = ["dataset=[csiq,live]", "trainer.max_epochs=3", "trainer.log_every_n_steps=1"]
ALWAYS = "checkpoint.every_minutes=0"
CLIP = ["backbone=clip_vit_b32", "backbone.model=tiny-test", "view.train.side=32", "backbone.weights=none"]
CLIP += ["mapper.hidden=[8]", "trainer=cpu", "trainer.enable_progress_bar=false", "data.epoch=3", "data.quota=1"]


class PowerCut(BaseException):
    """Ends a run at once, without anything that could be done about it."""


@pytest.fixture
def cut(monkeypatch):
    """Let a run end after so many training steps; the third of the second epoch is number 5."""

    training_step = QualityModel.training_step

    def after(steps, how=PowerCut):
        def step(model, batch):
            if model.global_step == steps:
                raise how
            return training_step(model, batch)

        return monkeypatch.context(), step

    return after


def interrupted(run, cut, steps, *words):
    context, step = cut(steps)
    with context as patch:
        patch.setattr(QualityModel, "training_step", step)
        with pytest.raises(PowerCut):
            run(*words)
    return run(*words)


def assert_same(folder, other):
    """All that a run computed, to the last digit."""
    assert (folder / "predictions.csv").read_bytes() == (other / "predictions.csv").read_bytes()
    for name in ("best.ckpt", "last.ckpt"):
        states = [torch.load(f / "checkpoints" / name, weights_only=True) for f in (folder, other)]
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "random", "epoch", "global_step", "loops"):
            for one, another in zip(*(tree_leaves(state[part]) for state in states), strict=True):
                same = torch.equal(one, another) if isinstance(one, torch.Tensor) else one == another
                assert same, (name, part)


@pytest.fixture
def noisy(monkeypatch):
    """A training whose every step draws from all generators."""

    def judge_batch(model, batch, judge=QualityModel.judge_batch):
        judgement = judge(model, batch)
        if model.training:
            judgement.proxy.add_(random.random() + np.random.rand() + torch.rand(1).item())
        return judgement

    monkeypatch.setattr(QualityModel, "judge_batch", judge_batch)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (5, ["callbacks=[ema,early_stopping]", "data.workers=1"]),
        (6, ["trainer.check_val_every_n_epoch=3", "trainer.accumulate_grad_batches=2"]),
    ],
)
def test_a_run_goes_on_in_the_middle_of_an_epoch(run, noisy, cut, tmp_path, steps, words):
    words = [*MIX, ALWAYS, "data.epoch=4" if "2" in words[-1] else "data.epoch=3", *words]
    through = run(*words).rename(tmp_path / "through")
    assert_same(interrupted(run, cut, steps, *words), through)
