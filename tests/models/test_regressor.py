"""The pooled regressor: what is reduced, frozen, adapted and kept, and which choices do not go together."""

import copy
import sys

import pytest
import torch
from omegaconf import OmegaConf

from mimi_lightning import config
from mimi_lightning.contracts import Regressor
from mimi_lightning.errors import ConfigError
from mimi_lightning.models.heads import levels
from mimi_lightning.models.lora import adapters
from mimi_lightning.models.regressor import PooledRegressor
from mimi_lightning.module import QualityModel
from mimi_lightning.specs import build

PICTURE = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LORA = {"rank": 2, "alpha": 4.0}


def test_many_features_are_reduced_before_pooling():
    regressor = PooledRegressor("resnet50", "none", max_channels=32, hidden=[8])
    assert regressor.pool.out_features == 32 * 33 // 2
    assert regressor(PICTURE).proxy.shape == (2,)


def test_the_first_layer_starts_as_kaiming_would_have_it_unpacked():
    """Diagonals with the Kaiming deviation of 512 x 512 inputs; off-diagonals as the mean of two such weights."""
    torch.manual_seed(0)
    weight = PooledRegressor("resnet18", "none").head[0].weight
    rows, columns = torch.triu_indices(512, 512)
    assert weight[:, rows == columns].std().item() == pytest.approx(2**0.5 / 512, rel=0.01)
    assert weight[:, rows != columns].std().item() == pytest.approx(1 / 512, rel=0.01)


@pytest.mark.parametrize(
    ("freeze", "learning", "norms"), [("none", True, True), ("norm", True, False), ("all", False, False)]
)
def test_what_is_frozen_stays_as_it_was(freeze, learning, norms):
    regressor = PooledRegressor("resnet18", "none", freeze=freeze, hidden=[8])
    assert all(p.requires_grad == learning for p in regressor.backbone_parameters())
    before = regressor.backbone.features[1].running_mean.clone()
    regressor(PICTURE).proxy.sum().backward()
    assert torch.equal(regressor.backbone.features[1].running_mean, before) != norms
    assert regressor.head[0].weight.grad is not None
    regressor.eval().train()
    assert regressor.backbone.features[1].training == norms


def test_the_last_quarter_of_layers_may_learn_alone():
    features = PooledRegressor("resnet18", "none", freeze="early", hidden=[8]).backbone.features
    learning = {name.rpartition(".")[0] for name, parameter in features.named_parameters() if parameter.requires_grad}
    # 10 of 40: the last stage, two blocks of two convolutions and one on the way round, each with its normalisation.
    assert len(learning) == 10
    assert all(name.startswith("7.") for name in learning)
    assert not any(module.training for module in features.modules() if isinstance(module, torch.nn.BatchNorm2d))


def test_the_scaling_of_features_may_stay():
    torch.manual_seed(0)
    kept, learned = (
        PooledRegressor("resnet18", "none", hidden=[8], pool="mean_std", keep_scaling=keep).train()
        for keep in (True, False)
    )
    features = torch.randn(4, kept.pool.out_features)
    for regressor, same in ((kept, True), (learned, False)):
        before = regressor.scaling.running_mean.clone()
        regressor.judge(features)
        assert torch.equal(regressor.scaling.running_mean, before) == same
    assert kept.judge(features[:1]).proxy.shape == (1,)


def test_scores_are_float32_under_autocast():
    regressor = PooledRegressor("resnet18", "none", hidden=[8]).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert regressor(PICTURE).proxy.dtype == torch.float32


def test_more_features_are_reduced_of_a_transformer_too_but_for_no_other_pooling():
    regressor = PooledRegressor("test_vit", "none", max_channels=16, hidden=[8])
    assert regressor.pool.out_features == 16 * 17 // 2
    assert regressor(PICTURE).proxy.shape == (2,)
    for pool, width in (("mean_std", 128), ("cls", 64), ("attention", 64)):
        regressor = PooledRegressor("test_vit", "none", max_channels=16, hidden=[8], pool=pool)
        assert regressor.head[0].in_features == width
        assert not list(regressor.reduce.parameters())


def test_the_class_token_needs_one():
    for name in ("resnet18", "test_vit3"):
        with pytest.raises(ConfigError, match=rf"backbone\.pool=cls: {name} has no class token\. Choose attention"):
            PooledRegressor(name, "none", pool="cls")


def test_levels_come_from_the_head():
    regressor = PooledRegressor("resnet18", "none", freeze="all", says="levels", hidden=[8])
    said = levels(regressor.head(regressor.features(PICTURE)))
    judgement = regressor(PICTURE)
    assert torch.equal(judgement.tasks["quality"], said.tasks["quality"])
    assert torch.equal(judgement.std, said.std)


@pytest.mark.parametrize("key", ["pool", "says", "freeze"])
def test_unknown_words_are_refused(key):
    with pytest.raises(ConfigError, match=rf"backbone\.{key}=some: expected \w+, \w+"):
        PooledRegressor("resnet18", "none", **{key: "some"})


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"freeze": "norm"}, r"the backbone learns \(backbone\.freeze=norm\)\. Set backbone\.freeze=all\.$"),
        ({"freeze": "all", "max_channels": 8}, r"max_channels=64, or backbone\.pool=mean_std\.$"),
        ({"freeze": "all", "pool": "attention"}, r"the attention learns\. Set backbone\.pool=mean_std"),
        ({"lora": LORA}, r"the adapters learn\. Set backbone\.lora\.rank=null backbone\.freeze=all"),
    ],
)
def test_features_that_learn_cannot_be_kept(settings, reason):
    regressor = PooledRegressor("test_vit", "none", hidden=[8], **settings)
    assert regressor.divisible
    with pytest.raises(ConfigError, match=rf"Features of backbone test_vit cannot be kept: .*{reason}"):
        regressor.features(PICTURE)


class TestLoRA:
    @pytest.fixture
    def spec(self):
        target = "mimi_lightning.models.regressor.PooledRegressor"
        return {"_target_": target, "name": "test_vit", "weights": "none", "pool": "cls", "hidden": [8], "lora": LORA}

    @pytest.fixture
    def regressor(self, spec):
        torch.manual_seed(0)
        return PooledRegressor(**{key: value for key, value in spec.items() if key != "_target_"})

    def train(self, regressor, steps=2):
        """B is zero at first, so that A learns from the second step on."""
        optimizer = torch.optim.Adam([p for p in regressor.parameters() if p.requires_grad], lr=1e-2)
        for _ in range(steps):
            optimizer.zero_grad()
            regressor(PICTURE).proxy.square().sum().backward()
            optimizer.step()

    def test_training_changes_adapters_and_head_and_nothing_else(self, regressor):
        before = copy.deepcopy(regressor.state_dict())
        self.train(regressor)
        changed = {key for key, value in regressor.state_dict().items() if not torch.equal(value, before[key])}
        own = {key for key in before if ".lora_" in key or key.startswith("head.")}
        assert changed == own
        assert len(own) == 2 * 4 * 6 + 4  # A and B of four layers in six blocks

    def test_adapters_begin_as_nothing_and_have_the_rate_of_the_backbone(self, regressor):
        torch.manual_seed(0)
        plain = PooledRegressor("test_vit", "none", pool="cls")
        torch.testing.assert_close(regressor.backbone(PICTURE).token, plain.backbone(PICTURE).token)
        names = {id(parameter): name for name, parameter in regressor.named_parameters()}
        assert all(".lora_" in names[id(parameter)] for parameter in regressor.backbone_parameters())
        assert len(adapters(regressor)) == 48

    def test_the_correction_is_alpha_over_rank_b_a(self, regressor):
        self.train(regressor)
        layer = regressor.backbone.features.blocks[3].mlp.fc1
        x = torch.randn(5, 64)
        correction = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        torch.testing.assert_close(layer(x), layer.base_layer(x) + 4 / 2 * x @ correction.mT)

    def test_every_adapter_learns_in_attention_that_adds_its_bias_apart(self):
        """Eva of timm takes the weight of the layer alone unless it is told otherwise."""
        torch.manual_seed(0)
        regressor = PooledRegressor("vit_tiny_patch16_dinov3_qkvb", "none", stage=-11, hidden=[8], lora=LORA)
        self.train(regressor)
        assert all(parameter.abs().sum() > 0 for parameter in regressor.backbone_parameters())

    def test_a_checkpoint_of_it_scores_alike(self, regressor, spec, tmp_path):
        facts = {"live": {"range": [0, 1], "labels": [0.0, 1.0], "weight": 1, "size": 9}}
        mapper = {"_target_": "mimi_lightning.models.mappers.Identity"}
        objective = {"_target_": "mimi_lightning.objectives.Regression"}
        model = QualityModel(spec, mapper, objective, facts)
        self.train(model.regressor)
        checkpoint = {"hyper_parameters": dict(model.hparams), "state_dict": model.state_dict()}
        model.on_save_checkpoint(checkpoint)
        torch.save(checkpoint, tmp_path / "best.ckpt")
        assert torch.equal(QualityModel.load(tmp_path / "best.ckpt")(PICTURE), model.eval()(PICTURE))

    def test_the_configured_transformer_can_be_made(self):
        words = ["backbone=vit", "backbone.name=test_vit", "backbone.weights=none", "backbone.lora.rank=2"]
        regressor = build(OmegaConf.to_container(config.load(words).backbone), Regressor)
        assert len(adapters(regressor)) == 48

    def test_no_rank_is_no_adapter(self):
        regressor = PooledRegressor("test_vit", "none", hidden=[8], lora={"rank": None, "alpha": 16})
        assert not adapters(regressor)
        assert all(parameter.requires_grad for parameter in regressor.parameters())

    def test_statistics_stay_as_they_are_pretrained(self):
        regressor = PooledRegressor("mobilevit_xxs", "none", stage=-2, hidden=[8], lora=LORA)
        before = {key: value.clone() for key, value in regressor.backbone.named_buffers()}
        regressor(PICTURE)
        assert all(torch.equal(value, before[key]) for key, value in regressor.backbone.named_buffers())

    def test_what_does_not_go_with_it(self, monkeypatch):
        with pytest.raises(ConfigError, match=r"freeze=all leaves the adapters .* set backbone\.freeze=none"):
            PooledRegressor("test_vit", "none", freeze="all", lora=LORA)
        with pytest.raises(ConfigError, match=r"only convolutions: choose backbone=vit"):
            PooledRegressor("resnet18", "none", lora=LORA)
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(ConfigError, match=r'pip install "mimi-lightning\[lora\]"'):
            PooledRegressor("test_vit", "none", lora=LORA)
