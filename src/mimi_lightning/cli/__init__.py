"""The toolbox: `python -m mimi_lightning VERB ...`; without a verb, `python -m mimi_lightning` trains.

A file here is a verb, with `add`, which adds its parser, and what it does. Nothing heavy is imported at their tops, so
that `--help` answers at once.
"""

from __future__ import annotations

import argparse

from mimi_lightning.cli import calibrate, data, evaluate, finetune, report
from mimi_lightning.cli.words import PROGRAM

VERBS = {"calibrate": calibrate, "data": data, "evaluate": evaluate, "finetune": finetune, "report": report}


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
    for verb in VERBS.values():
        verb.add(verbs)
    args, rest = parser.parse_known_args(argv)
    if rest and not ("words" in args and all("=" in word and word[0] != "-" for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # argparse takes all words that stand together, and leaves those behind the next option
        args.words += rest
    return args.run(args)
