"""Image towers against open_clip's own `encode_image`: features and gradients, for every kind of tower."""

from functools import partial

import open_clip
import pytest
import torch
from torch import nn

from mimi_lightning.models import towers

SMALL = {"image_size": 32, "patch_size": 16, "layers": 2, "width": 32, "head_width": 8}
TEXT = {"context_length": 5, "vocab_size": 7, "width": 8, "heads": 2, "layers": 1}


def make(quick_gelu=True, **vision):
    torch.manual_seed(0)
    clip = open_clip.CLIP(8, {**SMALL, **vision}, TEXT, quick_gelu=quick_gelu).double()
    for parameter in clip.visual.parameters():  # large enough that attention is far from even
        nn.init.normal_(parameter, std=0.4)
    return clip


def features_and_gradients(clip, encode):
    clip.zero_grad()
    features = encode(torch.rand(3, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    features.cos().sum().backward()
    return features, {name: p.grad for name, p in clip.visual.named_parameters()}


@pytest.mark.parametrize(
    "vision",
    [
        {},
        {"quick_gelu": False},
        {"layers": 1},
        {"ls_init_value": 0.5},
        {"no_ln_pre": True, "final_ln_after_pool": True},
        {"qk_norm": True},  # another kind of block
        {"pool_type": "avg"},
        {"attentional_pool": True, "attn_pooler_queries": 1, "attn_pooler_heads": 2},
        {"layers": (1, 1, 1, 1), "width": 8},  # a ResNet
    ],
)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_kind_of_tower(vision, checkpointing):
    clip = make(**vision).eval()
    expected, gradients = features_and_gradients(clip, clip.encode_image)
    clip.set_grad_checkpointing(checkpointing)
    features, found = features_and_gradients(clip, partial(towers.encode_image, clip))
    torch.testing.assert_close(features, expected, rtol=1e-10, atol=1e-10)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-9, msg=name)


def test_the_class_token_alone_passes_the_last_block():
    clip, seen = make(), []
    clip.visual.transformer.resblocks[-1].ln_2.register_forward_hook(lambda _, __, out: seen.append(out.shape))
    for encode in (clip.encode_image, partial(towers.encode_image, clip)):
        features_and_gradients(clip, encode)
    assert seen == [(3, 5, 32), (3, 1, 32)]


@pytest.mark.parametrize("kept", [None, 1, 3])
def test_a_mask_and_some_tokens(kept):
    clip = make()
    states, mask = torch.randn(2, 5, 32, dtype=torch.float64), torch.full((5, 5), -torch.inf).triu(1).double()
    expected = clip.visual.transformer(states, attn_mask=mask)[:, :kept]
    found = towers.run_blocks(clip.visual.transformer, states, mask.expand(8, 5, 5), kept)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
