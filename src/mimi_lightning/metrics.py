"""Figures of agreement between predicted scores and mean opinion scores.

Pure functions on one-dimensional arrays, in float64. Scores from which a figure cannot be computed raise `ScoreError`:
nothing is ever reported as 0 or NaN.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats
from scipy.special import expit

from mimi_lightning.errors import ScoreError

Array = NDArray[np.float64]

# Slopes of a logistic fit, per standard deviation of the scores: from a nearly straight line to a step between two
# neighbouring images.
SLOPES = 0.01, 10_000.0
FAR = 12.0  # how far its centre may lie beyond all scores, in 1 / slope: there it is an exponential up to e^-12
OUTSIDE = np.linspace(0.5, 11.5, 12)  # where beyond the scores its centre is started
FLAT = 1e-9  # length of a sigmoid, once the other columns are taken out of it, below which rounding is all of it
STEPS = 60  # of a search, at most
COARSE, FINE = 1e-6, 1e-12  # tolerances of the searches from all starts, and of the one that goes on from the best
QUANTILES = np.linspace(0, 1, 401)  # of the scores, where a centre is started
GROUPS = 400  # of neighbouring scores, which stand for all of them where starts are looked for
EVALUATIONS = 1_000_000  # of a curve from the published start; along flat valleys it needs a good part of them


def srcc(score: ArrayLike, mos: ArrayLike) -> float:
    """Spearman's rank correlation, ties at their mean rank.

    Args:
        score: predicted scores, [n], any unit.
        mos: mean opinion scores, [n].

    Raises:
        ScoreError: not finite, constant, of unequal length or fewer than 2.
    """
    return float(stats.spearmanr(*_checked(score, mos)).statistic)


def krcc(score: ArrayLike, mos: ArrayLike) -> float:
    """Kendall's rank correlation tau-b; arguments and errors as in `srcc`."""
    return float(stats.kendalltau(*_checked(score, mos)).statistic)


def plcc(score: ArrayLike, mos: ArrayLike) -> float:
    """Pearson's linear correlation; arguments and errors as in `srcc`."""
    return float(stats.pearsonr(*_checked(score, mos)).statistic)


def rmse(score: ArrayLike, mos: ArrayLike) -> float:
    """Root mean square error sqrt(mean((score - mos)^2)), in units of both.

    Args:
        score: predicted scores on the scale of mos, [n].
        mos: mean opinion scores, [n].

    Raises:
        ScoreError: not finite, of unequal length or none.
    """
    score, mos = _finite(score, mos, least=1)
    return float(np.sqrt(np.mean((score - mos) ** 2)))


def logistic4(x: ArrayLike, b1: float, b2: float, b3: float, b4: float) -> Array:
    """(b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2."""
    return (b1 - b2) * expit((np.asarray(x, np.float64) - b3) / abs(b4)) + b2


def logistic5(x: ArrayLike, b1: float, b2: float, b3: float, b4: float, b5: float) -> Array:
    """b1 * (1/2 - 1 / (1 + exp(b2 * (x - b3)))) + b4 * x + b5."""
    x = np.asarray(x, np.float64)
    return b1 * (expit(b2 * (x - b3)) - 0.5) + b4 * x + b5


@dataclass(frozen=True)
class LogisticFit:
    """A logistic curve through the scatter of scores and mos; call it to map scores onto the mos scale.

    Attributes:
        curve: `logistic4` or `logistic5`.
        parameters: b1, b2, ... of the curve, in the units of the data.
    """

    curve: Callable[..., Array]
    parameters: tuple[float, ...]

    def __call__(self, score: ArrayLike) -> Array:
        """Map scores, [n], to the scale of mos, [n]."""
        return self.curve(score, *self.parameters)


def fit_logistic4(score: ArrayLike, mos: ArrayLike) -> LogisticFit:
    """Least-squares fit of the 4-parameter logistic curve, as LIQE and MIMI-CLIP report it.

    Args:
        score: predicted scores, [n], any unit and direction.
        mos: mean opinion scores, [n].

    Raises:
        ScoreError: not finite, constant, of unequal length, fewer than 4, or no start converged.
    """
    x, y = _checked(score, mos, least=4)
    centre, slope, (rise, floor) = _least_residual(x, y, np.ones_like(x)[:, None])
    return LogisticFit(logistic4, (floor + rise, floor, centre, 1 / slope))


def fit_logistic5(score: ArrayLike, mos: ArrayLike) -> LogisticFit:
    """Least-squares fit of the 5-parameter logistic curve, as UNIQUE and MIMI-CNN report it.

    Args:
        score: predicted scores, [n], any unit and direction.
        mos: mean opinion scores, [n].

    Raises:
        ScoreError: not finite, constant, of unequal length, fewer than 5, or no start converged.
    """
    x, y = _checked(score, mos, least=5)
    from_mean = (x - x.mean()) / x.std()
    centre, slope, (rise, tilt, level) = _least_residual(x, y, np.stack([from_mean, np.ones_like(x)], axis=1))
    tilt /= float(x.std())
    return LogisticFit(logistic5, (rise, slope, centre, tilt, level + rise / 2 - tilt * float(x.mean())))


def published_logistic4(score: ArrayLike, mos: ArrayLike) -> LogisticFit:
    """The 4-parameter fit of LIQE's script: Levenberg-Marquardt from max mos, min mos, mean score and its deviation.

    One start finds a local minimum: use it to compare with published figures. Arguments and errors as in
    `fit_logistic4`.
    """
    x, y = _checked(score, mos, least=4)
    return _from_start(logistic4, (y.max(), y.min(), x.mean(), x.std()), x, y)


def published_logistic5(score: ArrayLike, mos: ArrayLike) -> LogisticFit:
    """The 5-parameter fit of UNIQUE's script: Levenberg-Marquardt from 10, 0, mean score, 0.1, 0.1.

    One start finds a local minimum, on another scale of the scores another one: use it to compare with published
    figures. Arguments and errors as in `fit_logistic5`.
    """
    x, y = _checked(score, mos, least=5)
    return _from_start(logistic5, (10, 0, x.mean(), 0.1, 0.1), x, y)


FITS = {
    "least": {"4p": fit_logistic4, "5p": fit_logistic5},
    "published": {"4p": published_logistic4, "5p": published_logistic5},
}


def correlations(score: ArrayLike, mos: ArrayLike) -> dict[str, float]:
    """srcc, krcc and plcc of the raw scores; arguments and errors as in `srcc`."""
    return {"srcc": srcc(score, mos), "krcc": krcc(score, mos), "plcc": plcc(score, mos)}


def fitted_figures(score: ArrayLike, mos: ArrayLike, curve: str, fits: str = "least") -> dict[str, float]:
    """plcc_4p and rmse_4p after the 4-parameter fit (`curve` 4p), or the same of 5p; errors as in `fit_logistic5`.

    `fits` names a kind of `FITS`: the `least` residual, or `published` starts.
    """
    fitted = FITS[fits][curve](score, mos)(score)
    if np.ptp(fitted) == 0:
        raise ScoreError(f"the logistic fit of {len(fitted)} scores is the same everywhere")
    return {f"plcc_{curve}": plcc(fitted, mos), f"rmse_{curve}": rmse(fitted, mos)}


def weighted_mean(figures: Mapping[str, float], sizes: Mapping[str, float]) -> float:
    """Sum of figure * size over sum of sizes, over the datasets that have a figure.

    Args:
        figures: one figure for every dataset name.
        sizes: number of images of every dataset name.

    Raises:
        ScoreError: a dataset's size is not given.
    """
    if missing := sorted(figures.keys() - sizes.keys()):
        raise ScoreError(f"no size to weight the figures of {', '.join(missing)} with")
    return sum(figure * sizes[name] for name, figure in figures.items()) / sum(sizes[name] for name in figures)


def _finite(score: ArrayLike, mos: ArrayLike, least: int) -> tuple[Array, Array]:
    arrays = np.asarray(score, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    if arrays[0].ndim != 1 or arrays[0].shape != arrays[1].shape:
        raise ScoreError(f"scores and mos must pair up: got shapes {arrays[0].shape} and {arrays[1].shape}")
    for name, values in zip(("score", "mos"), arrays, strict=True):
        if not np.isfinite(values).all():
            first = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ScoreError(f"{name} is {values[first]} at index {first}")
    if len(arrays[0]) < least:
        raise ScoreError(f"{len(arrays[0])} scores are too few: at least {least} are needed")
    return arrays


def _checked(score: ArrayLike, mos: ArrayLike, least: int = 2) -> tuple[Array, Array]:
    arrays = _finite(score, mos, least)
    for name, values in zip(("score", "mos"), arrays, strict=True):
        if np.ptp(values) == 0:
            raise ScoreError(f"every {name} is {values[0]}: a constant correlates with nothing")
        with np.errstate(over="ignore"):
            spread = values.std()
        if not 0 < spread < np.inf:
            raise ScoreError(f"{name} from {values.min():g} to {values.max():g} has no spread to compute with")
    return arrays


def _least_residual(x: Array, y: Array, others: Array) -> tuple[float, float, tuple[float, ...]]:
    """Fit y = rise * sigmoid(slope * (x - centre)) + others @ rest with the least squared residual.

    From one start on raw scores the usual fit stops early, far from the least residual. But the curve is linear in
    all parameters except centre and slope: solving these exactly leaves two unknowns ("variable projection", Golub
    and Pereyra, 1973) on standardised scores, scanned on a grid and refined from the best nodes. Rising and falling
    curves need no starts of their own: the sign is that of the linear `rise`.

    The least residual may lie at no curve at all, but where the centre leaves the scores for ever and the sigmoid
    becomes an exponential. The two unknowns keep to a box, in which there is always a best curve: one that neither
    rounding nor the last step of a search can throw far.

    Args:
        x: scores, [n].
        y: mos, [n].
        others: further linear columns, [n, k].

    Returns:
        centre, slope > 0, and the linear parameters (rise, *rest).
    """
    u = (x - x.mean()) / x.std()
    basis, _ = np.linalg.qr(others)
    apart = y - basis @ (basis.T @ y)  # what the other columns leave of y

    def curve(position: Array) -> tuple[Array, Array]:
        """What the sigmoid adds to the other columns, as a vector of length 1, and its derivatives by the unknowns."""
        place, slope = position[0], np.exp(position[1])
        low, high = _shift(u, 0, slope), _shift(u, 1, slope)
        sigmoid = expit(slope * u - _shift(u, place, slope))
        by_exponent = sigmoid * (1 - sigmoid)
        rise = slope * (u - u.min() - place * np.ptp(u))
        columns = np.stack([sigmoid, by_exponent * (low - high), by_exponent * rise], axis=1) / sigmoid.max()
        columns -= basis @ (basis.T @ columns)
        length = max(np.linalg.norm(columns[:, 0]), FLAT)
        added, turned = columns[:, 0] / length, columns[:, 1:] / length
        return added, turned - np.outer(added, added @ turned)

    def residual(position: Array) -> Array:
        added, _ = curve(position)
        return (apart - added * (added @ apart)) / y.std()

    def slopes(position: Array) -> Array:
        added, turned = curve(position)
        return -(turned * (added @ apart) + np.outer(added, apart @ turned)) / y.std()

    bounds = (0, np.log(SLOPES[0])), (1, np.log(SLOPES[1]))

    def search(start: ArrayLike, tolerance: float) -> optimize.OptimizeResult:
        tolerances = dict.fromkeys(("ftol", "xtol", "gtol"), tolerance)
        return optimize.least_squares(residual, start, slopes, bounds, x_scale="jac", max_nfev=STEPS, **tolerances)

    found = min((search(start, COARSE) for start in _best_nodes(u, y, others)), key=lambda fit: fit.cost)
    place, log_slope = search(found.x, FINE).x
    slope = np.exp(log_slope)
    centre = _shift(u, place, slope) / slope
    columns = np.column_stack([expit(slope * (u - centre)), others])
    linear = np.linalg.lstsq(columns / columns.max(axis=0), y, rcond=None)[0] / columns.max(axis=0)
    return float(x.mean() + centre * x.std()), float(slope / x.std()), tuple(map(float, linear))


def _shift(u: Array, place: float | Array, slope: float) -> float | Array:
    """Slope times centre at a place 0..1 between far below all scores u and far above them."""
    low, high = slope * u.min() - FAR, slope * u.max() + FAR
    return low + place * (high - low)


def _from_start(curve: Callable[..., Array], start: tuple[float, ...], x: Array, y: Array) -> LogisticFit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optimize.OptimizeWarning)  # no covariance is asked for
        try:
            parameters, _ = optimize.curve_fit(curve, x, y, start, method="lm", maxfev=EVALUATIONS)
        except RuntimeError as error:
            fault = f"the logistic fit of {len(x)} scores did not converge from the published start"
            raise ScoreError(fault) from error
    return LogisticFit(curve, tuple(parameters.tolist()))


def _best_nodes(u: Array, y: Array, others: Array, count: int = 5) -> list[tuple[float, float]]:
    """The `count` best (place, log slope) of a grid, at most one a slope, for standardised scores u.

    Of many scores, neighbours are taken together: a start need not be exact.
    """
    groups = np.array_split(np.argsort(u), min(len(u), GROUPS))
    near, y, others = (np.stack([column[group].mean(axis=0) for group in groups]) for column in (u, y, others))
    root = np.sqrt([len(group) for group in groups])[:, None]
    basis, _ = np.linalg.qr(root * others)
    apart = root[:, 0] * y
    apart -= basis @ (basis.T @ apart)
    best = []
    for log_slope in np.linspace(*np.log(SLOPES), 21)[1:-1]:
        slope = np.exp(log_slope)
        beyond = slope * near.min() - OUTSIDE, slope * near.max() + OUTSIDE
        shifts = np.concatenate([slope * np.quantile(near, QUANTILES), *beyond])
        low, high = _shift(u, 0, slope), _shift(u, 1, slope)
        sigmoids = expit(np.subtract.outer(slope * near, shifts))
        sigmoids *= root / sigmoids.max(axis=0)  # beyond all scores they are tiny
        sigmoids -= basis @ (basis.T @ sigmoids)
        # What one more column explains of y. A sigmoid that is flat over all scores explains nothing.
        explained = (apart @ sigmoids) ** 2 / np.maximum(np.sum(sigmoids**2, axis=0), FLAT**2)
        node = explained.argmax()
        best.append((explained[node], ((shifts[node] - low) / (high - low), log_slope)))
    return [start for _, start in sorted(best, reverse=True)[:count]]
