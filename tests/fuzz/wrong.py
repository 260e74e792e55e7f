"""Commands that are wrong, by the kind of mistake: each must be refused with one message, and leave nothing."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

# As short as a run can be; a mistake comes after them, and takes the place of what it names.
TINY = (
    *("backbone=resnet18", "backbone.weights=none", "backbone.stage=-3", "backbone.hidden=[16]", "mapper.hidden=[8]"),
    *("trainer=cpu", "trainer.max_epochs=1", "trainer.enable_progress_bar=false", "view.train.crop=48"),
    *("data.quota=2", "data.epoch=2", "data.workers=0", "dataset=[csiq,live]"),
)

VALUES = {
    "rates and counts": [
        *("optimizer.lr=0", "optimizer.lr=-1", "optimizer.lr=nan", "optimizer.lr=inf", "optimizer.backbone_lr=-1"),
        *("optimizer.weight_decay=-1", "scheduler.step_size=0", "scheduler.gamma=-1", "scheduler.gamma=nan"),
        *("trainer.gradient_clip_val=-1", "trainer.accumulate_grad_batches=0", "trainer.limit_train_batches=0"),
        *("trainer.limit_test_batches=0", "trainer.limit_val_batches=-1", "trainer.num_sanity_val_steps=-7"),
        *("data.quota=0", "data.quota=10000000", "data.epoch=0", "data.test_batch=0", "data.views=0", "seed=-1"),
        *("datasets.live.limit=1", "mapper.blocks=0", "mapper.reach=-1", "gauge.weight=0", "backbone.max_channels=0"),
        "datasets.live.weight=0 datasets.csiq.weight=0",
        "scheduler=cosine scheduler.T_max=0",
        "scheduler=oscillating scheduler.half=0",
        "--multirun hydra/sweeper=optuna hydra.sweeper.trials=0",
        "--multirun hydra/sweeper=optuna optimizer.lr=tag(log,interval(0,1))",
        "--multirun hydra/sweeper=optuna optimizer.lr=interval(-2,-1) hydra.sweeper.trials=1",
    ],
    "more than there is": [
        *("trainer.devices=99", "trainer.devices=0", "trainer.num_nodes=2", "data.workers=1000", "data.workers=-1"),
        *("backbone.stage=-9", "backbone.stage=1", "split=11", "data.epoch=1000000000"),
    ],
    "null": [
        *("optimizer.backbone_lr=null", "backbone.name=null", "backbone.weights=null", "data.quota=null"),
        *(
            "data.epoch=null",
            "seed=null",
            "split=null",
            "name=null",
            "monitor=null",
            "mapper=null",
            "paths.outputs=null",
        ),
        *("datasets.live.reader=null", "datasets.live.folder=null", "datasets.live.range=null", "splits.store=null"),
        *("data.root=null", "view.train.crop=null", "mapper.hidden=null", "optimizer=null", "scheduler=null"),
    ],
    "wrong kinds": [
        *("backbone.hidden=[0]", "backbone.hidden=[big]", "backbone.hidden=[3.5]", "backbone.hidden=[null]"),
        *("mapper.hidden=[]", "mapper.hidden=[x]", "datasets.live.range=[a,b]", "datasets.live.range=[null,1]"),
        *("datasets.live.range=[0,inf]", "datasets.live.range=[3,1]", "overwrite=maybe", "data.cache=7", "split=1.5"),
        *("trainer.devices=[]", "trainer.deterministic=maybe", "data.quota=1e7", "freeze=regressor"),
    ],
    "words that do not exist": [
        *("trainer.precision=half", "data.quota_scope=all", "hydra/sweeper=optuna", "hydra/launcher=processes"),
        *("monitor=val/nothing", "monitor=train/loss", "monitor=val/srcc_koniq", "data.on_error=ignore"),
        *("trainer.accelerator=abacus", "trainer.precision=7", "trainer.strategy=none", "+colour=red"),
        *("optimizer._target_=torch.optim.Nope", "mapper._target_=os.system", "labels._target_=builtins.dict"),
        *("datasets.live.reader=nope", "datasets.live.reader=os.path.join", "datasets.live.reader=os.getcwd"),
        "callbacks=early_stopping callbacks.early_stopping.monitor=nope",
        "callbacks=early_stopping callbacks.early_stopping.mode=up",
        "callbacks=lr_monitor callbacks.lr_monitor.logging_interval=x",
        "+datasets.live.table.x=1",
        "backbone=timm backbone.name=nonsense",
        "backbone=timm backbone.name=swin_tiny_patch4_window7_224",
        "backbone=timm backbone.name=mixer_s32_224",
        "backbone=vit backbone.name=vit_tiny_patch16_224 backbone.stage=-99",
    ],
    "what does not fit": [
        *(
            "view.train.resize=8",
            "view.train.resize=33",
            "view.train.crop=1",
            "view.test.resize=1",
            "freeze=[regressor]",
        ),
        "trainer=ddp_cpu data.quota_scope=global data.quota=3",
        "--multirun hydra/sweeper=optuna optimizer.nope=interval(0,1)",
        *("dataset=[live,live]", "objective=plcc mapper=none", "tasks=scene_distortion", "dataset=[]"),
        *("datasets.live.range=[0,1]", "view.train.crop=100", "gauge=anchor gauge.dataset=koniq"),
    ],
    "places": [
        *("name=../..", "name=/tmp/elsewhere", "name=", "backbone.name=../x", "init=/nope", "backbone.weights=/nope"),
        *("paths.datasets=memory://nope", "paths.datasets=s4://nope", "paths.outputs=s3://nope"),
        *("paths.datasets=/nope", "splits=liqe splits.lists=/nope"),
        *(
            "--multirun split=range(3,1)",
            "evaluate checkpoint=/nope",
            "evaluate checkpoint=",
            "evaluate dataset=[live]",
        ),
        *("report /nope", "report . --lists /nope", "report . --alignment /nope", "data check paths.datasets=/nope"),
        *("data compare --splits 1", "data compare dataset=[live]", "data make-miniature x --side 8"),
    ],
}


def write_checkpoints(folder: Path) -> list[Path]:
    """What a checkpoint may be instead: a folder, text, nothing, another program's, cut off, hostile."""
    other = {"state_dict": {"a": torch.zeros(3)}}
    torch.save([1, 2, 3], folder / "list.ckpt")
    torch.save(other, folder / "other.ckpt")
    torch.save({**other, "hyper_parameters": {"lr": 3}}, folder / "lightning.ckpt")
    (folder / "cut.ckpt").write_bytes((folder / "other.ckpt").read_bytes()[:300])
    (folder / "text.ckpt").write_text("hello\n")
    (folder / "empty.ckpt").touch()
    (folder / "folder.ckpt").mkdir()
    (folder / "hostile.ckpt").write_bytes(pickle.dumps(print))
    with zipfile.ZipFile(folder / "zip.ckpt", "w") as archive:
        archive.writestr("a.txt", "x")
    return sorted(folder.glob("*.ckpt"))


TABLES: Mapping[str, bytes] = {  # of predictions; none of them can be reported
    "empty.csv": b"",
    "header.csv": b"dataset,split,mos,proxy\n",
    "binary.csv": bytes(range(256)),
    "column.csv": b"dataset,split,mos\nlive,1,3\n",
    "split.csv": b"dataset,split,mos,proxy\nlive,one,3,4\n",
    "nan.csv": b"dataset,split,mos,proxy\nlive,1,nan,4\n",
    "words.csv": b"dataset,split,mos,proxy\nlive,1,good,4\n",
    "twice.csv": b"dataset,split,mos,proxy\n" + 2 * b"live,1,3,4\nlive,1,4,6\nlive,1,5,5\n",
    "cells.csv": b'dataset,split,mos,proxy\nlive,1,3,4\n"live,1,3\n',
    "utf16.csv": "dataset,split,mos,proxy\nlive,1,3,4\n".encode("utf-16"),
}


def commands(datasets: Path, scratch: Path) -> dict[str, list[list[str]]]:
    """All wrong commands by their kind; what they read lies in `scratch`."""
    settings = [f"paths.datasets={datasets}", f"splits.store={scratch / 'splits'}"]
    kinds = {kind: [_whole(line.split(), settings) for line in lines] for kind, lines in VALUES.items()}
    files = write_checkpoints(scratch)
    kinds["checkpoints"] = [
        words
        for file in files
        for words in (
            ["evaluate", f"checkpoint={file}", *settings],
            _whole([f"init={file}"], settings),
            _whole([f"backbone.weights={file}"], settings),
        )
    ]
    for name, text in TABLES.items():
        (scratch / name).write_bytes(text)
    kinds["tables"] = [["report", str(scratch / name)] for name in TABLES]
    return kinds


def _whole(words: list[str], settings: list[str]) -> list[str]:
    """A command of training around a mistake; that of another verb is whole already."""
    if words[0] in ("data", "evaluate", "report"):
        return words
    named = {word.partition("=")[0] for word in words}
    fast = [word for word in (*TINY, *settings) if word.partition("=")[0] not in named]
    if "mapper" in named:
        fast.remove("mapper.hidden=[8]")
    return [*(word for word in words if word.startswith("--")), *fast, *(w for w in words if not w.startswith("--"))]
