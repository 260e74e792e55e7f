"""Fitting a score mapper to given proxy scores, all of them at once."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import one_hot

if TYPE_CHECKING:
    from mimi_lightning.contracts import Mapper

ITERATIONS = 200  # of L-BFGS, at most
RIDGE = 1e-6  # weight of the parameters' squared distance from where they begin
LEAST_R = 1e-3  # lines of datasets whose scores fall while labels rise: as if they correlated by this much


def score_ends(q: Tensor, dataset: Tensor, datasets: int) -> Tensor:
    """Lowest and highest score of each dataset, [D, 2]; 0 and 1 where there are not two different ones."""
    least, most = (
        q.new_zeros(datasets).scatter_reduce(0, dataset, q.detach(), how, include_self=False)
        for how in ("amin", "amax")
    )
    return torch.stack([least, torch.where(most > least, most, least + 1)], dim=1)


def least_squares_lines(q: Tensor, y: Tensor, dataset: Tensor, datasets: int) -> tuple[Tensor, Tensor, Tensor]:
    """The line y = a q + b of each dataset with the least mean squared error among those that increase.

    Args:
        q: scores, [N].
        y: targets, [N].
        dataset: index of each score's dataset, int64 [N].
        datasets: D.

    Returns:
        Slopes a > 0, offsets b and Pearson's correlations, each float64 [D]. Where it is not positive, no line is the
        best, and one that hardly rises is given; NaN where there are no two different scores.
    """
    belongs = one_hot(dataset, datasets).double()

    def mean(x: Tensor) -> Tensor:
        return x @ belongs / belongs.sum(0)

    q, y = q.double(), y.double()
    mean_q, mean_y = mean(q), mean(y)
    from_q, from_y = q - mean_q[dataset], y - mean_y[dataset]
    std_q, std_y = mean(from_q**2).sqrt(), mean(from_y**2).sqrt()
    r = mean(from_q * from_y) / (std_q * std_y)
    slope = r.clamp(min=LEAST_R) * std_y / std_q
    return slope, mean_y - slope * mean_q, r


@torch.enable_grad()
def least_squares(mapper: Mapper, q: Tensor, y: Tensor, dataset: Tensor) -> None:
    """Minimise (1/D) sum_d mean((mapper(q) - y)^2) / width_d^2 in float64 by L-BFGS; see `Mapper.fit`.

    Where labels do not rise with scores, the best increasing map is flat and has no inverse. A millionth of the squared
    distance of an increasing mapper's parameters from where they begin is added, and keeps them from running that far.
    """
    exact = copy.deepcopy(mapper).double().requires_grad_()
    q, y = q.detach().double(), y.detach().double()
    width = exact.span.diff(dim=1).squeeze(1)
    count = torch.bincount(dataset, minlength=len(width))
    weight = (1 / (len(width) * count * width**2))[dataset]
    ridge = RIDGE if mapper.monotone else 0.0
    start = [parameter.detach().clone() for parameter in exact.parameters()]
    optimizer = torch.optim.LBFGS(
        exact.parameters(), max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-12
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        distance = sum((p - begun).square().sum() for p, begun in zip(exact.parameters(), start, strict=True))
        loss = (weight * (exact(q, dataset) - y) ** 2).sum() + ridge * distance
        loss.backward()
        return loss

    optimizer.step(closure)
    mapper.load_state_dict(exact.state_dict())
