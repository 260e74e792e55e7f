"""How a run goes on from where it was, in the middle of an epoch too, and ends in the same last digit.

The last state is a checkpoint with all that the rest of the run depends on. Lightning puts into it weights, optimiser,
scheduler, counts of batches and epochs, the state of the train loader and of every callback, such as the best figure so
far; task weights are buffers of the model. What it leaves out is added here.
"""

from __future__ import annotations

import io
import random
import time
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from mimi_lightning.errors import ConfigError
from mimi_lightning.files import aside
from mimi_lightning.processes import gathered
from mimi_lightning.run_folder import FORMER, LAST

ANEW = "Bring it here, or start anew with overwrite=true."


def write_checkpoint(checkpoint: dict[str, Any], file: Path) -> None:
    """Write a checkpoint that is whole or not there; of the last state, the one before stays as well.

    Raises:
        OSError: the disk is full, or the like; what was there before is still there.
    """
    buffer = io.BytesIO()  # torch would say of a full disk only that a position in a file is unexpected
    torch.save(checkpoint, buffer)
    with aside(file, former=file.with_name(FORMER) if file.name == LAST else None) as draft:
        draft.write_bytes(buffer.getbuffer())


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints beside their place, and reads the state before where the last one is damaged.

    Lightning's own way leads over TMPDIR, and from there to another filesystem by a copy, which a kill cuts off.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Path | str, storage_options: Any = None) -> None:
        """Write a checkpoint, see `write_checkpoint`."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Path | str, *args: Any, **options: Any) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            ConfigError: it is damaged, and no state from before can stand in for it.
        """
        file = Path(path)
        try:
            return super().load_checkpoint(path, *args, **options)
        except Exception as error:  # what is found in a damaged file can be anything
            former = file.with_name(FORMER)
            if file.name != LAST or not former.is_file():
                raise ConfigError(f"The checkpoint {file} is missing or damaged: {error}\n{ANEW}") from error
            if file.exists():
                rank_zero_warn(f"The checkpoint {file} is damaged. The run goes on from the one before, {former.name}.")
        return self.load_checkpoint(former, *args, **options)


class LastState(Checkpoint):
    """Writes the state from which an interrupted run goes on.

    It is written after every epoch, every few minutes within one, after an optimiser step, and when the process is told
    to end by SIGTERM: then with the gradients that are summed up so far. A validation is run anew.

    Args:
        file: where to write it.
        minutes: from one state to the next within an epoch; 0 after every step, None only after epochs.
    """

    def __init__(self, file: Path, minutes: float | None) -> None:
        self.file, self.minutes = file, minutes
        self.written = 0.0  # when, by the clock of `time.monotonic`
        self.random: list[dict[str, Any]] | None = None  # states to go on with, of every process
        self.gradients: list[list[Tensor | None]] | None = None  # the like

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Put random states and gradients back, after all that sets training up."""
        self.written = time.monotonic()
        if self.random is not None:
            set_random_states(self.random[trainer.global_rank])
            self.random = None
        if self.gradients is not None:
            for parameter, gradient in zip(module.parameters(), self.gradients[trainer.global_rank], strict=True):
                parameter.grad = gradient if gradient is None else gradient.to(parameter.device)
            self.gradients = None

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the state when it is time; not with gradients that are half summed up, which make it larger.

        After the last batch of an epoch its validation comes first.
        """
        if self.minutes is None or trainer.is_last_batch or _sums_up(trainer):
            return
        due = time.monotonic() - self.written >= 60 * self.minutes
        if trainer.strategy.reduce_boolean_decision(due, all=False):
            self._write(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Write the state, whether the epoch was validated or not."""
        self._write(trainer)

    def on_exception(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Write the state of a process that was told to end, which Lightning does between two batches."""
        if isinstance(exception, SIGTERMException):
            self._write(trainer)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add random states and gradients of all processes, and whether training has stopped early."""
        checkpoint["random"] = gathered(random_states(trainer.strategy.root_device))
        checkpoint["stopped"] = trainer.should_stop
        if _sums_up(trainer):
            own = [p.grad if p.grad is None else p.grad.cpu() for p in module.parameters()]
            checkpoint["gradients"] = gathered(own)

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take over what was added; checkpoints of earlier versions, written between epochs, do not have it."""
        if trainer.state.fn == TrainerFn.FITTING:
            self.random = checkpoint.get("random")
            self.gradients = checkpoint.get("gradients")
            trainer.should_stop = checkpoint.get("stopped", False)

    def _write(self, trainer: lightning.Trainer) -> None:
        trainer.save_checkpoint(self.file)
        self.written = time.monotonic()


def _sums_up(trainer: lightning.Trainer) -> bool:
    """Whether gradients of the last batch wait for those of more, before the optimiser takes its step."""
    return not trainer.is_last_batch and (trainer.fit_loop.batch_idx + 1) % trainer.accumulate_grad_batches > 0


class Relocation(Callback):
    """Lets a run go on from checkpoints that were moved or copied, with its own best one.

    Checkpoint callbacks remember absolute paths. Where these have changed, Lightning would forget the best score and
    take the best weights from the old place.
    """

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Name the present places, before the callbacks read their states.

        Raises:
            ConfigError: the best weights were not moved along.
        """
        folder = Path(trainer.checkpoint_callback.dirpath)

        def here(file: str) -> str:
            return file and str(folder / Path(file).name)

        for state in checkpoint["callbacks"].values():
            if "best_k_models" not in state:
                continue
            state["dirpath"] = str(folder)
            state |= {name: here(state[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
            state["best_k_models"] = {here(file): score for file, score in state["best_k_models"].items()}
            if state["best_model_path"] and not Path(state["best_model_path"]).is_file():
                raise ConfigError(f"There is no {state['best_model_path']}, which the run needs to go on.\n{ANEW}")


def random_states(device: torch.device) -> dict[str, Any]:
    """States of all generators of this process, as plain values and tensors: torch's, Python's, NumPy's, the GPU's."""
    kind, keys, *rest = np.random.get_state()
    states = {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": (kind, keys.tolist(), *rest)}
    return {**states, "cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def set_random_states(states: dict[str, Any]) -> None:
    """Put back what `random_states` gave."""
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
