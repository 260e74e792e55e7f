"""What outputs say, by value and gradient."""

import pytest
import torch
from torch.autograd import gradcheck

from mimi_lightning.models.heads import HEADS, deviation, levels, moments
from mimi_lightning.vocabulary import QUALITIES

OUTPUTS = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_moments_are_those_of_the_levels():
    probability = OUTPUTS.softmax(-1)
    mean, std = moments(probability)
    for row, q, s in zip(probability.tolist(), mean.tolist(), std.tolist(), strict=True):
        expected = sum(k * p for k, p in enumerate(row, 1))
        assert q == pytest.approx(expected, rel=1e-12)
        assert s**2 == pytest.approx(sum(p * (k - expected) ** 2 for k, p in enumerate(row, 1)), rel=1e-12)


def test_levels_rise_in_the_order_of_the_vocabulary():
    certain = torch.eye(5, dtype=torch.float64)
    mean, std = moments(certain)
    assert dict(zip(QUALITIES, mean.tolist(), strict=True)) == {"bad": 1, "poor": 2, "fair": 3, "good": 4, "perfect": 5}
    assert std.tolist() == [1e-3] * 5


def test_levels_are_a_softmax():
    judgement = levels(OUTPUTS)
    torch.testing.assert_close(judgement.tasks["quality"], OUTPUTS.exp() / OUTPUTS.exp().sum(1, keepdim=True))
    torch.testing.assert_close((judgement.proxy, judgement.std), moments(OUTPUTS.softmax(-1)))


def test_a_deviation_is_a_softplus_and_never_zero():
    outputs = torch.tensor([[3.0, -200.0], [-2.0, 1.0]], dtype=torch.float64)
    judgement = deviation(outputs)
    assert judgement.proxy.tolist() == [3, -2]
    torch.testing.assert_close(judgement.std, outputs[:, 1].exp().log1p() + 1e-3)


@pytest.mark.parametrize("name", HEADS)
def test_gradients(name):
    head = HEADS[name]
    outputs = OUTPUTS[:, : head.outputs].clone().requires_grad_()

    def said(outputs):
        judgement = head.read(outputs)
        return tuple(v for v in (judgement.proxy, judgement.std, *judgement.tasks.values()) if v is not None)

    assert gradcheck(said, outputs)


def test_certainty_has_a_gradient():
    """A deviation of zero would have none."""
    outputs = torch.tensor([[0.0, 0.0, 0.0, 0.0, 900.0]], requires_grad=True)
    levels(outputs).std.sum().backward()
    assert outputs.grad.isfinite().all()
