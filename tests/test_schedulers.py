"""The oscillating rate, against the script it comes from: torch's cosine, stepped twice where the rate is zero."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from mimi_lightning.schedulers import OscillatingCosine


@pytest.mark.parametrize("half", [2, 5, 7])
def test_it_is_the_cosine_without_its_zeros(half):
    ours = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=5e-6)
    theirs = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=5e-6)
    oscillating, cosine = OscillatingCosine(ours, half), CosineAnnealingLR(theirs, T_max=half)
    for _ in range(40):
        if theirs.param_groups[0]["lr"] < 1e-15:
            cosine.step()
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-6)
        assert ours.param_groups[0]["lr"] > 0
        ours.step()
        theirs.step()
        oscillating.step()
        cosine.step()
