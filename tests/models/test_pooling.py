"""Packed bilinear pooling computes what the full matrix does."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from mimi_lightning.models.pooling import SymmetricBilinearPool


def full_pool(x):
    """Bilinear pooling as published: all C^2 entries."""
    x = x.flatten(2)
    gram = x @ x.mT / x.shape[-1]
    return normalize((gram.sign() * (gram.abs() + 1e-8).sqrt()).flatten(1))


@pytest.mark.parametrize("size", [1.0, 1e-4], ids=["usual", "beside 1e-8"])
def test_a_linear_layer_computes_what_it_does_of_the_full_matrix(size):
    torch.manual_seed(0)
    x = size * torch.randn(3, 7, 4, 5, dtype=torch.float64)
    weight = torch.randn(2, 7, 7, dtype=torch.float64)
    pool = SymmetricBilinearPool(7).double()
    rows, columns = torch.triu_indices(7, 7)
    packed_weight = (weight + weight.mT)[:, rows, columns] / 2
    assert pool.out_features == 28
    torch.testing.assert_close(pool(x) @ packed_weight.mT, full_pool(x) @ weight.flatten(1).mT)


def test_gradient():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(SymmetricBilinearPool(3).double(), x)


def test_a_checkpoint_holds_nothing_of_it():
    assert not SymmetricBilinearPool(3).state_dict()
