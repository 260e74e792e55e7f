"""What suits the machine: `trainer.precision=auto` leaves precision and kernels to it."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Callable, Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, fx

from mimi_lightning.processes import leads
from mimi_lightning.rules import flatten
from mimi_lightning.run_folder import RunFolder, Settings
from mimi_lightning.specs import find_class

BFLOAT, HALF, FULL = "bf16-mixed", "16-mixed", "32-true"
# Instructions of Intel, AMD and Arm; processors without them emulate bfloat16, slowly.
MULTIPLY = ("amx_bf16", "avx512_bf16", "bf16")


def settle(settings: Settings, run: RunFolder) -> Settings:
    """Choose what the configuration leaves to the machine, and say so in a line.

    Precision `auto` is that of the run where one was begun, for another would change its figures. A new one gets
    bfloat16 where the hardware multiplies it (processors with AMX or AVX512-BF16, GPUs from Ampere on), float16 on
    older GPUs, float32 elsewhere. Only backbones compute in it: poolings, heads, mappers and scores stay in float32.
    With `auto`, an optimiser that can takes its step in one pass, too (`fused`). That may round otherwise, so a run
    that was begun goes on as it began.

    Args:
        settings: resolved configuration.
        run: folder of the run.

    Returns:
        The configuration, with nothing left open.
    """
    begun = run.described and (run.begun or run.finished) and not settings["overwrite"]
    old = dict(flatten(run.read_settings())) if begun else {}
    trainer, optimizer = dict(settings["trainer"]), dict(settings["optimizer"])
    if trainer["precision"] == "auto":
        device = find_device(trainer["accelerator"])
        trainer["precision"] = old.get("trainer.precision", FULL) if begun else best_precision(device)
        if leads() and not run.finished:
            why = "as it was begun" if begun else "trainer=exact is float32 and deterministic"
            print(f"{describe(device)}: precision {trainer['precision']} ({why})")
        if not begun and _can_fuse(optimizer, trainer):
            optimizer.setdefault("fused", True)
    if "optimizer.fused" in old:
        optimizer.setdefault("fused", old["optimizer.fused"])
    return {**settings, "trainer": trainer, "optimizer": optimizer}


def _can_fuse(optimizer: Settings, trainer: Settings) -> bool:
    clipped_in_half = trainer["gradient_clip_val"] and trainer["precision"] == HALF  # it unscales gradients, too late
    known = inspect.signature(find_class(optimizer, torch.optim.Optimizer)).parameters
    return "fused" in known and "foreach" not in optimizer and not clipped_in_half


def find_device(accelerator: str) -> str:
    """Kind of device that a word of Lightning's means here: `cuda`, `mps` or `cpu`; others as they are."""
    if accelerator in ("auto", "gpu"):
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return accelerator


def best_precision(device: str) -> str:
    """The fastest precision of a kind of device in which training ends as well as in float32."""
    if device == "cuda":
        return BFLOAT if torch.cuda.is_bf16_supported(including_emulation=False) else HALF
    return BFLOAT if device == "cpu" and any(map(_capabilities().get, MULTIPLY)) else FULL


def describe(device: str) -> str:
    """Name of a device, and of a processor what it computes with."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    if device != "cpu":
        return device
    told = _capabilities()
    fast = [name for name in MULTIPLY if told.get(name)]
    return ", ".join([told.get("cpu_name", platform.machine()), f"{torch.get_num_threads()} threads", *fast])


def _capabilities() -> Mapping[str, Any]:
    return getattr(torch.cpu, "get_capabilities", dict)()  # older versions of PyTorch do not tell


class FixedShapes(Callback):
    """What pays for crops, which have one shape, and costs for whole pictures, which have many.

    Args:
        search: whether cuDNN searches for the fastest convolutions of a shape, which may round otherwise each time.
        compiled: whether the network is compiled, anew for each shape.
    """

    def __init__(self, search: bool, compiled: bool) -> None:
        self.search, self.compiled = search, compiled

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Crops come."""
        self._set(fixed=True)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Whole pictures come."""
        self._set(fixed=False)

    on_validation_end, on_test_start = on_train_epoch_start, on_validation_start

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Leave the process as it was."""
        torch.backends.cudnn.benchmark = False
        if self.compiled:
            torch.compiler.set_stance("default")

    on_test_end = on_fit_end

    def _set(self, fixed: bool) -> None:
        torch.backends.cudnn.benchmark = self.search and fixed
        if self.compiled:
            torch.compiler.set_stance("default" if fixed else "force_eager")


def compile_or_not(graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    """Backend of torch.compile: inductor, or the graph as it is where it cannot compile; that is said once."""
    from torch._dynamo import lookup_backend  # seconds

    try:
        return lookup_backend("inductor")(graph, inputs)
    except Exception as error:  # no compiler, no Triton, an operation it does not know: of many kinds
        reason = str(error).strip().partition("\n")[0]
        rank_zero_warn(f"torch.compile cannot be used here and is left out: {reason}")
        return graph.forward
