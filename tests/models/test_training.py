"""What is leaner than the published formulation learns as it does: the same weights, the same batch, steps of Adam."""

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize, smooth_l1_loss

from benchmarks.mapper import PlainFunction, PlainMapper
from mimi_lightning.contracts import Judgement, Opinions
from mimi_lightning.gauges import Range
from mimi_lightning.models.mappers import MINN
from mimi_lightning.models.monotone import MonotoneStack
from mimi_lightning.models.pooling import SymmetricBilinearPool
from mimi_lightning.objectives import MIMI

RATE = 6e-4


def adam(loss, parameters, steps: int, eps: float = 1e-8) -> list[float]:
    """Losses before each step and after the last."""
    optimiser, losses = torch.optim.Adam(parameters, lr=RATE, eps=eps), []
    for _ in range(steps):
        optimiser.zero_grad()
        losses.append(loss())
        losses[-1].backward()
        optimiser.step()
    return [value.item() for value in [*losses, loss()]]


@pytest.mark.parametrize(
    ("dtype", "eps", "tolerance"), [(torch.float32, 1e-8, 1e-3), (torch.float64, 1e-16, 1e-6)], ids=["real", "exact"]
)
def test_the_packed_head_takes_the_steps_of_the_full_one(dtype, eps, tolerance):
    """But for Adam's epsilon, beside which gradients of packed weights are twice as large."""
    torch.manual_seed(0)
    maps, target, channels = torch.randn(16, 12, 3, 3, dtype=dtype), torch.randn(16, dtype=dtype), 12
    gram = maps.flatten(2) @ maps.flatten(2).mT / 9
    whole = normalize((gram.sign() * (gram.abs() + 1e-8).sqrt()).flatten(1))
    pool = SymmetricBilinearPool(channels).to(dtype)
    full, packed = (
        nn.Sequential(nn.Linear(n, 32), nn.ReLU(), nn.Linear(32, 1)).to(dtype) for n in (channels**2, pool.out_features)
    )
    packed.load_state_dict({**full.state_dict(), "0.weight": packed[0].weight})
    square = full[0].weight.detach().unflatten(1, (channels, channels))
    rows, columns = torch.triu_indices(channels, channels)
    packed[0].weight.data = ((square + square.mT) / 2)[:, rows, columns]
    adam(lambda: smooth_l1_loss(full(whole).squeeze(1), target), full.parameters(), 20, eps)
    adam(lambda: smooth_l1_loss(packed(pool(maps)).squeeze(1), target), packed.parameters(), 20, eps)
    torch.testing.assert_close(packed(pool(maps)), full(whole), rtol=0, atol=tolerance)


def test_scale_and_offset_move_as_published():
    """Plain constants would move by .012 in so many steps."""
    torch.manual_seed(0)
    stack, x, seeds = MonotoneStack(5), torch.linspace(0, 5, 32), torch.arange(5)
    plain = nn.ModuleList(PlainFunction(stack, n) for n in seeds)

    def constants() -> torch.Tensor:
        with torch.no_grad():
            scale, offset = stack.scale_and_offset()
            ours = torch.stack([scale.log(), offset], dim=1)
            return torch.stack([ours, torch.stack([function.constants(torch.zeros(2)) for function in plain])])

    before = constants()

    def tabled() -> torch.Tensor:
        return 5 * smooth_l1_loss(stack(x.expand(5, -1), seeds[:, None]), (2 * x + 3).expand(5, -1))

    def looped() -> torch.Tensor:
        return sum(smooth_l1_loss(function(x), 2 * x + 3) for function in plain)

    adam(tabled, stack.parameters(), 20)
    adam(looped, plain.parameters(), 20)
    ours, published = constants() - before
    torch.testing.assert_close(ours, published, rtol=0.01, atol=1e-3)
    assert ours.mean(0).tolist() == pytest.approx([0.46, 0.20], abs=0.1)


def test_mappers_alone_learn_as_published():
    torch.manual_seed(0)
    mapper, objective = MINN(["csiq", "live"], hidden=(30, 30, 30)), MIMI([1.0, 1.0])
    plain = PlainMapper(mapper)
    dataset, ends = torch.arange(2).repeat_interleave(8), torch.tensor([[0.0, 10.0], [-0.5, 11.0]])
    quality = torch.randn(16)
    target = 10 * torch.sigmoid(quality * (1 + dataset))

    def tabled() -> torch.Tensor:
        prediction, own = mapper.learn(quality, dataset, ends)
        opinions = Opinions(target, torch.full_like(target, torch.nan), dataset)
        terms = objective(Judgement(quality), prediction, opinions, own)
        return Range()(terms, mapper, quality, ends, own)["loss"]

    ours = adam(tabled, mapper.parameters(), 40)
    published = adam(lambda: plain.loss(quality.view(2, -1), target.view(2, -1), ends), plain.parameters(), 40)
    for step in (0, 5, 20, 40):
        assert ours[step] == pytest.approx(published[step], rel=0.02)
    assert ours[40] < 0.7 * ours[0]


def test_functions_start_as_published():
    """Spreads of the slope at t = 0 and 6, of the log scale and the offset, as measured on the original."""
    torch.manual_seed(0)
    stack = MonotoneStack(300, cells=2)
    with torch.no_grad():
        scale, offset = stack.scale_and_offset()
        slope = scale[:, None] * stack.integrand(torch.tensor([0.0, 6.0]))
    spreads = torch.stack([*slope.std(0), scale.log().std(), offset.std()])
    torch.testing.assert_close(spreads, torch.tensor([0.094, 0.146, 0.066, 0.072]), rtol=0.15, atol=0)
