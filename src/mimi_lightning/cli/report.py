"""`report`: the numbers and plots of many runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mimi_lightning.cli.words import CONFIG_DIR
from mimi_lightning.errors import ConfigError


def add(verbs: Any) -> None:
    """Add the parser of this verb."""
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

    if args.lists is not None and args.alignment is None:
        raise ConfigError("--lists DIR tells which labels are aligned with ratings: it needs --alignment FILE.")
    if args.sources:
        report(args.sources, args.out, (), args.alignment, args.lists, args.images, args.fits, args.config_dir)
    elif args.alignment is not None and args.lists is not None:
        show_alignment(align_lists(args.lists, args.alignment))
    else:
        raise ConfigError("report needs DIR or CSV; without any run, --alignment FILE and --lists DIR.")
    return 0
