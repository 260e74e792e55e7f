"""Three recipes: which part of the quality range every dataset covers, and how its raters grade it.

own:
    As real datasets differ: every one has faults of its own strength, so that it covers its own part of the range; a
    curve that tells this part apart; and its own raters.
shared:
    Faults are as strong as it takes for all datasets to cover the same range of hidden quality, and every curve extends
    over all of it. Curves still differ, and raters do: how many they are, how noisy, in which steps they grade.
scale:
    The pictures of `shared`, byte by byte, and its curves, but the same raters for all. What they agree on up to noise
    is the hidden quality itself: clean_d^-1(mos) = JOD + e, and e ~ N(0, SPREAD^2 / RATERS) in every dataset d. The
    labels of two datasets differ by an increasing function and by nothing else.

So scales alone explain what is seen under `scale`. What is seen under `shared` and not under `scale` takes unequal
raters; what is seen under `own` only takes unequal ranges. The kinds of faults are the owners' in all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mimi_lightning.data.miniature.ratings import OneOpinion, Scale

Span = tuple[float, float]  # of strengths of faults: of the mildest and of the worst picture

RATERS = 30  # of each picture under `scale`
SPREAD = 0.8  # standard deviation of one of them, in JOD


@dataclass(frozen=True)
class Coverage:
    """One of the recipes, by dataset.

    Args:
        strengths: of the faults.
        scales: how the raters grade.
    """

    strengths: Mapping[str, Span]
    scales: Mapping[str, Scale]


OWN = Coverage(
    strengths={
        "live": (0.1, 0.9),
        "csiq": (0.0, 0.42),
        "bid": (0.8, 1.9),
        "clive": (0.3, 1.3),
        "koniq": (0.15, 0.75),
        "kadid": (0.0, 1.0),
    },
    scales={
        "live": Scale(0, 114.4147, (0, 114.4147), centre=8.0, width=0.7, power=1.0, raters=20, spread=0.15),
        "csiq": Scale(0, 1, (0, 1), centre=8.9, width=0.4, power=1.2, raters=10, spread=0.12),
        "bid": Scale(0.1638, 4.9198, (0.1638, 4.9198), centre=6.4, width=0.8, power=0.7, raters=11, spread=0.16),
        "clive": Scale(3.42, 92.432, (3.42, 92.432), centre=7.9, width=0.6, power=0.8, raters=30, spread=0.2),
        "koniq": Scale(1.2, 4.2, (1, 5), centre=8.5, width=0.4, power=1.0, raters=100, spread=0.2, steps=1),
        "kadid": Scale(1, 4.93, (1, 4.93), centre=8.0, width=1.1, power=0.8, raters=30, spread=0.2),
    },
)

SHARED_CURVES = {
    "live": {"centre": 7.4, "width": 0.8, "power": 1.0},
    "csiq": {"centre": 8.4, "width": 0.9, "power": 1.2},
    "bid": {"centre": 6.0, "width": 1.0, "power": 0.7},
    "clive": {"centre": 6.8, "width": 1.1, "power": 0.8},
    "koniq": {"centre": 7.8, "width": 0.7, "power": 1.0},
    "kadid": {"centre": 7.4, "width": 1.4, "power": 0.8},
}
SHARED = Coverage(
    strengths={
        "live": (0.15, 1.1),
        "csiq": (0.2, 0.95),
        "bid": (0.05, 1.8),
        "clive": (0.05, 1.8),
        "koniq": (0.05, 1.8),
        "kadid": (0.35, 1.0),
    },
    scales={name: Scale(**(vars(scale) | SHARED_CURVES[name])) for name, scale in OWN.scales.items()},
)

EQUAL_RATERS = {"raters": RATERS, "spread": SPREAD, "steps": 0}
SCALE = Coverage(
    strengths=SHARED.strengths,
    scales={name: OneOpinion(**(vars(scale) | EQUAL_RATERS)) for name, scale in SHARED.scales.items()},
)

COVERAGES = {"own": OWN, "shared": SHARED, "scale": SCALE}
