"""A ruler whose scores are known by value, and its page."""

import pytest

from mimi_lightning.module import QualityModel
from mimi_lightning.ruler.ruler import Ruler

RANGES = {"a<b>": (1, 5), "lab": (0, 100)}  # the first is named as one who wants to be code
LINEAR = {"_target_": "mimi_lightning.models.mappers.Linear"}


@pytest.fixture(scope="session")
def make_ruler():
    """A ruler on which a score is a tenth of the range of its scale times the brightness; `mapper` may be another."""

    def make(mapper=LINEAR):
        facts = {name: {"range": ends, "labels": ends, "weight": 1, "size": 5} for name, ends in RANGES.items()}
        return Ruler(
            QualityModel(
                regressor={"_target_": "brightness.Brightness", "name": "brightness"},
                mapper=mapper,
                objective={"_target_": "mimi_lightning.objectives.Regression", "loss": "l1"},
                datasets=facts,
                view={"_target_": "mimi_lightning.data.images.TestView", "resize": 64},
                marks={"lab": [(f"lab{mos}.png", float(mos)) for mos in range(0, 101, 10)]},
            )
        )

    return make


@pytest.fixture(scope="session")
def ruler(make_ruler):
    return make_ruler()
