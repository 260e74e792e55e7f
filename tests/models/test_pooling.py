"""Packed bilinear pooling computes what the full matrix does; the others what their formulas say."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from mimi_lightning.models.pooling import POOLS, AttentionPool, ClassTokenPool, MeanStdPool, SymmetricBilinearPool


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
    torch.testing.assert_close(pool.fold(weight.flatten(1)), packed_weight)
    torch.testing.assert_close(pool(x) @ packed_weight.mT, full_pool(x) @ weight.flatten(1).mT)


@pytest.mark.parametrize("name", POOLS)
def test_gradient_and_width(name):
    torch.manual_seed(0)
    pool = POOLS[name](4).double()
    features = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 4, 2, 3), (2, 4))]
    assert pool(*features).shape == (2, pool.out_features)
    assert gradcheck(pool, features)


@pytest.mark.parametrize("pool", [SymmetricBilinearPool(3), MeanStdPool(3), ClassTokenPool(3)])
def test_a_checkpoint_holds_nothing_of_it(pool):
    assert not pool.state_dict()


def test_mean_and_deviation_of_every_channel():
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    expected = torch.stack([torch.cat([p.mean(dim=(1, 2)), p.std(dim=(1, 2), correction=0)]) for p in x])
    torch.testing.assert_close(MeanStdPool(3)(x), expected)


def test_a_channel_without_variation_has_a_gradient():
    x = torch.ones(1, 2, 3, 3, requires_grad=True)
    MeanStdPool(2)(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 1 / 9))


def test_the_class_token_is_taken_as_it_is():
    token = torch.randn(2, 3)
    assert ClassTokenPool(3)(torch.randn(2, 3, 4, 4), token) is token


def test_attention_weighs_positions_and_their_order_changes_nothing():
    torch.manual_seed(0)
    pool, x = AttentionPool(12).double(), torch.randn(2, 12, 3, 4, dtype=torch.float64)
    attend = pool.attend
    assert attend.num_heads == 4
    keys, values = attend.kv(x.flatten(2).mT).unflatten(-1, (2, 4, 3)).permute(2, 0, 3, 1, 4)
    query = attend.q(attend.latent).unflatten(-1, (4, 3)).transpose(1, 2)
    weights = (query @ keys.mT / 3**0.5).softmax(-1)
    seen = attend.proj((weights @ values).transpose(1, 2).flatten(2))[:, 0]
    torch.testing.assert_close(pool(x), seen + attend.mlp(attend.norm(seen)))
    torch.testing.assert_close(pool(x.flip(3)), pool(x))


def test_a_layer_begins_as_the_unpacked_one_would():
    """Of Kaiming's weights with C^2 inputs, each of a pair above the diagonal becomes the mean of both."""
    torch.manual_seed(0)
    pool, layer = SymmetricBilinearPool(32), torch.nn.Linear(32 * 33 // 2, 400)
    pool.begin(layer)
    rows, columns = torch.triu_indices(32, 32)
    kaiming = 2**0.5 / 32
    for which, expected in ((rows == columns, kaiming), (rows != columns, kaiming / 2**0.5)):
        assert layer.weight[:, which].std().item() == pytest.approx(expected, rel=0.03)
