"""Before against after: means over splits and seeds, and paired differences with their standard errors."""

import json
import sys
from pathlib import Path

import pandas as pd


def read(file: Path) -> dict[str, object]:
    metrics = json.loads(file.read_text())
    name, _, split = metrics["run"].split("/")
    code, seed = name.split("-")
    pooled = {row["scores"]: row["srcc"] for row in metrics["alignment"]}
    figures = {mean: metrics["figures"][mean]["srcc"] for mean in ("weighted", "mean")}
    aligned = {name: pooled[name] for name in ("aligned labels", "proxy scores")}
    return {"code": code, "seed": int(seed), "split": split, **figures, **aligned}


runs = pd.DataFrame([read(file) for file in sorted(Path(sys.argv[1]).rglob("metrics.json"))])
table = runs.set_index(["split", "seed", "code"]).unstack("code")
print("SRCC of test parts (weighted, mean of datasets); pooled SRCC against the hidden quality (aligned labels, proxies)")
for figure in table.columns.unique(0):
    before, after = table[figure]["before"], table[figure]["after"]
    difference = after - before
    # Seeds of one split share its test part: the splits are the independent samples.
    by_split = difference.groupby("split").mean()
    print(
        f"{figure:<16} before {before.mean():.3f} (std {before.std():.3f})  after {after.mean():.3f} (std {after.std():.3f})"
        f"  difference {difference.mean():+.3f} +- {by_split.sem():.3f} over {len(by_split)} splits"
        f"  ({(difference > 0).sum()} of {len(difference)} runs better)"
    )
print(runs.groupby(["code", "split"]).mean(numeric_only=True).drop(columns="seed").round(3))
