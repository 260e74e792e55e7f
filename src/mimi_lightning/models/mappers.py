"""Score mappers: increasing maps from the shared proxy score to the target scale of each dataset."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import elementwise
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss, softplus

from mimi_lightning.contracts import Judgement, Mapper
from mimi_lightning.errors import ScoreError
from mimi_lightning.models.monotone import MonotoneStack, MonotoneTable
from mimi_lightning.models.targets import TOP


class Identity(Mapper):
    """No mapper: y = q, the regressor predicts the target scale of every dataset itself."""

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        return torch.broadcast_tensors(q, dataset)[0]

    inverse = forward


class Linear(Mapper):
    """A straight line of each dataset: y = softplus(a_d) q + b_d.

    Lines start at the width of the span as slope, and at its lower end as offset.
    """

    def __init__(self, names: Sequence[str], span: Sequence[Sequence[float]] | None = None) -> None:
        super().__init__(names, span)
        low, high = self.span.unbind(1)
        self.slope = nn.Parameter((high - low).expm1().log())
        self.offset = nn.Parameter(low.clone())

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        return softplus(self.slope)[dataset] * q + self.offset[dataset]

    def inverse(self, y: Tensor, dataset: Tensor) -> Tensor:
        """Proxy score q = (y - b_d) / softplus(a_d)."""
        return (y - self.offset[dataset]) / softplus(self.slope)[dataset]


class Anchored(Mapper):
    """A mapper in which one dataset keeps the straight line that all start from: y = low + (high - low) q.

    Args:
        free: maps all other datasets.
        anchor: name of that dataset.
    """

    def __init__(self, free: Mapper, anchor: str) -> None:
        super().__init__(free.names, free.span.tolist())
        self.free, self.anchor = free, free.names.index(anchor)
        self.offers = free.offers
        self.shared = tuple(f"free.{key}" for key in free.shared)
        self.monotone, self.refits = free.monotone, free.refits

    @property
    def invertible(self) -> bool:
        """Whether the mapper of the others is."""
        return self.free.invertible

    def read(self, judgement: Judgement, dataset: Tensor) -> Tensor:
        """See `Mapper.read`."""
        return self.free.read(judgement, dataset)

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        return torch.where(dataset == self.anchor, self._line(q), self.free(q, dataset))

    def inverse(self, y: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.inverse`."""
        low, high = self.span[self.anchor]
        reached = torch.where(dataset == self.anchor, self.free(torch.zeros_like(y), dataset), y)
        return torch.where(dataset == self.anchor, (y - low) / (high - low), self.free.inverse(reached, dataset))

    def nearest(self, y: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.nearest`."""
        return torch.where(dataset == self.anchor, y, self.free.nearest(y, dataset))

    def learn(self, q: Tensor, dataset: Tensor, ends: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Mapper.learn`."""
        prediction, own = self.free.learn(q, dataset, ends)
        return torch.where(dataset == self.anchor, self._line(q), prediction), own

    def _line(self, q: Tensor) -> Tensor:
        low, high = self.span[self.anchor]
        return low + (high - low) * q


class MINN(Mapper):
    """Monotonic invertible networks of all datasets at once.

    x1 = q, x2 = M(q); K blocks y1 = x1 + F(x2), y2 = x2 + G(y1), each taking the former block's outputs.
    Every dataset has its own increasing M, F and G, so its q -> y2 increases strictly and maps the real line
    onto itself. To the loss it offers how far y1 is from y2, and how far apart the published ranges lie when its
    blocks pull them back to the proxy axis.

    Source: Chen, Xiao, Shen, Wang, "Monotonic and Invertible Network", IJCV 133(11), 2025.

    Args:
        names: of the D datasets.
        span: see `Mapper`; of a span other than 0..10, y1 and y2 are stretched to it.
        blocks: number K of coupled blocks.
        hidden: widths of the hidden layers of every integrand.
        cells: cells of the integrals' table on each side of 0.
        reach: that table spans [-reach, reach]; beyond it M, F and G are straight lines.
    """

    offers = ("agreement", "range")

    def __init__(
        self,
        names: Sequence[str],
        span: Sequence[Sequence[float]] | None = None,
        blocks: int = 1,
        hidden: Sequence[int] = (100, 100, 100),
        cells: int = 640,
        reach: float = 64.0,
    ) -> None:
        super().__init__(names, span)
        self.datasets = len(self.names)
        self.blocks = blocks
        self.reach = reach
        # Function `role * D + dataset`, with the roles M, F_1, G_1, F_2, G_2, ...
        self.functions = MonotoneStack((1 + 2 * blocks) * self.datasets, hidden, cells, reach)

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        return self._stretch(self.outputs(q, dataset, self.functions.tabulate())[1], dataset)

    def learn(self, q: Tensor, dataset: Tensor, ends: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Predictions y2, SmoothL1(y1, y2) as `agreement`, and as `range` the spread of the ends pulled back.

        An end m is pulled back to the x1 of the block inverse at y1 = y2 = m. See `Mapper.learn`.
        """
        table = self.functions.tabulate()
        y1, y2 = self.outputs(q, dataset, table)
        every = torch.arange(len(ends), device=ends.device)[:, None]
        ends = self._shrink(ends, every)
        pulled_back, _ = self.block_inverse(ends, ends, every, table)
        return self._stretch(y2, dataset), {"agreement": smooth_l1_loss(y1, y2), "range": range_spread(pulled_back)}

    def outputs(self, q: Tensor, dataset: Tensor, table: MonotoneTable) -> tuple[Tensor, Tensor]:
        """Both outputs of the last block, y1 and y2, by the table of its functions; shapes as those of `forward`."""
        q = q.to(table.density.dtype)
        y1, y2 = q, table(q, dataset)
        for forward_role, back_role in self._block_roles():
            y1 = y1 + table(y2, forward_role + dataset)
            y2 = y2 + table(y1, back_role + dataset)
        return y1, y2

    def block_inverse(self, y1: Tensor, y2: Tensor, dataset: Tensor, table: MonotoneTable) -> tuple[Tensor, Tensor]:
        """Undo the blocks in closed form: x2 = y2 - G(y1), x1 = y1 - F(x2).

        At y1 = y2 = m this is *not* the inverse of q -> y2(q), since nothing ties x2 to M(x1) there: see `inverse`.

        Args:
            y1: first outputs, any shape.
            y2: second outputs, same shape.
            dataset: index of each score's dataset, int64, broadcastable.
            table: of its functions.

        Returns:
            x1 and x2 in the same shape.
        """
        x1, x2 = y1.to(table.density.dtype), y2.to(table.density.dtype)
        for forward_role, back_role in reversed(self._block_roles()):
            x2 = x2 - table(x1, back_role + dataset)
            x1 = x1 - table(x2, forward_role + dataset)
        return x1, x2

    def inverse(self, y: Tensor, dataset: Tensor) -> Tensor:
        """Proxy score q with y2(q) = y: the true inverse of the mapping.

        The root is bracketed and found in float64 on the CPU. Gradients follow the implicit function theorem:
        dq/dy = 1 / y2'(q) and dq/dp = -(dy2/dp) / y2'(q) for every parameter p.

        Args:
            y: scores on the target scale, any shape.
            dataset: index of each score's dataset, int64, broadcastable with y.

        Returns:
            q in y's shape, with y's precision but at least the mapper's.

        Raises:
            ScoreError: a score is not finite, or so far outside that no proxy score reaches it.
        """
        table = self.functions.tabulate()
        exact = table.to("cpu", torch.float64)
        target, which = torch.broadcast_tensors(self._shrink(y, dataset).to("cpu", torch.float64), dataset.cpu())
        q = self._find_root(target, which, exact)
        if torch.is_grad_enabled():
            q = self._attach_gradient(q, target, which, exact)
        return q.to(y.device, torch.promote_types(y.dtype, table.density.dtype))

    @torch.no_grad()
    def _find_root(self, y: Tensor, dataset: Tensor, table: MonotoneTable) -> Tensor:
        if not y.isfinite().all():
            raise ScoreError(f"cannot invert the mapping: score {_first(~y.isfinite())} is not finite")

        def miss(q: np.ndarray, y: np.ndarray, dataset: np.ndarray) -> np.ndarray:
            return self.outputs(torch.from_numpy(q), torch.from_numpy(dataset.astype(np.int64)), table)[1].numpy() - y

        args = y.numpy(), dataset.numpy()
        start = np.full(y.shape, self.reach)
        bracket = elementwise.bracket_root(miss, -start, start, args=args)
        root = elementwise.find_root(miss, bracket.bracket, args=args)
        success = torch.from_numpy(np.asarray(bracket.success & root.success))
        if not success.all():
            raise ScoreError(f"cannot invert the mapping: no proxy score reaches score {_first(~success)}")
        return torch.from_numpy(np.asarray(root.x))

    def _attach_gradient(self, q: Tensor, y: Tensor, dataset: Tensor, table: MonotoneTable) -> Tensor:
        """A Newton step from the root, less its value: q stays as it is and gains its gradient."""
        q = q.detach().requires_grad_()
        _, y2 = self.outputs(q, dataset, table)
        (slope,) = torch.autograd.grad(y2.sum(), q, retain_graph=True)
        _, y2 = self.outputs(q.detach(), dataset, table)
        step = (y2 - y) / slope
        return q.detach() - (step - step.detach())

    def _stretch(self, y: Tensor, dataset: Tensor) -> Tensor:
        """From 0..10 to the span."""
        low, high = self.span[dataset].unbind(-1)
        return low + y * ((high - low) / TOP)

    def _shrink(self, y: Tensor, dataset: Tensor) -> Tensor:
        """Inverse of `_stretch`."""
        low, high = self.span[dataset].unbind(-1)
        return (y - low) / ((high - low) / TOP)

    def _block_roles(self) -> list[tuple[int, int]]:
        """Index of the first dataset's F and G, for every block."""
        return [((1 + 2 * k) * self.datasets, (2 + 2 * k) * self.datasets) for k in range(self.blocks)]


def range_spread(ends: Tensor) -> Tensor:
    """(1/D) sum_d (|lo_d - min_e lo_e| + |hi_d - max_e hi_e|) of D proxy ranges [lo_d, hi_d], [D, 2]."""
    low, high = ends.unbind(dim=1)
    return ((low - low.amin()) + (high.amax() - high)).mean()


def _first(mask: Tensor) -> int:
    return int(mask.flatten().nonzero()[0])
