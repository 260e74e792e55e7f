import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import cubature

from mimi_lightning.models.monotone import MonotoneStack, elu_plus_one, graded_knots


@pytest.fixture(scope="module")
def fresh() -> MonotoneStack:
    torch.manual_seed(0)
    return MonotoneStack(3)


@pytest.fixture(scope="module")
def trained(fresh) -> MonotoneStack:
    """Three functions fitted to a steep rise, a staircase and a straight line."""
    torch.manual_seed(0)
    stack = copy.deepcopy(fresh)
    function = torch.arange(3)[:, None]
    x = torch.linspace(-4, 4, 200).expand(3, -1)
    target = torch.stack([x[0] + 4 * torch.tanh(3 * x[0]), 3 * (x[1] + x[1].sin()), x[2] / 3])
    optimiser = torch.optim.Adam(stack.parameters(), lr=2e-3)
    for _ in range(60):
        optimiser.zero_grad()
        (stack(x, function) - target).square().mean().backward()
        optimiser.step()
    return stack


def small(functions: int = 2) -> MonotoneStack:
    torch.manual_seed(1)
    return MonotoneStack(functions, hidden=(5, 4), cells=12, reach=3.0).double()


@pytest.mark.parametrize("state", ["fresh", "trained"])
def test_integrals_equal_scipys(state, request):
    stack = copy.deepcopy(request.getfixturevalue(state)).double()
    scale, offset = stack.scale_and_offset()

    @torch.no_grad()
    def density(t: np.ndarray) -> np.ndarray:
        return (scale[:, None] * stack.integrand(torch.from_numpy(t).squeeze(1))).mT.numpy()

    for x in (-3.3, 3.9):
        exact = cubature(density, [min(x, 0)], [max(x, 0)], rule="gk21", atol=2e-5, rtol=0)
        assert exact.status == "converged"
        value = stack(torch.tensor(x, dtype=torch.float64), torch.arange(3)) - offset
        np.testing.assert_allclose(value.detach().numpy(), np.sign(x) * exact.estimate, rtol=0, atol=1e-4)


def test_value_at_zero_is_the_offset(trained):
    with torch.no_grad():
        assert torch.equal(trained(torch.zeros(3), torch.arange(3)), trained.scale_and_offset()[1])


@pytest.mark.parametrize("state", ["fresh", "trained"])
def test_strictly_increasing(state, request):
    stack = copy.deepcopy(request.getfixturevalue(state)).double()
    x = torch.linspace(-8, 8, 10_001, dtype=torch.float64)  # twice the range of the fit
    with torch.no_grad():
        assert (stack(x, torch.arange(3)[:, None]).diff() > 0).all()


def test_slope_is_the_density_and_constant_beyond_the_table():
    stack = small()
    knots = stack.knots
    x = torch.cat([knots[:-1] + knots.diff() / 3, torch.tensor([-9.0, 9.0], dtype=torch.float64)]).requires_grad_()
    (slope,) = torch.autograd.grad(stack(x, torch.tensor(1)).sum(), x)
    density = (stack.scale_and_offset()[0][:, None] * stack.integrand(knots))[1]
    between = torch.cat([density[:-1] * 2 / 3 + density[1:] / 3, density[[0, -1]]])
    torch.testing.assert_close(slope, between)


def test_gradients():
    stack = small()
    names, parameters = zip(*stack.named_parameters(), strict=True)
    x = torch.tensor([-5.0, -1.3, 0.2, 2.1, 7.0], dtype=torch.float64, requires_grad=True)
    function = torch.tensor([0, 1, 0, 1, 1])

    def value(x, *parameters):
        return torch.func.functional_call(stack, dict(zip(names, parameters, strict=True)), (x, function))

    assert torch.autograd.gradcheck(value, (x, *parameters))


@settings(deadline=None, derandomize=True, max_examples=50)
@given(points=st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=40))
def test_a_point_depends_on_no_other(points):
    torch.manual_seed(0)
    table = MonotoneStack(2, hidden=(8,), cells=64).tabulate()
    x = torch.tensor(points)
    function = torch.arange(len(x)) % 2
    together = table(x, function)
    alone = torch.cat([table(x[i : i + 1], function[i : i + 1]) for i in range(len(x))])
    assert torch.equal(together, alone)


def test_a_point_that_is_not_a_number_stays_so():
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30])
    value = MonotoneStack(1, hidden=(4,), cells=8)(x, torch.zeros(4, dtype=torch.long))
    assert value[0].isnan()
    assert value[1:].sign().tolist() == [1, -1, 1]
    assert value[3].isfinite()


def test_density_never_rounds_to_zero():
    x = torch.tensor([-1e6, -103.0, -17.0, 0.0, 1.0])
    assert (elu_plus_one(x) > 0).all()
    moderate = torch.linspace(-10, 10, 101, dtype=torch.float64)
    torch.testing.assert_close(elu_plus_one(moderate), torch.nn.functional.elu(moderate) + 1)
    assert torch.autograd.gradcheck(elu_plus_one, moderate[::7].requires_grad_())


def test_every_network_starts_like_linear_layers(fresh):
    for stack, inputs in ((fresh.integrands, 3), (fresh.constants, 2)):
        assert stack.weights[0].shape[2] == inputs
        for weight, bias in zip(stack.weights, stack.biases, strict=True):
            reference = torch.nn.Linear(weight.shape[2], weight.shape[1])
            assert weight[0].shape == reference.weight.shape
            bound = weight.shape[2] ** -0.5
            for parameter in (weight, bias):
                assert parameter.abs().max() <= bound
            assert weight.std().item() == pytest.approx(bound / np.sqrt(3), rel=0.1)


def test_a_stack_is_its_networks_side_by_side(fresh):
    layers = [torch.nn.Linear(n_in, n_out) for n_in, n_out in ((3, 100), (100, 100), (100, 100), (100, 1))]
    for layer, weight, bias in zip(layers, fresh.integrands.weights, fresh.integrands.biases, strict=True):
        layer.weight.data, layer.bias.data = weight.data[1], bias.data[1, 0]
    points = torch.randn(7, 3)
    one = points
    for layer in layers[:-1]:
        one = layer(one).relu()
    torch.testing.assert_close(fresh.integrands(points)[1], layers[-1](one))


def test_knots_are_graded_and_symmetric():
    knots = graded_knots(100, 16.0)
    assert len(knots) == 201
    assert torch.equal(knots, -knots.flip(0))
    assert knots[100] == 0
    assert knots[-1] == pytest.approx(16)
    assert (knots[100:].diff().diff() > -1e-6).all()


def test_tables_are_inverted_at_knots_between_and_beyond():
    torch.manual_seed(0)
    table = MonotoneStack(3, hidden=(5,), cells=6, reach=4.0).double().tabulate()
    x = torch.cat([table.knots, torch.linspace(-9, 9, 50, dtype=torch.float64)])
    function = torch.arange(3)[:, None]
    torch.testing.assert_close(table.inverse(table(x, function), function), x.expand(3, -1), rtol=1e-10, atol=1e-10)


def test_functions_are_laid_through_given_ends():
    torch.manual_seed(0)
    stack = MonotoneStack(2, hidden=(5,), cells=60, reach=8.0)
    ends = torch.tensor([[1.0, 5.0], [-3.0, 0.5]])
    stack.lay(ends, 10)
    torch.testing.assert_close(
        stack(ends, torch.arange(2)[:, None]), torch.tensor([[0.0, 10.0]] * 2), rtol=0, atol=1e-4
    )
