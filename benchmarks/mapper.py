"""The score mapper against a plain formulation of the same function: time of a training step, and accuracy.

The plain one is the textbook's: a loop over the datasets, and for every point a Clenshaw-Curtis rule of 101 nodes on
[0, x]. Both get the same parameters, after a short training on synthetic scores.

    python benchmarks/mapper.py
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.integrate import cubature
from torch import Tensor, nn
from torch.nn.functional import elu, smooth_l1_loss

from mimi_lightning.models.mappers import MINN
from mimi_lightning.objectives import MIMI, range_spread

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
    """One increasing function, with the parameters of one function of a stack."""

    def __init__(self, stack: nn.Module, function: int) -> None:
        super().__init__()
        layers = []
        for weight, bias in zip(stack.weights, stack.biases, strict=True):
            linear = nn.Linear(weight.shape[2], weight.shape[1])
            linear.weight.data, linear.bias.data = weight.data[function].clone(), bias.data[function, 0].clone()
            layers += [linear, nn.ReLU()]
        self.network = nn.Sequential(*layers[:-1])
        self.log_scale = nn.Parameter(stack.log_scale.data[function].clone())
        self.offset = nn.Parameter(stack.offset.data[function].clone())
        for name, values in zip(("nodes", "weights"), clenshaw_curtis(NODES), strict=True):
            self.register_buffer(name, values)

    def forward(self, x: Tensor) -> Tensor:
        points = (x[:, None] * self.nodes).reshape(-1, 1)
        density = (elu(self.network(points)) + 1).view(len(x), -1)
        return self.log_scale.exp() * x * (density @ self.weights) + self.offset


class PlainMapper(nn.Module):
    """The mappers of all datasets, one after the other."""

    def __init__(self, mapper: MINN) -> None:
        super().__init__()
        self.functions = nn.ModuleList(PlainFunction(mapper.functions, i) for i in range(mapper.functions.functions))

    def of(self, dataset: int) -> list[nn.Module]:
        return [self.functions[role * DATASETS + dataset] for role in range(3)]

    def loss(self, proxy: Tensor, target: Tensor, ends: Tensor) -> Tensor:
        """The MIMI objective with unit weights; proxy and target sorted by dataset, [D, B / D]."""
        fit, first, second, pulled_back = [], [], [], []
        for d in range(DATASETS):
            m, f, g = self.of(d)
            x2 = m(proxy[d])
            first.append(proxy[d] + f(x2))
            second.append(x2 + g(first[-1]))
            fit.append(smooth_l1_loss(second[-1], target[d]))
            pulled_back.append(ends[d] - f(ends[d] - g(ends[d])))
        agreement = smooth_l1_loss(torch.cat(first), torch.cat(second))
        return torch.stack(fit).mean() + 2 * agreement + range_spread(torch.stack(pulled_back))


def train(steps: int) -> tuple[MINN, Tensor, Tensor]:
    """Fit six scales of one hidden quality; return the mapper and the last batch's proxy scores and targets."""
    mapper, objective = MINN(DATASETS), MIMI([1.0] * DATASETS)
    regressor = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 1))
    optimiser = torch.optim.Adam([*mapper.parameters(), *regressor.parameters()], lr=6e-4)
    dataset = torch.arange(DATASETS).repeat_interleave(IMAGES)
    gain = torch.tensor([1.0, 1.5, 0.7, 1.2, 2.0, 0.8])[dataset]
    ends = torch.tensor([[0.0, 10.0]] * DATASETS)
    for _ in range(steps):
        quality = torch.randn(len(dataset))
        target = 10 * torch.sigmoid(gain * quality)
        proxy = regressor(quality[:, None]).squeeze(1)
        loss = objective(mapper, proxy, target, dataset, ends)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return mapper, proxy.detach(), target


def seconds(step: Callable[[], Tensor], repeats: int) -> float:
    """Median time of forward and backward, after one step to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        step().backward()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


@torch.no_grad()
def integral_errors(mapper: MINN, plain: PlainMapper, points: tuple[float, ...] = (-3.0, 1.5, 9.0)) -> list[float]:
    """Largest error of both against SciPy's adaptive quadrature of the same integrands in float64, all functions."""
    exact = MINN(DATASETS).double()
    exact.load_state_dict(mapper.state_dict())
    table, every = mapper.tabulate(), torch.arange(mapper.functions.functions)

    def density(t: np.ndarray) -> np.ndarray:
        return exact.functions.density(torch.from_numpy(t).squeeze(1)).mT.numpy()

    errors = []
    for x in points:
        result = cubature(density, [min(x, 0)], [max(x, 0)], rule="gk21", atol=1e-5, rtol=0)
        truth = np.sign(x) * result.estimate + mapper.functions.offset.double().numpy()
        tabled = table(torch.full((len(every),), x), every)
        looped = torch.cat([function(torch.tensor([x])) for function in plain.functions])
        errors.append([np.abs(values.numpy() - truth).max() for values in (tabled, looped)])
    return np.max(errors, axis=0).tolist()


@torch.no_grad()
def round_trip(mapper: MINN) -> float:
    """Largest |inverse(forward(q)) - q| in float32, for proxy scores in [-3, 3]."""
    q, every = torch.linspace(-3, 3, 500), torch.arange(DATASETS)[:, None]
    return float((mapper.inverse(mapper(q, every)[1], every) - q).abs().max())


@torch.no_grad()
def least_increment(mapper: MINN) -> float:
    """Least step of y2 on 10,001 points of [-20, 20] in float64."""
    double = MINN(DATASETS).double()
    double.load_state_dict(mapper.state_dict())
    q = torch.linspace(-20, 20, 10_001, dtype=torch.float64)
    return float(double(q, torch.arange(DATASETS)[:, None])[1].diff(dim=1).min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="training steps before measuring")
    parser.add_argument("--repeats", type=int, default=15, help="timed steps")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    mapper, proxy, target = train(arguments.steps)
    plain, objective = PlainMapper(mapper), MIMI([1.0] * DATASETS)
    dataset, ends = torch.arange(DATASETS).repeat_interleave(IMAGES), torch.tensor([[0.0, 10.0]] * DATASETS)

    def tabled_step() -> Tensor:
        return objective(mapper, proxy, target, dataset, ends)["loss"]

    def plain_step() -> Tensor:
        return plain.loss(proxy.view(DATASETS, -1), target.view(DATASETS, -1), ends)

    fast, slow = seconds(tabled_step, arguments.repeats), seconds(plain_step, arguments.repeats)
    error, plain_error = integral_errors(mapper, plain)
    table = Table(title=f"{DATASETS} datasets x {IMAGES} images, {torch.get_num_threads()} threads")
    for heading, justify in (("", "left"), ("MINN", "right"), (f"plain, {NODES} nodes", "right")):
        table.add_column(heading, justify=justify)
    table.add_row("training step", f"{1e3 * fast:.1f} ms", f"{1e3 * slow:.1f} ms")
    table.add_row("loss", f"{tabled_step():.5f}", f"{plain_step():.5f}")
    table.add_row("largest error of an integral", f"{error:.1e}", f"{plain_error:.1e}")
    table.add_row("round trip |inverse(forward(q)) - q|", f"{round_trip(mapper):.1e}", "-")
    table.add_row("least increment, 10,001 points", f"{least_increment(mapper):.1e}", "-")
    Console().print(table)


if __name__ == "__main__":
    main()
