"""The mapper of AlignNet: one network for all datasets, which is told the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mimi_lightning.contracts import Mapper


class Embedding(Mapper):
    """One network of the score and a vector of the dataset: y = x + MLP(x, e_d), stretched to the span.

    x is the proxy score, moved and stretched so that those at which the mapper begins lie in 0..1. Nothing makes y
    increase, so it has no inverse. Its last layer begins with zeros.

    Source: Pieper, Voran, "AlignNet: Learning dataset score alignment functions to enable better training of speech
    quality estimators", Interspeech 2024; there y = MLP(q, e_d).

    Args:
        names: of the D datasets.
        span: see `Mapper`.
        vector: width of e_d.
        hidden: widths of the hidden layers.
    """

    monotone = False

    def __init__(
        self,
        names: Sequence[str],
        span: Sequence[Sequence[float]] | None = None,
        vector: int = 10,
        hidden: Sequence[int] = (16, 16, 16, 16),
    ) -> None:
        super().__init__(names, span)
        # Precision plugins lower torch's default dtype while a model is built, hence the explicit one.
        self.vectors = nn.Embedding(len(self.names), vector, dtype=torch.float32)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([1 + vector, *hidden, 1]):
            layers += [nn.Linear(inputs, outputs, dtype=torch.float32), nn.ReLU()]
        self.network = nn.Sequential(*layers[:-1])
        self.register_buffer("window", self.span.new_tensor([0.0, 1.0]))  # proxy scores where x is 0 and 1
        self.shared = ("window", *(f"network.{key}" for key in self.network.state_dict()))
        self.begin(self.window.expand_as(self.span))

    @torch.no_grad()
    def begin(self, ends: Tensor) -> None:
        """See `Mapper.begin`."""
        self.window.copy_(torch.stack([ends[:, 0].min(), ends[:, 1].max()]))
        for parameter in self.network[-1].parameters():
            parameter.zero_()

    def forward(self, q: Tensor, dataset: Tensor) -> Tensor:
        """See `Mapper.forward`."""
        low, high = self.window
        q, dataset = torch.broadcast_tensors((q - low) / (high - low), dataset)
        with torch.autocast(q.device.type, enabled=False):
            bend = self.network(torch.cat([q[..., None], self.vectors(dataset)], dim=-1)).squeeze(-1)
        return self.stretch(q + bend, dataset)
