"""The average of the weights by value; what the progress bar shows."""

import pytest
import torch

from mimi_lightning.callbacks import Bar, _ema


def test_an_average_is_a_geometric_sum():
    average = torch.tensor(2.0, dtype=torch.float64)
    for weight in (1.0, 5.0):
        average = _ema(average, torch.tensor(weight, dtype=torch.float64), 1, decay=0.9)
    assert average.item() == pytest.approx(0.9 * (0.9 * 2 + 0.1 * 1) + 0.1 * 5, abs=1e-15)


def test_constants_stay_as_they_are():
    """As a sum of products, every fourth index would be one less."""
    constants = (
        torch.arange(2**18),
        torch.tensor([0, -torch.inf]),
        torch.linspace(0, 114.4147, 999),
        torch.ones(2) < 0,
    )
    for constant in constants:
        average = constant.clone()
        for _ in range(3):
            average = _ema(average, constant, 1, decay=0.9)
        assert torch.equal(average, constant)


def test_what_was_not_known_is_taken_over():
    assert _ema(torch.tensor(torch.nan), torch.tensor(3.0), 1, decay=0.9) == 3


@pytest.mark.parametrize(("columns", "number"), [(80, 3), (120, 5)])
def test_metrics_have_room_in_one_line(monkeypatch, columns, number):
    """The longest line: an epoch, batches and times of four digits, and the metrics."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(
        "mimi_lightning.callbacks.RichProgressBar.get_metrics",
        lambda *_: {"v_num": 0, "loss": 10.123, "val/srcc_weighted": 0.611, "val/srcc_mean": 0.58},
    )
    assert len(Bar().configure_columns(None)) == number
    metrics = Bar().get_metrics(None, None)
    assert metrics == {"loss": 10.123, "val SRCC": 0.611}
    said = "Epoch 100/100  2000/2000 0:00:36 • 0:00:00 " + " ".join(f"{key}: {value}" for key, value in metrics.items())
    assert len(said) <= 80
