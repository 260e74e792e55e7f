"""What a model card says, and that the hub can read it."""

import json
import math
import re
from hashlib import sha256

import pytest
from huggingface_hub import ModelCard
from omegaconf import OmegaConf

from mimi_lightning.evaluation.study import read_run
from mimi_lightning.models.origins import origin
from mimi_lightning.results import show_results
from mimi_lightning.ruler.card import card_of_checkpoint, card_of_run
from mimi_lightning.run_folder import SETTINGS
from tests.ruler.conftest import make_model


def section(card: str, title: str) -> str:
    return re.search(rf"^## {title}\n+(.*?)(?=\n## |\Z)", card, re.M | re.S)[1]


def rows(text: str) -> dict[str, list[str]]:
    """Tables of Markdown by their first column."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {first: rest for first, *rest in cells}


def changed(run, file: str, **values):
    path = run.path / file
    read = OmegaConf.load(path) if file == SETTINGS else json.loads(path.read_text())
    read.update(values)
    OmegaConf.save(read, path) if file == SETTINGS else path.write_text(json.dumps(read))


def test_figures_have_their_intervals_and_errors(finished):
    figures = section(card_of_run(read_run(finished)), "How well it does")
    assert rows(figures)["live"] == ["20", "1.000 [1.000, 1.000]", "1.000 [1.000, 1.000]", "2"]
    assert rows(figures)["csiq"] == ["20", "-1.000 [-1.000, -1.000]", "-1.000 [-1.000, -1.000]", "0"]
    images, srcc, _, error = rows(figures)["mean"]
    assert (images, srcc[:7], error) == ("40", "0.000 [", "")
    assert "95% intervals of 999 bootstrap samples" in figures


def test_figures_that_nobody_could_compute_stay_empty(finished):
    metrics = finished.read_metrics()["figures"]
    metrics["live"] |= {"srcc": None, "plcc": None, "note": "4 scores are too few"}
    changed(finished, "metrics.json", figures=metrics)
    predictions = finished.file("predictions").read_text().splitlines()
    finished.file("predictions").write_text("\n".join(predictions[:25]))
    card = card_of_run(read_run(finished))
    assert rows(section(card, "How well it does"))["live"] == ["20", "", "", "2"]
    assert "- live: 4 scores are too few" in card
    assert {result.dataset_name for result in ModelCard(card).data.eval_results} == {"csiq"}


def test_data_have_parts_partitions_hashes_and_licences(finished):
    data = section(card_of_run(read_run(finished)), "What it learned from")
    more = ["[0, 1]", "8", "1"]
    assert rows(data)["[live](https://live.example)"] == ["20", "0", "20", *more, "liqe", "free with its notice"]
    assert rows(data)["[csiq](https://csiq.example)"] == ["20", "5", "20", *more, "generated-7", "see its owner"]
    assert f"protocol `liqe`, SHA-256 `{'ab' * 32}`" in data
    assert f"SHA-256 `{sha256(finished.file('labels').read_bytes()).hexdigest()}`" in data
    assert "3 images of live are in no part" in data


def test_it_says_how_the_checkpoint_came_about(finished):
    card = card_of_run(read_run(finished))
    told = section(card, "How it came about")
    for line in ("mapper: Linear", "split: 2", "epochs: 9; the best was 7, counted from 0", "commit: 0123456789ab"):
        assert f"- {line}\n" in told
    assert "note: published settings, generated partitions (csiq) instead of splits=liqe" in told
    assert "torchvision" in section(card, "Pretrained weights")
    assert "demonstration" not in card


def test_a_miniature_is_not_for_use_and_has_no_owner(finished):
    changed(finished, "metrics.json", alignment=[{"scores": "proxy scores"}])
    card = card_of_run(read_run(finished))
    assert "**This one is a demonstration, not for use**" in card
    assert rows(section(card, "What it learned from"))["live"][-1] == "that of the photographs it was made of"


def test_a_run_that_started_from_another_names_it_without_its_folder(finished):
    changed(finished, SETTINGS, init="/data/someone/outputs/old/resnet18/split01/checkpoints/best.ckpt")
    told = section(card_of_run(read_run(finished)), "Pretrained weights")
    assert "`old/resnet18/split01/checkpoints/best.ckpt`" in told


def test_the_hub_reads_it(finished):
    data = ModelCard(card_of_run(read_run(finished))).data
    assert data.license == "other"
    assert data.library_name == "mimi-lightning"
    assert data.model_name == "mix/resnet18/split02"
    results = {(result.dataset_name, result.metric_type): result.metric_value for result in data.eval_results}
    assert results == pytest.approx(
        {("csiq", "srcc"): -1, ("csiq", "plcc"): -1, ("live", "srcc"): 1, ("live", "plcc"): 1}
    )


def test_a_checkpoint_alone_says_what_it_knows(ruler):
    card = card_of_checkpoint("mine", ruler.model)
    assert ModelCard(card).content.count("\n# mine\n") == 1
    assert rows(section(card, "What it learned from"))["live"] == ["10", "[0, 100]"]
    assert "its figures are not known" in section(card, "How well it does")
    assert "does not tell which weights" in section(card, "Pretrained weights")


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        ({"name": "resnet34", "weights": "none"}, "None: resnet34 began with random weights."),
        ({"name": "vgg16", "weights": "imagenet"}, "ImageNet, whose terms allow non-commercial research"),
        ({"name": "efficientnet_lite0", "weights": "imagenet"}, "which states no licence"),
        ({"name": "vit_small_patch16_dinov3", "weights": "pretrained"}, "dinov3-license"),
        ({"name": "resnet34", "weights": "/data/someone/w.pth"}, "began with `w.pth`, whose terms are not known"),
        ({"name": "resnet34", "weights": "folder/w"}, "began with `w`, whose terms are not known"),
        ({"name": "clip", "model": "ViT-B-32-quickgelu", "weights": "openai"}, "OpenAI published them under MIT"),
        ({"name": "clip", "model": "ViT-B-32-quickgelu", "weights": "metaclip_400m"}, "see open_clip"),
        ({"name": "clip", "model": "ViT-B-32-quickgelu", "weights": "vit.pt"}, "began with `vit.pt`"),
        ({"name": "clip", "model": "ViT-B-32-quickgelu", "weights": "/data/someone/vit"}, "began with `vit`"),
    ],
)
def test_every_kind_of_pretrained_weights_has_its_terms(backbone, said):
    assert said in origin(backbone)
    assert "someone" not in origin(backbone)


def test_a_checkpoint_without_native_scales_promises_none():
    facts = {"range": [0, 1], "weight": 1, "size": 9}
    datasets = {"csiq": {**facts, "labels": [math.nan] * 2}, "live": {**facts, "labels": [0, 1]}}
    card = card_of_checkpoint("half", make_model(datasets=datasets, marks={}))
    assert 'scale="live")  # on the scale of a dataset: live\n' in card
    card = card_of_checkpoint("none", make_model(datasets={"csiq": datasets["csiq"]}, marks={}))
    assert "native scales are not known" in card
    assert "scale=" not in card


def test_a_finished_run_is_shown_with_its_card_if_it_has_one(finished, capsys):
    show_results(finished)
    assert "model_card.md" not in capsys.readouterr().out
    finished.file("card").write_text("# A card")
    show_results(finished)
    assert str(finished.file("card")) in capsys.readouterr().out
