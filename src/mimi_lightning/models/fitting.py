"""Fitting a score mapper to given proxy scores, all of them at once."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mimi_lightning.contracts import Mapper

ITERATIONS = 200  # of L-BFGS, at most


def score_ends(q: Tensor, dataset: Tensor, datasets: int) -> Tensor:
    """Lowest and highest score of each dataset, [D, 2]; 0 and 1 where there are not two different ones."""
    least, most = (
        q.new_zeros(datasets).scatter_reduce(0, dataset, q.detach(), how, include_self=False)
        for how in ("amin", "amax")
    )
    return torch.stack([least, torch.where(most > least, most, least + 1)], dim=1)


@torch.enable_grad()
def least_squares(mapper: Mapper, q: Tensor, y: Tensor, dataset: Tensor) -> None:
    """Minimise (1/D) sum_d mean((mapper(q) - y)^2) / width_d^2 in float64 by L-BFGS; see `Mapper.fit`."""
    exact = copy.deepcopy(mapper).double().requires_grad_()
    q, y = q.detach().double(), y.detach().double()
    width = exact.span.diff(dim=1).squeeze(1)
    count = torch.bincount(dataset, minlength=len(width))
    weight = (1 / (len(width) * count * width**2))[dataset]
    optimizer = torch.optim.LBFGS(
        exact.parameters(), max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-12
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (weight * (exact(q, dataset) - y) ** 2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    mapper.load_state_dict(exact.state_dict())
