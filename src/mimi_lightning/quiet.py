"""What Lightning and torch say that nobody has to act on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

EXPECTED = (
    ".*treespec, LeafSpec.*",  # of Lightning's own code
    ".*configured with multiple `ModelCheckpoint`.*",  # testing takes the best weights of the first, as it is meant to
    ".*Checkpoint directory .* exists and is not empty.*",  # of a run that goes on
    ".*callbacks used to create the checkpoint need to be provided.*",  # earlier versions had another one for last.ckpt
    ".*custom batch sampler.*",  # the project's samplers return every index
    ".*`srun` command is available on your system.*",  # of a cluster, where a sweep waits for its jobs
    r".*module\(s\) in eval mode at the start of training.*",  # those that are frozen
    ".*Grad strides do not match bucket view strides.*",  # of the weights of stacks, which are small
    ".*sync_dist=True.*",  # validation figures are made of the scores of all processes
)
LOGGERS = "lightning.pytorch", "lightning.fabric"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's tips and the warnings of what is meant to be so, for as long as a job of ours runs."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for said in EXPECTED:
                warnings.filterwarnings("ignore", message=said)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
