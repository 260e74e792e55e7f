"""`make fuzz`: thousands of wrong commands, configurations, tables and pictures, and a table of what became of them."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.commands import CLASSES, run
from tests.fuzz.draws import DRAWS
from tests.fuzz.wrong import commands


def main() -> int:
    """Print the table, and every outcome that is not clean; the exit code is 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="for all draws together (%(default)s)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every n-th of the wrong commands alone")
    args = parser.parse_args()
    from mimi_lightning.data.miniature import make_miniature

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        size = {"side": 64, "references": 10, "scenes": 10, "per_content": 2, "progress": False}
        datasets = make_miniature(scratch / "miniature", **size)
        (scratch / "read").mkdir()
        table: dict[str, Counter[str]] = {}
        for kind, wrong in commands(datasets, scratch / "read").items():
            table[kind] = Counter()
            for number, words in enumerate(wrong[:: args.every]):
                place = scratch / f"{kind} {number}"
                place.mkdir()
                outcome = run(words, place)
                table[kind][outcome.kind] += 1
                if outcome.kind != "clean":
                    print(f"{outcome.kind}: {' '.join(words)}\n{outcome.said}\n", file=sys.stderr, flush=True)
        for name, draw in DRAWS.items():
            until = time.monotonic() + args.minutes * 60 / len(DRAWS)
            table[name] = draw(datasets, scratch / "read", until)
    _show(table)
    return int(any(counts[kind] for counts in table.values() for kind in CLASSES[1:]))


def _show(table: dict[str, Counter[str]]) -> None:
    columns = (*CLASSES, "runs")
    print(f"| wrong input | tried | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 2)}")
    for kind, counts in {**table, "all": sum(table.values(), Counter())}.items():
        print(f"| {kind} | {sum(counts.values())} | {' | '.join(str(counts[column]) for column in columns)} |")


if __name__ == "__main__":
    sys.exit(main())
