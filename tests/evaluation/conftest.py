"""Predictions of models that nobody trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

RANGES = {"csiq": (0.0, 1.0), "koniq": (1.1, 4.3), "live": (0.0, 114.0)}


@pytest.fixture(scope="session")
def fabricate() -> Callable[..., pd.DataFrame]:
    """Make a predictions table: the true quality, seen with noise by people and by the model."""

    def make(
        model: str = "mix/resnet34",
        splits: Sequence[int] = (1, 2, 3),
        datasets: Sequence[str] = tuple(RANGES),
        n: int = 40,
        noise: float = 0.1,
    ) -> pd.DataFrame:
        tables = []
        for split in splits:
            for dataset in datasets:
                low, high = RANGES[dataset]
                rng = np.random.default_rng([split, list(RANGES).index(dataset)])
                quality, seen = rng.uniform(size=n), rng.normal(scale=0.05, size=n)
                proxy = quality + noise * np.random.default_rng([split, *model.encode()]).normal(size=n)
                mos = low + (high - low) * np.clip(quality + seen, 0, 1)
                table = pd.DataFrame({"image": [f"img_{i:03}.png" for i in range(n)], "mos": mos, "proxy": proxy})
                distortion = np.where(np.arange(n) % 2, "jpeg compression", "gaussian blur")
                table = table.assign(
                    dataset=dataset,
                    split=split,
                    run=f"{model}/split{split:02}",
                    part="test",
                    prediction=low + (high - low) * proxy,
                    aligned=(mos - low) / (high - low),
                    distortion="" if dataset == "koniq" else distortion,
                    level=np.nan if dataset == "koniq" else np.arange(n) % 5 + 1,
                )
                tables.append(table)
        return pd.concat(tables, ignore_index=True)

    return make


@pytest.fixture(scope="session")
def elsewhere(trained) -> Path:
    """Folder of a run of published settings on generated partitions, to be read."""
    return trained("published_splits=mimi_cnn", "dataset=[csiq,live]")


@pytest.fixture
def finished(fabricate, tmp_path) -> Path:
    """Folder of a run of two datasets as training leaves it, without training."""
    folder = tmp_path / "outputs" / "mix" / "resnet34" / "split01"
    (folder / "logs" / "version_0").mkdir(parents=True)
    table = fabricate(splits=[1], datasets=["csiq", "live"])
    table.to_csv(folder / "predictions.csv", index=False)
    table[["dataset", "image", "part", "mos"]].to_csv(folder / "labels.csv", index=False)
    table[["dataset", "proxy", "mos"]].sort_values(["dataset", "proxy"]).to_csv(folder / "mappings.csv", index=False)
    pd.DataFrame({"epoch": [0, 1], "train/loss": [2.0, 1.0]}).to_csv(folder / "logs/version_0/metrics.csv", index=False)
    datasets = {name: {"folder": name, "range": list(RANGES[name])} for name in ("csiq", "live")}
    settings = {"split": 1, "data": {"root": str(tmp_path)}, "datasets": datasets}
    (folder / "config.yaml").write_text(json.dumps(settings))
    metrics = {
        **{"run": "mix/resnet34/split01", "seed": 1, "best_epoch": 2, "commit": None, "versions": {"torch": "2"}},
        **{"skipped": 0, "sizes": {"csiq": 40, "live": 40}, "alignment": []},
        "partition": {"protocol": "generated", "sha256": "0", "left_out": {}, "sources": {"live": "generated-1"}},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder
