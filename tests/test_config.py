"""The configuration tree: every file composes, every mistake is named before anything is loaded."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import open_dict

from mimi_lightning import cli, config
from mimi_lightning.__main__ import main
from mimi_lightning.data.miniature.coverage import COVERAGES
from mimi_lightning.data.published import LISTED
from mimi_lightning.errors import ConfigError
from mimi_lightning.evaluation.study import described_datasets

CONF = config.conf_dir()
OPTIONS = [(path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml"))]
PUBLISHED = {"mimi_resnet34": "mimi_cnn", "mimi_vgg16": "mimi_cnn", "mimi_clip": "liqe"}
DATASETS = described_datasets()


@pytest.fixture
def checked(tmp_path):
    """Compose and check a command line, as the command does; the owners' folders exist, empty."""
    for dataset in DATASETS.values():
        (tmp_path / dataset.folder).mkdir()

    def run(*overrides):
        config.register_resolvers()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", [f"paths.datasets={tmp_path}", *overrides], return_hydra_config=True)
            HydraConfig.instance().set_config(cfg)
            with open_dict(cfg):
                del cfg["hydra"]
            config.check(cfg, HydraConfig.get())
            return cfg

    return run


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_passes(checked, group, option, tmp_path):
    lists = [f"splits.lists={tmp_path}"] if group == "splits" and option in ("liqe", "mimi_cnn") else []
    generated = ["splits=generated"] if group == "experiment" else []
    checked(f"{group}=[{option}]" if group == "dataset" else f"{group}={option}", *lists, *generated)


def test_every_dataset_has_a_reader_of_its_own():
    for name, dataset in DATASETS.items():
        assert dataset.reader == f"mimi_lightning.data.owners.{name}.read"


def test_the_mix_is_the_published_six(checked):
    assert set(checked().datasets) == set(LISTED) == {"live", "csiq", "bid", "clive", "koniq", "kadid"}


@pytest.mark.parametrize(
    ("experiment", "backbone", "quota"), [("mimi_resnet34", "resnet34", 32), ("mimi_vgg16", "vgg16", 16)]
)
def test_the_cnn_variants_are_as_published(checked, tmp_path, experiment, backbone, quota):
    cfg = checked(f"experiment={experiment}", "split=3", f"splits.lists={tmp_path}")
    assert (cfg.splits.protocol, cfg.published_splits) == ("mimi_cnn", "mimi_cnn")
    assert cfg.paths.run == f"outputs/{experiment}/{backbone}/split03"
    assert cfg.backbone == {
        "_target_": "mimi_lightning.models.regressor.PooledRegressor",
        "name": backbone,
        "weights": "imagenet",
        "stage": -1,
        "freeze": "none",
        "keep_scaling": False,
        "max_channels": 512,
        "hidden": [512, 64],
        "pool": "bilinear",
        "says": "score",
    }
    assert (cfg.view.train.resize, cfg.view.train.crop, cfg.view.test.resize) == (512, 384, 768)
    assert cfg.data.epoch == "longest"
    assert {d.quota for d in cfg.datasets.values()} == {quota}
    weights = {name: d.weight for name, d in cfg.datasets.items()}
    assert weights == {"live": 1, "csiq": 1, "bid": 1, "clive": 1, "koniq": 4, "kadid": 4}
    assert {name: d.range for name, d in cfg.datasets.items()} == {
        "live": [0, 114.4147],
        "csiq": [0, 1],
        "bid": [0.1638, 4.9198],
        "clive": [3.42, 92.432],
        "koniq": [1.0962, 4.31],
        "kadid": [1, 4.93],
    }
    assert cfg.optimizer == {"_target_": "torch.optim.Adam", "lr": 6e-4, "backbone_lr": 6e-5, "weight_decay": 0}
    assert cfg.scheduler == {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 5, "gamma": 0.8}
    assert (cfg.trainer.max_epochs, cfg.seed, cfg.monitor) == (30, 19901116, "val/srcc_weighted")
    minn = {"_target_": "mimi_lightning.models.mappers.MINN", "blocks": 1, "hidden": [100, 100, 100], "reach": 64}
    assert cfg.mapper == minn


def test_an_experiment_may_speak_of_datasets_that_are_not_in_the_mix(checked):
    cfg = checked("experiment=mimi_resnet34", "splits=generated", "dataset=[live,csiq]")
    assert set(cfg.datasets) == {"live", "csiq"}


@pytest.mark.parametrize(("experiment", "protocol"), PUBLISHED.items())
def test_a_published_experiment_asks_for_its_lists(checked, experiment, protocol):
    with pytest.raises(ConfigError) as caught:
        checked(f"experiment={experiment}", "paths.datasets=/nowhere/at/all")
    assert str(caught.value) == (
        f"splits={protocol}, as published, needs splits.lists=DIR, the folder of the authors' lists.\n"
        "To run on generated partitions knowingly: splits=generated"
    )


@pytest.mark.parametrize("splits", ["generated", "official"])
@pytest.mark.parametrize(("experiment", "protocol"), PUBLISHED.items())
def test_a_published_experiment_takes_other_partitions_when_told_so(checked, experiment, protocol, splits):
    cfg = checked(f"experiment={experiment}", f"splits={splits}")
    assert (cfg.splits.protocol, cfg.published_splits) == (splits, protocol)


def test_without_an_experiment_partitions_are_generated(checked):
    cfg = checked()
    assert (cfg.splits.protocol, cfg.published_splits) == ("generated", None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("split=0", "split=0: expected a whole number, 1 to 10"),
        ("split=11", "split=11: expected a whole number, 1 to 10"),
        ("split=three", "split=three: expected a number"),
        ("data.quota=-4", "quota=-4: expected a whole number, 1 to 4096"),
        ("datasets.live.quota=0", r"datasets\.live\.quota=0"),
        ("datasets.live.weight=-1", r"datasets\.live\.weight=-1"),
        ("datasets.live.range=[3,1]", "expected \\[lowest, highest\\]"),
        ("data.epoch=all", "data.epoch=all: expected a whole number, 1 or more, or longest|data.epoch"),
        ("data.on_error=ignore", "expected raise or skip"),
        ("splits=liqe", "splits=liqe needs splits.lists=DIR"),
        ("splits.protocol=liqe", r"^splits\.protocol=liqe: .* Choose splits=liqe\.$"),
        (
            "splits=official splits.protocol=own",
            r"^splits\.protocol=own: .* Choose splits=all or generated or liqe or ",
        ),
        ("published_splits=lique", "published_splits=lique: expected an option of splits, or null"),
        ("+data.qota=3", "Unknown key data.qota. Did you mean data.quota?"),
        ("+colour=red", "Unknown key colour"),
        ("backbone.hidden=3", "backbone.hidden=3: expected a list"),
        ("backbone.freeze=some", "backbone.freeze=some: expected none or norm or early or all"),
        ("backbone.pool=gem", "backbone.pool=gem: expected bilinear or mean_std or attention or cls"),
        ("backbone.says=five", "backbone.says=five: expected score or deviation or levels"),
        ("+backbone.lora.rank=8", "Unknown key backbone.lora"),
        ("backbone=vit backbone.lora.rank=0", "backbone.lora.rank=0: expected a whole number, 1 or more, or null"),
        ("backbone=vit backbone.lora.alpha=0", "backbone.lora.alpha=0: expected more than 0"),
        ("mapper=spline mapper.bins=1", "mapper.bins=1: expected a whole number, 2 or more"),
        ("mapper=bernstein mapper.degree=2", "mapper.degree=2: expected a whole number, 3 or more"),
        ("mapper=least_squares mapper.min_r=1", "mapper.min_r=1: expected 0 or more, below 1"),
        ("trainer.max_epochs=many", "trainer.max_epochs=many: expected a number"),
        ("trainer.limit_val_batches=0", "trainer.limit_val_batches=0: the best epoch is chosen by validation"),
        ("trainer.check_val_every_n_epoch=31", "check_val_every_n_epoch=31: expected a whole number, 1 to 30"),
        ("trainer.precision=bf16-true", "choose 16-mixed"),
        ("trainer.precision=nonsense", "expected auto, 32-true"),
        ("trainer=ddp_cpu trainer.sync_batchnorm=true", "trainer: sync_batchnorm=true needs GPUs"),
        ("data.quota_scope=all", "data.quota_scope=all: expected process or global"),
        ("dataset=[]", "The mix is empty"),
        ("paths.datasets=/nowhere/at/all", "There is no folder /nowhere/at/all"),
        ("paths.datasets=memory://nowhere", "There is no folder memory://nowhere"),
        ("paths.outputs=s3://bucket/runs", "paths.outputs=s3://bucket/runs: expected a folder on a disk"),
        ("datasets.live.folder=elsewhere", r"live: .*elsewhere \(from https://live"),
        ("paths.run=${paths.rum}", "cannot be resolved"),
        ("view.train.crop=big", "view.train.crop=big: expected a whole number, 32 or more"),
        ("view.train.crop=true", "view.train.crop=True: expected a whole number"),
        ("view.test.resize=0", "view.test.resize=0: expected a whole number"),
        ("+view.train.small_images=pad", "Unknown key view.train.small_images"),
        ("trainer.max_epochs=null", "trainer.max_epochs=null: expected a whole number, 1 or more"),
        ("datasets.live.range=[1,2,3]", "expected \\[lowest, highest\\]"),
        ("datasets.live.weight=null", "weight=null: expected a number, such as 1"),
        ("datasets.live.range=null", "range=null: expected a list"),
        ("trainer.limit_val_batches=all", "limit_val_batches=all: the best epoch"),
        ("datasets.live.weight=nan", "expected 0 or more"),
        ("~monitor", "monitor is missing: it can be changed, not removed"),
        ("~trainer.max_epochs", "trainer.max_epochs is missing"),
        ("+data.crop=48", "data.crop is now view.train.crop."),
        ("callbacks=lr_monitor +callbacks.ema.decay=0.9", "callbacks.ema._target_ is missing"),
        ("callbacks=ema callbacks.ema.decay=1", "callbacks.ema.decay=1: expected 0 or more, below 1"),
        ("+callbacks.ema.decay=0.9", "callbacks.ema._target_ is missing"),
        ("optimizer.lr=0", "optimizer.lr=0: expected more than 0"),
        ("optimizer.lr=nan", "optimizer.lr=nan: expected more than 0"),
        ("optimizer.backbone_lr=inf", "optimizer.backbone_lr=inf: expected 0 or more"),
        ("dataset=[live] datasets.live.weight=0", "^datasets: one weight must be above 0"),
        ("trainer.gradient_clip_val=-1", "gradient_clip_val=-1: expected more than 0, or null"),
        ("trainer.limit_test_batches=0", "limit_test_batches=0: expected a whole number, 1 or more, or a share"),
        ("trainer.devices=99", "trainer.devices=99: expected 1 to [0-9]+, the cores of this machine"),
        ("trainer.num_nodes=2", "trainer.num_nodes=2: expected 1, or more where the machines know how to meet"),
        ("data.workers=1000", "data.workers=1000: expected a whole number, 0 to "),
        ("data.quota=10000000", "quota=10000000: expected a whole number, 1 to 4096"),
        ("backbone.hidden=[big]", r"expected a list such as \[512,64\]; of each, expected a whole number, 1 or more"),
        ("mapper.hidden=[]", "^mapper: hidden=.. leaves nothing that bends"),
        ("mapper.blocks=0", "mapper.blocks=0: expected a whole number, 1 or more"),
        ("backbone.stage=1", "backbone.stage=1: expected -1, the last"),
        ("view.test.resize=1", "view.test.resize=1: expected a whole number, 32 or more"),
        ("view.train.resize=64", "^view.train: what is cut out is larger than resize"),
        ("monitor=train/loss", "monitor=train/loss: expected a figure of validation that is best where largest: val/"),
        ("dataset=[live] monitor=val/srcc_bid", "weighted, val/srcc_mean, val/srcc_live, val/scene"),
        ("name=../..", "name=../..: expected a folder's name, which leads nowhere else"),
        ("name=/tmp/elsewhere", "expected a folder's name"),
        ("dataset=[live,csiq,live]", "live is named twice"),
        ("paths.outputs=null", "paths.outputs=null: expected a word"),
        ("data.cache=7", "data.cache=7: expected true or a folder"),
        ("datasets.live.range=[0,inf]", "expected .lowest, highest"),
        ("scheduler=cosine scheduler.T_max=0", "scheduler.T_max=0: expected a whole number, 1 or more"),
        (
            "callbacks=early_stopping callbacks.early_stopping.monitor=x",
            "expected train/loss or a figure of validation",
        ),
    ],
)
def test_bad_values_are_named(checked, override, message):
    with pytest.raises(ConfigError, match=message):
        checked(*override.split())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("splitt=3", "Unknown key splitt. Did you mean split?"),
        ("trainer.max_epoch=3", "Unknown key trainer.max_epoch. Did you mean trainer.max_epochs?"),
        ("backbon=resnet34", "Did you mean backbone?"),
        ("backbone=resnet35", "There is no backbone=resnet35. Did you mean resnet"),
        ("dataset=[live,kadit]", "There is no dataset=kadit. Did you mean kadid? There are: "),
        ("split==3", "Error parsing override"),
        ("trainr.max_epochs=3", "Unknown key trainr. Did you mean trainer?"),
        ("max_epochs=3", "Unknown key max_epochs. Did you mean trainer.max_epochs?"),
        ("data.crop=48", "data.crop is now view.train.crop."),
        ("data.test_resize=512", "data.test_resize is now view.test.resize."),
        ("logger=[csv,wand]", "There is no logger=wand. Did you mean wandb? There are: csv, "),
        ("trainer.max_epochs.x=3", "Unknown key trainer.max_epochs.x"),
    ],
)
def test_what_hydra_refuses_is_explained(checked, override, message):
    with pytest.raises(HydraException) as caught:
        checked(override)
    assert message in config.explain(caught.value, [override])


GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
OPTIONAL = {"tasks": {}, "logger": {}, "callbacks": None, "experiment": None, "sweep": None}  # and what is left of them


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_without_an_option_is_understood_or_refused_in_one_line(group, monkeypatch, miniature, capsys):
    assert config.plain([f"~{group}", f"{group}=null"]) == [f"{group}=[]"] * 2
    trained = []
    monkeypatch.setattr("mimi_lightning.train.train", trained.append)
    monkeypatch.setattr("sys.argv", ["mimi", f"paths.datasets={miniature}", f"~{group}"])
    if group in OPTIONAL:
        main()
        assert trained[0].get(group) == OPTIONAL[group]
        return
    with pytest.raises(SystemExit) as caught:
        main()
    said = capsys.readouterr().err
    assert caught.value.code == 1
    assert said.startswith(
        "Error: The mix is empty" if group == "dataset" else f"Error: {group} is missing. Choose one"
    )
    assert said.count("\n") == 1


def test_no_option_has_one_form_for_every_group():
    words = ["~logger", "logger=", "logger=null", "logger=[null]", "logger=false"]
    assert config.plain(words) == ["logger=[]"] * 5
    assert config.plain(["tasks=null,none", "splits=3"]) == ["tasks=[],none", "splits='3'"]
    others = ["logger=[csv,wandb]", "logger=csv,wandb", "~logger=csv", "split=null", "logger", "-m", "/data=null"]
    assert config.plain(others) == others


@pytest.mark.parametrize(("word", "message"), [("splits=3", "There is no splits=3."), ("~mapper=none", "No match")])
def test_what_is_no_option_is_refused_in_one_line(word, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mimi", word])
    with pytest.raises(SystemExit):
        main()
    assert message in capsys.readouterr().err


def test_datasets_of_a_folder_of_ones_own_are_known(checked, tmp_path):
    text = "# @package datasets.{}\ndefaults: [base/table@_here_, _self_]\nfolder: {}\nrange: [0, 1]\ntable: {{}}\n"
    mine = tmp_path / "mine"
    (mine / "dataset").mkdir(parents=True)
    (mine / "experiment").mkdir()
    for name in ("spaq", "tid2008"):
        (mine / "dataset" / f"{name}.yaml").write_text(text.format(name, name))
        (tmp_path / name).mkdir()
    (mine / "experiment" / "both.yaml").write_text(
        "# @package _global_\ndatasets: {spaq: {weight: 3}, tid2008: {weight: 2}}\n"
    )
    words = ["experiment=both", "dataset=[live,spaq]"]
    loaded = config.load(words, mine).datasets
    assert checked(f"hydra.searchpath=[file://{mine}]", *words).datasets == loaded
    assert {name: dataset.weight for name, dataset in loaded.items()} == {"live": 1, "spaq": 3}
    with pytest.raises(HydraException) as caught:
        config.load(["dataset=[spak]"], mine)
    assert "Did you mean spaq?" in config.explain(caught.value, ["dataset=[spak]", "--config-dir", str(mine)])
    with pytest.raises(ConfigError, match=r"There is no folder .*mine for --config-dir"):
        config.load([], tmp_path / "not" / "mine")


def test_lists_are_asked_for_where_they_are_used():
    assert config.load(["experiment=mimi_clip"]).splits.lists is None  # `evaluate` reads none
    with pytest.raises(ConfigError, match=r"needs splits\.lists=DIR"):
        cli.main(["data", "check", "experiment=mimi_clip"])


def test_small_pictures_of_patches_are_one_setting_of_the_view(checked):
    view = checked("view=patches", "view.test.resize=500", "view.train.small_images=pad").view
    assert (view.train.resize, view.test.resize) == (500, 500)
    assert (view.train.small_images, view.test.small_images) == ("pad", "pad")


def test_a_crop_is_a_whole_miniature_picture(checked):
    assert checked("data=miniature", "data.miniature.side=96").view.train.crop == 96


def test_every_coverage_of_the_miniature_has_a_folder_of_its_own(checked):
    assert checked("data=miniature").data.root == "miniature"
    for name in COVERAGES.keys() - {"own"}:
        assert checked("data=miniature_study", f"data.miniature.coverage={name}").data.root == f"miniature_study_{name}"
    with pytest.raises(ConfigError, match=r"data\.miniature\.coverage=all: expected own or shared or scale"):
        checked("data=miniature", "data.miniature.coverage=all")


def test_an_unknown_key_in_an_experiment_file_is_found(checked, tmp_path, monkeypatch):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "typo.yaml").write_text("# @package _global_\ntrainer: {max_epoch: 3}\n")
    with pytest.raises(ConfigError, match=r"Did you mean trainer\.max_epochs"):
        checked(f"hydra.searchpath=[file://{folder.parent}]", "experiment=typo")


def test_the_tree_lies_in_the_checkout():
    assert Path(__file__).parents[1] / "conf" == CONF


def test_the_vision_language_variant_is_as_published(checked, tmp_path):
    cfg = checked("experiment=mimi_clip", "split=3", f"splits.lists={tmp_path}")
    assert (cfg.splits.protocol, cfg.published_splits) == ("liqe", "liqe")
    assert cfg.paths.run == "outputs/mimi_clip/clip_vit_b32/split03"
    assert (cfg.backbone.model, cfg.backbone.weights) == ("ViT-B-32-quickgelu", "openai")
    train, test = cfg.view.train, cfg.view.test
    assert (train.resize, train.patches, train.side) == (768, 3, 224)
    assert (test.resize, test.patches, test.side) == (768, 15, 224)
    quotas = {name: d.quota for name, d in cfg.datasets.items()}
    assert quotas == {"live": 4, "csiq": 4, "bid": 4, "clive": 4, "koniq": 16, "kadid": 16}
    assert {d.weight for d in cfg.datasets.values()} == {1}
    assert cfg.optimizer._target_ == "torch.optim.AdamW"
    assert (cfg.optimizer.lr, cfg.optimizer.backbone_lr, cfg.optimizer.weight_decay) == (5e-6, 5e-6, 1e-3)
    assert cfg.scheduler == {"_target_": "mimi_lightning.schedulers.OscillatingCosine", "half": 5}
    assert cfg.tasks == {"_target_": "mimi_lightning.tasks.SceneDistortion", "temperature": 2, "translate": None}
    assert (cfg.data.epoch, cfg.trainer.max_epochs, cfg.seed, cfg.monitor) == (200, 80, 20200626, "val/srcc_mean")


@pytest.mark.parametrize(
    ("words", "objective", "gauge"),
    [
        (["mapper=minn"], "MIMI", "Range"),
        (["mapper=logistic"], "Regression", "Free"),
        (["mapper=logistic", "gauge=range"], "Regression", "Range"),
        (["mapper=logistic", "objective=plcc"], "PLCC", "Moments"),
        (["mapper=logistic", "objective=mimi"], "MIMI", "Range"),
        (["mapper=embedding"], "Regression", "Free"),
        (["mapper=heads"], "Regression", "Free"),
        (["gauge=anchor", "mapper=embedding"], "Regression", "Anchor"),
        (["mapper=heads", "gauge=range", "objective=mimi"], "MIMI", "Range"),
        (["mapper=embedding", "experiment=demo"], "Regression", "Free"),
    ],
)
def test_a_mapper_brings_what_it_needs_and_leaves_the_last_word(checked, words, objective, gauge):
    cfg = checked(*words)
    assert cfg.objective._target_.endswith(f".{objective}")
    assert cfg.gauge._target_.endswith(f".{gauge}")


def test_an_experiment_has_the_last_word_on_what_a_mapper_brings(checked, tmp_path):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    defaults = "defaults: [override /mapper: heads, override /gauge: moments]"
    (folder / "own.yaml").write_text(f"# @package _global_\n{defaults}\n")
    cfg = checked(f"hydra.searchpath=[file://{folder.parent}]", "experiment=own")
    assert cfg.gauge._target_.endswith(".Moments")
    assert cfg.objective._target_.endswith(".Regression")


def test_heads_know_the_hidden_layers_of_the_backbone(checked):
    assert checked("mapper=heads").mapper.hidden == [512, 64]
    assert checked("mapper=heads", "backbone.hidden=[7]").mapper.hidden == [7]
    assert checked("mapper=heads", "backbone=clip_vit_b32").mapper.hidden is None


def test_a_backbone_brings_what_it_needs_and_leaves_the_last_word(checked):
    cfg = checked("backbone=clip_vit_b32", "optimizer=adam", "tasks=none")
    assert cfg.view.test._target_ == "mimi_lightning.data.patches.TestPatches"
    assert cfg.optimizer.lr == 6e-4
    assert not cfg.tasks


def test_an_objective_brings_its_gauge_and_leaves_the_last_word(checked):
    assert checked("objective=plcc").gauge._target_ == "mimi_lightning.gauges.Moments"
    assert checked("objective=plcc", "gauge=none").gauge._target_ == "mimi_lightning.gauges.Free"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["datasets.csiq=null"], "^datasets.csiq=null: expected a mapping"),
        (["view.train=''", "view.train.crop=[[1]]"], "Unknown key view.train.crop|This cannot be composed"),
        (["gauge={}"], "^gauge={}: expected the name of an option of gauge"),
        (["gauge=[[1]]"], "expected the name of an option of gauge"),
    ],
)
def test_what_changes_its_kind_while_composing_is_refused(words, message):
    with pytest.raises((ConfigError, HydraException)) as caught:
        config.load(words)
    said = str(caught.value) if isinstance(caught.value, ConfigError) else config.explain(caught.value, words)
    assert re.search(message, said)
