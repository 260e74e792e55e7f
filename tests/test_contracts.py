"""What contracts.py promises, in code: every regressor, mapper, objective and task inherits the class of its kind.

A subclass says how to make one, and writes its formula down once more, as plainly as possible.
"""

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import embedding, linear, mse_loss, relu, smooth_l1_loss, softplus

from mimi_lightning.contracts import Judgement, Mapper, Objective, Opinions, Regressor, Task
from mimi_lightning.errors import ConfigError, ScoreError
from mimi_lightning.models.clip import CLIPRegressor
from mimi_lightning.models.mappers import (
    MDTVSFA,
    MINN,
    Anchored,
    Bernstein,
    Embedding,
    Heads,
    Identity,
    Joined,
    LeastSquares,
    Linear,
    Logistic,
    Monotone,
    Spline,
)
from mimi_lightning.models.regressor import PooledRegressor
from mimi_lightning.objectives import (
    EMD,
    MIMI,
    PLCC,
    Fidelity,
    FidelityBinary,
    Margin,
    Mixed,
    NormInNorm,
    Ordinal,
    RankHinge,
    Regression,
    Sum,
)
from mimi_lightning.objectives.levels import soft_labels
from mimi_lightning.tasks import SceneDistortion

NAMES = ["csiq", "kadid", "live"]
MAPPERS = "mimi_lightning.models.mappers"
HALVES = (torch.nn.Module.half, torch.nn.Module.bfloat16, lambda module: module.to(torch.bfloat16))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Learning(torch.nn.Module):
    """A mapper whose forward is one of its methods, as `functional_call` wants it."""

    def __init__(self, mapper: Mapper, method: str) -> None:
        super().__init__()
        self.mapper, self.method = mapper, method

    def forward(self, *arguments):
        result = getattr(self.mapper, self.method)(*arguments)
        return (result[0], *result[1].values()) if self.method == "learn" else result


class MapperContract:
    def make(self, names: list[str], span: list | None = None) -> Mapper:
        """A small one."""
        raise NotImplementedError

    def formula(self, mapper: Mapper, q: torch.Tensor, dataset: int) -> torch.Tensor:
        """Prediction of one score in float64."""
        raise NotImplementedError

    @pytest.fixture
    def mapper(self) -> Mapper:
        torch.manual_seed(0)
        return self.vary(self.make(NAMES))

    @staticmethod
    def vary(mapper: Mapper) -> Mapper:
        """As after some training: rows that are equal at first are no longer."""
        for value in mapper.state_dict().values():
            value.add_(0.1 * torch.randn_like(value))
        return mapper

    @pytest.fixture
    def scores(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.spread * draw(30), torch.arange(30) % len(NAMES)

    def predict(self, mapper: Mapper, q: torch.Tensor, dataset: torch.Tensor) -> torch.Tensor:
        """Of pictures with these proxy scores."""
        return mapper(mapper.read(Judgement(q), dataset), dataset)

    starts_on_the_span = True
    spread = 2.0  # standard deviation of scores that its predictions tell apart

    def test_it_starts_as_an_increasing_map_onto_the_span(self):
        if not self.starts_on_the_span:
            pytest.skip("starts elsewhere")
        span = torch.tensor([[0.0, 10.0], [-2.0, 1.5], [20.0, 90.0]])
        mapper = self.make(NAMES, span.tolist())
        width = span.diff(dim=1).squeeze(1)
        for low, high in ((0.0, 1.0), (-2.0, 2.0), (1.0, 5.0)):
            if (low, high) != (0.0, 1.0):
                mapper.begin(torch.tensor([[low, high]] * len(NAMES)))
            y = mapper(torch.linspace(low, high, 21), torch.arange(len(NAMES))[:, None])
            assert (y.diff(dim=1) > 0).all()
            assert ((y[:, 0] - span[:, 0]).abs() < 0.05 * width).all()
            assert ((y[:, -1] - span[:, 1]).abs() < 0.05 * width).all()

    def test_another_span_stretches_it(self, mapper, scores):
        """Of targets three times as wide and moved by one."""
        if not mapper.fits:
            pytest.skip("knows no targets")
        torch.manual_seed(0)
        narrow = self.make(NAMES)
        torch.manual_seed(0)
        wide = self.make(NAMES, [(1.0, 31.0)] * len(NAMES))
        q, dataset = scores[0].float(), scores[1]
        torch.testing.assert_close(wide(q, dataset), 1 + 3 * narrow(q, dataset))

    def test_fitting_finds_what_it_can_say(self, mapper, scores):
        if not mapper.fits:
            pytest.skip("has nothing to fit")
        other = self.make(NAMES)
        q, dataset = scores[0].float(), scores[1]
        y = mapper(q, dataset).detach()
        other.fit(q, y, dataset)
        assert (other(q, dataset) - y).abs().max() < 0.01 * (y.max() - y.min())

    def test_value(self, mapper, scores):
        mapper.double()
        expected = [self.formula(mapper, q, int(dataset)) for q, dataset in zip(*scores, strict=True)]
        torch.testing.assert_close(mapper(*scores), torch.stack(expected), rtol=1e-12, atol=1e-12)

    def test_scores_and_datasets_broadcast_and_no_score_depends_on_another(self, mapper, scores):
        q = scores[0].float()
        grid = mapper(q, torch.arange(len(NAMES))[:, None])
        assert grid.shape == (len(NAMES), len(q))
        for dataset, line in enumerate(grid):
            for score, value in zip(q, line, strict=True):
                torch.testing.assert_close(mapper(score, torch.tensor(dataset)), value, rtol=1e-6, atol=1e-6)

    def test_what_is_not_finite_stays_so(self, mapper):
        """Training that diverges is told by its scores."""
        assert mapper(torch.tensor([math.nan, 0.0]), torch.tensor([0, 1])).isnan().tolist() == [True, False]

    def test_inverse(self, mapper, scores):
        if not mapper.invertible:
            pytest.skip("cannot be inverted")
        q, dataset = scores
        q32 = q.float()
        for precision in (torch.float32, torch.float64):  # labels come in double precision
            y = mapper(q32, dataset).to(precision)
            back = mapper.inverse(y, dataset)
            assert back.dtype == precision
            assert (back - q32).abs().max() < 1e-4
            torch.testing.assert_close(mapper.nearest(y, dataset), y)
        mapper.double()
        torch.testing.assert_close(mapper.inverse(mapper(q, dataset), dataset), q, rtol=1e-9, atol=1e-9)

    def test_every_label_has_a_nearest_score_that_is_reached(self, mapper):
        if not mapper.invertible:
            pytest.skip("cannot be inverted")
        every = torch.arange(len(NAMES))[:, None]
        labels = torch.tensor([-500.0, 0.0, 5.0, 500.0]).expand(len(NAMES), -1)
        near = mapper.nearest(labels, every)
        torch.testing.assert_close(mapper(mapper.inverse(near, every), every), near, rtol=1e-4, atol=1e-3)
        if not torch.equal(near, labels):
            with pytest.raises(ScoreError, match=r"no proxy score reaches"):
                mapper.inverse(labels, every)

    def test_monotone(self, mapper):
        if not mapper.monotone:
            pytest.skip("promises no order")
        q = self.spread * torch.linspace(-10, 10, 2001, dtype=torch.float64)
        assert (mapper.double()(q, torch.arange(len(NAMES))[:, None]).diff(dim=1) > 0).all()

    @pytest.mark.parametrize("method", ["forward", "learn", "inverse"])
    def test_gradients(self, mapper, method):
        if method == "inverse" and not mapper.invertible:
            pytest.skip("cannot be inverted")
        mapper.double()
        keys = [f"mapper.{key}" for key, _ in mapper.named_parameters()]
        q, dataset = self.spread * draw(4, seed=1), torch.tensor([0, 1, 2, 1])
        q = (mapper(q, dataset).detach() if method == "inverse" else q).requires_grad_()
        ends = [torch.tensor([0.0, 10.0], dtype=torch.float64) + draw(len(NAMES), 2)] if method == "learn" else []

        def value(q, *parameters):
            state = dict(zip(keys, parameters, strict=True))
            return torch.func.functional_call(Learning(mapper, method), state, (q, dataset, *ends))

        assert torch.autograd.gradcheck(value, (q, *mapper.parameters()), fast_mode=True)

    def test_learning_offers_what_it_says_beside_the_same_predictions(self, mapper, scores):
        q, dataset = scores[0].float(), scores[1]
        prediction, own = mapper.learn(q, dataset, torch.tensor([[0.0, 10.0]] * len(NAMES)))
        assert torch.equal(prediction, mapper(q, dataset))
        assert tuple(own) == mapper.offers
        assert all(term.shape == () and term.isfinite() for term in own.values())

    def test_a_training_step_lowers_the_error(self, mapper, scores):
        q, dataset = scores[0].float().requires_grad_(), scores[1]
        target = 5 + 2 * draw(len(q), seed=2).float()
        optimizer = torch.optim.SGD([q, *mapper.parameters()], lr=1e-4)
        before = smooth_l1_loss(mapper(q, dataset), target)
        before.backward()
        optimizer.step()
        assert smooth_l1_loss(mapper(q, dataset), target) < before

    def test_every_parameter_gets_a_gradient_from_one_dataset(self, mapper):
        """DistributedDataParallel waits for every parameter, whatever datasets a batch holds."""
        self.predict(mapper, torch.zeros(2, requires_grad=True), torch.tensor([1, 1])).sum().backward()
        assert all(parameter.grad is not None for parameter in mapper.parameters())

    def test_checkpoint(self, mapper, scores):
        again = self.make(NAMES)
        again.load_state_dict(mapper.state_dict())
        q, dataset = scores[0].float(), scores[1]
        assert torch.equal(self.predict(again, q, dataset), self.predict(mapper, q, dataset))

    def test_half_precision_changes_nothing(self, mapper, scores):
        scores = scores[0].float(), scores[1]
        expected = mapper(*scores)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(mapper(*scores), expected)
        for convert in HALVES:
            assert torch.equal(convert(torch.nn.Sequential(copy.deepcopy(mapper)))[0](*scores), expected)
        torch.set_default_dtype(torch.bfloat16)  # as a precision plugin does
        try:
            assert all(tensor.dtype == torch.float32 for tensor in self.make(NAMES).state_dict().values())
        finally:
            torch.set_default_dtype(torch.float32)

    def test_names_are_the_rows(self, mapper, scores):
        assert mapper.number(["live", "csiq", "live"]).tolist() == [2, 0, 2]
        with pytest.raises(ConfigError, match="does not know koniq, spaq; it knows csiq, kadid, live"):
            mapper.number(["csiq", "spaq", "koniq"])
        other = self.vary(self.make(["live", "bid", "csiq"]))
        kept = other.rows(["bid"])
        q = scores[0].float()
        other.put(["csiq", "live"], mapper.rows(["csiq", "live"]))
        for name in ("csiq", "live"):
            datasets = (each.number([name]).expand(len(q)) for each in (other, mapper))
            torch.testing.assert_close(
                *(self.predict(each, q, dataset) for each, dataset in zip((other, mapper), datasets, strict=True))
            )
        unshared = {key: rows for key, rows in other.rows(["bid"]).items() if key not in other.shared}
        assert all(torch.equal(rows, kept[key]) for key, rows in unshared.items())

    def test_frozen_rows_stay_as_they_are(self, mapper, scores):
        if not list(mapper.parameters()):
            pytest.skip("has no rows")
        optimizer = torch.optim.AdamW(mapper.parameters(), lr=0.01, weight_decay=0.5)
        before, expected = copy.deepcopy(mapper), {("live", "csiq"): True, ("kadid",): False}
        if mapper.shared:
            with pytest.raises(
                ConfigError, match=rf"shares {mapper.shared[0]}.* among all datasets. While kadid learn"
            ):
                mapper.freeze(["live", "csiq"], optimizer)
            expected = {tuple(NAMES): True}
        mapper.freeze(next(iter(expected)), optimizer)
        for _ in range(3):
            optimizer.zero_grad()
            self.predict(mapper, scores[0].float().requires_grad_(), scores[1]).square().mean().backward()
            optimizer.step()
        for names, same in expected.items():
            old, new = before.rows(names), mapper.rows(names)
            assert all(torch.equal(old[key], new[key]) == same for key in old)


class TestIdentity(MapperContract):
    starts_on_the_span = False

    def make(self, names, span=None):
        return Identity(names, span)

    def formula(self, mapper, q, dataset):
        return q


class TestLinear(MapperContract):
    def make(self, names, span=None):
        return Linear(names, span)

    def formula(self, mapper, q, dataset):
        return 10 * (softplus(mapper.slope[dataset]) * q + mapper.offset[dataset])


class TestAnchored(TestLinear):
    def make(self, names, span=None):
        return Anchored(Linear(names, span), "csiq" if "csiq" in names else names[0])

    def formula(self, mapper, q, dataset):
        return 10 * q if dataset == 0 else super().formula(mapper.free, q, dataset)

    def test_the_anchor_keeps_its_line(self):
        mapper = self.vary(Anchored(Linear(NAMES, [(0, 10), (-1, 1), (2, 4)]), "live"))
        torch.testing.assert_close(mapper(draw(5).float(), torch.tensor(2)), 2 + 2 * draw(5).float())
        mapper.begin(torch.tensor([[1.0, 5.0]] * 3))
        q = 1 + 4 * draw(5).float()
        torch.testing.assert_close(mapper(q, torch.tensor(2)), 2 + 2 * draw(5).float())
        torch.testing.assert_close(mapper.inverse(mapper(q, torch.tensor(2)), torch.tensor(2)), q)


class TestMINN(MapperContract):
    starts_on_the_span = False  # but at random, as published

    def make(self, names, span=None):
        return MINN(names, span, hidden=(3, 2), cells=12, reach=6.0)

    def formula(self, mapper, q, dataset):
        m, f, g = (lambda x, r=role: mapper.functions(x, torch.tensor(r * 3 + dataset)) for role in range(3))
        return m(q) + g(q + f(m(q)))


class TestMINNOfTwoBlocks(MapperContract):
    starts_on_the_span = False

    def make(self, names, span=None):
        return MINN(names, span, blocks=2, hidden=(2,), cells=8, reach=4.0)

    def formula(self, mapper, q, dataset):
        functions = [lambda x, r=role: mapper.functions(x, torch.tensor(r * 3 + dataset)) for role in range(5)]
        y1, y2 = q, functions[0](q)
        for f, g in (functions[1:3], functions[3:]):
            y1 = y1 + f(y2)
            y2 = y2 + g(y1)
        return y2


class TestLeastSquares(MapperContract):
    def make(self, names, span=None):
        return LeastSquares(names, span)

    def formula(self, mapper, q, dataset):
        return mapper.slope[dataset] * q + mapper.offset[dataset]


class TestLogistic(MapperContract):
    spread = 0.3

    def make(self, names, span=None):
        return Logistic(names, span)

    def formula(self, mapper, q, dataset):
        low, rise, centre, width = (
            row[dataset].item() for row in (mapper.low, mapper.rise, mapper.centre, mapper.width)
        )
        return 10 * (low + math.exp(rise) / (1 + ((centre - q) / math.exp(width)).exp()))


class TestAnchoredLogistic(TestLogistic):
    def make(self, names, span=None):
        return Anchored(Logistic(names, span), "csiq" if "csiq" in names else names[0])

    def formula(self, mapper, q, dataset):
        return 10 * q if dataset == 0 else super().formula(mapper.free, q, dataset)


class TestJoined(MapperContract):
    """A line of csiq, and logistic functions of all others."""

    spread = 0.3

    def make(self, names, span=None):
        lines, others = ["csiq"], [name for name in names if name != "csiq"]
        parts = [
            {"mapper": {"_target_": f"{MAPPERS}.{kind}"}, "datasets": own}
            for kind, own in (("Linear", lines), ("Logistic", others))
        ]
        return Joined(names, span, parts)

    def formula(self, mapper, q, dataset):
        line, bounded = mapper.parts
        if NAMES[dataset] == "csiq":
            return TestLinear().formula(line, q, 0)
        return TestLogistic().formula(bounded, q, dataset - 1)


class TestJoinedWithTerms(TestJoined):
    """A MINN, whose terms it offers, and a line of kadid."""

    starts_on_the_span = False

    def make(self, names, span=None):
        minn = {"_target_": f"{MAPPERS}.MINN", "hidden": [3, 2], "cells": 12, "reach": 6.0}
        line = {"_target_": f"{MAPPERS}.Linear"}
        parts = [
            {"mapper": minn, "datasets": [name for name in names if name != "kadid"]},
            {"mapper": line, "datasets": [name for name in names if name == "kadid"]},
        ]
        return Joined(names, span, [part for part in parts if part["datasets"]])

    def formula(self, mapper, q, dataset):
        minn, line = mapper.parts
        if NAMES[dataset] == "kadid":
            return TestLinear().formula(line, q, 0)
        m, f, g = (lambda x, r=role: minn.functions(x, torch.tensor(r * 2 + dataset // 2)) for role in range(3))
        return m(q) + g(q + f(m(q)))

    def test_its_terms_are_those_of_the_scores_that_the_part_maps(self, mapper, scores):
        q, dataset = scores[0].float(), scores[1]
        ends, own = torch.tensor([[0.0, 10.0]] * len(NAMES)), dataset != 1
        expected = mapper.parts[0].learn(q[own], dataset[own] // 2, ends[:2])[1]
        assert mapper.learn(q, dataset, ends)[1] == expected
        assert mapper.learn(q[~own], dataset[~own], ends)[1] == {"agreement": 0, "range": 0}


class TestMDTVSFA(MapperContract):
    spread = 0.2

    def make(self, names, span=None):
        return MDTVSFA(names, span)

    def formula(self, mapper, q, dataset):
        slope, shift, weight, bias = (getattr(mapper, name).item() for name in mapper.shared)
        r = 1 / (1 + math.exp(-math.exp(slope) * q - shift))
        return 10 * (mapper.rise[dataset].exp() / (1 + math.exp(-math.exp(weight) * r - bias)) + mapper.offset[dataset])

    def test_it_begins_as_published(self):
        """But for the lines, which begin on the span."""
        mapper = MDTVSFA(NAMES)
        torch.testing.assert_close(mapper.weight.exp(), torch.tensor(2 * 3**0.5))
        torch.testing.assert_close(mapper.bias, torch.tensor(-(3**0.5)))


class TestMonotone(MapperContract):
    def make(self, names, span=None):
        return Monotone(names, span, hidden=(6,), cells=12, reach=6.0)

    def formula(self, mapper, q, dataset):
        return mapper.functions(q, torch.tensor(dataset))


class TestSpline(MapperContract):
    def make(self, names, span=None):
        return Spline(names, span, bins=4)

    def formula(self, mapper, q, dataset):
        """Durkan et al., equation 4, between knots at which value and slope are known."""
        x = (mapper.slope[dataset].exp() * q + mapper.offset[dataset]).item()
        if abs(x) >= 0.5:
            return torch.tensor(10 * (x + 0.5), dtype=torch.float64)
        slopes = torch.ones(5, dtype=torch.float64)
        slopes[1:-1] = self.limited(mapper.derivatives[dataset], 1).exp()
        xs, ys = (
            torch.cat([torch.zeros(1), self.limited(row[dataset], 2).softmax(0).cumsum(0)]) - 0.5
            for row in (mapper.widths, mapper.heights)
        )
        k = int((xs < x).sum()) - 1
        s, z = (ys[k + 1] - ys[k]) / (xs[k + 1] - xs[k]), (x - xs[k]) / (xs[k + 1] - xs[k])
        share = (s * z**2 + slopes[k] * z * (1 - z)) / (s + (slopes[k] + slopes[k + 1] - 2 * s) * z * (1 - z))
        return 10 * (ys[k] + (ys[k + 1] - ys[k]) * share + 0.5)

    @staticmethod
    def limited(row: torch.Tensor, factor: int) -> torch.Tensor:
        """How zuko keeps slopes above a thousandth."""
        return row / (1 + (factor * row / math.log(1e-3)).abs())


class TestBernstein(MapperContract):
    def make(self, names, span=None):
        return Bernstein(names, span, degree=5)

    def formula(self, mapper, q, dataset):
        """The sum of basis polynomials, and its tangents beyond the ends."""
        t = (mapper.slope[dataset].exp() * q + mapper.offset[dataset] + 0.5).item()
        first, *steps = mapper.coefficients[dataset]
        steps = torch.stack([first - 4 * math.log(2) / 2, *map(softplus, (steps[0], *steps, steps[-1]))])
        theta = steps.cumsum(0)

        def polynomial(t: float, theta: torch.Tensor) -> torch.Tensor:
            n = len(theta) - 1
            return sum(c * math.comb(n, k) * t**k * (1 - t) ** (n - k) for k, c in enumerate(theta))

        end = min(max(t, 1e-6), 1 - 1e-6)
        return 10 * (polynomial(end, theta) + (t - end) * polynomial(end, 5 * theta.diff()) + 0.5)


class TestEmbedding(MapperContract):
    def make(self, names, span=None):
        return Embedding(names, span, vector=3, hidden=(4, 5))

    def formula(self, mapper, q, dataset):
        low, high = mapper.window
        x = (q - low) / (high - low)
        h = torch.cat([x[None], embedding(torch.tensor(dataset), mapper.vectors.weight)])
        first, second, last = mapper.network[::2]
        for layer in (first, second):
            h = relu(linear(h, layer.weight, layer.bias))
        return 10 * (x + linear(h, last.weight, last.bias).squeeze())

    def test_it_shares_its_network(self, mapper):
        assert set(mapper.state_dict()) - set(mapper.shared) == {"vectors.weight"}


class TestHeads(TestIdentity):
    def make(self, names, span=None):
        return Heads(names, span, hidden=[7, 2])

    def judge(self, q: torch.Tensor) -> Judgement:
        return Judgement(q, hidden=torch.stack([q, q.square()], dim=1))

    def predict(self, mapper, q, dataset):
        return mapper(mapper.read(self.judge(q), dataset), dataset)

    def test_every_dataset_has_its_head_and_an_unknown_one_their_mean(self, mapper, scores):
        mapper.double()
        q, dataset = scores
        heads = [w[0] * q + w[1] * q**2 + b for w, b in zip(mapper.weight, mapper.bias, strict=True)]
        own = torch.stack([heads[d][i] for i, d in enumerate(dataset)])
        torch.testing.assert_close(mapper.read(self.judge(q), dataset), own)
        unknown = torch.full_like(dataset, -1)
        torch.testing.assert_close(mapper.read(self.judge(q), unknown), sum(heads) / len(NAMES))

    def test_heads_begin_around_the_middle_of_the_span(self):
        mapper = Heads(NAMES, [(0, 10), (-1, 1), (20, 90)], hidden=[2])
        assert mapper.bias.tolist() == [5, 0, 55]

    def test_the_proxy_score_gets_a_gradient_of_zero(self, mapper):
        """DistributedDataParallel waits for what is behind it."""
        judgement = Judgement(torch.ones(1, requires_grad=True), hidden=torch.ones(1, 2))
        mapper.read(judgement, torch.tensor([0])).sum().backward()
        assert judgement.proxy.grad == 0

    def test_scores_are_float32_in_mixed_precision(self, mapper, scores):
        q, dataset = scores[0].float(), scores[1]
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(self.predict(mapper, q, dataset), self.predict(mapper, q, dataset).float())
            mixed = self.predict(mapper, q, dataset)
        assert torch.equal(mixed, self.predict(mapper, q, dataset))
        torch.testing.assert_close(mixed, self.predict(mapper.double(), *scores).float())

    @pytest.mark.parametrize("hidden", [None, []])
    def test_a_backbone_without_hidden_layers_is_refused(self, hidden):
        with pytest.raises(ConfigError, match=r"mapper=heads reads the last hidden layer .* backbone=resnet34"):
            Heads(NAMES, hidden=hidden)


@dataclass
class Seen:
    """All that an objective is told of one picture: numbers in float64."""

    proxy: torch.Tensor
    std: torch.Tensor | None
    levels: torch.Tensor
    prediction: torch.Tensor
    score: float
    sigma: float
    dataset: int


class ObjectiveContract:
    weights = (1.0, 4.0, 0.5)
    span: ClassVar = ((0.0, 10.0), (-2.0, 14.0), (1.0, 9.0))
    deviates = False  # whether the regressor gives deviations
    remembers: ClassVar[set[str]] = set()  # keys of its state

    def make(self) -> Objective:
        raise NotImplementedError

    def formula(self, pictures: list[Seen], own: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss of a batch, one picture after the other."""
        raise NotImplementedError

    def average(self, loss: Callable[[list[Seen]], torch.Tensor], pictures: list[Seen]) -> torch.Tensor:
        """(1/D) sum_d w_d loss_d, one dataset after the other."""
        groups = [[picture for picture in pictures if picture.dataset == d] for d in range(len(self.weights))]
        losses = [w * loss(group) for w, group in zip(self.weights, groups, strict=True) if group]
        return sum(losses) / len(self.weights)

    @pytest.fixture
    def objective(self) -> Objective:
        return self.make()

    def batch(self, dataset: list[int]) -> dict:
        size = len(dataset)
        sigma = draw(size, seed=9).exp()
        sigma[1::3] = torch.nan
        std = draw(size, seed=8).exp() if self.deviates else None
        tasks = {"quality": draw(size, 5, seed=7).softmax(1)} if self.make().sees else {}
        return {
            "judgement": Judgement(draw(size), std, tasks),
            "prediction": 5 + 3 * draw(size, seed=1),
            "opinions": Opinions(5 + 3 * draw(size, seed=2), sigma, torch.tensor(dataset)),
            "own": {name: draw(seed=3 + i).abs() for i, name in enumerate(self.make().needs)},
        }

    @staticmethod
    def inputs(batch: dict) -> list[torch.Tensor]:
        """What a gradient may reach."""
        judgement = batch["judgement"]
        values = [judgement.proxy, judgement.std, *judgement.tasks.values(), batch["prediction"]]
        return [value.requires_grad_() for value in (*values, *batch["own"].values()) if value is not None]

    @staticmethod
    def gradients(loss: torch.Tensor, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Zeros where the loss does not reach."""
        return torch.autograd.grad(loss + 0 * sum(value.sum() for value in inputs), inputs)

    @staticmethod
    def seen(batch: dict) -> list[Seen]:
        judgement, opinions = batch["judgement"], batch["opinions"]
        stds = [None] * len(judgement.proxy) if judgement.std is None else judgement.std
        levels = judgement.tasks.get("quality", stds)
        facts = opinions.score.tolist(), opinions.std.tolist(), opinions.dataset.tolist()
        return list(map(Seen, judgement.proxy, stds, levels, batch["prediction"], *facts))

    @staticmethod
    def map(batch: dict, change: Callable[[torch.Tensor], torch.Tensor]) -> dict:
        """A batch with all that it tells of pictures changed."""
        judgement, opinions = batch["judgement"], batch["opinions"]
        std = None if judgement.std is None else change(judgement.std)
        tasks = {name: change(value) for name, value in judgement.tasks.items()}
        changed = Opinions(change(opinions.score), change(opinions.std), change(opinions.dataset))
        return {
            "judgement": Judgement(change(judgement.proxy), std, tasks),
            "prediction": change(batch["prediction"]),
            "opinions": changed,
            "own": batch["own"],
        }

    @pytest.mark.parametrize("dataset", [[0, 1, 2, 2, 1, 0, 0], [0, 2, 2, 2], [1]])
    def test_value_and_gradients_are_those_of_the_formula(self, objective, dataset):
        batch = self.batch(dataset)
        inputs = self.inputs(batch)
        terms = objective.double()(**batch)
        expected = torch.as_tensor(self.formula(self.seen(batch), batch["own"]), dtype=torch.float64)
        torch.testing.assert_close(terms["loss"], expected, rtol=1e-10, atol=1e-12)
        assert all(term.shape == () for term in terms.values())
        ours, theirs = (self.gradients(loss, inputs) for loss in (terms["loss"], expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)

    def test_the_order_of_a_batch_changes_nothing(self, objective):
        batch, order = self.batch([0, 1, 2, 2, 1, 0, 0]), torch.randperm(7)
        again = objective(**self.map(batch, lambda values: values[order]))
        torch.testing.assert_close(again, self.make()(**batch))

    def test_half_precision_changes_nothing(self):
        batch = self.map(self.batch([0, 1, 2, 2, 0]), lambda x: x.float() if x.is_floating_point() else x)
        batch |= {"own": {name: term.float() for name, term in batch["own"].items()}}
        expected = self.make()(**batch)
        with torch.autocast("cpu", torch.bfloat16):
            assert self.make()(**batch) == expected
        for convert in HALVES:
            assert convert(self.make())(**batch) == expected
        assert all(term.dtype == torch.float32 for term in expected.values())

    def test_a_step_lowers_the_loss(self, objective):
        batch = self.batch([0, 1, 2, 2, 2, 0, 0])
        inputs = self.inputs(batch)
        optimizer = torch.optim.SGD(inputs, lr=1e-3)
        before = objective(**batch)["loss"]
        before.backward()
        optimizer.step()
        assert self.make()(**batch)["loss"] < before

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("alike", ["score", "judgement", "everything"])
    @pytest.mark.parametrize("dataset", [[0, 1, 2], [0, 1, 1, 1, 0]])
    def test_pictures_alike_give_finite_losses_and_gradients(self, objective, dataset, alike, dtype):
        """Also one picture alone, and opinions of which nothing but the score is known."""
        batch = self.map(self.batch(dataset), lambda x: x.to(dtype) if x.is_floating_point() else x)
        opinions = batch["opinions"]
        batch["opinions"] = Opinions(opinions.score, torch.full_like(opinions.std, torch.nan), opinions.dataset)
        if alike != "score":
            batch["judgement"] = self.map(batch, lambda x: x[:1].expand_as(x).clone())["judgement"]
            batch["prediction"] = torch.full_like(batch["prediction"], 3.3)
        if alike != "judgement":
            batch["opinions"] = Opinions(torch.full_like(opinions.score, 3.3), opinions.std, opinions.dataset)
        inputs = self.inputs(batch)
        loss = objective(**batch)["loss"]
        assert loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in self.gradients(loss, inputs))

    def test_it_says_what_it_teaches_the_mapper(self, objective):
        batch = self.batch([0, 1, 2, 2, 1, 0, 0])
        self.inputs(batch)
        loss = objective(**batch)["loss"]
        loss.backward()
        reached = batch["prediction"].grad is not None and bool(batch["prediction"].grad.any())
        assert reached == objective.through_mapper
        elsewhere = self.make()(**{**batch, "prediction": batch["prediction"] + 1})["loss"]
        assert (not torch.isclose(elsewhere, loss)) == objective.teaches

    def test_it_says_whether_equal_scores_are_best(self, objective):
        batch = self.batch([0, 1, 2, 2, 1, 0, 0])
        judgement = batch["judgement"]
        equal = Judgement(torch.zeros_like(judgement.proxy), judgement.std, judgement.tasks)
        assert (objective(**{**batch, "judgement": equal})["loss"] == 0) == objective.collapses

    def test_a_checkpoint_keeps_nothing_that_the_constructor_is_told(self, objective):
        assert set(objective.state_dict()) == self.remembers


def mean(values: Iterable) -> torch.Tensor:
    values = list(values)
    return sum(values) / max(1, len(values))


def huber(a: float, b: float) -> float:
    gap = abs(a - b)
    return gap**2 / 2 if gap < 1 else gap - 0.5


class TestMIMI(ObjectiveContract):
    def make(self):
        return MIMI(self.weights, agreement=1.5)

    def formula(self, pictures, own):
        fit = self.average(lambda group: mean(huber(p.prediction, p.score) for p in group), pictures)
        return fit + 1.5 * own["agreement"]


class TestRegression(ObjectiveContract):
    errors: ClassVar = {"smooth_l1": huber, "l1": lambda a, b: abs(a - b), "mse": lambda a, b: (a - b) ** 2}

    @pytest.fixture(params=errors, autouse=True)
    def loss(self, request):
        self.name = request.param

    def make(self):
        return Regression(self.weights, loss=self.name)

    def formula(self, pictures, own):
        error = self.errors[self.name]
        return self.average(lambda group: mean(error(p.prediction, p.score) for p in group), pictures)

    def test_terms_of_a_mapper_do_not_count(self, objective):
        batch = self.batch([0, 1, 2])
        offered = objective(**{**batch, "own": {"agreement": torch.tensor(7.0)}})
        assert offered == objective(**batch)


def phi(x: torch.Tensor) -> torch.Tensor:
    return (1 + torch.erf(torch.as_tensor(x, dtype=torch.float64) / 2**0.5)) / 2


def sign(x: float) -> int:
    return (x > 0) - (x < 0)


def pairs(group: list[Seen]) -> list[tuple[Seen, Seen]]:
    """Every two pictures of a dataset, once."""
    return [(a, b) for i, a in enumerate(group) for b in group[i + 1 :]]


def plcc(x: list, y: list[float]) -> torch.Tensor:
    """(1 - rho) / 2; of equal labels 0."""
    if len(set(y)) < 2:
        return 0.0
    x, y = [a - mean(x) for a in x], [b - mean(y) for b in y]
    rho = sum(a * b for a, b in zip(x, y, strict=True)) / (sum(a**2 for a in x) + 1e-8) ** 0.5
    return (1 - rho / sum(b**2 for b in y) ** 0.5) / 2


def rank(group: list[Seen]) -> torch.Tensor:
    number = len(group)
    wrong = [((a.proxy - b.proxy) * sign(b.score - a.score)).relu() for a in group for b in group]
    return sum(wrong) / max(1, number * (number - 1))


def fidelity(p: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    return 1 - (p * g + 1e-8) ** 0.5 - ((1 - p) * (1 - g) + 1e-8) ** 0.5


class TestPLCC(ObjectiveContract):
    def make(self):
        return PLCC(self.weights)

    def formula(self, pictures, own):
        return self.average(lambda group: plcc([p.proxy for p in group], [p.score for p in group]), pictures)


class TestNormInNorm(ObjectiveContract):
    def make(self):
        return NormInNorm(self.weights)

    def formula(self, pictures, own):
        def loss(group):
            if len(group) < 2:
                return 0.0
            q, y = [p.proxy for p in group], [p.score for p in group]
            q, y = [a - mean(q) for a in q], [b - mean(y) for b in y]
            q_norm, y_norm = (sum(a**2 for a in q) + 1e-8) ** 0.5, sum(b**2 for b in y) ** 0.5
            return sum(abs(a / q_norm - b / y_norm) for a, b in zip(q, y, strict=True)) / (2 * len(group) ** 0.5)

        return self.average(loss, pictures)


class TestRankHinge(ObjectiveContract):
    def make(self):
        return RankHinge(self.weights)

    def formula(self, pictures, own):
        return self.average(rank, pictures)


class TestRankHingeBalancedByLoss(ObjectiveContract):
    """sum_d w_d e^L_d L_d / sum_d w_d e^L_d over the datasets with two pictures."""

    def make(self):
        return RankHinge(self.weights, balance="loss")

    def formula(self, pictures, own):
        groups = [[p for p in pictures if p.dataset == d] for d in range(len(self.weights))]
        losses = [(w, rank(group)) for w, group in zip(self.weights, groups, strict=True) if len(group) > 1]
        shares = sum(w * loss.exp() for w, loss in losses)
        return sum(w * loss.exp() * loss for w, loss in losses) / shares if losses else 0.0

    def test_large_losses_do_not_overflow(self):
        batch = self.batch([0, 0, 1, 1])
        batch["judgement"] = Judgement(1000 * batch["judgement"].proxy)
        assert self.make()(**batch)["loss"].isfinite()


class TestFidelityBinary(ObjectiveContract):
    def make(self):
        return FidelityBinary(self.weights)

    def formula(self, pictures, own):
        def loss(group):
            return mean(fidelity(phi(a.proxy - b.proxy), (1 + sign(a.score - b.score)) / 2) for a, b in pairs(group))

        return self.average(loss, pictures)


class TestFidelity(ObjectiveContract):
    def make(self):
        return Fidelity(self.weights, margin=0.4)

    def formula(self, pictures, own):
        def known(sigma):
            return 0.0 if math.isnan(sigma) else sigma

        def pair(a, b):
            s = (2.0 if a.std is None else a.std.detach() ** 2 + b.std.detach() ** 2) + 1e-8
            sigma = (known(a.sigma) ** 2 + known(b.sigma) ** 2) ** 0.5
            g = phi((a.score - b.score) / sigma) if sigma else (1 + sign(a.score - b.score)) / 2
            return fidelity(phi((a.proxy - b.proxy) / s**0.5), g)

        def order(a, b):
            return (0.4 - sign(a.sigma - b.sigma) * (a.std - b.std)).relu()

        def loss(group):
            told = [p for p in group if not math.isnan(p.sigma)] if self.deviates else []
            return mean(pair(a, b) for a, b in pairs(group)) + mean(order(a, b) for a, b in pairs(told))

        return self.average(loss, pictures)


class TestFidelityOfDeviations(TestFidelity):
    deviates = True


class TestMargin(ObjectiveContract):
    by_std = False

    def make(self):
        return Margin(self.weights, by_std=self.by_std)

    def formula(self, pictures, own):
        def pair(a, b):
            told = self.by_std and not math.isnan(a.sigma + b.sigma)
            tau = (a.sigma**2 + b.sigma**2) ** 0.5 if told else 1.0
            return (((a.prediction - b.prediction) - (a.score - b.score)) / tau) ** 2 / 2

        return self.average(lambda group: mean(pair(a, b) for a, b in pairs(group)), pictures)


class TestMarginByDeviation(TestMargin):
    by_std = True


class LevelsContract(ObjectiveContract):
    def label(self, picture: Seen) -> list[float]:
        """Shares of levels 1..5; those of most pictures by the linear correction of all five."""
        low, high = self.span[picture.dataset]
        mos = min(5.0, max(1.0, 1 + 4 * (picture.score - low) / (high - low)))
        std = 4 * picture.sigma / (high - low)
        return soft_labels(torch.tensor([mos], dtype=torch.float64), torch.tensor([std], dtype=torch.float64))[0]


class TestOrdinal(LevelsContract):
    def make(self):
        return Ordinal(self.weights, self.span)

    def formula(self, pictures, own):
        def divergence(p):
            levels = zip(self.label(p), p.levels, strict=True)
            return sum(share * (torch.log(share) - torch.log(level + 1e-8)) for share, level in levels if share)

        return self.average(lambda group: mean(map(divergence, group)), pictures)


class TestEMD(LevelsContract):
    def make(self):
        return EMD(self.weights, self.span)

    def formula(self, pictures, own):
        def distance(p):
            gaps = [sum(p.levels[: k + 1]) - sum(self.label(p)[: k + 1]) for k in range(5)]
            return (mean(gap**2 for gap in gaps) + 1e-8) ** 0.5

        return self.average(lambda group: mean(map(distance, group)), pictures)


class TestMixed(ObjectiveContract):
    def make(self):
        return Mixed(self.weights, self.span)

    def formula(self, pictures, own):
        losses = []
        for d, (low, high) in enumerate(self.span):
            if group := [p for p in pictures if p.dataset == d]:
                correlation = plcc([p.prediction for p in group], [p.score for p in group])
                distance = mean(abs(p.prediction - p.score) for p in group) / (high - low)
                losses.append((self.weights[d], correlation + rank(group) + distance))
        return sum(w * loss.exp() * loss for w, loss in losses) / sum(w * loss.exp() for w, loss in losses)

    def test_names(self):
        assert {*self.make()(**self.batch([0, 0, 1, 1]))} == {"loss", "plcc", "rank", "l1"}


class TestSum(ObjectiveContract):
    def make(self):
        terms = ["mimi", {"name": "regression", "loss": "l1"}, "ordinal"]
        return Sum(self.weights, self.span, terms=terms, factors=[0.5, 2.0, 1.0])

    def formula(self, pictures, own):
        ordinal = TestOrdinal().formula(pictures, own)
        fit = self.average(lambda group: mean(huber(p.prediction, p.score) for p in group), pictures)
        distance = self.average(lambda group: mean(abs(p.prediction - p.score) for p in group), pictures)
        return 0.5 * (fit + 2 * own["agreement"]) + 2 * distance + ordinal


class TestSumByDynamicWeightAverage(ObjectiveContract):
    remembers: ClassVar = {"weighting.means", "weighting.totals", "weighting.epoch"}

    def make(self):
        return Sum(self.weights, self.span, terms=["rank_hinge", "margin"], factors=[1.0, 3.0], balance="dwa")

    def formula(self, pictures, own):
        return self.average(rank, pictures) + 3 * TestMargin().formula(pictures, own)

    def test_what_falls_slowest_weighs_most_and_a_checkpoint_knows_it(self):
        """Ranking stays as it was, margins shrink to a quarter: ratios 1 and 1/4 of the means of two epochs."""
        objective, other = self.make(), self.make()
        batch = self.batch([0, 0, 1, 1])
        for epoch, factor in enumerate((1.0, 0.5)):
            y = batch["opinions"].score
            objective(**{**batch, "prediction": y + factor * (batch["prediction"] - y)}, epoch=epoch)
        other.load_state_dict(objective.state_dict())
        terms = other(**batch, epoch=2)
        slow, fast = (2 * share for share in torch.tensor([1 / 2, 1 / 8]).softmax(0))
        torch.testing.assert_close((terms["weight_rank_hinge"], terms["weight_margin"]), (slow, fast))
        plain = Sum(self.weights, self.span, terms=["rank_hinge", "margin"], factors=[1.0, 3.0])(**batch)
        torch.testing.assert_close(terms["loss"], slow * plain["rank_hinge"] + fast * plain["margin"])


def test_smooth_l1_is_the_loss_unless_told():
    assert Regression([1.0]).loss is Regression([1.0], loss="smooth_l1").loss


def test_an_unknown_loss_is_refused():
    with pytest.raises(ConfigError, match=r"objective.loss=huber: expected l1, smooth_l1, mse"):
        Regression([1.0], loss="huber")


class RegressorContract:
    sizes: ClassVar = {"quality": 5, "scene": 9, "distortion": 11}
    frozen = False  # whether nothing learns before its features

    @pytest.fixture
    def regressor(self) -> Regressor:
        """A small one, in training mode, without pretrained weights."""
        raise NotImplementedError

    @pytest.fixture
    def images(self) -> torch.Tensor:
        """Two of what its view makes."""
        return torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def test_judgement(self, regressor, images):
        judgement = regressor(images)
        assert judgement.hidden is None or (judgement.hidden.ndim, len(judgement.hidden)) == (2, 2)
        assert judgement.proxy.shape == (2,)
        assert (judgement.std is not None) == regressor.deviates
        assert not regressor.deviates or (judgement.std.shape == (2,) and (judgement.std > 0).all())
        assert tuple(judgement.tasks) == regressor.judges
        for task, probability in judgement.tasks.items():
            assert probability.shape == (2, self.sizes[task])
            torch.testing.assert_close(probability.sum(-1), torch.ones(2))

    def test_scores_are_float32_in_mixed_precision(self, regressor, images):
        with torch.autocast("cpu", torch.bfloat16):
            judgement = regressor(images)
        values = judgement.proxy, judgement.std, *judgement.tasks.values()
        assert {value.dtype for value in values if value is not None} == {torch.float32}

    def test_judging_features_is_judging_pictures(self, regressor, images):
        if not regressor.divisible:
            pytest.skip("cannot be divided")
        if not self.frozen:
            with pytest.raises(ConfigError, match=r"Set backbone\."):
                regressor.features(images)
            return
        for precision in (torch.float32, torch.bfloat16):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
                features = regressor.features(images)
                assert (features.ndim, features.dtype, features.requires_grad) == (2, torch.float32, False)
                assert torch.equal(regressor.judge(features).proxy, regressor(images).proxy)

    def test_no_picture_depends_on_another(self, regressor, images):
        regressor.eval()
        alone = torch.cat([regressor(image[None]).proxy for image in images])
        torch.testing.assert_close(regressor(images).proxy, alone, rtol=1e-4, atol=1e-5)

    def test_pretrained_parameters_are_some_of_its_own(self, regressor):
        own = {id(parameter) for parameter in regressor.parameters()}
        pretrained = {id(parameter) for parameter in regressor.backbone_parameters()}
        assert pretrained
        assert pretrained <= own

    def test_a_training_step_lowers_the_error(self, regressor, images):
        regressor.eval()  # no noise from statistics of two pictures
        optimizer = torch.optim.SGD([p for p in regressor.parameters() if p.requires_grad], lr=1e-3)
        target = torch.tensor([4.0, 1.0])
        before = mse_loss(regressor(images).proxy, target)
        before.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in regressor.parameters() if p.requires_grad)
        torch.nn.utils.clip_grad_norm_(regressor.parameters(), 1.0)
        optimizer.step()
        assert mse_loss(regressor(images).proxy, target) < before

    def test_checkpoint(self, regressor, images):
        other = copy.deepcopy(regressor)
        for parameter in other.parameters():
            torch.nn.init.zeros_(parameter)
        other.load_state_dict(regressor.state_dict())
        assert torch.equal(other.eval()(images).proxy, regressor.eval()(images).proxy)


class TestBilinear(RegressorContract):
    @pytest.fixture
    def regressor(self):
        torch.manual_seed(0)
        return PooledRegressor("resnet18", "none", stage=-3, hidden=[16])


class TestFrozenBilinear(RegressorContract):
    frozen = True

    @pytest.fixture
    def regressor(self):
        torch.manual_seed(0)
        return PooledRegressor("test_resnet", "none", stage=-3, hidden=[16], freeze="all", says="levels")


class TestMeanStd(RegressorContract):
    @pytest.fixture
    def regressor(self):
        torch.manual_seed(0)
        return PooledRegressor("test_resnet", "none", stage=-3, hidden=[16], pool="mean_std", says="deviation")


class TestClassToken(RegressorContract):
    frozen = True

    @pytest.fixture
    def regressor(self):
        torch.manual_seed(0)
        return PooledRegressor("test_vit", "none", hidden=[16], pool="cls", freeze="all")


class TestAttention(RegressorContract):
    @pytest.fixture
    def regressor(self):
        torch.manual_seed(0)
        return PooledRegressor("test_vit3", "none", hidden=[16], pool="attention", says="levels")


class TestAdapters(RegressorContract):
    @pytest.fixture
    def regressor(self):
        torch.manual_seed(0)
        return PooledRegressor("test_vit", "none", hidden=[16], lora={"rank": 2, "alpha": 4})


class TestCLIP(RegressorContract):
    @pytest.fixture(scope="class")
    def made(self, tiny_clip):
        torch.manual_seed(0)
        return CLIPRegressor("tiny", tiny_clip, "none")

    @pytest.fixture
    def regressor(self, made):
        return copy.deepcopy(made)

    @pytest.fixture
    def images(self):
        random = torch.Generator().manual_seed(1)
        return torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8, generator=random)


class TaskContract:
    def make(self) -> Task:
        raise NotImplementedError

    def annotations(self) -> pd.DataFrame:
        """Of a few images with parts, some with labels, some without."""
        raise NotImplementedError

    @pytest.fixture
    def task(self) -> Task:
        return self.make()

    @pytest.fixture
    def batch(self, task) -> dict:
        return {name: torch.as_tensor(column) for name, column in task.labels(self.annotations()).items()}

    @pytest.fixture
    def judgement(self) -> Judgement:
        images = len(self.annotations())
        tasks = {task: draw(images, RegressorContract.sizes[task]).softmax(-1).float() for task in self.make().needs}
        return Judgement(torch.zeros(images), tasks={task: p.requires_grad_() for task, p in tasks.items()})

    def test_every_image_has_its_labels(self, task):
        columns = task.labels(self.annotations())
        assert columns
        assert {len(column) for column in columns.values()} == {len(self.annotations())}
        assert all(isinstance(column, np.ndarray) for column in columns.values())

    def test_it_extends_the_loss_and_every_judgement_learns(self, task, judgement, batch):
        quality = torch.tensor(2.0, requires_grad=True)
        terms = task({"loss": quality, "fit": quality}, judgement, batch, 0)
        assert terms["fit"] is quality
        assert all(term.shape == () and term.isfinite() for term in terms.values())
        terms["loss"].backward()
        assert quality.grad > 0
        assert all(p.grad.abs().sum() > 0 for p in judgement.tasks.values())

    def test_what_was_counted_is_told_once(self, task, judgement, batch):
        task.count(judgement, batch)
        figures = task.accuracies()
        assert figures
        assert all(0 <= figure <= 1 and not math.isnan(figure) for figure in figures.values())
        assert task.accuracies() == {}

    def test_checkpoint(self, task, judgement, batch):
        """It goes on as if there had been no break."""
        other = self.make()
        for epoch in range(4):
            terms = {"loss": torch.tensor(1.0 + epoch)}
            through = task(terms, judgement, batch, epoch)
            if epoch == 2:
                other.load_state_dict(task.state_dict())
        assert other(terms, judgement, batch, 3)["loss"] == through["loss"]


class TestSceneDistortion(TaskContract):
    def make(self):
        return SceneDistortion()

    def annotations(self):
        columns = {"part": ["train", "train", "test"], "scenes": ["night", "", "animal;human"]}
        return pd.DataFrame({"dataset": "own", **columns, "distortion": ["lens", "white noise", ""]})
