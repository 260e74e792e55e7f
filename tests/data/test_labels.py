"""Scene and distortion labels as numbers."""

import numpy as np
import pandas as pd
import pytest

from mimi_lightning.data.annotations import read_annotations
from mimi_lightning.data.labels import add_scenes, distortion_labels, scene_labels
from mimi_lightning.data.miniature.datasets import LAYOUTS
from mimi_lightning.data.owners import csiq, kadid, live
from mimi_lightning.errors import DatasetError
from mimi_lightning.vocabulary import DISTORTIONS, GROUP_OF, QUALITIES, SCENES


def test_the_vocabulary_is_the_published_one():
    assert (len(QUALITIES), len(SCENES), len(DISTORTIONS), len(GROUP_OF)) == (5, 9, 11, 33)
    assert GROUP_OF["fastfading"] == "jpeg2000 compression"
    readers = {*live.DISTORTIONS.values(), *kadid.DISTORTIONS, *(kind[2] for kind in csiq.KINDS.values())}
    assert readers <= set(GROUP_OF)


def test_scenes():
    labels = scene_labels(pd.Series(["animal;others", "", "night"]))
    assert labels.dtype == np.float32
    assert labels[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert labels.sum(1).tolist() == [2, 0, 1]
    with pytest.raises(DatasetError, match="There is no scene 'dog'; leave it empty or choose from: animal"):
        scene_labels(pd.Series(["dog"]))


def test_distortions():
    labels = distortion_labels(pd.Series(["fnoise", "", "other realistic", "lens"]))
    assert labels.tolist() == [2, -1, 10, 3]
    assert labels.dtype == np.int64
    with pytest.raises(DatasetError, match="There is no distortion 'snow'"):
        distortion_labels(pd.Series(["snow"]))


def test_scenes_of_a_file_beside_the_datasets(tmp_path):
    table = pd.DataFrame({"dataset": ["a", "a", "b"], "reference": ["r", "s", "r"], "scenes": ["", "night", ""]})
    file = tmp_path / "scenes.csv"
    assert add_scenes(table, file) is table
    file.write_text("dataset,reference,scenes\na,r,animal;plant\n")
    assert add_scenes(table, file)["scenes"].tolist() == ["animal;plant", "night", ""]
    file.write_text("dataset,image\n")
    with pytest.raises(DatasetError, match=r"scenes\.csv lacks the column reference, scenes"):
        add_scenes(table, file)


def test_every_picture_of_the_miniature_has_a_scene(miniature):
    for name, layout in LAYOUTS.items():
        reader = f"mimi_lightning.data.owners.{name}.read"
        table = read_annotations(name, reader, miniature / layout.folder, "https://owner.example")
        scenes = add_scenes(table, miniature / "scenes.csv")["scenes"]
        assert (scene_labels(scenes).sum(1) > 0).all()
