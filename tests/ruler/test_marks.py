import pandas as pd
import pytest

from mimi_lightning.ruler.marks import choose_marks, nearest, percentile


def test_marks_stand_at_the_percentiles_of_training_labels():
    rows = [("koniq", f"{i}.png", i / 2) for i in reversed(range(201))] + [("live", "a", 3), ("live", "b", 1)]
    marks = choose_marks(pd.DataFrame(rows, columns=["dataset", "image", "mos"]))
    assert marks["koniq"] == [(f"{2 * i}.png", float(i)) for i in range(101)]
    assert marks["live"] == [("b", 1.0)] * 51 + [("a", 3.0)] * 50


def test_percentile_counts_labels_below_and_half_of_the_equal_ones():
    marks = [("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", 4.0)]
    assert [percentile(score, marks) for score in (0, 1, 2, 3, 5)] == [0, 12.5, 50, 75, 100]


def test_nearest_pictures_are_named_once_and_by_their_labels():
    marks = [("a", 1.0), ("b", 2.0), ("b", 2.0), ("c", 2.5), ("d", 4.0)]
    assert nearest(2.4, marks, 2) == [("b", 2.0), ("c", 2.5)]
    assert nearest(9.0, marks, 1) == [("d", 4.0)]
    assert nearest(2.4, marks, 9) == sorted({*marks}, key=lambda mark: mark[1])
    assert nearest(2.4, [], 3) == []


@pytest.mark.parametrize("number", [0, 1])
def test_no_more_are_named_than_asked_for(number):
    assert len(nearest(1.0, [("a", 1.0), ("b", 2.0)], number)) == number
