"""The target scale against its formula, on datasets whose labels do not fill the published range."""

import pytest
import torch

from mimi_lightning.models.targets import TargetScale

LABELS, RANGES = [[2.0, 4.0], [10.0, 60.0]], [[1.0, 5.0], [-15.0, 110.0]]


@pytest.fixture
def scale() -> TargetScale:
    return TargetScale(LABELS, RANGES)


def test_labels_of_the_training_part_fill_0_to_10(scale):
    dataset = torch.tensor([0, 0, 0, 1, 1, 1])
    mos = torch.tensor([2.0, 2.5, 4.0, 10.0, 45.0, 60.0])
    target = torch.tensor([0.0, 2.5, 10.0, 0.0, 7.0, 10.0])
    torch.testing.assert_close(scale.normalise(mos, dataset), target)
    torch.testing.assert_close(scale.restore(target, dataset), mos)
    for index, part in ((torch.tensor(0), slice(3)), (torch.ones(1, 3, dtype=torch.int64), slice(3, None))):
        torch.testing.assert_close(scale.normalise(mos[part], index).flatten(), target[part])
        torch.testing.assert_close(scale.restore(target[part], index).flatten(), mos[part])


def test_ends_of_the_published_range_lie_beyond_them(scale):
    torch.testing.assert_close(scale.ends(), torch.tensor([[-5.0, 15.0], [-5.0, 20.0]]))


def test_half_precision_leaves_it_as_it_is(scale):
    ends = scale.ends()
    torch.set_default_dtype(torch.bfloat16)
    try:
        lower = TargetScale(LABELS, RANGES)
    finally:
        torch.set_default_dtype(torch.float32)
    for module in (lower, scale.half()):
        assert {buffer.dtype for buffer in module.buffers()} == {torch.float32}
        assert torch.equal(module.ends(), ends)


def test_a_checkpoint_keeps_it(scale):
    other = TargetScale(RANGES, LABELS)
    other.load_state_dict(scale.state_dict())
    assert torch.equal(other.ends(), scale.ends())
