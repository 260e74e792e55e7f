"""Fitting mappers to proxy scores on any scale, in closed form or by L-BFGS."""

import numpy as np
import pytest
import torch
from sklearn.isotonic import IsotonicRegression

from mimi_lightning.models import mappers
from mimi_lightning.models.fitting import score_ends
from mimi_lightning.models.mappers import Anchored, LeastSquares, Linear, Logistic

NAMES = ["csiq", "kadid", "live"]
SPAN = [(0.0, 10.0), (-2.0, 1.5), (20.0, 90.0)]
SCALES = {
    "normal": lambda quality: quality,
    "1 to 5": lambda quality: 1 + 4 * torch.sigmoid(1.3 * quality),
    "0 to 10": lambda quality: 10 * torch.sigmoid(1.3 * quality),
}
SMALL = {"MINN": {"hidden": (12, 12), "cells": 80}, "Monotone": {"hidden": (12, 12), "cells": 80}}
ALIKE = ("MDTVSFA",)  # its curve is that of all datasets
FITTED = ("Bernstein", "Embedding", "Logistic", "MDTVSFA", "MINN", "Monotone", "Spline")


def rated(scale: str, alike: bool = False, images: int = 120) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Proxy scores, and what the raters of three datasets make of the same qualities."""
    random = torch.Generator().manual_seed(0)
    dataset = torch.arange(3 * images) % 3
    quality, noise = torch.randn(2, 3 * images, generator=random)
    gain, centre = ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0]) if alike else ([0.8, 1.2, 2.0], [0.0, 0.6, -0.5])
    share = torch.sigmoid(torch.tensor(gain)[dataset] * (quality - torch.tensor(centre)[dataset])) + 0.05 * noise
    low, high = torch.tensor(SPAN)[dataset].unbind(1)
    return SCALES[scale](quality), low + (high - low) * share, dataset


def unexplained(y: torch.Tensor, prediction: torch.Tensor, dataset: torch.Tensor) -> np.ndarray:
    """Share of the variance of each dataset."""
    groups = [dataset == number for number in range(3)]
    return np.array([float(((y - prediction)[g] ** 2).mean() / y[g].var(correction=0)) for g in groups])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("mapper", FITTED)
def test_a_fit_explains_nearly_as_much_as_isotonic_regression(mapper, scale):
    q, y, dataset = rated(scale, alike=mapper in ALIKE)
    best = torch.empty_like(y)
    for group in (dataset == number for number in range(3)):
        best[group] = torch.from_numpy(IsotonicRegression().fit_transform(q[group].numpy(), y[group].numpy()))
    torch.manual_seed(0)
    fitted = getattr(mappers, mapper)(NAMES, SPAN, **SMALL.get(mapper, {}))
    fitted.fit(q, y, dataset)
    with torch.no_grad():
        assert (unexplained(y, fitted(q, dataset), dataset) < unexplained(y, best, dataset) + 0.04).all()
    assert all(value.dtype == torch.float32 for value in fitted.state_dict().values())


@pytest.mark.parametrize("make", [Linear, LeastSquares])
def test_lines_are_those_of_least_squares(make):
    q, y, dataset = rated("1 to 5")
    mapper = make(NAMES, SPAN)
    mapper.fit(q, y, dataset)
    for number in range(3):
        slope, offset = np.polyfit(q[dataset == number], y[dataset == number], 1)
        line = mapper(torch.tensor([0.0, 1.0]), torch.tensor(number))
        assert line.tolist() == pytest.approx([offset, offset + slope], rel=1e-4)


def test_slopes_stay_positive_where_scores_fall_as_labels_rise():
    q, y, dataset = rated("normal")
    mapper = Linear(NAMES, SPAN)
    mapper.fit(torch.where(dataset == 1, -q, q), y, dataset)
    ends = mapper(torch.tensor([-2.0, 2.0]), torch.arange(3)[:, None])
    assert (ends.diff(dim=1) > 0).all()
    assert ends[1].tolist() == pytest.approx([y[dataset == 1].mean().item()] * 2, abs=0.05)
    assert ends[0].diff() > 4


@pytest.mark.parametrize("mapper", ["Bernstein", "Logistic", "MDTVSFA", "Spline"])
def test_curves_can_be_inverted_where_scores_fall_as_labels_rise(mapper):
    q, y, dataset = rated("normal")
    fitted = getattr(mappers, mapper)(NAMES, SPAN)
    fitted.fit(torch.where(dataset == 1, -q, q), y, dataset)
    every = torch.arange(3)[:, None]
    with torch.no_grad():
        curves = fitted(torch.linspace(-2, 2, 9), every)
        aligned = fitted.inverse(fitted.nearest(torch.tensor(SPAN), every), every)
    assert (curves.diff(dim=1) > 0).all()
    assert (curves[1] - y[dataset == 1].mean()).abs().max() < 0.05
    assert aligned.abs().max() < 10_000


def test_a_line_waits_until_scores_and_labels_of_its_dataset_correlate():
    q, y, dataset = rated("normal")
    noise = torch.randn(len(q), generator=torch.Generator().manual_seed(1))
    mapper, start = LeastSquares(NAMES, SPAN), LeastSquares(NAMES, SPAN)
    mapper.fit(torch.where(dataset == 1, noise, q), y, dataset)
    assert (mapper.slope != start.slope).tolist() == [True, False, True]
    assert (mapper.offset != start.offset).tolist() == [True, False, True]


def test_no_gradient_reaches_lines_of_least_squares():
    mapper = LeastSquares(NAMES, SPAN)
    prediction, _ = mapper.learn(torch.ones(3, requires_grad=True), torch.arange(3), torch.zeros(3, 2))
    assert prediction.requires_grad
    assert not list(mapper.parameters())


def test_lines_of_wide_scales_do_not_overflow():
    """As those of native labels up to 114."""
    mapper = Linear(["live"], [(0.0, 114.4147)])
    assert mapper(torch.ones(1), torch.tensor([0])).item() == pytest.approx(114.4147)


@pytest.mark.parametrize("make", [Linear, LeastSquares, Logistic])
def test_the_anchor_is_left_out(make):
    q, y, dataset = rated("normal")
    alone, anchored = make(NAMES, SPAN), Anchored(make(NAMES, SPAN), "kadid")
    alone.fit(q, y, dataset)
    anchored.fit(q, y, dataset)
    others = torch.tensor([[0], [2]])
    torch.testing.assert_close(anchored(q[:9], others), alone(q[:9], others), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(anchored(q[:9], torch.tensor(1)), -2 + 3.5 * q[:9])


def test_scores_that_are_all_alike_can_be_fitted():
    """A regressor may collapse."""
    _, y, dataset = rated("normal", images=10)
    mapper = Logistic(NAMES, SPAN)
    mapper.fit(torch.full_like(y, 3.0), y, dataset)
    means = [y[dataset == number].mean().item() for number in range(3)]
    assert mapper(torch.tensor(3.0), torch.arange(3)).tolist() == pytest.approx(means, rel=0.01)
    line = Linear(NAMES, SPAN)
    line.fit(torch.full_like(y, 3.0), y, dataset)
    start = Linear(NAMES, SPAN).state_dict()
    assert all(torch.equal(value, start[key]) for key, value in line.state_dict().items())


def test_ends_are_those_of_the_scores_alone():
    q, dataset = torch.tensor([3.0, 5.0, 4.0, -2.0, -7.0, 8.0]), torch.tensor([0, 0, 0, 1, 1, 2])
    assert score_ends(q, dataset, 4).tolist() == [[3, 5], [-7, -2], [8, 9], [0, 1]]
