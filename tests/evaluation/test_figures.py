"""What figures show."""

import io

import numpy as np
import pandas as pd
import pytest

from mimi_lightning.evaluation.figures import SHARP, draw_curves, draw_mappings, draw_scatter


def test_ends_are_shown_of_increasing_curves_alone():
    """Of a mapper that is not monotone, no proxy score is that of an end."""
    rising = pd.DataFrame({"dataset": "csiq", "proxy": [0.0, 1.0], "mos": [0.0, 1.0]})
    bent = pd.DataFrame({"dataset": "live", "proxy": [0.0, 0.5, 1.0], "mos": [0.0, 5.0, 4.0]})
    _, ranges = draw_curves(pd.concat([rising, bent]), {"csiq": (0, 1), "live": (0, 4)}, "a, split 1").axes
    assert [list(line.get_xdata()) for line in ranges.lines] == [[0, 1]]


@pytest.mark.parametrize("number", [1, 2, 4])
def test_titles_name_model_split_and_srcc_and_no_legend_is_cut(fabricate, number):
    names = ["csiq", "koniq", "live"][:number]
    rows = fabricate("a_model_of_a_rather_long_name/efficientnet_lite0", splits=[2], datasets=names)
    figures = pd.DataFrame({"srcc": np.linspace(0.5, 0.7, len(names))}, index=names)
    curves = rows[["dataset", "proxy", "mos"]].sort_values("proxy")
    ends = dict.fromkeys(names, (0, 1))
    for drawn in (draw_mappings(curves, rows, ends, figures), draw_scatter(rows, figures, rows["run"].iloc[0])):
        drawn.savefig(io.BytesIO(), format="png")  # which lays everything out
        (legend,) = drawn.legends
        assert "efficientnet_lite0/split02" in legend.get_title().get_text().replace("\n", "")
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= drawn.bbox.width
        assert box.y1 <= drawn.bbox.height
        assert "SRCC 0.500" in drawn.axes[0].get_title()


def test_dots_are_drawn_as_one_bitmap_only_where_there_are_many():
    """Each needs one of the whole figure: a hundred panels took 18 GB."""
    rows = pd.DataFrame({"dataset": ["csiq"] * SHARP + ["live"] * (SHARP + 1)})
    rows["proxy"] = rows["mos"] = np.arange(len(rows)) / 1000
    drawn = draw_scatter(rows, pd.DataFrame({"srcc": 1.0}, index=["csiq", "live"]), "a, split 1")
    assert [axis.collections[0].get_rasterized() for axis in drawn.axes[:2]] == [False, True]
