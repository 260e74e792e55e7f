"""The vision-language regressor against a plain formulation, its weights and its memory of text."""

import copy

import open_clip
import pytest
import torch
from torch.nn.functional import normalize

from mimi_lightning.errors import ConfigError
from mimi_lightning.models import clip
from mimi_lightning.models.clip import CLIPRegressor, make_clip
from mimi_lightning.models.prompts import joint_prompts

SIDE = 32


@pytest.fixture(scope="module")
def made(tiny_clip):
    torch.manual_seed(0)
    return CLIPRegressor("tiny", tiny_clip, "none")


@pytest.fixture
def regressor(made):
    return copy.deepcopy(made)


@pytest.fixture
def patches():
    return torch.randint(0, 256, (2, 3, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_judgement_is_that_of_the_plain_formulation(regressor, patches, tiny_clip):
    clip, tokens = regressor.clip, open_clip.get_tokenizer(tiny_clip)(joint_prompts())
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    image = normalize(clip.encode_image((patches.flatten(0, 1) / 255 - mean) / std), dim=-1)
    logits = clip.logit_scale.exp() * image @ normalize(clip.encode_text(tokens), dim=-1).T
    joint = logits.view(2, 3, 5, 9, 11).mean(1).flatten(1).softmax(-1).view(2, 5, 9, 11)
    judgement = regressor(patches)
    expected = [joint.sum((2, 3)) @ torch.arange(1.0, 6), joint.sum((2, 3)), joint.sum((1, 3)), joint.sum((1, 2))]
    for value, plain in zip([judgement.proxy, *judgement.tasks.values()], expected, strict=True):
        torch.testing.assert_close(value, plain, rtol=1e-5, atol=1e-5)
    variance = (joint.sum((2, 3)) * (torch.arange(1.0, 6) - expected[0][:, None]) ** 2).sum(1)
    torch.testing.assert_close(judgement.std, variance.sqrt(), rtol=1e-5, atol=1e-5)


def test_marginals_sum_to_one_and_scores_lie_on_the_scale(regressor, patches):
    judgement = regressor(patches)
    for marginal, size in zip(judgement.tasks.values(), (5, 9, 11), strict=True):
        assert marginal.shape == (2, size)
        torch.testing.assert_close(marginal.sum(-1), torch.ones(2))
    assert judgement.proxy.shape == (2,)
    assert judgement.proxy.min() >= 1
    assert judgement.proxy.max() <= 5


def test_features_do_not_depend_on_portions(regressor, monkeypatch):
    monkeypatch.setattr(clip, "PORTION", 3)
    patches = torch.randint(0, 256, (7, 3, SIDE, SIDE), dtype=torch.uint8)
    with torch.inference_mode():
        features = regressor.image_features(patches)
    torch.testing.assert_close(features, regressor.image_features(patches))


def test_scores_are_float32_under_autocast(regressor, patches):
    with torch.autocast("cpu", torch.bfloat16):
        judgement = regressor(patches)
        assert all(value.dtype == torch.float32 for value in (judgement.proxy, *judgement.tasks.values()))


def test_all_but_the_logit_scale_learns(regressor, patches):
    regressor(patches).proxy.sum().backward()
    silent = [name for name, p in regressor.clip.named_parameters() if p.grad is None]
    assert silent == ["logit_scale"]
    assert {id(p) for p in regressor.backbone_parameters()} == {id(p) for p in regressor.parameters()}


def test_checkpointing_changes_no_gradient(regressor, patches):
    def gradients(checkpointing):
        regressor.zero_grad()
        regressor.clip.set_grad_checkpointing(checkpointing)
        regressor(patches).proxy.sum().backward()
        return [p.grad.clone() for p in regressor.parameters() if p.requires_grad]

    for first, second in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(first, second)


class TestKeptText:
    @pytest.fixture
    def passes(self, regressor, monkeypatch):
        """Count how often the tree is encoded."""
        count = []
        encode = regressor.prompts.forward
        monkeypatch.setattr(regressor.prompts, "forward", lambda tower: count.append(1) or encode(tower))
        regressor.eval()
        return count

    def test_encoded_once_for_the_same_weights(self, regressor, patches, passes):
        with torch.inference_mode():
            first, second = regressor(patches).proxy, regressor(patches).proxy
        with torch.no_grad():
            third = regressor(patches).proxy
        assert len(passes) == 1
        assert torch.equal(first, second)
        assert torch.equal(first, third)

    @pytest.mark.parametrize("change", ["step", "load", "train", "double", "write"])
    def test_encoded_anew_for_other_weights(self, regressor, patches, passes, change):
        with torch.inference_mode():
            before = regressor.text_features()
        if change == "step":
            regressor(patches).proxy.sum().backward()
            torch.optim.AdamW(regressor.parameters(), lr=0.1).step()
        elif change == "load":
            regressor.load_state_dict({name: value * 1.1 for name, value in regressor.state_dict().items()})
        elif change == "train":
            regressor.train().eval()
        elif change == "double":
            regressor.double()
        else:
            with torch.no_grad():
                regressor.clip.token_embedding.weight.mul_(1.1)
        counted = len(passes)
        with torch.inference_mode():
            after = regressor.text_features()
        assert len(passes) == counted + 1
        assert torch.equal(before, after) == (change == "train")

    def test_precision_is_part_of_the_weights(self, regressor, passes):
        with torch.no_grad():
            exact = regressor.text_features()
            with torch.autocast("cpu", torch.bfloat16):
                rough = regressor.text_features()
        assert len(passes) == 2
        assert not torch.equal(exact, rough)

    def test_with_gradients_nothing_is_kept(self, regressor, passes):
        assert regressor.text_features().requires_grad
        assert regressor.text_features().requires_grad
        assert len(passes) == 2


class TestWeights:
    @pytest.mark.parametrize("prefix", ["", "module."])
    def test_a_state_dict_file(self, regressor, tiny_clip, tmp_path, prefix):
        state = {prefix + name: value for name, value in regressor.clip.state_dict().items()}
        torch.save({"state_dict": state, "epoch": 3}, tmp_path / "weights.pt")
        loaded = make_clip(tiny_clip, str(tmp_path / "weights.pt"))
        assert torch.equal(loaded.text_projection, regressor.clip.text_projection)

    def test_an_archive_like_openai_publishes(self, regressor, tiny_clip, tmp_path):
        class Archive(torch.nn.Module):
            def __init__(self, clip):
                super().__init__()
                for name, value in clip.state_dict().items():
                    holder = self
                    *path, last = name.split(".")
                    for part in path:
                        if not hasattr(holder, part):
                            holder.add_module(part, torch.nn.Module())
                        holder = getattr(holder, part)
                    holder.register_parameter(last, torch.nn.Parameter(value.half()))
                self.register_buffer("input_resolution", torch.tensor(SIDE))

            def forward(self, x):
                return x

        file = tmp_path / "ViT.pt"
        torch.jit.script(Archive(regressor.clip)).save(file)
        loaded = make_clip(tiny_clip, str(file))
        assert loaded.text_projection.dtype == torch.float32
        assert torch.equal(loaded.text_projection, regressor.clip.text_projection.half().float())

    def test_what_does_not_fit_is_said(self, tiny_clip, tmp_path):
        torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pt")
        with pytest.raises(ConfigError, match=r"other\.pt does not fit backbone\.model"):
            make_clip(tiny_clip, str(tmp_path / "other.pt"))
        (tmp_path / "text.pt").write_text("no weights")
        with pytest.raises(ConfigError, match=r"text\.pt does not fit"):
            make_clip(tiny_clip, str(tmp_path / "text.pt"))
        with pytest.raises(ConfigError, match="expected none or a file; there is no such file"):
            make_clip(tiny_clip, "gone.pt")
        with pytest.raises(ConfigError, match=r"backbone\.model=ViT-Z: open_clip has no such model"):
            make_clip("ViT-Z", "none")

    def test_without_network_the_message_says_what_to_do(self, monkeypatch):
        def fail(*args, **kwargs):
            raise RuntimeError("Failed to download weights")

        monkeypatch.setattr(open_clip, "create_model", fail)
        with pytest.raises(ConfigError, match=r"weights of ViT-B-32-quickgelu cannot be had.*\n.*=FILE, or none"):
            make_clip("ViT-B-32-quickgelu", "openai")


def test_stacks_of_another_shape_are_refused(regressor, patches):
    for wrong in (patches[:, 0], patches[..., :16]):
        with pytest.raises(ConfigError, match=r"choose view=patches view\.train\.side=32"):
            regressor(wrong)


def test_gradients_of_the_prompts_are_the_same_each_time(regressor):
    """To the last bit, whatever the threads do: a run that goes on has to come to the same figures."""
    tower = regressor.clip
    pull = torch.randn(regressor.prompts(tower).shape)
    gradients = [
        torch.autograd.grad((regressor.prompts(tower) * pull).sum(), tower.positional_embedding)[0] for _ in range(12)
    ]
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


@torch.no_grad()
def test_the_real_architecture():
    regressor = CLIPRegressor("clip_vit_b32", "ViT-B-32-quickgelu", "none")
    assert sum(p.numel() for p in regressor.parameters()) == 151_277_313
    assert regressor.prompts.nodes == 2203
    stack = torch.randint(0, 256, (1, 3, 3, 224, 224), dtype=torch.uint8)
    assert 1 <= regressor(stack).proxy.item() <= 5
