"""Score mappers: increasing maps from the shared proxy score to each target scale, and controls that are not."""

from mimi_lightning.models.mappers.anchored import Anchored
from mimi_lightning.models.mappers.bent import Bernstein, Spline
from mimi_lightning.models.mappers.embedding import Embedding
from mimi_lightning.models.mappers.heads import Heads
from mimi_lightning.models.mappers.joined import Joined
from mimi_lightning.models.mappers.lines import Identity, LeastSquares, Linear
from mimi_lightning.models.mappers.minn import MINN, range_spread
from mimi_lightning.models.mappers.monotonic_iqa import Monotone
from mimi_lightning.models.mappers.sigmoids import MDTVSFA, Logistic

__all__ = [
    "MDTVSFA",
    "MINN",
    "Anchored",
    "Bernstein",
    "Embedding",
    "Heads",
    "Identity",
    "Joined",
    "LeastSquares",
    "Linear",
    "Logistic",
    "Monotone",
    "Spline",
    "range_spread",
]
