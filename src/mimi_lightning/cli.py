"""The toolbox: `python -m mimi_lightning VERB ...`; without a verb, `python -m mimi_lightning` trains.

Every verb is one function that adds its parser and one that does its work. Nothing heavy is imported here, so that
`--help` answers at once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mimi_lightning.errors import ConfigError

CONFIG_DIR = {"metavar": "DIR", "type": Path, "help": "holds dataset/NAME.yaml of datasets of your own"}
PROGRAM = "python -m mimi_lightning"
EVALUATE = ("checkpoint", "labels", "out")  # keys that are evaluate's own


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


def _add_data(verbs: Any) -> None:
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
    print(f"Train on them: {PROGRAM} paths.datasets={folder} view.train.crop={args.side}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from omegaconf import OmegaConf

    from mimi_lightning import config

    cfg = config.load(args.overrides, args.config_dir)
    config.check_lists(cfg)

    from mimi_lightning.data.check import check_datasets
    from mimi_lightning.data.check_screens import show
    from mimi_lightning.data.partitions import Protocol

    labels = None
    if cfg.tasks:
        from mimi_lightning.module import build_labels  # only now: it loads networks

        labels = build_labels(OmegaConf.to_container(cfg.tasks))
    protocol = Protocol(**cfg.splits)
    report = check_datasets(cfg.datasets, Path(cfg.data.root), cfg.split, protocol, labels, not args.json)
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
    if len(config.load(args.overrides, args.config_dir).datasets) < 2:
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


def _add_evaluate(verbs: Any) -> None:
    evaluate = verbs.add_parser(
        "evaluate",
        help="score datasets with a checkpoint, trained on or not",
        description="Score datasets with a checkpoint and write a table of predictions, which `report` lays out. "
        "Images that the model was trained on are left out.",
        usage=f"{PROGRAM} evaluate checkpoint=FILE [labels=FILE] [out=CSV] [KEY=VALUE ...]",
    )
    evaluate.add_argument(
        "words",
        metavar="KEY=VALUE",
        nargs="+",
        help="checkpoint=FILE of a run; labels=FILE, its labels.csv, if it lies elsewhere; out=CSV; and as in "
        "training: data=miniature, dataset=[tid2013], paths.datasets=DIR, trainer=gpu",
    )
    evaluate.add_argument("--config-dir", **CONFIG_DIR)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> int:
    from omegaconf import OmegaConf

    from mimi_lightning import config

    own = {key: Path(value) for key, _, value in (word.partition("=") for word in args.words) if key in EVALUATE}
    if "checkpoint" not in own:
        raise ConfigError("evaluate needs checkpoint=FILE, such as outputs/mimi/resnet34/split03/checkpoints/best.ckpt")
    cfg = config.load([word for word in args.words if word.partition("=")[0] not in EVALUATE], args.config_dir)

    from mimi_lightning.scoring import evaluate

    print(f"predictions {evaluate(settings=OmegaConf.to_container(cfg, resolve=True), **own)}")
    return 0


def _add_report(verbs: Any) -> None:
    report = verbs.add_parser(
        "report",
        help="the numbers and plots of many runs",
        description="Find all finished runs below the folders, or read tables of predictions (columns dataset, split, "
        "mos, proxy; perhaps run, image, prediction, aligned, distortion, level), and write report.html, figures, and "
        "the numbers as CSV, JSON, Markdown and LaTeX.",
    )
    report.add_argument("sources", metavar="DIR|CSV", type=Path, nargs="*", help="folders of runs, or tables")
    report.add_argument("--out", metavar="DIR", type=Path, help="where to write (`report` in the first source)")
    report.add_argument("--images", metavar="DIR", type=Path, help="root of the datasets, for tables without a run")
    report.add_argument(
        "--alignment",
        metavar="FILE",
        type=Path,
        help="ratings across datasets: name_mos_test.txt of the re-annotated set, or hidden_quality.csv",
    )
    report.add_argument(
        "--lists", metavar="DIR", type=Path, help="published lists: aligns their labels without any run"
    )
    report.add_argument(
        "--fits",
        choices=("least", "published"),
        default="least",
        help="logistic fits of PLCC and RMSE: of least residual, or from the one published start, to compare with "
        "published figures (%(default)s)",
    )
    report.add_argument("--config-dir", **CONFIG_DIR)
    report.set_defaults(run=_report)


def _report(args: argparse.Namespace) -> int:
    from mimi_lightning.evaluation.alignment import align_lists
    from mimi_lightning.evaluation.report import report, show_alignment

    if args.sources:
        report(args.sources, args.out, (), args.alignment, args.lists, args.images, args.fits, args.config_dir)
    elif args.alignment is not None and args.lists is not None:
        show_alignment(align_lists(args.lists, args.alignment))
    else:
        raise ConfigError("report needs DIR or CSV; without any run, --alignment FILE and --lists DIR.")
    return 0


VERBS: dict[str, Callable[[Any], None]] = {
    "data": _add_data,
    "evaluate": _add_evaluate,
    "report": _add_report,
}
