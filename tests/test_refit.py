"""Mappers that training does not teach: fitted to the training part, so that predictions are on every native scale."""

import numpy as np
import pandas as pd
import pytest
import torch

from mimi_lightning import train
from mimi_lightning.module import QualityModel
from mimi_lightning.refit import fit_mapper
from mimi_lightning.run_folder import RunFolder

SHORT = ["dataset=[csiq,live]", "mapper=linear", "objective=rank_hinge"]


@pytest.fixture
def data(miniature, tmp_path):
    """The data of a run, by its folder."""

    def make(folder):
        data = train.make_data(RunFolder(folder).read_settings())
        data.setup()
        return data

    return make


def kill(*_):
    raise KeyboardInterrupt


def training_part(folder, data):
    """What the run's checkpoint says of the images that it has learned from."""
    model = QualityModel.load(folder / "checkpoints" / "best.ckpt")
    with torch.no_grad():
        batches = [model.predict_step(data.delivered(batch, "cpu")) for batch in data.part_dataloader("train")]
    columns = {name: torch.cat([batch[name] for batch in batches]).numpy() for name in batches[0]}
    return pd.DataFrame(columns).set_index("index").join(data.table[["dataset", "mos"]])


def test_a_ranked_mapper_is_fitted_also_where_the_run_was_killed_before(run, data, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(train, "fit_best", kill)
        with pytest.raises(KeyboardInterrupt):
            run(*SHORT)
    folder = run(*SHORT)
    tested = pd.read_csv(folder / "predictions.csv").groupby("dataset")["prediction"].mean()
    for name, rows in training_part(folder, data(folder)).groupby("dataset"):
        mean, std = rows["mos"].mean(), rows["mos"].std()
        slope = max(0.0, np.polyfit(rows["proxy"], rows["mos"], 1)[0])  # of the increasing line of least squares
        line = mean + slope * (rows["proxy"] - rows["proxy"].mean())
        assert (rows["prediction"] - line).abs().max() < 0.01 * std
        assert abs(tested[name] - mean) < std


def test_no_mapper_learns_from_an_objective_of_proxy_scores(run, data):
    folder = run(*SHORT, "gauge.weight=0.1", "trainer.max_epochs=1")
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    model = QualityModel(**last["hyper_parameters"])
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith("mapper.") for name in learned)
    fresh = {name: value.clone() for name, value in model.mapper.state_dict().items()}
    assert all(torch.equal(last["state_dict"][f"mapper.{name}"], value) for name, value in fresh.items())
    model.frozen = ("live",)
    fit_mapper(model, data(folder))
    for name, rows in model.mapper.rows(["live"]).items():
        assert torch.equal(rows[:, 0], fresh[name][1:2])
    assert not torch.equal(model.mapper.rows(["csiq"])["offset"][:, 0], fresh["offset"][:1])
