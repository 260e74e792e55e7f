"""Training objectives: what a mix of datasets should make the regressor and the score mapper learn."""

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss, smooth_l1_loss

from mimi_lightning.contracts import Judgement, Objective
from mimi_lightning.errors import ConfigError

LOSSES = {"l1": l1_loss, "smooth_l1": smooth_l1_loss, "mse": mse_loss}


class MIMI(Objective):
    """Objective of the monotonic invertible network.

    L = (1/D) sum_d w_d SmoothL1(y2_d, target_d) + 2 SmoothL1(y1, y2)
        + (1/D) sum_d (|lo_d - min_e lo_e| + |hi_d - max_e hi_e|)

    The second and the third term are the mapper's own, see `mimi_lightning.models.mappers.MINN`.

    Source: Chen, Xiao, Shen, Wang, "Monotonic and Invertible Network", IJCV 133(11), 2025.

    Args:
        weights: w_d of every dataset, in the order of the dataset indices, [D].
        agreement: factor of the second term.
    """

    needs = ("agreement", "range")

    def __init__(self, weights: Sequence[float], agreement: float = 2.0) -> None:
        super().__init__(weights)
        self.agreement = agreement

    def forward(
        self, judgement: Judgement, prediction: Tensor, target: Tensor, dataset: Tensor, own: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Compute `loss` and the terms it is the sum of: `fit`, `agreement`, `range`. See `Objective.forward`."""
        error = smooth_l1_loss(prediction, target.to(prediction.dtype), reduction="none")
        terms = {
            "fit": self.over_datasets(error, dataset),
            "agreement": self.agreement * own["agreement"],
            "range": own["range"],
        }
        return {"loss": sum(terms.values()), **terms}


class Regression(Objective):
    """Fit the predictions to the labels, and nothing else: L = (1/D) sum_d w_d loss(y_d, target_d).

    Args:
        weights: w_d of every dataset, in the order of the dataset indices, [D].
        loss: `l1`, `smooth_l1` or `mse`.
    """

    def __init__(self, weights: Sequence[float], loss: str = "smooth_l1") -> None:
        super().__init__(weights)
        if loss not in LOSSES:
            raise ConfigError(f"objective.loss={loss}: expected {', '.join(LOSSES)}.")
        self.loss = LOSSES[loss]

    def forward(
        self, judgement: Judgement, prediction: Tensor, target: Tensor, dataset: Tensor, own: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Compute the `loss`. See `Objective.forward`."""
        error = self.loss(prediction, target.to(prediction.dtype), reduction="none")
        return {"loss": self.over_datasets(error, dataset)}
