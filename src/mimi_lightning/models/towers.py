"""Passes through open_clip's transformers: the same functions and gradients with fewer operations and less memory.

What is saved: of the last block only the tokens that are pooled are computed, quick GELU is one operation instead of
three, queries, keys and values are not copied into another order, patches are projected by one product, and processors
get the gradients of attention from plain products. Towers and blocks that are not of the kind described here are left
to open_clip.
"""

from __future__ import annotations

from functools import partial

import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention, silu
from torch.utils.checkpoint import checkpoint

SHORT = 256  # tokens whose attention weights, kept for the gradient, are few beside their states
SLOPE = 1.702  # quick GELU is x sigmoid(1.702 x) = silu(1.702 x) / 1.702


def encode_image(clip: nn.Module, pixels: Tensor) -> Tensor:
    """Image features [B, D] of an open_clip model, not normalised.

    Only a vision transformer that is pooled by its class token is treated here; ResNets, timm's towers and those
    pooled in another way compute by `clip.encode_image`.
    """
    tower = clip.visual
    if not _pools_class_token(tower):
        return clip.encode_image(pixels)
    token = run_blocks(tower.transformer, _embed(tower, pixels), kept=1).squeeze(1)
    features = tower.ln_post(token)
    return features if tower.proj is None else features @ tower.proj


def run_blocks(transformer: nn.Module, states: Tensor, mask: Tensor | None = None, kept: int | None = None) -> Tensor:
    """Run all residual attention blocks, with gradient checkpointing where the transformer has it switched on.

    Args:
        transformer: of an open_clip tower.
        states: of the tokens, [B, L, W].
        mask: added to the logits of attention, [B x heads, L, L].
        kept: how many tokens of the result are wanted, the first ones; None for all.

    Returns:
        States [B, kept, W].
    """
    last = transformer.resblocks[-1]
    for block in transformer.resblocks:
        run = partial(_run_block, block, mask=mask, kept=kept if block is last else None)
        states = checkpoint(run, states, use_reentrant=False) if transformer.grad_checkpointing else run(states)
    return states


def _pools_class_token(tower: nn.Module) -> bool:
    return (
        type(tower) is VisionTransformer
        and tower.attn_pool is None
        and tower.pool_type == "tok"
        and not tower.output_tokens
    )


def _embed(tower: nn.Module, pixels: Tensor) -> Tensor:
    """Patches as tokens behind the class token, [B, 1 + patches, W]."""
    tokens = _project_patches(tower.conv1, pixels)
    first = tower.class_embedding.to(tokens.dtype).expand(tokens.shape[0], 1, -1)
    states = torch.cat([first, tokens], 1) + tower.positional_embedding.to(tokens.dtype)
    return tower.ln_pre(tower.patch_dropout(states))


def _project_patches(convolution: nn.Conv2d, pixels: Tensor) -> Tensor:
    """What a convolution makes of patches that neither overlap nor leave gaps, [B, patches, W]: one matrix product."""
    height, width = convolution.kernel_size
    patches = pixels.unflatten(3, (-1, width)).unflatten(2, (-1, height)).permute(0, 2, 4, 1, 3, 5)
    return linear(patches.flatten(3).flatten(1, 2), convolution.weight.flatten(1), convolution.bias)


def _run_block(block: nn.Module, states: Tensor, mask: Tensor | None, kept: int | None) -> Tensor:
    """The first `kept` tokens of what a block makes of all tokens."""
    if not _is_plain(block):
        return block(states, attn_mask=mask)[:, :kept]
    mixed = _attend(block.attn, block.ln_1(states), mask, kept)
    states = states[:, :kept] + block.ls_1(mixed)
    return states + block.ls_2(_mlp(block.mlp, block.ln_2(states)))


def _is_plain(block: nn.Module) -> bool:
    """Whether a block is open_clip's usual one: self-attention in one projection, two layer norms, an MLP."""
    return (
        type(block) is ResidualAttentionBlock
        and not hasattr(block, "ln_1_kv")
        and type(block.attn) is nn.MultiheadAttention
    )


def _attend(attention: nn.MultiheadAttention, states: Tensor, mask: Tensor | None, kept: int | None) -> Tensor:
    """Self-attention of the first `kept` tokens to all tokens."""
    weight, bias, heads = attention.in_proj_weight, attention.in_proj_bias, attention.num_heads
    if kept is None:
        query, key, value = _project(states, weight, bias, heads)
    else:
        width = attention.embed_dim
        (query,) = _project(states[:, :kept], weight[:width], bias[:width], heads)
        key, value = _project(states, weight[width:], bias[width:], heads)
        mask = None if mask is None else mask[:, :kept]
    mask = None if mask is None else mask.unflatten(0, (-1, heads))
    mixed = _mix(query, key, value, mask)
    return attention.out_proj(mixed.transpose(1, 2).flatten(2))


def _mix(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention; in training on processors by plain products, whose gradients cost much less."""
    if query.device.type != "cpu" or not query.requires_grad or key.shape[-2] > SHORT:
        return scaled_dot_product_attention(query, key, value, attn_mask=mask)
    logits = query @ key.mT * query.shape[-1] ** -0.5
    return (logits if mask is None else logits + mask).softmax(-1) @ value


def _project(states: Tensor, weight: Tensor, bias: Tensor, heads: int) -> tuple[Tensor, ...]:
    """As many projections as the weight holds one upon the other, each [B, heads, L, W / heads]; views of one."""
    projections = weight.shape[0] // weight.shape[1]
    return linear(states, weight, bias).unflatten(-1, (projections, heads, -1)).permute(2, 0, 3, 1, 4).unbind()


def _mlp(mlp: nn.Sequential, states: Tensor) -> Tensor:
    if type(mlp.gelu) is not QuickGELU:
        return mlp(states)
    # A matrix product scales its result for nothing.
    hidden = torch.addmm(mlp.c_fc.bias, states.flatten(0, 1), mlp.c_fc.weight.T, beta=SLOPE, alpha=SLOPE)
    result = torch.addmm(mlp.c_proj.bias, silu(hidden), mlp.c_proj.weight.T, alpha=1 / SLOPE)
    return result.view(states.shape)
