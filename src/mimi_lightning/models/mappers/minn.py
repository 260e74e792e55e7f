"""The mapper of MIMI: monotonic invertible networks."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from mimi_lightning.contracts import Mapper
from mimi_lightning.models.monotone import MonotoneStack, MonotoneTable
from mimi_lightning.models.roots import invert
from mimi_lightning.models.targets import TOP


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
        return self.stretch(self.outputs(q, dataset, self.functions.tabulate())[1], dataset, TOP)

    def learn(self, q: Tensor, dataset: Tensor, ends: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Predictions y2, SmoothL1(y1, y2) as `agreement`, and as `range` the spread of the ends pulled back.

        An end m is pulled back to the x1 of the block inverse at y1 = y2 = m. See `Mapper.learn`.
        """
        table = self.functions.tabulate()
        y1, y2 = self.outputs(q, dataset, table)
        every = torch.arange(len(ends), device=ends.device)[:, None]
        ends = self.shrink(ends, every, TOP)
        pulled_back, _ = self.block_inverse(ends, ends, every, table)
        return self.stretch(y2, dataset, TOP), {"agreement": smooth_l1_loss(y1, y2), "range": range_spread(pulled_back)}

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
        """Proxy score q with y2(q) = y: the true inverse of the mapping; see `invert`."""
        table = self.functions.tabulate().to("cpu", torch.float64)

        def mapping(q: Tensor, dataset: Tensor) -> Tensor:
            return self.outputs(q, dataset, table)[1]

        return invert(mapping, self.shrink(y, dataset, TOP), dataset, self.reach)

    def _block_roles(self) -> list[tuple[int, int]]:
        """Index of the first dataset's F and G, for every block."""
        return [((1 + 2 * k) * self.datasets, (2 + 2 * k) * self.datasets) for k in range(self.blocks)]


def range_spread(ends: Tensor) -> Tensor:
    """(1/D) sum_d (|lo_d - min_e lo_e| + |hi_d - max_e hi_e|) of D proxy ranges [lo_d, hi_d], [D, 2]."""
    low, high = ends.unbind(dim=1)
    return ((low - low.amin()) + (high.amax() - high)).mean()
