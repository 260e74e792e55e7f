"""All combinations of what was asked for, and their report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn

from mimi_lightning import sweep
from mimi_lightning.files import no_empty_folders

RECORD = "multirun.yaml"  # what Hydra writes of every sweep


class Grid(BasicSweeper):
    """Hydra's own sweep, which ends with one report, wherever its jobs ran."""

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run all jobs, then report; errors as those of `sweep.lost` and `sweep.report_splits`."""
        hydra, folder = self.config.hydra, Path(self.config.hydra.sweep.dir)
        with sweep.lost(), no_empty_folders(folder):
            batches = super().sweep(arguments)
            if [file.name for file in folder.iterdir()] == [RECORD]:  # of jobs that were refused, or wrote elsewhere
                (folder / RECORD).unlink()
        jobs = [job for batch in batches for job in batch]
        sweep.outcomes(jobs)
        sweep.report_splits(hydra, jobs)
        return batches
