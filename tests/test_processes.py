"""Several processes learn what one does that has the whole batch, and what they refuse."""

import multiprocessing.util
import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from mimi_lightning.__main__ import main
from mimi_lightning.contracts import Judgement, Opinions
from mimi_lightning.data.sampling import share_quota
from mimi_lightning.errors import ConfigError, DatasetError
from mimi_lightning.gauges import Range
from mimi_lightning.models.mappers import MINN
from mimi_lightning.module import QualityModel
from mimi_lightning.objectives import MIMI, RankHinge
from mimi_lightning.processes import keep_sockets_short

STEPS = 10  # of each of the two epochs


@pytest.fixture(scope="module")
def one_and_two(trained, tmp_path_factory, miniature, fast):
    """Run folders of one process and of two, of the same batches."""
    words = "data.quota=4", f"data.epoch={STEPS}", "dataset=[koniq,live]", "mapper.hidden=[8]", "backbone.freeze=norm"
    one = trained(*words, "trainer.precision=64-true")
    folder = tmp_path_factory.mktemp("processes")
    several = "trainer=ddp_cpu", "trainer.precision=64-true", "data.quota_scope=global"
    paths = f"paths.datasets={miniature}", "splits.store=splits"
    command = [sys.executable, "-m", "mimi_lightning", *fast, *words, *several, *paths]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [one, folder / "outputs/mimi/resnet18/split01"]


def test_two_processes_score_every_test_image_once(one_and_two):
    one, two = (pd.read_csv(folder / "predictions.csv") for folder in one_and_two)
    assert one[["dataset", "image", "mos"]].equals(two[["dataset", "image", "mos"]])


def test_two_processes_learn_as_one_with_the_whole_batch(one_and_two):
    one, two = (pd.read_csv(folder / "logs" / "version_0" / "metrics.csv") for folder in one_and_two)
    assert one["step"].max() == two["step"].max() == 2 * STEPS - 1
    validated = [column for column in one if column.startswith("val/")]
    assert len(validated) == 4
    np.testing.assert_allclose(two[validated], one[validated], rtol=0, atol=1e-4)
    # Ranks of few images hardly move: what they are ranks of has to agree as well.
    one, two = (pd.read_csv(folder / "predictions.csv")[["proxy", "prediction"]] for folder in one_and_two)
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-4)
    assert one["proxy"].std() > 0.01


NAMES = ["bid", "koniq", "live"]
ENDS = torch.tensor([[0.0, 10.0], [-1.0, 11.0], [0.5, 12.0]], dtype=torch.float64)


def losses_of_halves(dataset, objective):
    """Terms and gradients of a batch, and of what two processes have that take every second picture of it."""
    torch.manual_seed(0)
    mapper = MINN(NAMES, hidden=(8,), cells=8).double()
    q, target = 10 * torch.rand(2, len(dataset), dtype=torch.float64)

    def learn(part):
        mapper.zero_grad()
        prediction, own = mapper.learn(q[part], dataset[part], ENDS)
        opinions = Opinions(target[part], torch.full_like(target[part], torch.nan), dataset[part])
        terms = Range()(objective(Judgement(q[part]), prediction, opinions, own), mapper, q[part], ENDS, own)
        found = {}
        for name, term in terms.items():
            if term.requires_grad:
                gradients = torch.autograd.grad(term, [*mapper.parameters()], retain_graph=True, allow_unused=True)
                found[name] = torch.cat([g.flatten() for g in gradients if g is not None])
        return terms, found

    return [learn(part) for part in (slice(None), slice(0, None, 2), slice(1, None, 2))]


def mean_of(first, second):
    return {name: (first[name] + second[name]) / 2 for name in first}


def test_means_of_processes_with_equal_quotas_are_those_of_the_whole_batch():
    (whole, slopes), *halves = losses_of_halves(torch.tensor([0, 0, 1, 1, 1, 1, 2, 2]), MIMI([1.0, 4.0, 2.0]))
    assert set(whole) == {"loss", "fit", "agreement", "range"}
    torch.testing.assert_close(mean_of(halves[0][0], halves[1][0]), whole)
    torch.testing.assert_close(mean_of(halves[0][1], halves[1][1]), slopes)


def test_the_range_term_is_that_of_one_process_where_another_lacks_a_dataset():
    """It is made of published ends and the mapper alone; what is learned of the dataset counts half."""
    dataset = torch.tensor([0, 0, 1, 2, 1, 2, 2, 2])  # koniq, 1, has pictures in the first half alone
    (whole, slopes), *halves = losses_of_halves(dataset, MIMI([0.0, 1.0, 0.0], agreement=0.0))
    for terms, gradients in halves:
        assert terms["range"] == whole["range"] > 0
        torch.testing.assert_close(gradients["range"], slopes["range"], rtol=0, atol=0)
    torch.testing.assert_close(mean_of(halves[0][0], halves[1][0])["fit"], whole["fit"] / 2)


def test_objectives_that_compare_pictures_see_the_pairs_of_their_process():
    (whole, _), *halves = losses_of_halves(torch.zeros(8, dtype=torch.int64), RankHinge([1.0, 1.0, 1.0]))
    assert mean_of(halves[0][0], halves[1][0])["rank"].item() != pytest.approx(whole["rank"].item(), rel=1e-3)
    assert (RankHinge.pictures, MIMI.pictures) == (2, 1)  # so each needs a pair


@pytest.mark.parametrize("world", [1, 2])
def test_one_of_several_processes_cannot_pass_over_a_batch(world):
    model = SimpleNamespace(judge_batch=lambda batch: None, trainer=SimpleNamespace(world_size=world))
    with pytest.raises(DatasetError, match="Not one picture") if world > 1 else nullcontext():
        assert QualityModel.training_step(model, {}) is None


@pytest.mark.parametrize(
    ("quota", "least", "fitting"), [({"bid": 8, "live": 6}, 1, 8), ({"live": 2}, 1, 4), ({"live": 4}, 2, 8)]
)
def test_a_batch_is_shared_evenly_or_not_at_all(quota, least, fitting):
    with pytest.raises(
        ConfigError, match=rf"each of 4 processes .*, {least} or more\. Set datasets\.live\.quota={fitting},"
    ):
        share_quota(quota, 4, least)
    assert share_quota({"bid": 8, "live": 16}, 4, 2) == {"bid": 2, "live": 4}


def test_processes_of_a_multirun_are_started_with_the_words_of_their_job(monkeypatch, miniature, tmp_path):
    started = []

    def start(cfg):  # as Lightning does, whose processes would else be those of the first job
        started.append(sys.argv[1:])
        assert "LOCAL_RANK" not in os.environ
        os.environ["LOCAL_RANK"] = "0"

    monkeypatch.setattr("mimi_lightning.train.train", start)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    words = [f"paths.datasets={miniature}", "callbacks=[]"]
    swept = ["mimi", "--config-dir", "mine", "-m", "split=1,2", *words]
    monkeypatch.setattr("sys.argv", [*swept])
    with pytest.raises(SystemExit):  # there is nothing to report
        main()
    assert started == [[f"split={split}", *words, "--config-dir=mine"] for split in (1, 2)]
    assert sys.argv == swept


def test_sockets_of_workers_lie_where_paths_are_short(tmp_path, monkeypatch):
    """Where TMPDIR has more than 80 characters or so, workers could not hand over pictures, and nothing said so."""
    monkeypatch.delitem(multiprocessing.current_process()._config, "tempdir", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / (70 * "x")))
    keep_sockets_short()
    assert len(multiprocessing.util.get_temp_dir()) < 30
    assert tempfile.gettempdir().endswith(70 * "x")
