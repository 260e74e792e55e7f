"""The toolbox: `python -m mimi_lightning VERB ...`; without a verb, `python -m mimi_lightning` trains.

A file here is a verb, with `add`, which adds its parser, and what it does. Nothing heavy is imported at their tops, so
that `--help` answers at once.
"""

from __future__ import annotations

import argparse

from mimi_lightning.cli import (
    calibrate,
    data,
    evaluate,
    explain,
    export,
    finetune,
    import_,
    pull,
    push,
    report,
    score,
    serve,
    translate,
)
from mimi_lightning.cli.words import PROGRAM

VERBS = {
    "data": data,
    "evaluate": evaluate,
    "report": report,
    "score": score,
    "explain": explain,
    "translate": translate,
    "calibrate": calibrate,
    "finetune": finetune,
    "export": export,
    "import": import_,
    "push": push,
    "pull": pull,
    "serve": serve,
}


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
    # argparse takes words that stand together, and leaves those behind the next option.
    words = [word for word in rest if "words" in args and "=" in word and not word.startswith("-")]
    if unknown := [word for word in rest if word not in words]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if words:
        args.words += words
    return args.run(args)
