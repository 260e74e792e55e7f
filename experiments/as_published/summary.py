"""Before against after: means over splits and seeds, and paired differences with standard errors over splits."""

import json
import sys
from pathlib import Path

import pandas as pd


def read(file: Path) -> dict[str, object]:
    """Figures of one run."""
    metrics = json.loads(file.read_text())
    name, _, split = metrics["run"].split("/")
    code, seed = name.split("-")
    pooled = {row["scores"]: row["srcc"] for row in metrics["alignment"]}
    figures = {mean: metrics["figures"][mean]["srcc"] for mean in ("weighted", "mean")}
    aligned = {name: pooled[name] for name in ("aligned labels", "proxy scores")}
    return {"code": code, "seed": int(seed), "split": split, **figures, **aligned}


runs = pd.DataFrame([read(file) for file in sorted(Path(sys.argv[1]).rglob("metrics.json"))])
table = runs.set_index(["split", "seed", "code"]).unstack("code")
print(
    "SRCC of the test parts: weighted, mean of the datasets; pooled against the hidden quality: aligned labels, proxies"
)
for figure in table.columns.unique(0):
    before, after = table[figure]["before"], table[figure]["after"]
    # Seeds of one split share its test part: the splits are the independent samples.
    difference = (after - before).groupby("split").mean()
    spreads = [f"{name} {values.mean():.3f} (std {values.std():.3f})" for name, values in table[figure].items()]
    print(f"{figure:<16}", *spreads, f"difference {difference.mean():+.3f} +- {difference.sem():.3f}", sep="  ")
print(runs.groupby(["code", "split"]).mean(numeric_only=True).drop(columns="seed").round(3))
