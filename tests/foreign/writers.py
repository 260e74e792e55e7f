"""Files as other authors write them, with random weights and narrow layers; and their formulas, in float64."""

from __future__ import annotations

from itertools import pairwise

import open_clip
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import elu, normalize, softplus

from benchmarks.mapper import NODES, clenshaw_curtis
from mimi_lightning.models.prompts import joint_prompts

HIDDEN = (7, 6, 5)  # of monotone functions
CNN = ("live", "csiq", "kadid", "bid", "clive", "koniq")  # as MIMI-CNN counts them
CLIP = ("live", "csiq", "bid", "clive", "koniq", "kadid")  # and MIMI-CLIP


def mlp(*widths: int) -> nn.Sequential:
    layers = [layer for n_in, n_out in pairwise(widths) for layer in (nn.Linear(n_in, n_out), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Function(nn.Module):
    """A monotone function: the integrand sees x and two zeros, the other network two zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.integrand = nn.Module()
        self.integrand.net = mlp(3, *HIDDEN, 1)
        self.net = mlp(2, *HIDDEN, 2)

    def forward(self, x: Tensor) -> Tensor:
        nodes, weights = (rule.double() for rule in clenshaw_curtis(NODES))
        points = nn.functional.pad((x[:, None] * nodes)[..., None], (0, 2))
        offset, log_scale = self.net(x.new_zeros(2))
        density = elu(self.integrand.net(points).squeeze(-1)) + 1
        return log_scale.exp() * x * (density @ weights) + offset


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.F, self.G = Function(), Function()


class Blocks(nn.Module):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(Block() for _ in range(number))


class Mapped(nn.Module):
    """Mappers numbered from 1."""

    first: str
    blocks: str

    def add_mappers(self, blocks: int) -> None:
        for number in range(1, 7):
            setattr(self, f"{self.first}{number}", Function())
            setattr(self, f"{self.blocks}{number}", Blocks(blocks))

    def map(self, q: Tensor, number: int) -> Tensor:
        y1, y2 = q, getattr(self, f"{self.first}{number}")(q)
        for block in getattr(self, f"{self.blocks}{number}").operations:
            y1 = y1 + block.F(y2)
            y2 = y2 + block.G(y1)
        return y2


class BaseCNN(Mapped):
    """MIMI-CNN, or UNIQUE, whose head is one layer and which has no mappers."""

    first, blocks = "trans", "nlm"

    def __init__(self, backbone: str = "resnet34", fc: nn.Module | None = None, blocks: int = 1) -> None:
        super().__init__()
        vgg16 = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
        self.backbone = vgg16 if backbone == "vgg16" else torchvision.models.resnet34()
        self.fc = fc or mlp(512 * 512, 8, 6, 1)
        if fc is None:
            self.add_mappers(blocks)

    def read(self, images: Tensor) -> Tensor:
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        x = (images.double() / 255 - mean) / std
        stages = self.backbone if isinstance(self.backbone, nn.Sequential) else list(self.backbone.children())[:-2]
        for stage in stages:
            x = stage(x)
        x = x.flatten(2)
        gram = x @ x.mT / x.shape[2]
        return self.fc(normalize((gram.sign() * (gram.abs() + 1e-8).sqrt()).flatten(1)))

    def proxy(self, images: Tensor) -> Tensor:
        return self.read(images)[:, 0]

    def std(self, images: Tensor) -> Tensor:
        return softplus(self.read(images)[:, 1])


class ClipMinn(Mapped):
    """MIMI-CLIP; LIQE is its `clip_model` alone."""

    first, blocks = "M", "MINN"

    def __init__(self, model: str) -> None:
        super().__init__()
        self.clip_model = open_clip.create_model(model)
        self.tokens = open_clip.get_tokenizer(model)(joint_prompts())
        self.add_mappers(1)

    def proxy(self, patches: Tensor) -> Tensor:
        clip = self.clip_model
        statistics = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
        mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in statistics)
        image = normalize(clip.encode_image((patches.flatten(0, 1).double() / 255 - mean) / std), dim=-1)
        logits = clip.logit_scale.exp() * image @ normalize(clip.encode_text(self.tokens), dim=-1).T
        joint = logits.unflatten(0, patches.shape[:2]).mean(1).softmax(-1).view(-1, 5, 99)
        return joint.sum(2) @ torch.arange(1.0, 6).double()


@torch.no_grad()
def randomise(network: nn.Module) -> nn.Module:
    """Scores of about 1, and statistics and biases that cannot be taken for each other; evaluation, float64."""
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim == 4:
            nn.init.kaiming_normal_(tensor)
        elif tensor.shape[1:] == (512 * 512,):  # behind a vector of length 1
            tensor.normal_(std=10)
        elif name.endswith("logit_scale"):
            tensor.fill_(4)
    return network.eval().double().requires_grad_(False)


def tensors(network: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """State dict as it is written, in float32."""
    state = network.state_dict(prefix=prefix)
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
