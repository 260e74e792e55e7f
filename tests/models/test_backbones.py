"""Backbones: feature maps of every family, weights from files, and what is said when they cannot be had."""

from urllib.error import URLError

import pytest
import timm
import torch
import torchvision

from mimi_lightning.errors import ConfigError
from mimi_lightning.models import backbones
from mimi_lightning.models.backbones import make_backbone
from mimi_lightning.models.regressor import BilinearRegressor

PICTURE = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "stage", "shape"),
    [
        ("resnet18", -1, (2, 512, 2, 2)),
        ("resnet34", -2, (2, 256, 4, 4)),
        ("resnet50", -1, (2, 2048, 2, 2)),
        ("vgg16", -1, (2, 512, 2, 2)),
        ("vgg16", -2, (2, 512, 4, 4)),
        ("vgg16_cut", -1, (2, 512, 4, 4)),
        ("efficientnet_lite0", -2, (2, 112, 4, 4)),
        ("mobilenetv3_small_050", -1, (2, 288, 2, 2)),
    ],
)
def test_feature_maps(name, stage, shape):
    backbone = make_backbone(name, "none", stage).eval()
    assert backbone(PICTURE).shape == shape
    assert backbone.channels == shape[1]


def test_vgg_has_all_of_its_features_with_the_last_max_pooling():
    backbone = make_backbone("vgg16", "none").eval()
    features = torchvision.models.vgg16().features.eval()
    features.load_state_dict(backbone.features.state_dict())
    pixels = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(backbone.features(pixels), features(pixels))


def test_pixels_are_normalised_as_the_weights_expect():
    backbone = make_backbone("resnet18", "none").eval()
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = backbone.features(((1 - mean) / std).view(1, 3, 1, 1).expand(1, 3, 32, 32))
    torch.testing.assert_close(backbone(white), expected)


def test_the_packaged_weights_are_those_of_the_whole_timm_model():
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    packaged = torch.load(backbones._efficientnet_lite0_file(), weights_only=True)
    assert len(packaged) == len(whole.state_dict()) == 296
    whole.load_state_dict(dict(zip(whole.state_dict(), packaged.values(), strict=True)))
    backbone = make_backbone("efficientnet_lite0", "imagenet").eval()
    captured = []
    whole.blocks[-1].register_forward_hook(lambda module, inputs, output: captured.append(output))
    whole(PICTURE / 127.5 - 1)
    torch.testing.assert_close(backbone(PICTURE), captured[0], rtol=1e-4, atol=1e-4)


def test_weights_from_a_file(tmp_path):
    model = torchvision.models.resnet18()
    torch.save(model.state_dict(), tmp_path / "whole.pth")
    backbone = make_backbone("resnet18", str(tmp_path / "whole.pth"))
    assert torch.equal(backbone.features[0].weight, model.conv1.weight)


def test_weights_that_do_not_fit_or_are_not_there(tmp_path, monkeypatch):
    torch.save(torchvision.models.vgg16().features.state_dict(), tmp_path / "vgg.pth")
    with pytest.raises(ConfigError, match=r"vgg\.pth lacks \d+ tensors"):
        make_backbone("resnet18", str(tmp_path / "vgg.pth"))
    with pytest.raises(ConfigError, match="there is no such file"):
        make_backbone("resnet18", "imagnet")

    def no_network(*args, **kwargs):
        raise URLError("no route")

    monkeypatch.setattr(torchvision.models, "get_model", no_network)
    with pytest.raises(ConfigError, match=r"cannot be had.*no route") as caught:
        make_backbone("resnet34", "imagenet")
    assert "backbone.weights=FILE" in str(caught.value)


def test_an_unknown_model_is_refused_with_near_names():
    with pytest.raises(ConfigError, match=r"Near: .*convnext_tiny"):
        make_backbone("convnext_tin", "none")


def test_many_features_are_reduced_before_pooling():
    regressor = BilinearRegressor("resnet50", "none", max_channels=32, hidden=[8])
    assert regressor.pool.out_features == 32 * 33 // 2
    assert regressor(PICTURE).proxy.shape == (2,)


def test_the_first_layer_starts_as_kaiming_would_have_it_unpacked():
    torch.manual_seed(0)
    """Diagonals with the Kaiming deviation of 512 x 512 inputs; off-diagonals as the mean of two such weights."""
    weight = BilinearRegressor("resnet18", "none").head[0].weight
    rows, columns = torch.triu_indices(512, 512)
    assert weight[:, rows == columns].std().item() == pytest.approx(2**0.5 / 512, rel=0.01)
    assert weight[:, rows != columns].std().item() == pytest.approx(1 / 512, rel=0.01)


@pytest.mark.parametrize(
    ("freeze", "learning", "norms"), [("none", True, True), ("norm", True, False), ("all", False, False)]
)
def test_what_is_frozen_stays_as_it_was(freeze, learning, norms):
    regressor = BilinearRegressor("resnet18", "none", freeze=freeze, hidden=[8])
    assert all(p.requires_grad == learning for p in regressor.backbone_parameters())
    before = regressor.backbone.features[1].running_mean.clone()
    regressor(PICTURE).proxy.sum().backward()
    assert torch.equal(regressor.backbone.features[1].running_mean, before) != norms
    assert regressor.head[0].weight.grad is not None
    regressor.eval().train()
    assert regressor.backbone.features[1].training == norms
    with pytest.raises(ConfigError, match=r"backbone\.freeze=some"):
        BilinearRegressor("resnet18", "none", freeze="some")


def test_scores_are_float32_under_autocast():
    regressor = BilinearRegressor("resnet18", "none", hidden=[8]).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert regressor(PICTURE).proxy.dtype == torch.float32
