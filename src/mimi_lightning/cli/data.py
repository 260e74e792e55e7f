"""`data make-miniature`, `data check`, `data compare`: what prepares datasets."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from mimi_lightning.cli.words import CONFIG_DIR, PROGRAM
from mimi_lightning.errors import ConfigError


def add(verbs: Any) -> None:
    """Add the parser of this verb."""
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
    make.add_argument(
        "--coverage",
        choices=("own", "shared", "scale"),
        default="own",
        help="each dataset its own part of the quality range, all the same, or also the same raters (%(default)s)",
    )
    make.set_defaults(run=_make_miniature)
    check = actions.add_parser(
        "check",
        help="find what is wrong with the datasets",
        description="Read labels, partitions and every picture of the datasets that are there. The exit code is 1 when "
        "something has to be mended.",
    )
    check.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="as in training: splits=liqe splits.lists=DIR")
    check.add_argument("--config-dir", **CONFIG_DIR)
    check.add_argument("--near", action="store_true", help="look for recompressed or resized copies across datasets")
    check.add_argument("--json", action="store_true", help="for machines")
    check.set_defaults(run=_check)
    compare = actions.add_parser(
        "compare",
        help="find which datasets agree, before any training",
        description="Fit a ridge regression on frozen features to each dataset, to every two, to all others and to "
        "all, and test it on each: which datasets help each other, and which are on their own.",
    )
    compare.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="as in training: backbone=resnet50")
    compare.add_argument("--config-dir", **CONFIG_DIR)
    compare.add_argument("--splits", type=int, default=5, help="over how many (%(default)s)")
    compare.add_argument("--json", action="store_true", help="for machines")
    compare.set_defaults(run=_compare)


def _make_miniature(args: argparse.Namespace) -> int:
    from mimi_lightning.data.miniature import make_miniature

    folder = make_miniature(args.folder, photos=args.photos, seed=args.seed, side=args.side, coverage=args.coverage)
    print(f"Miniature datasets: {folder}")
    print(f"Their hidden quality, in JOD: {folder / 'hidden_quality.csv'}")
    # As the demo trains, which needs no download either.
    words = [
        "experiment=demo",
        "data=owners",
        f"paths.datasets={folder}",
        f"view.train.crop={args.side}",
        "data.quota=4",
    ]
    print(f"Train on them: {PROGRAM} {shlex.join(words)}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from omegaconf import OmegaConf

    from mimi_lightning import config

    cfg = config.load(args.overrides, args.config_dir)
    config.check_lists(cfg)

    from mimi_lightning.data.check import check_datasets
    from mimi_lightning.data.check_screens import show
    from mimi_lightning.data.partitions import Protocol
    from mimi_lightning.data.places import place

    labels = None
    if cfg.tasks:
        from mimi_lightning.module import build_labels  # only now: it loads networks

        labels = build_labels(OmegaConf.to_container(cfg.tasks))
    protocol = Protocol(**cfg.splits)
    report = check_datasets(cfg.datasets, place(cfg.data.root), cfg.split, protocol, labels, not args.json, args.near)
    if args.json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        show(report)
    return 0 if report.ok else 1


def _compare(args: argparse.Namespace) -> int:
    from omegaconf import OmegaConf

    from mimi_lightning import config

    if args.splits not in config.SPLITS[1:]:
        raise ConfigError(f"--splits {args.splits}: expected 2 to {config.SPLITS[-1]}.")
    asked = config.load(args.overrides, args.config_dir)
    if "freeze" not in asked.backbone:
        raise ConfigError(
            f"data compare needs what a frozen backbone sees, and {asked.backbone.name} cannot be divided before its "
            "head: choose another, such as backbone=resnet50."
        )
    if len(asked.datasets) < 2:
        raise ConfigError("data compare needs two datasets or more: dataset=[live,csiq].")
    words = ["backbone.freeze=all", "backbone.pool=mean_std", *args.overrides]
    settings = OmegaConf.to_container(config.load(words, args.config_dir), resolve=True)

    from mimi_lightning.data.compare import compare, show

    comparison = compare(settings, args.splits)
    if args.json:
        found = {"srcc": comparison.across().to_dict("index"), "gains": comparison.gains().to_dict("records")}
        print(json.dumps({**found, "sentences": comparison.sentences()}, indent=2))
    else:
        show(comparison)
    return 0
