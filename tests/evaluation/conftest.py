"""Predictions of models that nobody trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
