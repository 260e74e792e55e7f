"""From hidden quality to pseudo-MOS: every dataset has its own judge's scale and its own raters.

The hidden quality is the ColorVideoVDP score in JOD (just-objectionable differences; 10 is undistorted). No human
rated these pictures: what the label files call MOS is a pseudo-MOS.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mimi_lightning.data.miniature.contents import INSTALL
from mimi_lightning.errors import DatasetError

DISPLAY = "standard_fhd"


@dataclass(frozen=True)
class Scale:
    """How a dataset's raters grade a hidden quality.

    clean(jod) = low + (high - low) / (1 + exp(-(jod - centre) / width)) ** power

    Args:
        low: lower end of the clean scale, native.
        high: upper end of the clean scale, native.
        limits: worst and best grade a rater can give, native.
        centre: hidden quality in the middle of what the raters tell apart, in JOD.
        width: how wide a part of the quality range they tell apart, in JOD.
        power: bends the curve; above 1 the raters are severe.
        raters: number of raters of each picture.
        spread: standard deviation of a rater, as a share of the clean scale.
        steps: grades are multiples of this; 0 for a continuous scale.
    """

    low: float
    high: float
    limits: tuple[float, float]
    centre: float
    width: float
    power: float
    raters: int
    spread: float
    steps: float = 0.0

    def clean(self, jod: np.ndarray) -> np.ndarray:
        """Grade without noise: strictly increasing in the hidden quality."""
        return self.low + (self.high - self.low) * (1 + np.exp(-(jod - self.centre) / self.width)) ** -self.power

    def grade(self, jod: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Let every rater grade every picture.

        Args:
            jod: hidden qualities, shape (pictures,).
            rng: source of the raters' noise.

        Returns:
            Grades within the limits, shape (pictures, raters).
        """
        noise = rng.standard_normal((len(jod), self.raters)) * self.spread * (self.high - self.low)
        grades = self.clean(np.asarray(jod))[:, None] + noise
        if self.steps:
            grades = np.round(grades / self.steps) * self.steps
        return np.clip(grades, *self.limits)


SCALES = {
    "live": Scale(0, 114.4147, (0, 114.4147), centre=8.0, width=0.7, power=1.0, raters=20, spread=0.15),
    "csiq": Scale(0, 1, (0, 1), centre=8.9, width=0.4, power=1.2, raters=10, spread=0.12),
    "bid": Scale(0.1638, 4.9198, (0.1638, 4.9198), centre=6.4, width=0.8, power=0.7, raters=11, spread=0.16),
    "clive": Scale(3.42, 92.432, (3.42, 92.432), centre=7.9, width=0.6, power=0.8, raters=30, spread=0.2),
    "koniq": Scale(1.2, 4.2, (1, 5), centre=8.5, width=0.4, power=1.0, raters=100, spread=0.2, steps=1),
    "kadid": Scale(1, 4.93, (1, 4.93), centre=8.0, width=1.1, power=0.8, raters=30, spread=0.2),
}


def make_judge() -> Callable[[np.ndarray, np.ndarray], float]:
    """Load ColorVideoVDP.

    Returns:
        A function (picture, reference) -> JOD, rounded to four decimals, of uint8 pictures (height, width, 3).

    Raises:
        DatasetError: the package is not installed.
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it reports a missing GPU
    try:
        import pycvvdp
        import torch
    except ImportError as error:
        raise DatasetError(f"The miniature datasets need {error.name}: {INSTALL}") from error
    metric = pycvvdp.cvvdp(display_name=DISPLAY, device=torch.device("cpu"))

    def judge(picture: np.ndarray, reference: np.ndarray) -> float:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the same sums on every machine, and no waiting on busy cores
        try:
            jod, _ = metric.predict(picture, reference, dim_order="HWC")
        finally:
            torch.set_num_threads(threads)
        return round(float(jod), 4)

    return judge
