"""From hidden quality to pseudo-MOS: every dataset has its own judge's scale and its own raters.

The hidden quality is the ColorVideoVDP score in JOD (just-objectionable differences; 10 is undistorted). No human
rated these pictures: what the label files call MOS is a pseudo-MOS.
"""

from __future__ import annotations

import functools
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


@dataclass(frozen=True)
class OneOpinion(Scale):
    """Raters who agree, up to noise, on the hidden quality; only their mean opinion is put on the dataset's scale.

    o_r = jod + spread * noise_r, and with their mean o: mos = clean(o), grades_r = mos + clean'(o) (o_r - o)

    Here `spread` is in JOD; neither `limits` nor `steps` hold for a single grade.
    """

    def slope(self, jod: np.ndarray) -> np.ndarray:
        """Derivative of the clean scale, native per JOD."""
        above = 1 / (1 + np.exp((jod - self.centre) / self.width))
        return (self.clean(jod) - self.low) * self.power * above / self.width

    def grade(self, jod: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Let every rater have an opinion of every picture; arguments and shapes as those of `Scale`."""
        opinions = np.asarray(jod)[:, None] + self.spread * rng.standard_normal((len(jod), self.raters))
        mean = opinions.mean(axis=1, keepdims=True)
        return self.clean(mean) + self.slope(mean) * (opinions - mean)


@functools.cache  # one a process
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
