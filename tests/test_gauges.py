"""Gauges and mappers that make no sense together."""

import pytest

from mimi_lightning.errors import ConfigError
from mimi_lightning.gauges import Anchor, Free, Moments, Range
from mimi_lightning.models.mappers import Embedding, Heads, Identity, Linear

NAMES = ["csiq", "live"]


@pytest.mark.parametrize("mapper", [Embedding(NAMES), Heads(NAMES, hidden=[3])])
def test_ranges_need_an_inverse(mapper):
    with pytest.raises(ConfigError, match=rf"mapper {type(mapper).__name__} has no inverse: set gauge=none"):
        Range().pin(mapper)


@pytest.mark.parametrize("gauge", [Anchor("live"), Moments()])
@pytest.mark.parametrize("mapper", [Identity(NAMES), Heads(NAMES, hidden=[3])])
def test_scores_that_are_predictions_are_pinned_already(gauge, mapper):
    with pytest.raises(ConfigError, match=rf"mapper {type(mapper).__name__} proxy scores are predictions"):
        gauge.pin(mapper)


@pytest.mark.parametrize("gauge", [Free(), Moments()])
def test_others_leave_a_mapper_as_it_is(gauge):
    mapper = Linear(NAMES)
    assert gauge.pin(mapper) is mapper
