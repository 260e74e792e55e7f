import copy

import pytest
import torch

from mimi_lightning.contracts import Judgement, Opinions
from mimi_lightning.errors import ScoreError
from mimi_lightning.gauges import Range
from mimi_lightning.models.mappers import MINN
from mimi_lightning.models.monotone import MonotoneStack
from mimi_lightning.objectives import MIMI

NAMES = ["csiq", "kadid", "live"]
DATASETS = len(NAMES)


def synthetic_batch(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Proxy scores, targets by one increasing scale for each dataset, and dataset indices."""
    dataset = torch.arange(DATASETS).repeat_interleave(16)
    q = 2 * torch.randn(len(dataset), generator=generator)
    gain = torch.tensor([0.5, 1.0, 2.0])[dataset]
    return q, 10 * torch.sigmoid(gain * (q - dataset + 1)), dataset


@pytest.fixture(scope="module", params=[1, 2])
def trained(request) -> MINN:
    torch.manual_seed(0)
    mapper, objective = MINN(NAMES, blocks=request.param, cells=160), MIMI([1.0] * DATASETS)
    optimiser = torch.optim.Adam(mapper.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    ends = torch.tensor([[0.0, 10.0]] * DATASETS)
    for _ in range(50):
        q, target, dataset = synthetic_batch(generator)
        optimiser.zero_grad()
        prediction, own = mapper.learn(q, dataset, ends)
        opinions = Opinions(target, torch.full_like(target, torch.nan), dataset)
        terms = objective(Judgement(q), prediction, opinions, own)
        Range()(terms, mapper, q, ends, own)["loss"].backward()
        optimiser.step()
    return mapper.eval()


@pytest.fixture
def scores() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return 3 * torch.randn(50, generator=generator), torch.arange(50) % DATASETS


def small(blocks: int = 1) -> MINN:
    torch.manual_seed(1)
    return MINN(NAMES[:2], blocks=blocks, hidden=(2, 2), cells=10, reach=3.0).double()


class Calls(torch.nn.Module):
    """A module whose forward is one method of the mapper, as `functional_call` wants it."""

    def __init__(self, mapper: MINN, method: str) -> None:
        super().__init__()
        self.mapper = mapper
        self.method = method

    def forward(self, *arguments):
        return METHODS[self.method](self.mapper, *arguments)


METHODS = {
    "outputs": lambda mapper, q, dataset: mapper.outputs(q, dataset, mapper.functions.tabulate()),
    "block_inverse": lambda mapper, y, dataset: mapper.block_inverse(*y, dataset, mapper.functions.tabulate()),
    "inverse": MINN.inverse,
}


def test_forward_follows_the_formula(scores):
    q, dataset = scores
    mapper = MINN(NAMES, hidden=(8,))
    m, f, g = (lambda x, role=role: mapper.functions(x, role * DATASETS + dataset) for role in range(3))
    y1, y2 = mapper.outputs(q, dataset, mapper.functions.tabulate())
    torch.testing.assert_close(y1, q + f(m(q)))
    torch.testing.assert_close(y2, m(q) + g(y1))


def test_strictly_increasing_after_training(trained):
    q = torch.linspace(-20, 20, 10_001, dtype=torch.float64)
    mapper = copy.deepcopy(trained).double()
    with torch.no_grad():
        y2 = mapper(q, torch.arange(DATASETS)[:, None])
    assert (y2.diff(dim=1) > 0).all()


@torch.no_grad()
def test_inverse_of_a_float32_mapping(trained, scores):
    q, dataset = scores
    y = trained(q, dataset)
    back = trained.inverse(y, dataset)
    assert back.dtype == torch.float32
    assert (back - q).abs().max() < 1e-5


@torch.no_grad()
def test_inverse_in_float64_and_of_far_scores(trained):
    mapper = copy.deepcopy(trained).double()
    y = torch.tensor([-1e6, -3.0, 0.0, 10.0, 1e6], dtype=torch.float64)
    dataset = torch.arange(DATASETS)[:, None]
    again = mapper(mapper.inverse(y, dataset), dataset)
    torch.testing.assert_close(again, y.expand(DATASETS, -1), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_block_inverse_is_exact(trained, scores):
    q, dataset = scores
    mapper = copy.deepcopy(trained).double()
    table = mapper.functions.tabulate()
    x1, x2 = mapper.block_inverse(*mapper.outputs(q, dataset, table), dataset, table)
    torch.testing.assert_close(x1, q.double(), rtol=0, atol=1e-11)
    torch.testing.assert_close(x2, mapper.functions(q, dataset), rtol=0, atol=1e-11)


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("method", ["outputs", "block_inverse", "inverse"])
def test_gradients_of_scores_and_every_parameter(method, blocks):
    mapper = small(blocks)
    names, parameters = zip(*mapper.named_parameters(), strict=True)
    scores = torch.tensor([[-1.3, 0.4, 2.2], [0.5, -0.7, 1.9]], dtype=torch.float64, requires_grad=True)
    dataset = torch.tensor([0, 1, 1])

    def value(scores, *parameters):
        state = {f"mapper.{name}": parameter for name, parameter in zip(names, parameters, strict=True)}
        return torch.func.functional_call(Calls(mapper, method), state, (scores, dataset))

    assert torch.autograd.gradcheck(value, (scores, *parameters), fast_mode=True)


def test_slope_of_the_inverse_is_the_reciprocal():
    mapper, dataset = small(), torch.tensor([0, 1])
    q = torch.tensor([0.3, -0.8], dtype=torch.float64, requires_grad=True)
    y = mapper(q, dataset)
    (forward,) = torch.autograd.grad(y.sum(), q)
    y = y.detach().requires_grad_()
    (backward,) = torch.autograd.grad(mapper.inverse(y, dataset).sum(), y)
    torch.testing.assert_close(forward * backward, torch.ones(2, dtype=torch.float64))


@torch.no_grad()
def test_a_score_depends_on_no_other(trained, scores):
    q, dataset = scores
    together = trained(q, dataset)
    for i in range(len(q)):
        assert torch.equal(together[i], trained(q[i], dataset[i]))


@torch.no_grad()
def test_the_order_of_datasets_changes_nothing(trained, scores):
    q, dataset = scores
    order = torch.tensor([2, 0, 1])
    reordered = copy.deepcopy(trained)
    roles = range(reordered.functions.functions // DATASETS)
    functions = torch.cat([role * DATASETS + order for role in roles])
    for parameter in reordered.parameters():
        parameter.copy_(parameter[functions])
    torch.testing.assert_close(reordered(q, order.argsort()[dataset]), trained(q, dataset))


@torch.no_grad()
def test_precision_is_kept_under_autocast_and_conversion(trained, scores):
    expected = trained(*scores)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(trained(*scores), expected)
    for convert in (torch.nn.Module.bfloat16, torch.nn.Module.half, lambda m: m.to(torch.bfloat16)):
        parent = convert(torch.nn.Sequential(copy.deepcopy(trained)))
        assert torch.equal(parent[0](*scores), expected)
    assert all(p.dtype == torch.float64 for p in copy.deepcopy(trained).double().parameters())


def test_precision_is_kept_under_a_lower_default():
    torch.set_default_dtype(torch.bfloat16)
    try:
        mapper = MINN(NAMES[:2], hidden=(4,), cells=8)
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(tensor.dtype == torch.float32 for tensor in (*mapper.parameters(), *mapper.buffers()))


def test_every_parameter_gets_a_gradient_from_one_dataset():
    """DistributedDataParallel waits for every parameter, whatever datasets a batch holds."""
    mapper = MINN(NAMES, blocks=2, hidden=(4,), cells=8)
    mapper(torch.zeros(2), torch.tensor([1, 1])).sum().backward()
    assert all(parameter.grad is not None for parameter in mapper.parameters())


def test_no_scores_at_all():
    mapper, none, index = MINN(NAMES[:2], hidden=(4,), cells=8), torch.empty(0), torch.empty(0, dtype=torch.long)
    assert mapper(none, index).shape == (0,)
    assert mapper.inverse(none, index).shape == (0,)


def test_inverse_refuses_what_is_not_finite():
    mapper = MINN(NAMES[:2], hidden=(4,), cells=8)
    with pytest.raises(ScoreError, match="score 1 is not finite"):
        mapper.inverse(torch.tensor([1.0, float("nan")]), torch.tensor([0, 1]))


def test_checkpoint_holds_parameters_only(trained, scores):
    state = trained.state_dict()
    assert not any("knots" in name for name in state)
    restored = MINN(NAMES, blocks=trained.blocks, cells=160)
    restored.load_state_dict(state)
    assert torch.equal(restored(*scores), trained(*scores))


def test_tables_reach_64_by_default():
    """Inner values, M(q) and y1, lie beyond 16 for usual scores."""
    for stack in (MINN(["live"]).functions, MonotoneStack(1)):
        assert stack.knots[[0, -1]].tolist() == [-64, 64]
