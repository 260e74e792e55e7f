"""Checkpoints of the first format: the weights as they were written then, scores by the formulas of then."""

import math

import pytest
import torch
import torchvision
from torch.nn.functional import elu, softplus

from mimi_lightning.checkpoints import FORMAT, forget_idle, goes_on, upgrade
from mimi_lightning.errors import ConfigError
from mimi_lightning.models.mappers import Linear
from mimi_lightning.module import QualityModel

LABELS = {"csiq": [0.0, 1.0], "live": [10.0, 90.0]}
PICTURE = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def first_format(name: str, features: dict[str, torch.Tensor], channels: int) -> dict:
    """A checkpoint as the first version wrote it."""
    random = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random) / math.sqrt(shape[-1])

    packed, functions = channels * (channels + 1) // 2, 6
    weights = {f"regressor.backbone.features.{key}": value for key, value in features.items()}
    weights |= {"regressor.backbone.mean": torch.full((3, 1, 1), 0.5), "regressor.backbone.std": torch.ones(3, 1, 1)}
    weights |= {"regressor.head.0.weight": 30 * draw(8, packed), "regressor.head.0.bias": draw(8)}
    weights |= {"regressor.head.2.weight": 9 * draw(1, 8), "regressor.head.2.bias": draw(1)}
    for layer, (n_in, n_out) in enumerate([(1, 5), (5, 4), (4, 1)]):
        weights[f"mapper.functions.weights.{layer}"] = draw(functions, n_out, n_in)
        weights[f"mapper.functions.biases.{layer}"] = draw(functions, 1, n_out)
    weights |= {"mapper.functions.log_scale": draw(functions), "mapper.functions.offset": draw(functions)}
    weights["scale.labels"] = torch.tensor(list(LABELS.values()))
    weights["scale.ranges"] = torch.tensor([[0.0, 1.0], [0.0, 114.4147]])
    datasets = {name: {"range": [0, 1], "labels": labels, "weight": 1, "size": 9} for name, labels in LABELS.items()}
    regressor = {"_target_": "mimi_lightning.models.regressor.BilinearRegressor", "name": name, "weights": "none"}
    parameters = {
        "regressor": {**regressor, "stage": -1, "freeze": "none", "max_channels": 512, "hidden": [8]},
        "mapper": {"_target_": "mimi_lightning.models.mappers.MINN", "blocks": 1, "hidden": [5, 4]},
        "objective": {"_target_": "mimi_lightning.objectives.MIMI"},
        "datasets": datasets,
        "tasks": None,
    }
    return {"hyper_parameters": parameters, "state_dict": weights}


def old_proxy(weights: dict, maps: torch.Tensor) -> torch.Tensor:
    x = maps.flatten(2)
    gram = x @ x.mT / x.shape[-1]
    rows, columns = torch.triu_indices(x.shape[1], x.shape[1])
    packed = (gram.sign() * (gram.abs() + 1e-8).sqrt())[:, rows, columns] * torch.where(rows == columns, 1, 2**0.5)
    packed = packed / packed.norm(dim=1, keepdim=True)
    hidden = (packed @ weights["regressor.head.0.weight"].mT + weights["regressor.head.0.bias"]).relu()
    return (hidden @ weights["regressor.head.2.weight"].mT + weights["regressor.head.2.bias"]).squeeze(1)


def old_function(weights: dict, number: int, x: torch.Tensor) -> torch.Tensor:
    """exp(s) integral_0^x f + b by a fine trapezoidal rule; f stays as it is beyond 16."""
    t = x[:, None] * torch.linspace(0, 1, 20_001, dtype=torch.float64)
    features = t.clamp(-16, 16)[..., None]
    weight, bias = (
        [weights[f"mapper.functions.{kind}.{i}"][number].double() for i in range(3)] for kind in ("weights", "biases")
    )
    for i in range(3):
        features = features @ weight[i].mT + bias[i]
        features = features.relu() if i < 2 else elu(features) + 1
    scale, offset = (weights[f"mapper.functions.{name}"][number].double() for name in ("log_scale", "offset"))
    return scale.exp() * torch.trapezoid(features.squeeze(-1), t) + offset


@pytest.mark.parametrize(
    ("name", "channels", "cut"), [("resnet18", 512, None), ("vgg16", 512, 30)], ids=["resnet18", "vgg16"]
)
def test_the_first_format_gives_the_same_scores(name, channels, cut, tmp_path):
    torch.manual_seed(0)
    whole = torchvision.models.get_model(name).eval()
    features = whole.features[:cut] if cut else torch.nn.Sequential(*list(whole.children())[:8])
    checkpoint = first_format(name, features.state_dict(), channels)
    torch.save(checkpoint, tmp_path / "old.ckpt")
    model, weights = QualityModel.load(tmp_path / "old.ckpt"), checkpoint["state_dict"]
    with torch.no_grad():
        torch.testing.assert_close(
            model(PICTURE), old_proxy(weights, features(PICTURE / 255 - 0.5)), rtol=1e-5, atol=1e-5
        )


def test_the_first_formats_mappers_give_the_same_scores(tmp_path):
    checkpoint = first_format("resnet18", {}, 512)
    upgraded, weights = upgrade(checkpoint), checkpoint["state_dict"]
    mapper = QualityModel(**upgraded["hyper_parameters"]).mapper
    prefix = "mapper."
    state = {key[len(prefix) :]: value for key, value in upgraded["state_dict"].items() if key.startswith(prefix)}
    mapper.load_state_dict(state)
    q = torch.tensor([-25.0, -3.0, 0.0, 1.7, 13.0, 40.0])
    for dataset in range(2):
        m, f, g = (lambda x, role=role, d=dataset: old_function(weights, role * 2 + d, x) for role in range(3))
        x2 = m(q.double())
        y1 = q + f(x2)
        with torch.no_grad():
            new = mapper(q, torch.tensor(dataset))
        torch.testing.assert_close(new.double(), x2 + g(y1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("given", "reach"), [({}, 16), ({"reach": 8.0}, 8)])
def test_tables_of_the_first_format_end_where_they_did(given, reach):
    checkpoint = first_format("resnet18", {}, 512)
    checkpoint["hyper_parameters"]["mapper"] |= given
    assert upgrade(checkpoint)["hyper_parameters"]["mapper"]["reach"] == reach


def test_what_is_saved_by_hand_is_loaded_as_it_was_and_replaces_an_older_file(tmp_path):
    torch.manual_seed(0)
    model = QualityModel(**upgrade(first_format("resnet18", {}, 512))["hyper_parameters"])
    file = tmp_path / "new" / "best.ckpt"
    for weights in ("imagenet", "none"):
        model.hparams.regressor["weights"] = weights
        model.save(file)
    assert [path.name for path in file.parent.iterdir()] == ["best.ckpt"]
    again = QualityModel.load(file)
    assert again.hparams == model.hparams
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert goes_on(torch.load(file, weights_only=True))


def test_this_format_is_left_as_it_is():
    checkpoint = {"format": FORMAT, "hyper_parameters": {}, "state_dict": {}}
    assert upgrade(checkpoint) == checkpoint


def test_a_regressor_of_an_earlier_name_is_the_bilinear_one():
    parameters = first_format("resnet18", {}, 512)["hyper_parameters"]
    upgraded = upgrade({"format": FORMAT, "hyper_parameters": parameters, "state_dict": {}})["hyper_parameters"]
    target = "mimi_lightning.models.regressor.PooledRegressor"
    assert upgraded["regressor"] == {**parameters["regressor"], "_target_": target, "pool": "bilinear", "says": "score"}
    assert {**upgraded, "regressor": parameters["regressor"]} == parameters
    assert QualityModel(**upgraded).regressor.head[0].in_features == 512 * 513 // 2


def test_a_run_of_an_earlier_version_does_not_go_on(run, tmp_path, monkeypatch):
    def stop(model):
        if model.current_epoch == 1:
            raise RuntimeError("power cut")

    monkeypatch.setattr(QualityModel, "on_train_epoch_start", stop, raising=False)
    with pytest.raises(RuntimeError, match="power cut"):
        run()
    monkeypatch.undo()
    last = tmp_path / "outputs/mimi/resnet18/split01/checkpoints/last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    del checkpoint["format"]
    torch.save(checkpoint, last)
    with pytest.raises(ConfigError, match=r"begun by an earlier version.*\n.*overwrite=true"):
        run()


def test_lines_of_the_second_format_give_the_same_scores():
    parameters = {"mapper": {"_target_": "mimi_lightning.models.mappers.Linear"}}
    slope, offset = torch.tensor([7.0, 1.0]), torch.tensor([2.0, -3.0])
    checkpoint = {"format": 2, "hyper_parameters": parameters}
    upgraded = upgrade({**checkpoint, "state_dict": {"mapper.slope": slope, "mapper.offset": offset}})["state_dict"]
    mapper, q = Linear(["csiq", "live"]), torch.tensor([-2.0, 5.0])
    mapper.load_state_dict({key.removeprefix("mapper."): value for key, value in upgraded.items()})
    for dataset in range(2):
        expected = softplus(slope[dataset]) * q + offset[dataset]
        torch.testing.assert_close(mapper(q, torch.tensor(dataset)), expected)
    assert not goes_on(checkpoint)
    assert goes_on({**checkpoint, "hyper_parameters": {"mapper": {"_target_": "mimi_lightning.models.mappers.MINN"}}})


def test_an_optimiser_forgets_parameters_that_are_there_no_longer():
    groups = [{"params": [0, 1]}, {"params": [2, 3, 4, 5]}]
    checkpoint = {"optimizer_states": [{"state": {}, "param_groups": groups}]}
    forget_idle(checkpoint, 3)
    assert groups == [{"params": [0, 1]}, {"params": [2, 3, 4]}]
    forget_idle(checkpoint, 3)
    assert groups[1] == {"params": [2, 3, 4]}
