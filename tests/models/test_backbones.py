"""Backbones: features of every family, weights from files, and what is said when they cannot be had."""

from functools import partial
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from mimi_lightning.errors import ConfigError
from mimi_lightning.models import backbones
from mimi_lightning.models.backbones import make_backbone

PICTURE = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def vgg16_features():
    """Without the head, which has nine tenths of all weights."""
    return torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])


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
    maps, token = backbone(PICTURE)
    assert maps.shape == shape
    assert backbone.channels == shape[1]
    assert token is None
    assert not backbone.class_token


def test_vgg_has_all_of_its_features_with_the_last_max_pooling():
    backbone = make_backbone("vgg16", "none").eval()
    features = vgg16_features()
    features.load_state_dict(backbone.features.state_dict())
    pixels = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(backbone.features(pixels), features(pixels))


def test_pixels_are_normalised_as_the_weights_expect():
    backbone = make_backbone("resnet18", "none").eval()
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = backbone.features(((1 - mean) / std).view(1, 3, 1, 1).expand(1, 3, 32, 32))
    torch.testing.assert_close(backbone(white).maps, expected)


def test_the_packaged_weights_are_those_of_the_whole_timm_model():
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    packaged = torch.load(backbones._efficientnet_lite0_file(), weights_only=True)
    assert len(packaged) == len(whole.state_dict()) == 296
    whole.load_state_dict(dict(zip(whole.state_dict(), packaged.values(), strict=True)))
    backbone = make_backbone("efficientnet_lite0", "imagenet").eval()
    captured = []
    whole.blocks[-1].register_forward_hook(lambda module, inputs, output: captured.append(output))
    whole(PICTURE / 127.5 - 1)
    torch.testing.assert_close(backbone(PICTURE).maps, captured[0], rtol=1e-4, atol=1e-4)


def test_weights_from_a_file(tmp_path):
    model = torchvision.models.resnet18()
    torch.save(model.state_dict(), tmp_path / "whole.pth")
    backbone = make_backbone("resnet18", str(tmp_path / "whole.pth"))
    assert torch.equal(backbone.features[0].weight, model.conv1.weight)


def test_weights_that_do_not_fit_or_are_not_there(tmp_path, monkeypatch):
    torch.save(vgg16_features().state_dict(), tmp_path / "vgg.pth")
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


class TestTransformers:
    """Their real names with two small blocks; no random position embedding is zero."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        torch.manual_seed(0)
        make = partial(timm.create_model, depth=2, embed_dim=32, num_heads=2)
        monkeypatch.setattr(timm, "create_model", make)

    @pytest.mark.parametrize(
        ("name", "patch", "token"),
        [
            ("vit_tiny_patch16_224", 16, True),
            ("deit_tiny_distilled_patch16_224", 16, True),
            ("vit_small_patch14_reg4_dinov2", 14, True),
            ("vit_small_patch16_dinov3", 16, True),
            ("vit_base_patch16_siglip_224.v2_webli", 16, False),
        ],
    )
    @pytest.mark.parametrize("size", [(224, 224), (64, 112), (45, 70)], ids=str)
    def test_features_are_the_models_tokens_at_any_size(self, name, patch, token, size):
        backbone = make_backbone(name, "none").eval()
        picture = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
        model = backbone.features
        tokens = model.forward_features((picture / 255 - backbone.mean) / backbone.std)
        height, width = (-(-side // patch) for side in size)
        assert tokens.shape[1] == model.num_prefix_tokens + height * width
        seen = backbone(picture)
        torch.testing.assert_close(seen.maps.flatten(2).mT, tokens[:, model.num_prefix_tokens :])
        assert seen.maps.shape == (2, backbone.channels, height, width)
        assert backbone.class_token is token
        if token:
            torch.testing.assert_close(seen.token, tokens[:, 0])
        else:
            assert seen.token is None

    def test_position_embeddings_are_interpolated(self):
        backbone = make_backbone("vit_base_patch16_siglip_224", "none").eval()
        model = backbone.features
        seen = backbone(torch.zeros(1, 3, 64, 112, dtype=torch.uint8)).maps.flatten(2).mT
        pixels = ((0 - backbone.mean) / backbone.std).expand(1, 3, 64, 112)
        x = model.patch_embed(pixels).flatten(1, 2) + resample_abs_pos_embed(model.pos_embed, (4, 7), (14, 14), 0)
        torch.testing.assert_close(seen, model.norm(model.blocks(x)))

    def test_rotary_positions_tell_places_apart(self):
        backbone = make_backbone("vit_small_patch16_dinov3", "none").eval()
        with torch.no_grad():
            for block in backbone.features.blocks:  # initial layer scales of 1e-5 would hide what attention does
                block.gamma_1.fill_(1)
                block.attn.qkv.weight.mul_(20)
        picture = torch.randint(0, 256, (1, 3, 32, 80), dtype=torch.uint8)
        turned = picture.unflatten(3, (5, 16)).flip(3).flatten(3)  # the same patches in another order
        seen, other = backbone(picture).token, backbone(turned).token
        assert (seen - other).abs().max() > 1e-3

    def test_stages_are_blocks(self):
        torch.manual_seed(1)
        last = make_backbone("vit_tiny_patch16_224", "none").eval()
        torch.manual_seed(1)
        first = make_backbone("vit_tiny_patch16_224", "none", stage=-2).eval()
        assert len(first.features.blocks) == 1
        (expected,) = last.features.forward_intermediates(
            (PICTURE / 255 - 0.5) / 0.5, indices=[0], norm=True, intermediates_only=True
        )
        torch.testing.assert_close(first(PICTURE).maps, expected)
        with pytest.raises(ConfigError, match=r"backbone\.stage=-3: vit_tiny_patch16_224 has blocks -2 to -1"):
            make_backbone("vit_tiny_patch16_224", "none", stage=-3)

    def test_weights_from_a_file_with_positions_of_another_size(self, tmp_path):
        model = timm.create_model("vit_tiny_patch16_224", img_size=96)
        save_file(model.state_dict(), tmp_path / "model.safetensors")
        features = make_backbone("vit_tiny_patch16_224", str(tmp_path / "model.safetensors")).features
        assert torch.equal(features.blocks[1].mlp.fc2.weight, model.blocks[1].mlp.fc2.weight)
        torch.testing.assert_close(features.pos_embed, resample_abs_pos_embed(model.pos_embed, (14, 14), (6, 6)))
        torch.save({"blocks.0.norm1.weight": torch.ones(32)}, tmp_path / "part.pth")
        with pytest.raises(ConfigError, match=r"part\.pth lacks \d+ tensors"):
            make_backbone("vit_tiny_patch16_224", str(tmp_path / "part.pth"))


def test_weights_that_the_hub_does_not_give(monkeypatch):
    def offline(*args, **kwargs):
        raise LocalEntryNotFoundError("no connection to the Hub")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConfigError, match=r"pretrained weights of vit_tiny.* cannot be had: no connection.*\n.*=FILE"):
        make_backbone("vit_tiny_patch16_224", "pretrained")


def test_weights_that_nobody_published():
    with pytest.raises(
        ConfigError, match=r"pretrained weights of test_vit4 cannot be had: No pretrained weights exist"
    ):
        make_backbone("test_vit4", "pretrained")


@pytest.mark.parametrize(
    ("name", "idle"), [("efficientnet_lite0", 0), ("mobilenetv3_small_050", 0), ("hrnet_w18_small", 72)]
)
def test_nothing_learns_that_stands_behind_the_chosen_level(name, idle):
    with torch.no_grad():  # whoever makes one
        backbone = make_backbone(name, "none", -2)
    backbone(PICTURE).maps.sum().backward()
    assert all(parameter.requires_grad == (parameter.grad is not None) for parameter in backbone.parameters())
    assert sum(not parameter.requires_grad for parameter in backbone.parameters()) == idle


def test_weights_of_former_versions_have_the_blocks_behind_and_still_load():
    whole = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(-2,))
    backbone = make_backbone("efficientnet_lite0", "none", -2).eval()
    old = {f"features.{key}": value for key, value in whole.state_dict().items()}
    old |= {"mean": backbone.mean, "std": backbone.std}
    backbone.load_state_dict(old)
    pixels = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(backbone.see(pixels).maps, whole.eval()(pixels)[0])
    with pytest.raises(RuntimeError, match="Unexpected key"):
        backbone.load_state_dict({**old, "features.blocks.x": old["mean"]})


@pytest.mark.parametrize(
    ("name", "stage", "message"),
    [
        ("resnet18", -5, "backbone.stage=-5: resnet18 has levels -4 to -1"),
        ("vgg16", -6, "backbone.stage=-6: vgg16 has levels -5 to -1"),
        ("efficientnet_lite0", -6, "backbone.stage=-6: tf_efficientnet_lite0 has fewer levels"),
        ("vit_tiny_patch16_224", -13, "backbone.stage=-13: vit_tiny_patch16_224 has blocks -12 to -1"),
        ("swin_tiny_patch4_window7_224", -1, "gives no feature maps .* of pictures of any size"),
    ],
)
def test_levels_and_networks_that_do_not_serve_are_named(name, stage, message):
    with pytest.raises(ConfigError, match=message):
        make_backbone(name, "none", stage)


def test_a_file_of_something_else_holds_no_weights(tmp_path):
    (tmp_path / "text.pth").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pth")
    for file, message in (("text.pth", "cannot read it as a state dict.$"), ("list.pth", "it holds no state dict.$")):
        with pytest.raises(ConfigError, match=message):
            make_backbone("resnet18", str(tmp_path / file))
