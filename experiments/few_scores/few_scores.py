"""How many scores buy how much: calibrate and finetune on few labels of a dataset that a mix has not learned from.

    make photos
    python experiments/few_scores/few_scores.py     on the miniature datasets of the studies, five splits

Every split trains five datasets (a head on frozen features), and then takes 25 to 400 training labels of the sixth:
once for a mapper alone, once for the head behind it, too. Its test part tells what they bought.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from mimi_lightning import config
from mimi_lightning.data.features import keep_features
from mimi_lightning.metrics import rmse, srcc
from mimi_lightning.module import QualityModel
from mimi_lightning.progress import progress_bar
from mimi_lightning.ruler.calibrate import fit_scale
from mimi_lightning.ruler.own_scores import OwnScores
from mimi_lightning.ruler.scales import alone
from mimi_lightning.run_folder import RunFolder
from mimi_lightning.train import make_data, train

LABELS = (25, 50, 100, 400)
OTHERS = ("bid", "clive", "csiq", "kadid", "live")
NEW = "koniq"
RATE = 3.0e-4  # of finetuning: the head is not new
STUDY = ("experiment=study", "objective=regression", "gauge=none")


def main(argv: Sequence[str]) -> int:
    """Run it, and write a row of every split, number of labels and way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", metavar="KEY=VALUE", nargs="*", help="for every run")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("outputs/few_scores"))
    args = parser.parse_intermixed_args(argv)
    torch.set_num_threads(1)
    rows, splits = [], range(1, 1 + args.splits)
    with progress_bar() as bar:
        for split in bar.track(splits, description="Splits"):
            words = [*STUDY, f"split={split}", f"paths.outputs={args.out}", *args.words]
            rows += [{"split": split, **row} for row in measure(words)]
    results = pd.DataFrame(rows)
    results.to_csv(args.out / "results.csv", index=False)
    print(table(results))
    return 0


def measure(words: Sequence[str]) -> Iterator[dict[str, float | int | str]]:
    """Of one split, what calibrating and finetuning come to with every number of labels."""
    base = run(load(*words, "mapper=linear", f"dataset=[{','.join(OTHERS)}]", "name=others"))
    model = QualityModel.load(base.file("checkpoint"))
    for labels in LABELS:
        cfg = load(*words, f"dataset=[{NEW}]", f"datasets.{NEW}.limit={labels}", f"name=labels{labels}")
        proxy, rows = scores_of(model, cfg)
        train_part, test = (rows["part"] == part for part in ("train", "test"))
        begun = time.perf_counter()
        scores = OwnScores(NEW, rows[train_part].reset_index(drop=True), Path(), tuple(cfg.datasets[NEW].range))
        calibration = fit_scale(model, scores, proxy[train_part.to_numpy(copy=True)])
        only = alone(model, calibration.scale)
        with torch.no_grad():
            prediction = only.predict_mos(proxy, torch.zeros(len(proxy), dtype=torch.int64)).numpy()
        seconds = time.perf_counter() - begun
        of, mos = test.to_numpy(), rows["mos"].to_numpy()
        found = {"srcc": srcc(proxy.numpy()[of], mos[of]), "rmse": rmse(prediction[of], mos[of]), "seconds": seconds}
        yield {"labels": labels, "way": "calibrate", **found, "mapper": calibration.chosen.kind}
        start = base.path / f"labels{labels}.ckpt"
        only.save(start)
        cfg.init, cfg.freeze, cfg.mapper = str(start), ["mappers"], dict(calibration.scale.mapper)
        cfg.optimizer.lr, cfg.backbone.keep_scaling = RATE, True
        begun = time.perf_counter()
        tested = pd.read_csv(run(cfg).file("predictions")).query("part == 'test'")
        seconds, mos = time.perf_counter() - begun, tested["mos"]
        found = {"srcc": srcc(tested["proxy"], mos), "rmse": rmse(tested["prediction"], mos), "seconds": seconds}
        yield {"labels": labels, "way": "finetune", **found}


def load(*words: str) -> DictConfig:
    """Compose a configuration that can be changed."""
    return OmegaConf.create(OmegaConf.to_container(config.load(words), resolve=True))


def run(cfg: DictConfig) -> RunFolder:
    """Train, or take what is finished."""
    with contextlib.redirect_stdout(io.StringIO()):
        train(cfg)
    return RunFolder(Path(cfg.paths.run))


@torch.no_grad()
def scores_of(model: QualityModel, cfg: DictConfig) -> tuple[torch.Tensor, pd.DataFrame]:
    """Proxy scores [N] of a dataset's images by their features, and its annotations with parts."""
    settings = OmegaConf.to_container(cfg)
    data = make_data(settings)
    data.setup()
    data.kept = keep_features(data, model.regressor, settings, {data.test_view: 1}, torch.device("cpu"))
    batches = [model.judge_batch(batch).proxy for batch in data.loader(data.test_view, data.whole(data.table.index))]
    order = torch.tensor([row for batch in data.whole(data.table.index) for row, _ in batch])
    return torch.cat(batches)[order.argsort()], data.table


def table(results: pd.DataFrame) -> str:
    """Means over splits and their standard deviations, as Markdown."""
    lines = ["| labels | way | SRCC | RMSE | seconds |", "|---|---|---|---|---|"]
    for (labels, way), rows in results.groupby(["labels", "way"]):
        figures = (f"{rows[name].mean():.3f} ± {rows[name].std():.3f}" for name in ("srcc", "rmse"))
        lines.append(f"| {labels} | {way} | {' | '.join(figures)} | {rows['seconds'].mean():.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
