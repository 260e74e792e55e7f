"""What pins the proxy axis: every gauge by its formula."""

import pytest
import torch

from mimi_lightning.errors import ConfigError
from mimi_lightning.gauges import Anchor, Free, Moments, Range
from mimi_lightning.models.mappers import MINN, Anchored, Embedding, Heads, Identity, Linear, Logistic
from mimi_lightning.module import QualityModel

NAMES = ["csiq", "live"]
ENDS = torch.tensor([[0.0, 10.0], [-5.0, 20.0]])
TERMS = {"loss": torch.tensor(2.0), "fit": torch.tensor(2.0)}
PROXY = torch.tensor([1.0, 2.0, 6.0])


def test_nothing_is_added_where_nothing_pins():
    assert Free()(TERMS, Linear(NAMES), PROXY, ENDS, {"range": torch.tensor(7.0)}) == TERMS


def test_ranges_are_pulled_back_through_any_inverse():
    mapper = Linear(NAMES, [(0.0, 10.0), (0.0, 5.0)])  # 0..1 and -1..4 on the proxy axis
    found = Range(weight=0.5)(TERMS, mapper, PROXY, ENDS, {})
    assert found["range"].item() == pytest.approx(0.5 * ((0 + 1) + (4 - 1) + (-1 + 1)) / 2)
    assert found["loss"].item() == pytest.approx(2 + found["range"].item())
    found["range"].backward()
    assert mapper.slope.grad.abs().sum() > 0


def test_a_mapper_that_knows_its_ranges_is_believed():
    found = Range(weight=3)(TERMS, MINN(NAMES, hidden=(2,), cells=4), PROXY, ENDS, {"range": torch.tensor(0.5)})
    assert (found["range"].item(), found["loss"].item()) == (1.5, 3.5)


def test_ends_beyond_an_asymptote_are_pulled_back_as_the_nearest():
    found = Range()(TERMS, Logistic(NAMES), PROXY, 100 * ENDS, {})
    assert found["range"].isfinite()


def test_moments():
    mean, std = 3.0, (14 / 3) ** 0.5
    found = Moments(weight=2)(TERMS, Linear(NAMES), PROXY, ENDS, {})
    assert found["moments"].item() == pytest.approx(2 * (mean**2 + (std - 1) ** 2))
    assert found["loss"].item() == pytest.approx(2 + found["moments"].item())


def test_moments_of_equal_scores_have_a_gradient():
    proxy = torch.ones(4, requires_grad=True)
    Moments()(TERMS, Linear(NAMES), proxy, ENDS, {})["loss"].backward()
    assert proxy.grad.isfinite().all()


def test_an_anchor_binds_its_mapper():
    mapper = Anchor("live").pin(Linear(NAMES, [(0.0, 10.0), (2.0, 4.0)]))
    assert isinstance(mapper, Anchored)
    assert mapper(PROXY, torch.tensor(1)).tolist() == [4.0, 6.0, 14.0]
    with pytest.raises(ConfigError, match=r"gauge.dataset=koniq: expected one of the mix, csiq, live"):
        Anchor("koniq").pin(Linear(NAMES))


@pytest.mark.parametrize("mapper", [Embedding(NAMES), Heads(NAMES, hidden=[3])])
def test_ranges_need_an_inverse(mapper):
    with pytest.raises(ConfigError, match=rf"mapper {type(mapper).__name__} has no inverse: set gauge=none"):
        Range().pin(mapper)


@pytest.mark.parametrize("gauge", [Anchor("live"), Moments(), Range()])
@pytest.mark.parametrize("mapper", [Identity(NAMES), Heads(NAMES, hidden=[3])])
def test_scores_that_are_predictions_are_pinned_already(gauge, mapper):
    said = f"gauge={type(gauge).__name__.lower()}: with mapper {type(mapper).__name__} proxy scores are predictions"
    if isinstance(gauge, Range) and not mapper.invertible:
        said = "gauge=range pulls published ranges back"
    with pytest.raises(ConfigError, match=said):
        gauge.pin(mapper)


@pytest.mark.parametrize("gauge", ["anchor gauge.dataset=live", "moments", "none"])
def test_a_run_with_any_gauge_can_be_loaded(run, gauge):
    folder = run("dataset=[koniq,live]", "trainer.max_epochs=1", *f"gauge={gauge}".split())
    model = QualityModel.load(folder / "checkpoints" / "best.ckpt")
    assert type(model.gauge).__name__ == {"a": "Anchor", "m": "Moments", "n": "Free"}[gauge[0]]
    mos = torch.tensor([20.0, 50.0])
    live = model.number(["live", "live"])
    torch.testing.assert_close(model.predict_mos(model.align(mos, live), live), mos, rtol=1e-3, atol=1e-3)
