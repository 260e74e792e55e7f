"""Scene and distortion labels as numbers, and words that are not known."""

import numpy as np
import pandas as pd
import pytest

from mimi_lightning.data.owners import csiq, kadid, live
from mimi_lightning.errors import ConfigError, DatasetError
from mimi_lightning.labels import check_translation, make_labels
from mimi_lightning.vocabulary import DISTORTION_GROUPS, GROUP_OF, QUALITIES, SCENES


def table(**columns):
    number = len(next(iter(columns.values())))
    return pd.DataFrame({"dataset": "own", "scenes": [""] * number, "distortion": [""] * number} | columns)


def test_the_vocabulary_is_the_published_one():
    assert (len(QUALITIES), len(SCENES), len(DISTORTION_GROUPS), len(GROUP_OF)) == (5, 9, 11, 33)
    assert GROUP_OF["fastfading"] == "jpeg2000 compression"
    readers = {*live.FOLDERS.values(), *kadid.CODES, *(kind[2] for kind in csiq.KINDS.values())}
    assert readers <= set(GROUP_OF)


def test_scenes():
    labels = make_labels(table(scenes=["animal;others", "", "night"]), {})["scenes"]
    assert labels.dtype == np.float32
    assert labels[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert labels.sum(1).tolist() == [2, 0, 1]
    assert labels[2, SCENES.index("night")] == 1


def test_distortions():
    labels = make_labels(table(distortion=["fnoise", "", "other realistic", "lens"]), {})["distortion"]
    assert labels.tolist() == [2, -1, 10, 3]
    assert labels.dtype == np.int64


def test_no_labels_at_all():
    labels = make_labels(table(distortion=["", ""]), {})
    assert labels["distortion"].tolist() == [-1, -1]
    assert labels["scenes"].tolist() == [[0] * 9] * 2


def test_labels_follow_the_rows_whatever_their_index():
    turned = table(scenes=["night", "", "animal"], distortion=["lens", "", "fnoise"]).iloc[::-1]
    labels = make_labels(turned, {})
    assert labels["distortion"].tolist() == [2, -1, 3]
    assert labels["scenes"].argmax(1).tolist() == [SCENES.index("animal"), 0, SCENES.index("night")]


def test_words_are_translated():
    words = {"distortion": {"rain": "other realistic", "clean": ""}, "scenes": {"dog": "animal", "sky": ""}}
    labels = make_labels(table(scenes=["dog;sky", "sky", "plant"], distortion=["rain", "clean", "lens"]), words)
    assert labels["distortion"].tolist() == [10, -1, 3]
    assert labels["scenes"].sum(1).tolist() == [1, 0, 1]
    assert labels["scenes"][0, SCENES.index("animal")] == 1


def test_unknown_words_are_named_with_what_is_known_and_a_form_to_fill_in():
    with pytest.raises(DatasetError) as caught:
        make_labels(table(scenes=["dog;night", "", ""], distortion=["snow", "rain: hard", "lens"]), {})
    message = str(caught.value)
    assert message.startswith("Words in own that the tasks do not know.")
    assert "translate:\n  scenes:\n    dog: ''\n  distortion:\n    'rain: hard': ''\n    snow: ''\n" in message
    assert "Known scenes: animal, cityscape" in message
    assert "Known distortion: jpeg2000 compression, fastfading" in message
    with pytest.raises(DatasetError) as caught:
        make_labels(table(distortion=["snow"]), {"scenes": {"snow": "plant"}})
    assert "scenes" not in str(caught.value)


@pytest.mark.parametrize(
    ("translate", "message"),
    [
        ("words.yaml", r"tasks\.translate=words\.yaml: expected a mapping such as {distortion"),
        ({"scene": {}}, r"tasks\.translate={scene: {}}: expected a mapping such as {distortion"),
        ({"distortion": "snow"}, r"tasks\.translate={distortion: snow}: expected a mapping"),
        ({"distortion": {"snow": "rain"}}, r"makes 'rain' of 'snow'.*\nKnown distortion: jpeg2000"),
        ({"scenes": {"dog": None}}, r"makes 'None' of 'dog'"),
    ],
)
def test_a_translation_to_nowhere_is_refused(translate, message):
    with pytest.raises(ConfigError, match=message):
        check_translation(translate)
