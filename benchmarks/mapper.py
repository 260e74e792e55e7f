"""The score mapper against a plain formulation of the same function: time of a training step, accuracy, training.

The plain one is the published one: a loop over the datasets, for every point a Clenshaw-Curtis rule of 101 nodes on
[0, x], and networks that are fed with zeros. Both get the same parameters.

    make bench-mapper
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from scipy.integrate import cubature
from torch import Tensor, nn
from torch.nn.functional import elu, pad, smooth_l1_loss

from benchmarks.harness import Case, Fact, main, wall
from mimi_lightning.contracts import Judgement, Opinions
from mimi_lightning.gauges import Range
from mimi_lightning.models.mappers import MINN, range_spread
from mimi_lightning.models.monotone import MonotoneStack, NetworkStack
from mimi_lightning.objectives import MIMI

DATASETS, IMAGES, NODES = 6, 32, 101


def clenshaw_curtis(nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the rule on [0, 1]."""
    n = nodes - 1
    angle = np.pi * np.arange(nodes) / n
    even = np.arange(0, n + 1, 2)
    factor = 2 / (1 - even**2) * np.where((even == 0) | (even == n), 0.5, 1)
    weights = 2 / n * np.cos(np.outer(angle, even)) @ factor
    weights[[0, -1]] /= 2
    return torch.tensor((1 - np.cos(angle)) / 2).float(), torch.tensor(weights / 2).float()


class PlainFunction(nn.Module):
    """One increasing function as published, with the parameters of one function of a stack."""

    def __init__(self, stack: MonotoneStack, function: int) -> None:
        super().__init__()
        self.integrand = plain_network(stack.integrands, function)
        self.constants = plain_network(stack.constants, function)
        for name, values in zip(("nodes", "weights"), clenshaw_curtis(NODES), strict=True):
            self.register_buffer(name, values)

    def forward(self, x: Tensor) -> Tensor:
        points = (x[:, None] * self.nodes).reshape(-1, 1)
        density = elu(self.integrand(pad(points, (0, 2)))).view(len(x), -1) + 1
        log_scale, offset = self.constants(torch.zeros(2))
        return log_scale.exp() * x * (density @ self.weights) + offset


def plain_network(stack: NetworkStack, number: int) -> nn.Sequential:
    """One network of a stack."""
    layers = []
    for weight, bias in zip(stack.weights, stack.biases, strict=True):
        linear = nn.Linear(weight.shape[2], weight.shape[1])
        linear.weight.data, linear.bias.data = weight.data[number].clone(), bias.data[number, 0].clone()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class PlainMapper(nn.Module):
    """The mappers of all datasets, one after the other."""

    def __init__(self, mapper: MINN) -> None:
        super().__init__()
        self.datasets = mapper.datasets
        self.functions = nn.ModuleList(PlainFunction(mapper.functions, i) for i in range(3 * mapper.datasets))

    def loss(self, proxy: Tensor, target: Tensor, ends: Tensor) -> Tensor:
        """The MIMI objective with unit weights; proxy and target sorted by dataset, [D, B / D]."""
        fit, first, second, pulled_back = [], [], [], []
        for d in range(self.datasets):
            m, f, g = self.functions[d :: self.datasets]
            x2 = m(proxy[d])
            first.append(proxy[d] + f(x2))
            second.append(x2 + g(first[-1]))
            fit.append(smooth_l1_loss(second[-1], target[d]))
            pulled_back.append(ends[d] - f(ends[d] - g(ends[d])))
        agreement = smooth_l1_loss(torch.cat(first), torch.cat(second))
        return torch.stack(fit).mean() + 2 * agreement + range_spread(torch.stack(pulled_back))


def synthetic_batch(datasets: int = DATASETS, images: int = IMAGES) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Proxy scores, targets by six scales of one hidden quality, dataset indices; ends of the ranges."""
    dataset = torch.arange(datasets).repeat_interleave(images)
    gains = torch.tensor([1.0, 1.5, 0.7, 1.2, 2.0, 0.8])
    quality, gain = torch.randn(len(dataset)), gains[dataset % len(gains)]
    return quality, 10 * torch.sigmoid(gain * quality), dataset, torch.tensor([[0.0, 10.0]] * datasets)


def train(step: Callable[[], Tensor], parameters: Iterable[nn.Parameter], steps: int) -> list[float]:
    """Take steps of Adam at the published rate; return the loss before each of them."""
    optimiser = torch.optim.Adam(parameters, lr=6e-4)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = step()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def integral_errors(mapper: MINN, plain: PlainMapper, reach: float) -> list[float]:
    """Largest error of both against SciPy's adaptive quadrature of the same integrands in float64, all functions."""
    exact = MINN(mapper.names).double()
    exact.load_state_dict(mapper.state_dict())
    table, every = mapper.functions.tabulate(), torch.arange(mapper.functions.functions)
    scale, offset = exact.functions.scale_and_offset()

    def density(t: np.ndarray) -> np.ndarray:
        return (scale[:, None] * exact.functions.integrand(torch.from_numpy(t).squeeze(1))).mT.numpy()

    errors = []
    for x in (-reach / 3, reach / 6, reach):
        result = cubature(density, [min(x, 0)], [max(x, 0)], rule="gk21", atol=1e-5, rtol=0)
        truth = np.sign(x) * result.estimate + offset.numpy()
        tabled = table(torch.full((len(every),), x), every)
        looped = torch.cat([function(torch.tensor([x])) for function in plain.functions])
        errors.append([np.abs(values.numpy() - truth).max() for values in (tabled, looped)])
    return np.max(errors, axis=0).tolist()


@torch.no_grad()
def round_trip(mapper: MINN) -> float:
    """Largest |inverse(forward(q)) - q| in float32, for proxy scores in [-3, 3]."""
    q, every = torch.linspace(-3, 3, 500), torch.arange(DATASETS)[:, None]
    return float((mapper.inverse(mapper(q, every), every) - q).abs().max())


@torch.no_grad()
def least_increment(mapper: MINN) -> float:
    """Least step of y2 on 10,001 points of [-20, 20] in float64."""
    double = MINN(mapper.names).double()
    double.load_state_dict(mapper.state_dict())
    q = torch.linspace(-20, 20, 10_001, dtype=torch.float64)
    return float(double(q, torch.arange(DATASETS)[:, None]).diff(dim=1).min())


def cases(quick: bool) -> Iterator[Case | Fact]:
    torch.manual_seed(0)
    mapper, objective = MINN([*map(str, range(DATASETS))]), MIMI([1.0] * DATASETS)
    plain = PlainMapper(mapper)
    proxy, target, dataset, ends = synthetic_batch()

    def tabled_step() -> Tensor:
        prediction, own = mapper.learn(proxy, dataset, ends)
        opinions = Opinions(target, torch.full_like(target, torch.nan), dataset)
        terms = objective(Judgement(proxy), prediction, opinions, own)
        return Range()(terms, mapper, proxy, ends, own)["loss"]

    def plain_step() -> Tensor:
        return plain.loss(proxy.view(DATASETS, -1), target.view(DATASETS, -1), ends)

    sides = {"plain": wall(lambda: plain_step().backward()), "ours": wall(lambda: tabled_step().backward())}
    yield Case(f"training step, {DATASETS} datasets x {IMAGES} images", sides, repeats=1 if quick else 15)

    steps = 6 if quick else 120
    curve, plain_curve = train(tabled_step, mapper.parameters(), steps), train(plain_step, plain.parameters(), steps)
    for step in (0, 5, 20, 60, 119):
        if step < steps:
            yield Fact(f"loss after {step} steps", f"{curve[step]:.4f}, plain {plain_curve[step]:.4f}")
    mapper, plain = mapper.cpu(), PlainMapper(mapper.cpu())  # accuracy of both with the same parameters
    torch.set_default_device("cpu")
    for reach in (9.0,) if quick else (9.0, 60.0):
        error, plain_error = integral_errors(mapper, plain, reach)
        yield Fact(f"largest error of an integral, |x| up to {reach:g}", f"{error:.1e}, plain {plain_error:.1e}")
    yield Fact("round trip |inverse(forward(q)) - q|", f"{round_trip(mapper):.1e}")
    yield Fact("least increment, 10,001 points", f"{least_increment(mapper):.1e}")


if __name__ == "__main__":
    main(cases)
