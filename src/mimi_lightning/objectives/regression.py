"""Objectives that want predictions to be what the labels are."""

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss, smooth_l1_loss

from mimi_lightning.contracts import Judgement, Objective, Opinions
from mimi_lightning.errors import ConfigError

LOSSES = {"l1": l1_loss, "smooth_l1": smooth_l1_loss, "mse": mse_loss}


class MIMI(Objective):
    """Objective of the monotonic invertible network.

    L = (1/D) sum_d w_d SmoothL1(y2_d, target_d) + 2 SmoothL1(y1, y2)

    The second term is the mapper's own, see `mimi_lightning.models.mappers.MINN`; the published third term is
    `mimi_lightning.gauges.Range`.

    Source: Chen, Xiao, Shen, Wang, "Monotonic and Invertible Network", IJCV 133(11), 2025.

    Args:
        weights: w_d of every dataset, in the order of the dataset indices, [D].
        span: see `Objective`.
        agreement: factor of the second term.
    """

    needs = ("agreement",)

    def __init__(
        self, weights: Sequence[float], span: Sequence[Sequence[float]] | None = None, agreement: float = 2.0
    ) -> None:
        super().__init__(weights, span)
        self.agreement = agreement

    def forward(
        self, judgement: Judgement, prediction: Tensor, opinions: Opinions, own: Mapping[str, Tensor], epoch: int = 0
    ) -> dict[str, Tensor]:
        """Compute `loss` and the terms it is the sum of: `fit` and `agreement`. See `Objective.forward`."""
        error = smooth_l1_loss(prediction, opinions.score.to(prediction.dtype), reduction="none")
        terms = {
            "fit": self.over_datasets(error, opinions.dataset),
            "agreement": self.agreement * own["agreement"],
        }
        return {"loss": sum(terms.values()), **terms}


class Regression(Objective):
    """Fit the predictions to the labels, and nothing else: L = (1/D) sum_d w_d loss(y_d, target_d).

    Args:
        weights: w_d of every dataset, in the order of the dataset indices, [D].
        span: see `Objective`.
        loss: `l1`, `smooth_l1` or `mse`.
    """

    def __init__(
        self, weights: Sequence[float], span: Sequence[Sequence[float]] | None = None, loss: str = "smooth_l1"
    ) -> None:
        super().__init__(weights, span)
        if loss not in LOSSES:
            raise ConfigError(f"objective.loss={loss}: expected {', '.join(LOSSES)}.")
        self.loss = LOSSES[loss]

    def forward(
        self, judgement: Judgement, prediction: Tensor, opinions: Opinions, own: Mapping[str, Tensor], epoch: int = 0
    ) -> dict[str, Tensor]:
        """Compute the `loss`. See `Objective.forward`."""
        error = self.loss(prediction, opinions.score.to(prediction.dtype), reduction="none")
        return {"loss": self.over_datasets(error, opinions.dataset)}
