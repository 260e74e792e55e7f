"""Gathering the scores of every image exactly, across batches and processes."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from mimi_lightning.errors import ScoreError

SCORE_TYPES = {"index": torch.int64, "proxy": torch.float32, "prediction": torch.float32, "std": torch.float32}


class ScoreTable(Metric):
    """One row an image: its index in the annotations, its proxy score, its prediction and how sure that is.

    Processes may hold any number of rows, none included. No row is ever repeated to even them out, which would bias
    the figures: a distributed sampler must deal out the images without padding.
    """

    full_state_update = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for column in SCORE_TYPES:
            self.add_state(column, default=[], dist_reduce_fx="cat")

    def update(self, index: Tensor, proxy: Tensor, prediction: Tensor, std: Tensor) -> None:
        """Add the rows of a batch.

        Args:
            index: row of each image in the annotations table, int64, [B].
            proxy: proxy scores, at least float32, [B].
            prediction: scores on the dataset's native scale, at least float32, [B].
            std: standard deviation of each prediction, native, NaN where it is not known, [B].

        Raises:
            ScoreError: scores in half precision, which collapse into a handful of ranks.
        """
        rows = {"index": index, "proxy": proxy, "prediction": prediction, "std": std}
        for column, values in rows.items():
            if values.element_size() < 4:
                raise ScoreError(f"{column} is {values.dtype}: compute scores in float32, outside autocast")
            getattr(self, column).append(values.detach().to(SCORE_TYPES[column]))

    def compute(self) -> dict[str, Tensor]:
        """Return the columns of all processes, sorted by index.

        Raises:
            ScoreError: an image was scored twice.
        """
        self._type_empty_columns()
        table = {column: dim_zero_cat(getattr(self, column)) for column in SCORE_TYPES}
        order = table["index"].argsort()
        table = {column: values[order] for column, values in table.items()}
        repeated = table["index"][1:] == table["index"][:-1]
        if repeated.any():
            first = int(table["index"][1:][repeated][0])
            raise ScoreError(f"image {first} was scored more than once: deal out the images without padding")
        return table

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the rows of all processes."""
        self._type_empty_columns()
        super().sync(*args, **kwargs)

    def _type_empty_columns(self) -> None:
        """Give a process without rows empty columns of the right type.

        torchmetrics would send float32 for it, and the other processes' int64 column would arrive garbled.
        """
        for column, dtype in SCORE_TYPES.items():
            if isinstance(getattr(self, column), list) and not getattr(self, column):
                setattr(self, column, [torch.empty(0, dtype=dtype, device=self.device)])
