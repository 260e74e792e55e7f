import pytest
import torch

from mimi_lightning.contracts import Judgement, Opinions
from mimi_lightning.gauges import Range
from mimi_lightning.models.mappers import MINN, range_spread
from mimi_lightning.objectives import MIMI

WEIGHTS = [1.0, 4.0, 0.5]
NAMES = ["csiq", "kadid", "live"]
DATASETS = len(NAMES)


@pytest.fixture
def mapper() -> MINN:
    torch.manual_seed(0)
    return MINN(NAMES, hidden=(6, 5), cells=30, reach=6.0).double()


def mixed_batch(datasets: list[int]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "proxy": draw(len(datasets)),
        "target": 3 * draw(len(datasets)),
        "dataset": torch.tensor(datasets, dtype=torch.long),
        "ends": torch.tensor([0.0, 10.0], dtype=torch.float64) + draw(DATASETS, 2),
    }


def compute(objective, mapper, proxy, target, dataset, ends) -> dict[str, torch.Tensor]:
    prediction, own = mapper.learn(proxy, dataset, ends)
    terms = objective(Judgement(proxy), prediction, Opinions(target, torch.full_like(target, torch.nan), dataset), own)
    return Range()(terms, mapper, proxy, ends, own)


def smooth_l1(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    gap = (a - b).abs()
    return gap**2 / 2 if gap < 1 else gap - 0.5


def transcribed(mapper, proxy, target, dataset, ends) -> torch.Tensor:
    """The formula of the objective, one image and one dataset after the other."""

    def function(role: int, d: int, x: torch.Tensor) -> torch.Tensor:
        return mapper.functions(x, torch.tensor(role * DATASETS + d))

    fits, agreements = {d: [] for d in range(DATASETS)}, []
    for q, t, d in zip(proxy, target, dataset.tolist(), strict=True):
        x2 = function(0, d, q)
        y1 = q + function(1, d, x2)
        y2 = x2 + function(2, d, y1)
        fits[d].append(smooth_l1(y2, t))
        agreements.append(smooth_l1(y1, y2))
    fit = sum(WEIGHTS[d] * sum(errors) / len(errors) for d, errors in fits.items() if errors) / DATASETS

    pulled_back = [[m - function(1, d, m - function(2, d, m)) for m in ends[d]] for d in range(DATASETS)]
    lows, highs = zip(*pulled_back, strict=True)
    spread = sum(abs(low - min(lows)) + abs(high - max(highs)) for low, high in zip(lows, highs, strict=True))
    return fit + 2 * sum(agreements) / len(agreements) + spread / DATASETS


@pytest.mark.parametrize("datasets", [[0, 1, 2, 2, 1, 0, 0], [0, 2, 2], [1]])
def test_loss_and_gradients_equal_the_formula(mapper, datasets):
    batch = mixed_batch(datasets)
    batch["proxy"].requires_grad_()
    inputs = [batch["proxy"], *mapper.parameters()]
    loss = compute(MIMI(WEIGHTS), mapper, **batch)["loss"]
    expected = transcribed(mapper, **batch)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_loss_is_the_sum_of_its_terms(mapper):
    terms = compute(MIMI(WEIGHTS), mapper, **mixed_batch([0, 1, 2]))
    assert set(terms) == {"loss", "fit", "agreement", "range"}
    assert all(term.shape == () for term in terms.values())
    torch.testing.assert_close(terms["loss"], terms["fit"] + terms["agreement"] + terms["range"])


def test_order_of_the_batch_changes_nothing(mapper):
    batch = mixed_batch([0, 1, 2, 2, 1, 0, 0])
    shuffled = torch.randperm(7)
    again = {name: values if name == "ends" else values[shuffled] for name, values in batch.items()}
    torch.testing.assert_close(compute(MIMI(WEIGHTS), mapper, **again), compute(MIMI(WEIGHTS), mapper, **batch))


def test_float32_under_any_precision():
    batch = {name: v.float() if v.is_floating_point() else v for name, v in mixed_batch([0, 1, 2, 2]).items()}
    mapper, objective = MINN(NAMES, hidden=(6,), cells=30), MIMI([1 / 3, 4.0, 0.7])
    expected = compute(objective, mapper, **batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = compute(objective, mapper, **batch)
    converted = compute(objective.bfloat16(), mapper.bfloat16(), **batch)
    for name, value in expected.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, autocast[name])
        assert torch.equal(value, converted[name])


def test_range_spread_by_hand():
    ranges = torch.tensor([[0.0, 4.0], [1.0, 5.0], [0.5, 2.0]])
    assert range_spread(ranges) == pytest.approx((1 + 1.5 + 4) / 3 - 1.5 / 3 + (0.5 - 1 + 1.5 - 1.0 + 0.5) / 3)
    assert range_spread(ranges[:1]) == 0


def test_a_mix_of_two_scales_is_learned():
    """From proxy scores around 0 to targets on 0..10, in float32 and the published learning rate."""
    torch.manual_seed(0)
    mapper, objective = MINN(NAMES[:2], cells=160), MIMI([1.0, 1.0])
    regressor = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    optimiser = torch.optim.Adam([*mapper.parameters(), *regressor.parameters()], lr=6e-4)
    dataset, ends = torch.arange(2).repeat_interleave(16), torch.tensor([[0.0, 10.0]] * 2)
    losses = []
    for _ in range(120):
        quality = torch.randn(32)
        target = 10 * torch.sigmoid(torch.where(dataset == 0, quality, 2 * quality - 1))
        loss = compute(objective, mapper, regressor(quality[:, None]).squeeze(1), target, dataset, ends)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert max(losses[:20]) < 20
    assert sum(losses[-10:]) / 10 < 0.3 * losses[0]
