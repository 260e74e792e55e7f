"""What no picture changes, computed once and for all: tables of integrated networks, polynomials, texts of CLIP."""

from __future__ import annotations

import math

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from zuko.transforms import BernsteinTransform

from mimi_lightning.exporting.same import SameConv
from mimi_lightning.models.clip import CLIPRegressor
from mimi_lightning.models.mappers import Bernstein
from mimi_lightning.models.mappers.bent import HALF
from mimi_lightning.models.monotone import MonotoneStack, MonotoneTable


@torch.no_grad()
def settle(model: nn.Module) -> nn.Module:
    """Replace in a model what a program would otherwise compute anew for every batch, or cannot express.

    It computes the same function and cannot learn any more.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, MonotoneStack):
            _keep_table(module)
        elif isinstance(module, Bernstein):
            _keep_polynomials(module)
        elif isinstance(module, CLIPRegressor):
            _keep_text_features(module)
        elif type(module) is Conv2dSame:
            model.set_submodule(name, SameConv(module))
    return model


def _keep_table(stack: MonotoneStack) -> None:
    """The table is all that predictions read: its networks are left out."""
    table = FlatTable(stack.tabulate())
    stack.tabulate = lambda: table
    del stack.integrands, stack.constants


class FlatTable:
    """The functions of a `MonotoneTable`, with one row after the other: ONNX reads by one index what has one axis.

    Args:
        table: whose functions it has.
    """

    def __init__(self, table: MonotoneTable) -> None:
        self.knots, self.cells = table.knots, len(table.knots) - 1
        self.density, self.integral = table.density[:, :-1].flatten(), table.integral[:, :-1].flatten()
        self.growth = (table.density.diff(dim=1) / table.knots.diff()).flatten()

    def __call__(self, x: Tensor, function: Tensor) -> Tensor:
        """See `MonotoneTable`."""
        x, function = torch.broadcast_tensors(x, function)
        inside = x.clamp(self.knots[0], self.knots[-1])
        cell = (x[..., None] >= self.knots[1:-1]).sum(-1)  # ONNX has no torch.bucketize
        at = (function * self.cells + cell).flatten()
        integral, density, growth = (
            part.index_select(0, at).view(x.shape) for part in (self.integral, self.density, self.growth)
        )
        step = inside - self.knots.index_select(0, cell.flatten()).view(x.shape)
        at_point = density + growth * step
        return integral + step * (density + at_point) / 2 + (x - inside) * at_point


def _keep_polynomials(mapper: Bernstein) -> None:
    """Terms C(n, i) theta_i t^i (1 - t)^(n - i), which zuko computes by logarithms of gamma functions."""
    zuko = BernsteinTransform(mapper.coefficients, bound=HALF)
    order, low, high = zuko.order, zuko.eps, 1 - zuko.eps
    power = torch.arange(order + 1)
    terms = zuko.theta * torch.tensor([math.comb(order, i) for i in range(order + 1)])
    slope_below, slope_above = zuko.slope

    def bend(x: Tensor, dataset: Tensor) -> Tensor:
        t = x + HALF
        inside = t.clamp(low, high)
        u = inside[..., None]
        polynomial = (terms[dataset] * u**power * (1 - u) ** (order - power)).sum(-1)
        below, above = (t - low).clamp(max=0), (t - high).clamp(min=0)  # tangents go on
        return polynomial + slope_below[dataset] * below + slope_above[dataset] * above

    mapper.bend = bend


def _keep_text_features(regressor: CLIPRegressor) -> None:
    """The prompts are always the same: the text tower is left out."""
    text = regressor.text_features()
    regressor.text_features = lambda: text
    del regressor.prompts
    clip = regressor.clip
    for name in [*clip._modules, *clip._parameters, *clip._buffers]:
        if name not in ("visual", "logit_scale"):
            delattr(clip, name)
