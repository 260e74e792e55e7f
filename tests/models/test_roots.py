"""Inverses that are searched for."""

import pytest
import torch

from mimi_lightning.errors import ScoreError
from mimi_lightning.models.roots import invert


def cube(q, dataset):
    assert q.dtype == torch.float64
    return (q + dataset) ** 3


def test_roots_are_found_in_double_precision_for_any_shape():
    y, dataset = torch.tensor([[-1000.0], [0.001], [5.0]]), torch.tensor([0, 2])
    q = invert(cube, y, dataset, reach=1.0)
    expected = y.double().sign() * y.double().abs() ** (1 / 3) - dataset
    assert q.dtype == torch.float32
    torch.testing.assert_close(q, expected.float(), rtol=1e-7, atol=1e-7)


def test_a_score_that_is_not_finite_is_told_by_its_place():
    with pytest.raises(ScoreError, match="score 1 is not finite"):
        invert(cube, torch.tensor([1.0, torch.inf]), torch.tensor(0), reach=1.0)


def test_gradients_are_those_of_implicit_functions():
    y = torch.tensor([8.0, -27.0], dtype=torch.float64, requires_grad=True)
    invert(cube, y, torch.tensor([0, 1]), reach=4.0).sum().backward()
    torch.testing.assert_close(y.grad, 1 / (3 * y.detach().abs() ** (2 / 3)))
