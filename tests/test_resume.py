"""A run that was interrupted at any moment goes on to the same last digit."""

import errno
import os
import random
import signal
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from experiments.chaos import Death, differences, live
from mimi_lightning import config, train
from mimi_lightning.errors import ConfigError, Terminated
from mimi_lightning.module import QualityModel
from mimi_lightning.resume import WholeCheckpoints, random_states, set_random_states, write_checkpoint

CLIP = [
    *("backbone=clip_vit_b32", "backbone.model=tiny-test", "backbone.weights=none", "mapper.hidden=[8]"),
    *("view.train.side=32", "dataset=[csiq,live]", "data.epoch=4", "data.workers=0", "data.quota=1"),
    *("trainer=cpu", "trainer.max_epochs=3", "trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1"),
]
STOPS = ["callbacks=[ema,early_stopping]", "callbacks.early_stopping.patience=1"]
KILLS = [
    Death("mimi_lightning.data.cache_build._load", 5),
    Death("mimi_lightning.module.QualityModel.training_step", 3),
    Death("pathlib.Path.replace", 4, "last.ckpt"),  # the last state has become the former one, and there is no new one
    Death("mimi_lightning.module.QualityModel.validation_step", 2),
    Death("pathlib.Path.replace", 1, "metrics.json"),
]


def test_a_run_that_is_killed_five_times_ends_in_the_same_last_digit(miniature, fast, tmp_path):
    words = [*fast, *STOPS, "callbacks.early_stopping.min_delta=2", "trainer.max_epochs=4", "mapper.hidden=[8]"]
    words += ["dataset=[csiq,live]", "data.workers=1", "data.test_batch=2", "checkpoint.every_minutes=0"]
    words += [f"paths.datasets={miniature}"]
    (scratch := tmp_path / (70 * "x")).mkdir()  # where the sockets of workers would not fit

    def life(name, death=None):
        outputs = tmp_path / name
        own = f"data.cache={outputs}/cache", f"splits.store={outputs}/splits"
        return live([*words, *own], outputs, scratch, death)

    assert life("alone")
    assert [life("killed", death) for death in KILLS] == [False] * 5
    assert life("killed")
    killed, alone = (tmp_path / name / "mimi/resnet18/split01" for name in ("killed", "alone"))
    assert differences(killed, alone) == []
    assert torch.load(killed / "checkpoints/last.ckpt", weights_only=True)["epoch"] == 1  # it had stopped early
    scratch.rmdir()  # nobody left anything there


@pytest.fixture
def noisy(monkeypatch):
    """Let every training step draw from all generators."""
    judge = QualityModel.judge_batch

    def judge_batch(model, batch):
        judgement = judge(model, batch)
        if model.training:
            judgement.proxy.add_(random.random() + np.random.rand() + torch.rand(1).item())
        return judgement

    monkeypatch.setattr(QualityModel, "judge_batch", judge_batch)


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Slurm's command, and what it was told."""
    told, tool = tmp_path / "told", tmp_path / "bin" / "scontrol"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    tool.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)
    return told


def test_task_weights_and_random_numbers_go_on_after_slurm_ended_the_job(
    miniature, tiny_clip, noisy, blank, scontrol, tmp_path, monkeypatch
):
    """The weights of the third epoch follow from sums over the first two, in whose midst the run is ended."""
    training_step = QualityModel.training_step

    def run(name, end=None, *words):
        def step(model, batch):
            if end and model.trainer.fit_loop.total_batch_idx == end[0]:
                end[1]()
            return training_step(model, batch)

        config.register_resolvers()
        paths = [f"paths.datasets={miniature}", f"splits.store={tmp_path}/splits", f"paths.outputs={tmp_path}/{name}"]
        with initialize_config_dir(str(config.conf_dir()), version_base="1.3"), monkeypatch.context() as patch:
            patch.setattr(QualityModel, "training_step", step)
            train.train(compose("config", [*CLIP, "trainer.accumulate_grad_batches=2", *paths, *words]))
        return tmp_path / name / "mimi/clip_vit_b32/split01"

    alone = run("alone")
    monkeypatch.setenv("SLURM_JOB_ID", "123")
    with pytest.raises(Terminated, match=r"The same command goes on from there"):
        run("ended", (1, lambda: os.kill(os.getpid(), signal.SIGUSR1)), "checkpoint.every_minutes=null")
    with pytest.raises(Terminated):  # before the second of two batches whose gradients are summed up
        run("ended", (4, lambda: os.kill(os.getpid(), signal.SIGTERM)), "checkpoint.every_minutes=null")
    assert scontrol.read_text() == 2 * "requeue 123\n"
    with pytest.raises(ZeroDivisionError):
        run("ended", (7, lambda: 1 / 0), "checkpoint.every_minutes=0")
    assert differences(run("ended"), alone) == []


def test_random_states_are_plain_and_come_back(tmp_path):
    write_checkpoint({"random": random_states(torch.device("cpu"))}, tmp_path / "best.ckpt")
    drawn = [(random.random(), np.random.rand(), torch.rand(1).item()) for _ in range(2)]
    set_random_states(torch.load(tmp_path / "best.ckpt", weights_only=True)["random"])
    assert [(random.random(), np.random.rand(), torch.rand(1).item()) for _ in range(2)] == drawn


@pytest.fixture
def states(tmp_path):
    """Two states of a run, one after the other."""
    for number in (1, 2):
        write_checkpoint({"number": torch.tensor(number)}, tmp_path / "last.ckpt")
    return tmp_path


def _cut_off(file):
    file.write_bytes(file.read_bytes()[:-99])


def _spoil(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [_cut_off, _spoil, lambda file: file.write_bytes(b"")])
def test_a_damaged_state_is_named_and_the_one_before_is_used(states, damage):
    read = WholeCheckpoints().load_checkpoint
    assert read(states / "last.ckpt")["number"] == 2
    damage(states / "last.ckpt")
    with pytest.warns(UserWarning, match=r"last.ckpt is damaged. The run goes on from the one before, former.ckpt"):
        assert read(states / "last.ckpt")["number"] == 1
    damage(states / "former.ckpt")
    with (
        pytest.warns(UserWarning, match=r"last.ckpt is damaged"),
        pytest.raises(ConfigError, match=r"former.ckpt is missing or damaged"),
    ):
        read(states / "last.ckpt")


def test_a_damaged_best_checkpoint_has_no_stand_in(states):
    (states / "best.ckpt").write_text("words")
    with pytest.raises(ConfigError, match=r"best.ckpt is missing or damaged"):
        WholeCheckpoints().load_checkpoint(states / "best.ckpt")


def test_a_full_disk_costs_no_state(run, monkeypatch, tmp_path):
    words = ["dataset=[csiq,live]", "checkpoint.every_minutes=0"]
    written, write = [], Path.write_bytes

    def fill(path, content):
        written.append(path.name)
        if len(written) == 3:
            write(path, bytes(content)[:1000])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match="No space left") as caught:
        run(*words)
    assert written == ["last.ckpt.part", "last.ckpt.part", "best.ckpt.part"]
    folder = tmp_path / "outputs/mimi/resnet18/split01/checkpoints"
    assert caught.value.filename == str(folder / "best.ckpt")
    assert sorted(file.name for file in folder.iterdir()) == ["former.ckpt", "last.ckpt"]
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 2
