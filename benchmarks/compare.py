"""Hold two files of results against each other: `make bench-compare A=old.json B=new.json`.

A difference is beyond the spread where the quartiles of the one's calls lie outside those of the other's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import LEAST, Timing, duration

Key = tuple[str, str, str]
SURROUNDINGS = ("processor", "cores", "versions", "quick")


def timings(results: dict[str, Any]) -> dict[Key, Timing]:
    """Of every benchmark, case and side."""
    every = ((name, Timing(**timing)) for name, found in results["found"].items() for timing in found["timings"])
    return {(name, timing.case, timing.side): timing for name, timing in every}


def verdict(old: Timing, new: Timing) -> str:
    """`faster` or `slower` where that is beyond the spread of both; of few calls there is none to speak of."""
    if min(len(old.seconds), len(new.seconds)) < LEAST:
        return ""
    if new.spread[1] < old.spread[0]:
        return "faster"
    return "slower" if new.spread[0] > old.spread[1] else ""


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """In what the two were measured otherwise than each other."""
    for key in SURROUNDINGS:
        if old[key] != new[key]:
            yield f"{key}: {old[key]} and {new[key]}"
    for name in old["found"].keys() & new["found"].keys():
        if old["found"][name]["where"] != new["found"][name]["where"]:
            yield f"{name}: {old['found'][name]['where']} and {new['found'][name]['where']}"


def compare(old: dict[str, Any], new: dict[str, Any]) -> Table:
    """A row of every timing that either has."""
    before, after = timings(old), timings(new)
    table = Table(title=f"{old['commit']} of {old['when']}, and {new['commit']} of {new['when']}")
    for heading in ("benchmark", "case", "side", "old", "new", "new / old", "beyond the spread"):
        table.add_column(heading, justify="right" if heading in ("old", "new", "new / old") else "left")
    for key in before | after:
        one, other = before.get(key), after.get(key)
        times = [duration(timing.median) if timing else "-" for timing in (one, other)]
        both = (f"{other.median / one.median:.2f}", verdict(one, other)) if one and other else ("", "")
        table.add_row(*key, *times, *both)
    return table


def read(file: Path) -> dict[str, Any]:
    """Results that `python -m benchmarks` wrote."""
    try:
        results = json.loads(file.read_text())
        compare(results, results), list(differences(results, results))  # they ask for all that is needed
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise SystemExit(f"{file} holds no results of benchmarks ({error}); `make bench` writes them.") from error
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    arguments = parser.parse_args()
    old, new = read(arguments.old), read(arguments.new)
    console = Console(width=140)
    console.print(compare(old, new))
    for difference in differences(old, new):
        console.print(f"[bold]Not measured alike[/bold]: {difference}", highlight=False)


if __name__ == "__main__":
    main()
