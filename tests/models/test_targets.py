"""Every target scale against its formula, on datasets whose labels do not fill the published range."""

import copy

import numpy as np
import pytest
import torch

from mimi_lightning.models.targets import MinMax, Native, PublishedRange, Quantile, TargetScale, ZScore

MOS = [np.array([2.0, 4.0, 3.0, 3.0]), np.array([10.0, 60.0, 20.0, 25.0, 30.0])]
RANGES = [[1.0, 5.0], [-15.0, 110.0]]
DATASET = torch.tensor([0, 0, 0, 1, 1, 1])
LABELS = torch.tensor([2.0, 2.5, 4.0, 10.0, 45.0, 60.0])
KINDS = [MinMax, PublishedRange, ZScore, Native, Quantile]


def make(kind: type[TargetScale]) -> TargetScale:
    return kind([{"labels": kind.learn(mos), "range": ends} for mos, ends in zip(MOS, RANGES, strict=True)])


@pytest.mark.parametrize(
    ("kind", "targets"),
    [
        (MinMax, [0.0, 2.5, 10.0, 0.0, 7.0, 10.0]),
        (PublishedRange, [2.5, 3.75, 7.5, 2.0, 4.8, 6.0]),
        (ZScore, [-(2**0.5), -(0.5**0.5), 2**0.5, -19 / 284**0.5, 16 / 284**0.5, 31 / 284**0.5]),
        (Native, LABELS.tolist()),
        (Quantile, [0.0, 2.5, 10.0, 0.0, 8.75, 10.0]),
    ],
)
def test_targets(kind, targets):
    scale, targets = make(kind), torch.tensor(targets)
    torch.testing.assert_close(scale.normalise(LABELS, DATASET), targets)
    torch.testing.assert_close(scale.restore(targets, DATASET), LABELS)
    for index, part in ((torch.tensor(0), slice(3)), (torch.ones(1, 3, dtype=torch.int64), slice(3, None))):
        torch.testing.assert_close(scale.normalise(LABELS[part], index).flatten(), targets[part])
        torch.testing.assert_close(scale.restore(targets[part], index).flatten(), LABELS[part])
    torch.testing.assert_close(scale.span(), targets[[0, 2, 3, 5]].view(2, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_scales_increase_strictly_beyond_all_labels(kind):
    scale, mos = make(kind), torch.linspace(-20, 120, 300)
    every = torch.arange(2)[:, None]
    targets = scale.normalise(mos, every)
    assert (targets.diff(dim=1) > 0).all()
    torch.testing.assert_close(scale.restore(targets, every), mos.expand(2, -1), rtol=1e-4, atol=1e-4)


def test_ends_of_the_published_range_lie_beyond_the_labels():
    torch.testing.assert_close(make(MinMax).ends(), torch.tensor([[-5.0, 15.0], [-5.0, 20.0]]))
    assert make(Quantile).ends().shape == (2, 2)


def test_deviations_of_labels_are_stretched_with_them():
    std = torch.tensor([0.1, 0.1, 0.2, 5.0, 1.0, torch.nan])
    expected = torch.tensor([0.5, 0.5, 1.0, 1.0, 0.2, torch.nan])
    torch.testing.assert_close(make(MinMax).spread(LABELS, std, DATASET), expected, equal_nan=True, rtol=1e-5, atol=0)


def test_a_quantile_scale_keeps_at_most_65_knots_of_many_labels():
    mos = np.random.default_rng(0).normal(size=2000)
    scale = Quantile([{"labels": Quantile.learn(mos), "range": [-5, 5]}])
    targets = scale.normalise(torch.tensor(mos, dtype=torch.float32), torch.tensor(0)).numpy()
    ranks = 10 * mos.argsort().argsort() / 1999
    assert abs(targets - ranks).max() < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_leaves_it_as_it_is(kind):
    scale = make(kind)
    ends = scale.ends()
    torch.set_default_dtype(torch.bfloat16)
    try:
        lower = make(kind)
    finally:
        torch.set_default_dtype(torch.float32)
    for module in (lower, copy.deepcopy(scale).half()):
        assert {buffer.dtype for buffer in module.buffers() if buffer.is_floating_point()} == {torch.float32}
        assert torch.equal(module.ends(), ends)
