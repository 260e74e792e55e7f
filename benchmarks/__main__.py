"""Run all benchmarks, each in a process of its own, and write what they measured: `make bench`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import BENCHMARKS

RESULTS = Path(__file__).with_name("results.json")
QUICK = RESULTS.with_name("results.quick.json")
PACKAGES = ("torch", "torchvision", "lightning", "timm", "open_clip_torch", "numpy", "pillow", "onnxruntime")


def processor() -> str:
    """Its name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str:
    """The commit that is checked out; `+` says that files differ from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+"], cwd=RESULTS.parent, capture_output=True, text=True
    )
    return told.stdout.strip() or "unknown"


def surroundings() -> dict[str, Any]:
    """On what it was measured, and with what."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    return {"processor": processor(), "cores": os.cpu_count(), "versions": versions, "commit": commit()}


def run(name: str, words: list[str]) -> dict[str, Any] | None:
    """What one benchmark found, None if it failed; its table is printed."""
    print(f"\n{name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--json", str(file), *words])
        return json.loads(file.read_text()) if done.returncode == 0 else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)} (all)")
    parser.add_argument("--out", type=Path, help=f"(benchmarks/{RESULTS.name})")
    parser.add_argument("--quick", action="store_true", help=f"small sizes, to see whether all run ({QUICK.name})")
    parser.add_argument("--repeats", type=int, help="timed calls of each side")
    arguments = parser.parse_args()
    if unknown := {*arguments.names} - {*BENCHMARKS}:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}.")
    out = arguments.out or (QUICK if arguments.quick else RESULTS)
    if not out.parent.is_dir():
        parser.error(f"there is no folder {out.parent} for --out.")
    words = ["--quick"] * arguments.quick + (["--repeats", str(arguments.repeats)] if arguments.repeats else [])
    if os.getloadavg()[0] > 1:
        print(f"The machine is busy (load {os.getloadavg()[0]:.1f}): these times will be distorted.")
    results = {"when": time.strftime("%Y-%m-%d %H:%M"), "quick": arguments.quick, **surroundings(), "found": {}}
    failed = []
    for name in arguments.names or BENCHMARKS:
        if (found := run(name, words)) is None:
            failed.append(name)
            continue
        if not results["found"] and out.is_file():
            out.replace(out.with_suffix(".former.json"))
        results["found"][name] = found
        out.write_text(json.dumps(results, indent=1) + "\n")  # what is measured stays, whatever follows
    if failed:
        print(f"\nNot measured: {', '.join(failed)}. Look above for what they said.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
