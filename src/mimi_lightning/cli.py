"""The toolbox: `python -m mimi_lightning VERB ...`; without a verb, `python -m mimi_lightning` trains.

Every verb is one function that adds its parser and one that does its work. Nothing heavy is imported here, so that
`--help` answers at once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

PROGRAM = "python -m mimi_lightning"


def main(argv: list[str]) -> int:
    """Run one verb.

    Args:
        argv: the words after the program's name, the verb first.

    Returns:
        The exit code.

    Raises:
        MimiError: for the caller to print.
    """
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Tools around training.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for add in VERBS.values():
        add(verbs)
    args = parser.parse_args(argv)
    return args.run(args)


def _add_data(verbs: argparse._SubParsersAction) -> None:
    data = verbs.add_parser("data", help="prepare datasets")
    actions = data.add_subparsers(metavar="ACTION", required=True)
    make = actions.add_parser(
        "make-miniature",
        help="build six tiny datasets of real photographs",
        description="Build six tiny datasets of real photographs in the owners' layouts. Their pseudo-MOS comes from "
        "ColorVideoVDP, not from people. A complete build of the same options is reused.",
    )
    make.add_argument("folder", metavar="DIR", type=Path, help="where to build")
    make.add_argument("--photos", metavar="DIR", type=Path, help="photographs of your own; a few large ones suffice")
    make.add_argument("--seed", type=int, default=19901116, help="of contents, faults and raters (%(default)s)")
    make.add_argument("--side", type=int, default=160, help="of every picture, in pixels (%(default)s)")
    make.set_defaults(run=_make_miniature)
    check = actions.add_parser(
        "check",
        help="find what is wrong with the datasets",
        description="Read labels, partitions and every picture of the datasets that are there. The exit code is 1 when "
        "something has to be mended.",
    )
    check.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="as in training: splits=liqe splits.lists=DIR")
    check.add_argument("--config-dir", metavar="DIR", type=Path, help="holds dataset/NAME.yaml of datasets of your own")
    check.add_argument("--json", action="store_true", help="for machines")
    check.set_defaults(run=_check)


def _make_miniature(args: argparse.Namespace) -> int:
    from mimi_lightning.data.miniature import make_miniature

    folder = make_miniature(args.folder, photos=args.photos, seed=args.seed, side=args.side)
    print(f"Miniature datasets: {folder}")
    print(f"Their hidden quality, in JOD: {folder / 'hidden_quality.csv'}")
    print(f"Train on them: {PROGRAM} data=miniature paths.miniature={folder}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from mimi_lightning import config

    cfg = config.load(args.overrides, args.config_dir)

    from mimi_lightning.data.check import check_datasets
    from mimi_lightning.data.check_screens import show
    from mimi_lightning.data.partitions import Protocol

    report = check_datasets(cfg.datasets, Path(cfg.data.root), cfg.split, Protocol(**cfg.splits), not args.json)
    if args.json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        show(report)
    return 0 if report.ok else 1


VERBS: dict[str, Callable[[argparse._SubParsersAction], None]] = {"data": _add_data}
