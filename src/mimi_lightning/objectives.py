"""Training objectives: what a mix of datasets should make the regressor and the score mapper learn.

Every objective is a module called as `objective(mapper, proxy, target, dataset, ends)` that returns its named
terms, among them the `loss` to minimise. What stays the same during training goes to its constructor.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from mimi_lightning.models.mappers import MINN
from mimi_lightning.models.monotone import FullPrecision


class MIMI(FullPrecision):
    """Objective of the monotonic invertible network.

    L = (1/D) sum_d w_d SmoothL1(y2_d, target_d) + 2 SmoothL1(y1, y2)
        + (1/D) sum_d (|lo_d - min_e lo_e| + |hi_d - max_e hi_e|)

    with lo_d and hi_d the x1 of the block inverse at y1 = y2 = m, for the two ends m of dataset d's published
    range. D counts all datasets of the mix: one without an image in this batch adds nothing to the first sum,
    and its share is not passed on to the others.

    Source: Chen, Xiao, Shen, Wang, "Monotonic and Invertible Network", IJCV 133(11), 2025.

    Args:
        weights: w_d of every dataset, in the order of the dataset indices, [D].
        agreement: factor of the second term.
    """

    def __init__(self, weights: Sequence[float], agreement: float = 2.0) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32), persistent=False)
        self.agreement = agreement

    def forward(self, mapper: MINN, proxy: Tensor, target: Tensor, dataset: Tensor, ends: Tensor) -> dict[str, Tensor]:
        """Compute the loss of one mixed batch.

        Args:
            mapper: score mapper of the D datasets.
            proxy: proxy scores, [B].
            target: opinion scores on the target scale, 0..10 in the training part, [B].
            dataset: index 0..D-1 of each image's dataset, int64, [B].
            ends: lower and upper end of each published range on the target scale, [D, 2].

        Returns:
            Scalars `loss` and the terms it is the sum of: `fit`, `agreement`, `range`.
        """
        table = mapper.tabulate()
        y1, y2 = mapper(proxy, dataset, table)
        every = torch.arange(len(ends), device=ends.device)[:, None]
        pulled_back, _ = mapper.block_inverse(ends, ends, every, table)
        terms = {
            "fit": self._fit(y2, target, dataset),
            "agreement": self.agreement * smooth_l1_loss(y1, y2),
            "range": range_spread(pulled_back),
        }
        return {"loss": sum(terms.values()), **terms}

    def _fit(self, prediction: Tensor, target: Tensor, dataset: Tensor) -> Tensor:
        """(1/D) sum_d w_d SmoothL1(prediction_d, target_d), written as one weighted sum over the images."""
        error = smooth_l1_loss(prediction, target.to(prediction.dtype), reduction="none")
        weights = self.weights.to(prediction.dtype)
        count = torch.zeros_like(weights).index_add_(0, dataset, torch.ones_like(error))
        # Datasets without an image get an infinite weight here, which no image ever picks.
        image_weight = (weights / (len(weights) * count))[dataset]
        return (image_weight * error).sum()


def range_spread(ends: Tensor) -> Tensor:
    """(1/D) sum_d (|lo_d - min_e lo_e| + |hi_d - max_e hi_e|) of D proxy ranges [lo_d, hi_d], [D, 2]."""
    low, high = ends.unbind(dim=1)
    return ((low - low.amin()) + (high.amax() - high)).mean()
