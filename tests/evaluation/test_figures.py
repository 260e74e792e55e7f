"""What figures show."""

import pandas as pd

from mimi_lightning.evaluation.figures import draw_curves


def test_ends_are_shown_of_increasing_curves_alone():
    """Of a mapper that is not monotone, no proxy score is that of an end."""
    rising = pd.DataFrame({"dataset": "csiq", "proxy": [0.0, 1.0], "mos": [0.0, 1.0]})
    bent = pd.DataFrame({"dataset": "live", "proxy": [0.0, 0.5, 1.0], "mos": [0.0, 5.0, 4.0]})
    _, ranges = draw_curves(pd.concat([rising, bent]), {"csiq": (0, 1), "live": (0, 4)}).axes
    assert [list(line.get_xdata()) for line in ranges.lines] == [[0, 1]]
