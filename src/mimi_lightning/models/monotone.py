"""Strictly increasing functions of one variable, many at once.

Each is the integral of a positive function given by a small network (Wehenkel and Louppe, "Unconstrained
Monotonic Neural Networks", NeurIPS 2019). Instead of integrating anew from 0 to every point, the networks are
evaluated once on a fixed grid, all together, and every point is then read from the table of summed areas.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

# exp(-80) = 2e-35 is still a normal float32 number: the density is small there but never zero.
LOWEST_EXPONENT = -80.0

IDLE = 2  # inputs of the published networks that are always 0


class FullPrecision(nn.Module):
    """A module whose parameters and buffers are never narrowed below 32 bits.

    `.half()`, `.bfloat16()` and `.to(torch.bfloat16)`, on it or on a parent, leave its values as they are.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        def keep_width(tensor: Tensor) -> Tensor:
            converted = fn(tensor)
            narrowed = converted.is_floating_point() and converted.element_size() < 4
            return tensor.to(converted.device) if narrowed else converted

        return super()._apply(keep_width, recurse)


class MonotoneTable:
    """N increasing functions as piecewise quadratics, ready to be read at any number of points.

    phi(x) = b + integral_0^x f(t) dt, where f interpolates its knot values linearly and stays constant
    beyond the outermost knots. phi is the exact integral of a positive function: it increases strictly, has a
    continuous derivative and maps the real line onto itself. A point's value depends on no other point.

    Args:
        knots: increasing points t, [2 * C + 1]; knot C lies at 0.
        density: values f > 0 at the knots, [N, 2 * C + 1].
        offset: values b = phi(0), [N].
    """

    def __init__(self, knots: Tensor, density: Tensor, offset: Tensor) -> None:
        self.knots = knots
        self.density = density
        self.offset = offset
        self.integral = offset[:, None] + self._areas_from_zero()

    def _areas_from_zero(self) -> Tensor:
        """Integral of f from 0 to every knot, summed outwards: it is exactly 0 at 0, and errors grow with |t|."""
        areas = (self.density[:, :-1] + self.density[:, 1:]) / 2 * self.knots.diff()
        left, right = areas.chunk(2, dim=1)
        left = -left.flip(1).cumsum(1).flip(1)
        return torch.cat([left, torch.zeros_like(areas[:, :1]), right.cumsum(1)], dim=1)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "MonotoneTable":
        """The same functions on another device, with the areas summed anew in the other precision."""
        return MonotoneTable(*(part.to(device, dtype) for part in (self.knots, self.density, self.offset)))

    def __call__(self, x: Tensor, function: Tensor) -> Tensor:
        """Evaluate phi_function(x).

        Args:
            x: points, any shape, in the table's dtype.
            function: which of the N functions each point belongs to, int64, broadcastable with x.

        Returns:
            Values in the shape of both arguments broadcast.
        """
        inside = x.clamp(self.knots[0], self.knots[-1])
        # A NaN sorts behind the last knot: it gets a valid cell here and stays NaN through its fraction.
        left = (torch.bucketize(x.contiguous(), self.knots, right=True) - 1).clamp(0, len(self.knots) - 2)
        step = inside - self.knots[left]
        fraction = step / (self.knots[left + 1] - self.knots[left])
        at_left, at_right = self.density[function, left], self.density[function, left + 1]
        # A sum of two positive terms cannot round to 0, as torch.lerp can.
        at_point = (1 - fraction) * at_left + fraction * at_right
        return self.integral[function, left] + step * (at_left + at_point) / 2 + (x - inside) * at_point

    def inverse(self, y: Tensor, function: Tensor) -> Tensor:
        """Solve phi_function(x) = y: a quadratic equation in the cell that holds the root.

        Args:
            y: values, any shape, in the table's dtype.
            function: which of the N functions each value belongs to, int64, broadcastable with y.

        Returns:
            Points x in the shape of both arguments broadcast.
        """
        y, function = torch.broadcast_tensors(y, function)
        inside = y.clamp(self.integral[function, 0], self.integral[function, -1])
        # In which cell of every function each value lies; then those of its own.
        cells = torch.searchsorted(self.integral.detach(), y.detach().flatten().repeat(len(self.integral), 1))
        left = (cells.gather(0, function.flatten()[None]).view_as(y) - 1).clamp(0, len(self.knots) - 2)
        area = inside - self.integral[function, left]
        at_left, at_right = self.density[function, left], self.density[function, left + 1]
        growth = (at_right - at_left) / (self.knots[left + 1] - self.knots[left])
        at_point = (at_left**2 + 2 * growth * area).sqrt()
        return self.knots[left] + 2 * area / (at_left + at_point) + (y - inside) / at_point


class NetworkStack(FullPrecision):
    """N ReLU networks of one shape, evaluated together.

    All parameters are stacked on a leading axis N and initialised like `torch.nn.Linear`.

    Args:
        networks: N.
        widths: of input, hidden layers and output.
    """

    def __init__(self, networks: int, widths: Sequence[int]) -> None:
        super().__init__()
        fans = list(pairwise(widths))
        self.networks = networks
        self.weights = nn.ParameterList(_uniform(networks, n_out, n_in, fan_in=n_in) for n_in, n_out in fans)
        self.biases = nn.ParameterList(_uniform(networks, 1, n_out, fan_in=n_in) for n_in, n_out in fans)

    def forward(self, points: Tensor) -> Tensor:
        """The same T points for every network, [T, inputs], to [N, T, outputs]."""
        features = points.expand(self.networks, -1, -1)
        *hidden, (last_weight, last_bias) = zip(self.weights, self.biases, strict=True)
        for weight, bias in hidden:
            features = torch.baddbmm(bias, features, weight.mT).relu_()
        return torch.baddbmm(last_bias, features, last_weight.mT)


class MonotoneStack(FullPrecision):
    """N increasing functions phi(x) = exp(s) * integral_0^x f(t) dt + b with f = ELU(MLP) + 1.

    As published, every function has a ReLU network for f, which looks at (t, 0, 0), and one for (s, b), which looks at
    (0, 0). What is always 0 changes training: the initial weights are smaller, and Adam moves s and b thirty times as
    fast as it would move two plain constants.

    Args:
        functions: number N of functions.
        hidden: widths of the hidden layers of both networks.
        cells: table cells on each side of 0; the integration error falls with their square.
        reach: the table spans [-reach, reach]; beyond it every function goes on linearly.
    """

    def __init__(
        self, functions: int, hidden: Sequence[int] = (100, 100, 100), cells: int = 640, reach: float = 64.0
    ) -> None:
        super().__init__()
        self.functions = functions
        self.register_buffer("knots", graded_knots(cells, reach), persistent=False)
        self.integrands = NetworkStack(functions, [1 + IDLE, *hidden, 1])
        self.constants = NetworkStack(functions, [IDLE, *hidden, 2])

    def integrand(self, t: Tensor) -> Tensor:
        """f(t) > 0 of every function at the same points: [T] -> [N, T]."""
        return elu_plus_one(self.integrands(nn.functional.pad(t[:, None], (0, IDLE))).squeeze(-1))

    def scale_and_offset(self) -> tuple[Tensor, Tensor]:
        """exp(s) > 0 and b of every function, each [N]."""
        log_scale, offset = self.constants(self.knots.new_zeros(1, IDLE)).squeeze(1).unbind(-1)
        return log_scale.exp(), offset

    @torch.no_grad()
    def lay(self, ends: Tensor, top: float) -> None:
        """Move and scale every function so that it takes its two ends, [N, 2], to 0 and top."""
        low, high = self(ends.to(self.knots.dtype), torch.arange(self.functions, device=ends.device)[:, None]).unbind(1)
        log_scale, offset = self.constants.biases[-1][:, 0].unbind(-1)
        _, at_zero = self.scale_and_offset()
        ratio = top / (high - low)
        log_scale += ratio.log()
        offset -= at_zero + ratio * (low - at_zero)

    def tabulate(self) -> MonotoneTable:
        """All N functions at the current parameters; differentiable, never under autocast."""
        with torch.autocast(self.knots.device.type, enabled=False):
            scale, offset = self.scale_and_offset()
            return MonotoneTable(self.knots, scale[:, None] * self.integrand(self.knots), offset)

    def forward(self, x: Tensor, function: Tensor) -> Tensor:
        """phi_function(x); see `MonotoneTable`."""
        return self.tabulate()(x.to(self.knots.dtype), function)

    def extra_repr(self) -> str:
        """Show the stack and its grid in the printed model."""
        return f"functions={self.functions}, knots={len(self.knots)}"


def elu_plus_one(x: Tensor) -> Tensor:
    """ELU(x) + 1: x + 1 where x is positive, exp(x) elsewhere, and never 0.

    The textbook form expm1(x) + 1 rounds to 0 in float32 from x = -17 downwards.
    """
    return x.clamp(LOWEST_EXPONENT, 0).exp() + x.relu()


def graded_knots(cells: int, reach: float, core: float = 0.5) -> Tensor:
    """Points core * sinh(u), u uniform, on [-reach, reach]: evenly spaced within the core, geometrically beyond.

    The kinks of a ReLU network of one variable gather around 0: those of the first layer lie at -bias / weight,
    a heavy-tailed ratio of order 1. Grading the knots alike makes the trapezoidal error 9 times smaller than
    twice as many evenly spaced knots do, measured on trained mappers.

    Args:
        cells: number C of cells on each side of 0.
        reach: outermost knot.
        core: half-width of the finely spaced part.

    Returns:
        Knots in increasing order, float32, [2 * C + 1], exactly symmetric about 0.
    """
    u = torch.linspace(0, math.asinh(reach / core), cells + 1, dtype=torch.float64)
    right = (core * u.sinh()).float()
    return torch.cat([-right[1:].flip(0), right])


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """Draw a parameter as `torch.nn.Linear` does: uniformly within 1 / sqrt(fan_in) of 0."""
    bound = 1 / math.sqrt(fan_in)
    # Precision plugins lower torch's default dtype while a model is built, hence the explicit one.
    return nn.Parameter(torch.empty(shape, dtype=torch.float32).uniform_(-bound, bound))
