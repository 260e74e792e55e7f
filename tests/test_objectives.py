import pytest
import torch
from hydra.utils import get_class
from omegaconf import OmegaConf

from mimi_lightning import config
from mimi_lightning.contracts import Judgement, Opinions
from mimi_lightning.errors import ConfigError
from mimi_lightning.gauges import Range
from mimi_lightning.models.mappers import MINN, range_spread
from mimi_lightning.module import QualityModel
from mimi_lightning.objectives import MIMI, Sum
from mimi_lightning.objectives.levels import Ordinal, soft_labels
from mimi_lightning.objectives.sums import TERMS

WEIGHTS = [1.0, 4.0, 0.5]
NAMES = ["csiq", "kadid", "live"]
DATASETS = len(NAMES)
REGRESSOR = {"name": "resnet18", "weights": "none", "stage": -3, "hidden": [4]}


@pytest.fixture
def mapper() -> MINN:
    torch.manual_seed(0)
    return MINN(NAMES, hidden=(6, 5), cells=30, reach=6.0).double()


def mixed_batch(datasets: list[int]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "proxy": draw(len(datasets)),
        "target": 3 * draw(len(datasets)),
        "dataset": torch.tensor(datasets, dtype=torch.long),
        "ends": torch.tensor([0.0, 10.0], dtype=torch.float64) + draw(DATASETS, 2),
    }


def compute(objective, mapper, proxy, target, dataset, ends) -> dict[str, torch.Tensor]:
    prediction, own = mapper.learn(proxy, dataset, ends)
    terms = objective(Judgement(proxy), prediction, Opinions(target, torch.full_like(target, torch.nan), dataset), own)
    return Range()(terms, mapper, proxy, ends, own)


def smooth_l1(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    gap = (a - b).abs()
    return gap**2 / 2 if gap < 1 else gap - 0.5


def transcribed(mapper, proxy, target, dataset, ends) -> torch.Tensor:
    """The formula of the objective, one image and one dataset after the other."""

    def function(role: int, d: int, x: torch.Tensor) -> torch.Tensor:
        return mapper.functions(x, torch.tensor(role * DATASETS + d))

    fits, agreements = {d: [] for d in range(DATASETS)}, []
    for q, t, d in zip(proxy, target, dataset.tolist(), strict=True):
        x2 = function(0, d, q)
        y1 = q + function(1, d, x2)
        y2 = x2 + function(2, d, y1)
        fits[d].append(smooth_l1(y2, t))
        agreements.append(smooth_l1(y1, y2))
    fit = sum(WEIGHTS[d] * sum(errors) / len(errors) for d, errors in fits.items() if errors) / DATASETS

    pulled_back = [[m - function(1, d, m - function(2, d, m)) for m in ends[d]] for d in range(DATASETS)]
    lows, highs = zip(*pulled_back, strict=True)
    spread = sum(abs(low - min(lows)) + abs(high - max(highs)) for low, high in zip(lows, highs, strict=True))
    return fit + 2 * sum(agreements) / len(agreements) + spread / DATASETS


@pytest.mark.parametrize("datasets", [[0, 1, 2, 2, 1, 0, 0], [0, 2, 2], [1]])
def test_loss_and_gradients_equal_the_formula(mapper, datasets):
    batch = mixed_batch(datasets)
    batch["proxy"].requires_grad_()
    inputs = [batch["proxy"], *mapper.parameters()]
    loss = compute(MIMI(WEIGHTS), mapper, **batch)["loss"]
    expected = transcribed(mapper, **batch)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_loss_is_the_sum_of_its_terms(mapper):
    terms = compute(MIMI(WEIGHTS), mapper, **mixed_batch([0, 1, 2]))
    assert set(terms) == {"loss", "fit", "agreement", "range"}
    assert all(term.shape == () for term in terms.values())
    torch.testing.assert_close(terms["loss"], terms["fit"] + terms["agreement"] + terms["range"])


def test_order_of_the_batch_changes_nothing(mapper):
    batch = mixed_batch([0, 1, 2, 2, 1, 0, 0])
    shuffled = torch.randperm(7)
    again = {name: values if name == "ends" else values[shuffled] for name, values in batch.items()}
    torch.testing.assert_close(compute(MIMI(WEIGHTS), mapper, **again), compute(MIMI(WEIGHTS), mapper, **batch))


def test_float32_under_any_precision():
    batch = {name: v.float() if v.is_floating_point() else v for name, v in mixed_batch([0, 1, 2, 2]).items()}
    mapper, objective = MINN(NAMES, hidden=(6,), cells=30), MIMI([1 / 3, 4.0, 0.7])
    expected = compute(objective, mapper, **batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = compute(objective, mapper, **batch)
    converted = compute(objective.bfloat16(), mapper.bfloat16(), **batch)
    for name, value in expected.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, autocast[name])
        assert torch.equal(value, converted[name])


def test_range_spread_by_hand():
    ranges = torch.tensor([[0.0, 4.0], [1.0, 5.0], [0.5, 2.0]])
    assert range_spread(ranges) == pytest.approx((1 + 1.5 + 4) / 3 - 1.5 / 3 + (0.5 - 1 + 1.5 - 1.0 + 0.5) / 3)
    assert range_spread(ranges[:1]) == 0


def test_a_mix_of_two_scales_is_learned():
    """From proxy scores around 0 to targets on 0..10, in float32 and the published learning rate."""
    torch.manual_seed(0)
    mapper, objective = MINN(NAMES[:2], cells=160), MIMI([1.0, 1.0])
    regressor = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    optimiser = torch.optim.Adam([*mapper.parameters(), *regressor.parameters()], lr=6e-4)
    dataset, ends = torch.arange(2).repeat_interleave(16), torch.tensor([[0.0, 10.0]] * 2)
    losses = []
    for _ in range(120):
        quality = torch.randn(32)
        target = 10 * torch.sigmoid(torch.where(dataset == 0, quality, 2 * quality - 1))
        loss = compute(objective, mapper, regressor(quality[:, None]).squeeze(1), target, dataset, ends)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert max(losses[:20]) < 20
    assert sum(losses[-10:]) / 10 < 0.3 * losses[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_soft_labels_are_shares_whose_mean_is_the_score(dtype):
    scores, stds = torch.linspace(1, 5, 161, dtype=dtype), torch.linspace(0, 3, 61, dtype=dtype)
    score, std = torch.cartesian_prod(scores, stds).unbind(1)
    shares = soft_labels(score, std)
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(1), torch.ones_like(score), atol=1e-4, rtol=0)
    torch.testing.assert_close((shares * torch.arange(1, 6)).sum(1), score, atol=1e-4, rtol=0)
    rises, falls = shares.diff(dim=1) > 1e-5, shares.diff(dim=1) < -1e-5
    assert not (falls[:, :-1] & rises[:, 1:]).any()  # one mode


@pytest.mark.parametrize(("score", "std"), [(3.3, 1.0), (2.2, 0.4), (3.0, 1.0), (3.0, 0.3)])
def test_soft_labels_are_the_linear_correction_of_all_levels(score, std):
    """By both equations, a S + 5 b = 1 and a M + 15 b = score; those of M = 3 S say nothing of a: then b = 0."""
    level = torch.arange(1, 6, dtype=torch.float64)
    normal = torch.distributions.Normal(*torch.tensor([score, std], dtype=torch.float64))
    raw = normal.log_prob(level).exp() if std >= 0.5 else normal.cdf(level + 0.5) - normal.cdf(level - 0.5)
    a, b = 1 / raw.sum(), 0.0
    if score != 3:
        equations = torch.tensor([[raw.sum(), 5.0], [(level * raw).sum(), 15.0]], dtype=torch.float64)
        a, b = torch.linalg.solve(equations, torch.tensor([1.0, score], dtype=torch.float64))
    found = soft_labels(normal.mean[None], normal.stddev[None])[0]
    torch.testing.assert_close(found, a * raw + b, rtol=1e-8, atol=1e-12)
    assert (found > 0).all()


@pytest.mark.parametrize(
    ("score", "std", "shares"),
    [
        (2.4, float("nan"), [0.0, 0.6, 0.4, 0.0, 0.0]),
        (2.4, 0.19, [0.0, 0.6, 0.4, 0.0, 0.0]),
        (5.0, 1.0, [0.0, 0.0, 0.0, 0.0, 1.0]),
    ],
)
def test_sure_raters_choose_the_two_next_levels(score, std, shares):
    torch.testing.assert_close(soft_labels(torch.tensor([score]), torch.tensor([std]))[0], torch.tensor(shares))


def test_a_sum_knows_every_option_by_its_name():
    names = {file.stem for file in (config.conf_dir() / "objective").glob("*.yaml")} - {"sum"}
    assert {name: get_class(option("objective", name)[0]["_target_"]) for name in names} == TERMS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terms": ["plcc", "mse"]}, "objective.terms: mse is none of emd, fidelity"),
        ({"terms": [{"loss": "l1"}, "plcc"]}, "objective.terms: None is none of"),
        ({"terms": ["plcc"]}, "expected as many as there are terms, 1"),
        ({"terms": [], "factors": []}, "expected as many as there are terms, 0"),
        ({"factors": [0, 1]}, r"objective.factors=\[0, 1\], temperature=2.0: expected more than 0"),
        ({"factors": [1, float("inf")]}, "expected more than 0"),
        ({"factors": ["1", 1]}, "expected more than 0"),
        ({"temperature": 0}, "temperature=0: expected more than 0"),
        ({"terms": [{"name": "plcc", "los": "l1"}, "mimi"]}, "objective.terms: an argument is not known .*los"),
        ({"balance": "loss"}, "objective.balance=loss: expected fixed or dwa"),
        ({"terms": [{"name": "plcc", "balance": "dwa"}, "mimi"]}, "objective.balance=dwa: expected fixed or loss"),
    ],
)
def test_a_sum_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Sum(WEIGHTS, **changes)


def test_a_sum_needs_what_its_terms_need():
    both = Sum(WEIGHTS, terms=["mimi", "ordinal"])
    assert (both.needs, both.sees, both.teaches, both.through_mapper) == (("agreement",), ("quality",), True, True)
    neither = Sum(WEIGHTS, terms=["rank_hinge", "emd"])
    assert (neither.needs, neither.teaches, neither.through_mapper, neither.collapses) == ((), False, False, False)
    assert Sum(WEIGHTS, terms=["rank_hinge", {"name": "rank_hinge", "balance": "loss"}]).collapses


def test_terms_of_a_sum_are_called_by_their_words():
    assert Sum(WEIGHTS, terms=["plcc", {"name": "regression", "loss": "l1"}]).labels == ["plcc", "regression_l1"]


def test_a_sum_hands_its_temperature_on():
    assert Sum(WEIGHTS, balance="dwa", temperature=3.0).weighting.temperature == 3.0


@pytest.mark.parametrize("kind", TERMS.values())
def test_every_objective_keeps_the_span_and_computes_in_the_precision_of_predictions(kind):
    objective = kind(WEIGHTS, span := [[0.0, 10.0], [1.0, 5.0], [-1.0, 1.0]])
    assert objective.span.tolist() == span
    proxy, dataset = torch.linspace(-1, 1, 6), torch.tensor([0, 0, 1, 1, 2, 2])
    judgement = Judgement(proxy, tasks={"quality": torch.full((6, 5), 0.2)})
    opinions = Opinions(proxy.double(), torch.full((6,), 0.3, dtype=torch.float64), dataset)
    terms = objective(judgement, proxy, opinions, {"agreement": proxy.sum()})
    assert {term.dtype for term in terms.values()} == {torch.float32}


def test_labels_beyond_the_span_are_the_best_and_the_worst_level():
    objective = Ordinal([1.0], [[0.0, 10.0]])
    levels = Judgement(torch.zeros(1), tasks={"quality": torch.tensor([[0.1, 0.1, 0.2, 0.25, 0.35]])})

    def loss(score):
        opinions = Opinions(torch.tensor([score]), torch.tensor([1.0]), torch.tensor([0]))
        return objective(levels, torch.zeros(1), opinions, {})["loss"].item()

    assert loss(12.0) == loss(10.0) != loss(9.0)
    assert loss(-2.0) == loss(0.0) != loss(1.0)


def option(group: str, name: str) -> tuple[dict, str]:
    """An option's settings, and the gauge that it brings."""
    node = OmegaConf.to_container(OmegaConf.load(config.conf_dir() / group / f"{name}.yaml"))
    gauge = next((entry["override /gauge"] for entry in node.get("defaults", [])), "range")
    return node.get(group, node), gauge


def configured(mapper: str, objective: str, gauge: str | None = None, says: str = "score", **arguments) -> QualityModel:
    """The model of these options, of two datasets."""
    fact = {"range": [0, 100], "labels": [10, 90], "weight": 1, "size": 10}
    settings, brought = option("objective", objective)
    return QualityModel(
        {"_target_": "mimi_lightning.models.regressor.PooledRegressor", **REGRESSOR, "says": says},
        {"_target_": f"mimi_lightning.models.mappers.{mapper}"},
        {**settings, **arguments},
        dict.fromkeys(["csiq", "koniq"], fact),
        gauge=option("gauge", gauge or brought)[0],
    )


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"mapper": "Identity", "objective": "plcc"}, "PLCC orders pictures .* mapper Identity has nothing to fit"),
        ({"mapper": "Identity", "objective": "margin"}, "Margin orders pictures and teaches no scale"),
        ({"mapper": "LeastSquares", "objective": "plcc"}, "PLCC teaches no scale, and .* such as mapper=linear"),
        ({"objective": "fidelity", "gauge": "range"}, "gauge Range pins .* Fidelity does not teach: set gauge=moments"),
        ({"objective": "margin", "gauge": "anchor"}, "gauge Anchor pins .* objective Margin does not teach"),
        ({"objective": "rank_hinge", "gauge": "none"}, "RankHinge is lowest where .* are equal: set gauge=moments"),
        ({"objective": "sum", "terms": ["rank_hinge"], "factors": [1]}, "Sum is lowest where all"),
        ({"objective": "ordinal"}, "Ordinal compares quality levels, which backbone resnet18 .*backbone.says=levels"),
        ({"objective": "sum", "terms": ["mimi", "emd"]}, "Sum needs the terms agreement, which mapper Linear"),
    ],
)
def test_combinations_without_sense_are_refused(choice, message):
    with pytest.raises(ConfigError, match=message):
        configured(**{"mapper": "Linear", **choice})


@pytest.mark.parametrize("mapper", ["Linear", "MINN"])
@pytest.mark.parametrize("objective", [name for name in TERMS if name != "mimi"])
def test_every_other_objective_goes_with_any_mapper_and_the_gauge_it_brings(mapper, objective):
    model = configured(mapper, objective, says="levels" if objective in ("emd", "ordinal") else "score")
    learns = {parameter.requires_grad for parameter in model.mapper.parameters()}
    assert learns == {model.objective.through_mapper}


def test_an_objective_sees_the_scores_that_the_mapper_reads(monkeypatch):
    model, seen = configured("Linear", "plcc"), []
    monkeypatch.setattr(model.mapper, "read", lambda judgement, dataset: torch.arange(2.0, requires_grad=True))
    model.objective.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].proxy))
    facts = {"mos": torch.tensor([20.0, 30.0]), "std": torch.tensor([1.0, torch.nan]), "dataset": torch.tensor([0, 0])}
    model.training_step({"image": torch.zeros(2, 3, 64, 64, dtype=torch.uint8), "names": ("csiq",), **facts})
    assert seen[0].tolist() == [0.0, 1.0]
