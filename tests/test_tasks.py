"""Losses, labels that are missing, dynamic weights and counting, against their definitions."""

import math
import re
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
import torch.multiprocessing as mp

from mimi_lightning.contracts import Judgement
from mimi_lightning.errors import ConfigError, DatasetError
from mimi_lightning.tasks import (
    Accuracy,
    DynamicWeightAverage,
    SceneDistortion,
    distortion_fidelity,
    distortion_hits,
    scene_fidelity,
    scene_hits,
)

E = 1e-8


def probabilities(images, classes, seed=0):
    return torch.rand(images, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(-1)


def test_scene_fidelity_is_its_formula():
    p, g = probabilities(4, 9), (probabilities(4, 9, 1) > 0.11).double()
    for loss, ps, gs in zip(scene_fidelity(p, g), p, g, strict=True):
        terms = [1 - math.sqrt(a * b + E) - math.sqrt((1 - a) * (1 - b) + E) for a, b in zip(ps, gs, strict=True)]
        assert loss.item() == pytest.approx(sum(terms) / 9, abs=1e-14)


def test_distortion_fidelity_is_its_formula():
    p, group = probabilities(4, 11), torch.tensor([0, 3, 10, 3])
    for loss, ps, right in zip(distortion_fidelity(p, group), p, group, strict=True):
        expected = 1 - sum(math.sqrt(a * (i == right) + E) for i, a in enumerate(ps))
        assert loss.item() == pytest.approx(expected, abs=1e-14)


def test_losses_have_finite_gradients_at_the_ends():
    p = torch.eye(11, dtype=torch.float64).requires_grad_()
    (distortion_fidelity(p, torch.zeros(11, dtype=torch.int64)).sum() + scene_fidelity(p, p.detach()).sum()).backward()
    assert p.grad.isfinite().all()


def judge(images, requires_grad=False):
    sizes = {"scene": 9, "distortion": 11}
    tasks = {name: probabilities(images, n, seed=n).float().requires_grad_(requires_grad) for name, n in sizes.items()}
    return Judgement(torch.ones(images), tasks=tasks)


def batch(scenes, distortion):
    return {"scenes": torch.tensor(scenes, dtype=torch.float32), "distortion": torch.tensor(distortion)}


NOTHING = [0.0] * 9
ANIMAL = [1.0] + [0.0] * 8


@pytest.mark.parametrize("group", [0, 4, 10])
def test_images_without_labels_do_not_enter_the_loss(group):
    judgement = judge(3, requires_grad=True)
    labels = batch([ANIMAL, NOTHING, NOTHING], [-1, group, -1])
    terms = SceneDistortion()({"loss": torch.tensor(2.0)}, judgement, labels, epoch=0)
    assert terms["quality"] == 2
    torch.testing.assert_close(terms["scene"], scene_fidelity(judgement.tasks["scene"][:1], labels["scenes"][:1])[0])
    distortion = distortion_fidelity(judgement.tasks["distortion"][1:2], labels["distortion"][1:2])
    torch.testing.assert_close(terms["distortion"], distortion[0])
    torch.testing.assert_close(terms["loss"], 2 + terms["scene"] + terms["distortion"])
    terms["loss"].backward()
    assert (judgement.tasks["scene"].grad.abs().sum(1) > 0).tolist() == [True, False, False]
    assert (judgement.tasks["distortion"].grad.abs().sum(1) > 0).tolist() == [False, True, False]


def test_a_batch_without_any_label_gives_zero_and_keeps_the_graph():
    judgement = judge(2, requires_grad=True)
    terms = SceneDistortion()({"loss": torch.tensor(2.0)}, judgement, batch([NOTHING] * 2, [-1, -1]), epoch=0)
    assert (terms["scene"], terms["distortion"], terms["loss"]) == (0, 0, 2)
    terms["loss"].backward()
    assert (judgement.tasks["scene"].grad == 0).all()


LOSSES = np.random.default_rng(0).uniform(0.2, 2, (4, 5, 3))  # epochs, steps, tasks
COUNTS = np.random.default_rng(1).integers(1, 9, (4, 5, 3))


def by_definition(losses, counts, temperature):
    """Weights of every epoch, in NumPy."""
    means = (losses * counts).sum(1) / counts.sum(1)
    weights = [np.ones(3), np.ones(3)]
    for before, last in pairwise(means[:-1]):
        e = np.exp(last / before / temperature)
        weights.append(3 * e / e.sum())
    return np.array(weights)


def feed(average, losses, counts, first_epoch=0):
    weights = []
    for epoch, steps in enumerate(zip(losses, counts, strict=True), start=first_epoch):
        for loss, count in zip(*steps, strict=True):
            weights.append(average(torch.tensor(loss, dtype=torch.float32), torch.tensor(count), epoch).numpy())
    return np.array(weights).reshape(losses.shape)


def test_dynamic_weights_are_their_definition():
    weights = feed(DynamicWeightAverage(3, temperature=2), LOSSES, COUNTS)
    assert (weights == weights[:, :1]).all()  # constant over an epoch
    np.testing.assert_allclose(weights[:, 0], by_definition(LOSSES, COUNTS, 2), rtol=1e-6)


def test_dynamic_weights_go_on_after_a_resume():
    through = feed(DynamicWeightAverage(3), LOSSES, COUNTS)
    first, second = DynamicWeightAverage(3), DynamicWeightAverage(3)
    feed(first, LOSSES[:2], COUNTS[:2])
    second.load_state_dict(first.state_dict())
    assert (feed(second, LOSSES[2:], COUNTS[2:], first_epoch=2) == through[2:]).all()


def test_a_task_without_labels_does_not_disturb_the_others():
    weights = feed(DynamicWeightAverage(3), LOSSES, COUNTS * [1, 0, 1])
    assert (weights[:, :, 1] == 1).all()
    alone = feed(DynamicWeightAverage(2), LOSSES[..., ::2], COUNTS[..., ::2])
    np.testing.assert_allclose(weights[..., ::2], alone, rtol=1e-6)
    np.testing.assert_allclose(weights.sum(-1), 3, rtol=1e-6)


def test_a_task_that_lacked_labels_for_one_epoch_counts_as_neither_faster_nor_slower():
    counts = COUNTS.copy()
    counts[1, :, 1] = 0
    weights = feed(DynamicWeightAverage(3), LOSSES, counts)[2, 0]
    means = (LOSSES * COUNTS).sum(1) / COUNTS.sum(1)
    e = np.exp(np.where([True, False, True], means[1] / means[0], 1) / 2)
    np.testing.assert_allclose(weights, 3 * e / e.sum(), rtol=1e-6)


def test_quality_counts_every_image_in_the_dynamic_weights():
    """Steps of 1 and 4 images, of which one has a scene and one a distortion."""
    tasks, losses, weights = SceneDistortion(), np.empty((3, 2, 3)), np.empty((3, 2, 3))
    for epoch, quality in enumerate([(2.0, 1.0), (1.0, 3.0), (1.0, 1.0)]):
        for step, images in enumerate((1, 4)):
            labels = batch([ANIMAL] + [NOTHING] * (images - 1), [0] + [-1] * (images - 1))
            terms = tasks({"loss": torch.tensor(quality[step])}, judge(images), labels, epoch)
            losses[epoch, step] = [terms[name] for name in tasks.names]
            weights[epoch, step] = [terms[f"weight_{name}"] for name in tasks.names]
    expected = by_definition(losses, np.array([[[1, 1, 1], [4, 1, 1]]] * 3), temperature=2)
    np.testing.assert_allclose(weights, np.repeat(expected[:, None], 2, axis=1), rtol=1e-6)


def feed_rank(rank, port, results=None):
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    weights = feed(DynamicWeightAverage(3), LOSSES[:, rank:4:2], COUNTS[:, rank:4:2])
    torch.distributed.destroy_process_group()
    return weights if results is None else results.put(weights)


def test_dynamic_weights_are_those_of_all_ranks():
    context, port = mp.get_context("forkserver"), 20000 + np.random.default_rng().integers(20000)
    results = context.Queue()
    other = context.Process(target=feed_rank, args=(1, port, results))
    other.start()
    weights = feed_rank(0, port)
    assert (results.get(timeout=60) == weights).all()
    other.join()
    np.testing.assert_allclose(weights[:, 0], by_definition(LOSSES[:, :4], COUNTS[:, :4], 2), rtol=1e-6)


def test_scene_labels_count_one_by_one():
    p = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    labels = torch.tensor([[1.0, 0, 1], [1, 0, 0], [0, 0, 0]])
    assert scene_hits(p, labels).tolist() == [True, False, True]  # of two labels one is among the top two


def test_distortion_labels_count_where_they_are():
    p = torch.tensor([[0.5, 0.3], [0.5, 0.3], [0.1, 0.7]])
    assert distortion_hits(p, torch.tensor([0, 1, -1])).tolist() == [True, False]


def test_accuracy_is_right_labels_over_labels():
    accuracy = Accuracy()
    assert accuracy.labels == 0
    accuracy.update(torch.tensor([True, False, True]))
    accuracy.update(torch.tensor([], dtype=torch.bool))
    accuracy.update(torch.tensor([False]))
    assert accuracy.compute() == 0.5


def annotated(**columns):
    parts = pd.DataFrame({"dataset": "own", "part": ["train", "test"], "scenes": "", "distortion": ""})
    return parts.assign(**columns)


def test_labels_are_made_with_the_tasks_own_translation():
    table = annotated(scenes="animal", distortion="snow")
    labels = SceneDistortion(translate={"distortion": {"snow": "jpeg2000 compression"}}).labels(table)
    assert labels["distortion"].tolist() == [0, 0]
    assert labels["scenes"].tolist() == [ANIMAL] * 2
    with pytest.raises(DatasetError, match="translate:\n  distortion:\n    snow: ''"):
        SceneDistortion().labels(table)
    with pytest.raises(ConfigError, match="makes 'rain' of 'snow'"):
        SceneDistortion(translate={"distortion": {"snow": "rain"}})


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"scenes": "night", "distortion": ["jpeg2000 compression", ""]}, []),
        ({"distortion": "lens"}, [r"The scene task has no label .* scenes\.csv .* splits=liqe .* tasks=none"]),
        ({"scenes": ["", "night"], "distortion": ["", "lens"]}, ["The scene task", "The distortion task has no label"]),
    ],
)
def test_a_task_without_a_label_in_training_is_said(columns, said):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        SceneDistortion().labels(annotated(**columns))
    assert len(caught) == len(said)
    for warning, words in zip(caught, said, strict=True):
        assert re.search(words, str(warning.message))


def test_accuracies_leave_out_tasks_without_labels():
    tasks, judgement = SceneDistortion(), judge(2)
    right = int(judgement.tasks["distortion"][0].argmax())
    tasks.count(judgement, batch([NOTHING] * 2, [right, -1]))
    assert tasks.accuracies() == {"distortion_accuracy": 1.0}
    assert tasks.accuracies() == {}
