"""`export`: a checkpoint in a file that other programs read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mimi_lightning.cli.words import refuse_unwritable
from mimi_lightning.errors import ConfigError

SUFFIXES = {"onnx": ".onnx", "safetensors": ".safetensors", "torch": ".pt2"}
INT8_SUFFIX = ".int8.onnx"
CALIBRATED = 64  # pictures at most, evenly taken from their folder


def add(verbs: Any) -> None:
    """Add the parser of this verb."""
    export = verbs.add_parser(
        "export",
        help="write a checkpoint as ONNX, safetensors or a program of torch.export",
        description="Write a checkpoint in a file that other programs read: docs/export.md tells how.",
    )
    export.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="of a run, or a .safetensors file")
    export.add_argument("--to", choices=SUFFIXES, required=True)
    export.add_argument("--out", metavar="FILE", type=Path, help="beside the checkpoint, if it is not given")
    export.add_argument("--int8", action="store_true", help="ONNX whose convolutions compute with 8 bits")
    export.add_argument("--calibration", metavar="DIR", type=Path, help="pictures that set the scales of the 8 bits")
    export.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> int:
    if args.int8 != (args.calibration is not None) or (args.int8 and args.to != "onnx"):
        raise ConfigError("8 bits are --to onnx --int8 --calibration DIR, a folder of pictures such as will be scored.")
    suffix = SUFFIXES[args.to]
    out = args.out or args.checkpoint.with_suffix(INT8_SUFFIX if args.int8 else suffix)
    if out.suffix != suffix:
        raise ConfigError(f"--out {out}: a file of --to {args.to} ends in {suffix}.")
    refuse_unwritable(out)
    pictures = _pictures(args.calibration) if args.int8 else []

    from mimi_lightning.module import QualityModel

    model = QualityModel.load(args.checkpoint)
    said = _write(model, args.to, out, pictures)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB{said}")
    return 0


def _write(model: Any, to: str, out: Path, pictures: list[Path]) -> str:
    if to == "safetensors":
        from mimi_lightning.exporting.weights import write_safetensors

        write_safetensors(model, out)
        return ""
    if to == "torch":
        from mimi_lightning.exporting.program import write_program

        write_program(model, out)
        return ""
    try:
        from mimi_lightning.exporting import onnx_file
    except ImportError as error:
        raise ConfigError('--to onnx needs: pip install "mimi-lightning[export]"') from error
    if pictures:
        difference = onnx_file.write_int8(model, out, pictures)
        return f", scores of {len(pictures)} pictures differ from those with 32 bits by {difference:.2g} at most"
    return f", scores differ from PyTorch's by {onnx_file.write_onnx(model, out):.1g} at most"


def _pictures(folder: Path) -> list[Path]:
    from mimi_lightning.ruler.files import find_pictures

    found = find_pictures([str(folder)])
    return [Path(picture) for picture in found[:: -(-len(found) // CALIBRATED)]]
