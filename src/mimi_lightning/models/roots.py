"""Inverses of increasing functions that have none in closed form, with their gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import elementwise
from torch import Tensor

from mimi_lightning.errors import ScoreError

Function = Callable[[Tensor, Tensor], Tensor]


def invert(function: Function, y: Tensor, dataset: Tensor, reach: float) -> Tensor:
    """Find q with function(q, dataset) = y.

    The root is bracketed and found in float64 on the CPU. Gradients follow the implicit function theorem:
    dq/dy = 1 / f'(q) and dq/dp = -(df/dp) / f'(q) for every parameter p.

    Args:
        function: of scores and their dataset indices, increasing in the scores; takes and gives float64 on the CPU.
        y: values, any shape.
        dataset: index of each value's dataset, int64, broadcastable with y.
        reach: brackets begin as [-reach, reach].

    Returns:
        q in the shape of both arguments broadcast, as precise as y.

    Raises:
        ScoreError: a value is not finite, or so far outside that no score reaches it.
    """
    target, which = torch.broadcast_tensors(y.to("cpu", torch.float64), dataset.cpu())
    q = _find_root(function, target, which, reach)
    if torch.is_grad_enabled():
        q = _attach_gradient(function, q, target, which)
    return q.to(y.device, y.dtype)


def first(mask: Tensor) -> int:
    """Place of the first true value."""
    return int(mask.flatten().nonzero()[0])


@torch.no_grad()
def _find_root(function: Function, y: Tensor, dataset: Tensor, reach: float) -> Tensor:
    if not y.isfinite().all():
        raise ScoreError(f"cannot invert the mapping: score {first(~y.isfinite())} is not finite")

    def miss(q: np.ndarray, y: np.ndarray, dataset: np.ndarray) -> np.ndarray:
        return function(torch.from_numpy(q), torch.from_numpy(dataset.astype(np.int64))).numpy() - y

    args = y.numpy(), dataset.numpy()
    start = np.full(y.shape, reach)
    bracket = elementwise.bracket_root(miss, -start, start, args=args)
    root = elementwise.find_root(miss, bracket.bracket, args=args)
    success = torch.from_numpy(np.asarray(bracket.success & root.success))
    if not success.all():
        raise ScoreError(f"cannot invert the mapping: no proxy score reaches score {first(~success)}")
    return torch.from_numpy(np.asarray(root.x))


def _attach_gradient(function: Function, q: Tensor, y: Tensor, dataset: Tensor) -> Tensor:
    """A Newton step from the root, less its value: q stays as it is and gains its gradient."""
    q = q.detach().requires_grad_()
    (slope,) = torch.autograd.grad(function(q, dataset).sum(), q, retain_graph=True)
    step = (function(q.detach(), dataset) - y) / slope
    return q.detach() - (step - step.detach())
