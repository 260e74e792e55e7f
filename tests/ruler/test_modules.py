"""A ruler beside the training of another network."""

import copy
import doctest

import numpy as np
import pytest
import torch

from mimi_lightning.contracts import Judgement, Regressor
from mimi_lightning.errors import ConfigError, DatasetError
from mimi_lightning.ruler import modules
from mimi_lightning.ruler.modules import RulerLoss, RulerScore
from mimi_lightning.ruler.ruler import Ruler

PICTURES = torch.randint(0, 256, (6, 3, 40, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Smooth(Regressor):
    """Score of a picture by which nothing is rounded: mean over positions of w . tanh(A pixel)."""

    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.mix = torch.nn.Parameter(torch.randn(5, 3, dtype=torch.float64, generator=random) / 255)
        self.weight = torch.nn.Parameter(torch.randn(5, dtype=torch.float64, generator=random))

    def forward(self, images):
        seen = torch.einsum("fc,bchw->bfhw", self.mix, images.double()).tanh()
        return Judgement(torch.einsum("f,bfhw->b", self.weight, seen) / (images.shape[-1] * images.shape[-2]))

    def backbone_parameters(self):
        return iter(())


@pytest.fixture
def exact(ruler):
    """A ruler in float64."""
    model = copy.deepcopy(ruler.model).double()
    model.regressor = Smooth()
    return Ruler(model)


# The metric


@pytest.mark.parametrize("scale", [None, "live"])
def test_the_mean_is_that_of_all_scores_whatever_the_batches(ruler, scale):
    scores = ruler.score(PICTURES, scale)
    metric = RulerScore(ruler, scale)
    metric.update(PICTURES[:1])
    metric.update(PICTURES[1:])
    assert metric.compute().item() == pytest.approx(scores.double().mean().item(), rel=1e-6)
    assert not scores.eq(scores[0]).all()


def test_a_batch_has_its_own_mean_and_counts(ruler):
    metric = RulerScore(ruler)
    scores = ruler.score(PICTURES).double()
    assert metric(PICTURES[:2]).item() == pytest.approx(scores[:2].mean().item(), abs=1e-6)
    assert metric(PICTURES[2:]).item() == pytest.approx(scores[2:].mean().item(), abs=1e-6)
    assert metric.compute().item() == pytest.approx(scores.mean().item(), abs=1e-6)
    metric.reset()
    metric.update(PICTURES[0])
    assert metric.compute().item() == pytest.approx(scores[0].item(), abs=1e-6)


def test_pictures_may_be_floats_arrays_and_lists(ruler):
    metric = RulerScore(ruler)
    metric.update(PICTURES[:1] / 255)
    metric.update(PICTURES[1].permute(1, 2, 0).numpy())
    metric.update([PICTURES[2], np.asarray(PICTURES[3, 0])])
    assert metric.count == 4


def test_sums_of_many_pictures_lose_nothing(ruler):
    metric = RulerScore(ruler)
    metric.total += 2.0**30
    metric.count += 1
    metric.update(PICTURES[0])
    assert (metric.total - 2.0**30).item() == pytest.approx(ruler.score(PICTURES[0]).item(), abs=1e-6)
    metric.half()
    assert metric.total.dtype == torch.float64


def test_gradients_end_at_the_metric(ruler):
    metric = RulerScore(ruler)
    assert not metric((PICTURES / 255).requires_grad_()).requires_grad


def test_processes_share_one_mean_though_one_has_more_pictures(ruler):
    """What torchmetrics gathers is played by a second metric: states come in the order of their names here."""
    other = RulerScore(ruler)
    other.update(PICTURES[1:])
    gathered = iter([other.total, other.count])
    sync = {"dist_sync_fn": lambda state, group: [state, next(gathered)], "distributed_available_fn": lambda: True}
    metric = RulerScore(ruler, **sync)
    metric.update(PICTURES[:1])
    assert metric.compute().item() == pytest.approx(ruler.score(PICTURES).double().mean().item(), abs=1e-6)


# The loss


@pytest.mark.parametrize(
    ("reduction", "reduce"), [("mean", torch.mean), ("sum", torch.sum), ("none", lambda loss: loss)]
)
def test_the_loss_is_what_lacks(ruler, reduction, reduce):
    pictures = PICTURES / 255
    scores = ruler.score(pictures, "live")
    middle = scores.median()
    assert (scores > middle).any()
    assert (scores < middle).any()
    torch.testing.assert_close(RulerLoss(ruler, "live", reduction=reduction)(pictures), reduce(-scores))
    lacking = torch.where(scores > middle, 0, middle - scores)
    torch.testing.assert_close(
        RulerLoss(ruler, "live", target=middle.item(), reduction=reduction)(pictures), reduce(lacking)
    )


@pytest.mark.parametrize("scale", [None, "live"])
@pytest.mark.parametrize("target", [None, 1000.0])
def test_the_gradient_is_that_of_finite_differences(exact, scale, target):
    """Pixels and steps are binary fractions, so that the float32 of pictures rounds nothing away."""
    random = torch.Generator().manual_seed(2)
    pictures = torch.randint(16, 240, (2, 3, 6, 5), generator=random) / 256
    pictures.requires_grad_()
    loss = RulerLoss(exact, scale, target)
    loss(pictures).backward()
    direction = torch.randint(-3, 4, pictures.shape, generator=random) / 256

    def slope(step: float) -> float:
        ahead, behind = (loss(pictures.detach() + sign * step * direction) for sign in (1, -1))
        return (ahead - behind).item() / (2 * step)

    extrapolated = (4 * slope(0.5) - slope(1)) / 3
    assert (pictures.grad.double() * direction).sum().item() == pytest.approx(extrapolated, rel=2e-6)


def test_pictures_that_suffice_get_no_gradient(ruler):
    pictures = (PICTURES / 255).requires_grad_()
    scores = ruler.score(pictures).detach()
    RulerLoss(ruler, target=scores.median().item())(pictures).backward()
    suffices = scores >= scores.median()
    assert 0 < suffices.sum() < len(pictures)
    assert torch.equal(pictures.grad.flatten(1).eq(0).all(1), suffices)


def test_following_the_gradient_improves_the_score(ruler):
    loss = RulerLoss(ruler)
    pictures = (PICTURES / 255).requires_grad_()
    before = loss(pictures)
    before.backward()
    better = (pictures - 0.01 * pictures.grad.sign()).clamp(0, 1).detach()
    assert loss(better) < before


@pytest.mark.parametrize("kind", [RulerScore, RulerLoss])
def test_whoever_trains_beside_it_never_reaches_the_network(ruler, kind):
    outer = torch.nn.ModuleDict({"net": torch.nn.Linear(2, 2), "ruler": kind(ruler)})
    before = ruler.score(PICTURES)
    outer.train()
    outer.half()
    assert len(list(outer.parameters())) == 2
    assert set(outer.state_dict()) == {"net.weight", "net.bias"}
    assert not ruler.model.training
    assert torch.equal(ruler.score(PICTURES), before)


@pytest.mark.parametrize("kind", [RulerScore, RulerLoss])
def test_the_network_goes_where_the_module_goes(ruler, kind):
    ruler = copy.deepcopy(ruler)
    outer = torch.nn.Sequential(kind(ruler))
    outer.to("meta")
    assert ruler.device.type == "meta"


@pytest.mark.parametrize("kind", [RulerScore, RulerLoss])
def test_a_scale_that_nobody_knows_is_refused_at_once(ruler, kind):
    with pytest.raises(ConfigError, match="does not know koniq; it knows csiq, live"):
        kind(ruler, "koniq")
    assert kind(ruler, "proxy").scale == "proxy"


def test_another_reduction_is_refused(ruler):
    with pytest.raises(ConfigError, match="no reduction batchmean; there are mean, sum, none"):
        RulerLoss(ruler, reduction="batchmean")


def test_what_a_network_makes_has_to_be_clamped(ruler):
    with pytest.raises(DatasetError, match="clamp what overshoots"):
        RulerLoss(ruler)(PICTURES / 250)


def test_the_examples_of_the_docstrings_run(ruler):
    names = {"load": lambda _: ruler, "checkpoint": "best.ckpt"}
    told = doctest.testmod(modules, extraglobs=names)
    assert (told.failed, told.attempted) == (0, 9)
