"""All combinations of what was asked for, and their report."""

from __future__ import annotations

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn

from mimi_lightning import sweep


class Grid(BasicSweeper):
    """Hydra's own sweep, which ends with one report, wherever its jobs ran."""

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run all jobs, then report; errors as those of `sweep.lost` and `sweep.report_splits`."""
        with sweep.lost():
            batches = super().sweep(arguments)
        for batch in batches:
            sweep.outcomes(batch)
        sweep.report_splits(self.config.hydra)
        return batches
