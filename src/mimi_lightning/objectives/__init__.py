"""Training objectives: what a mix of datasets should make the regressor and the score mapper learn."""

from mimi_lightning.objectives.correlation import PLCC, NormInNorm
from mimi_lightning.objectives.levels import EMD, Ordinal
from mimi_lightning.objectives.ranking import Fidelity, FidelityBinary, Margin, RankHinge
from mimi_lightning.objectives.regression import MIMI, Regression
from mimi_lightning.objectives.sums import Mixed, Sum

__all__ = [
    "EMD",
    "MIMI",
    "PLCC",
    "Fidelity",
    "FidelityBinary",
    "Margin",
    "Mixed",
    "NormInNorm",
    "Ordinal",
    "RankHinge",
    "Regression",
    "Sum",
]
