"""The prompts of the vision-language regressor, and their prefix tree: text that prompts share is encoded once.

In a causal text tower the state of a token depends on nothing but the tokens before it, so prompts that begin alike
have equal states as far as they are alike, and whatever follows the end token is idle. The 495 published prompts,
padded to 77 tokens each, have 2,203 different prefixes among their 38,115 tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn

from mimi_lightning.errors import ConfigError
from mimi_lightning.models.towers import run_blocks
from mimi_lightning.vocabulary import DISTORTION_GROUPS, QUALITIES, SCENES

Prefix = tuple[int, ...]

# A token's linear layers cost about as much as attention to this many tokens (6 x the usual width of 512).
LINEAR_COST = 3072

_REMEDY = "Prompts are encoded as a prefix tree, which needs a causal tower such as that of backbone.model=ViT-B-32."


def joint_prompts() -> list[str]:
    """The published prompts, one for every quality, scene and distortion, in this order of the axes."""
    return [
        f"a photo of a {scene} with {distortion} artifacts, which is of {quality} quality"
        for quality, scene, distortion in product(QUALITIES, SCENES, DISTORTION_GROUPS)
    ]


class PromptTree(nn.Module):
    """Token sequences as prefix trees, encoded by a causal text tower in one short pass.

    A node is a prefix of a sequence. Its position is its depth and it attends to its ancestors and itself: the tower
    computes for it exactly what it computes for the last token of that prefix.

    Sequences that share their first tokens make one tree. How many tokens is chosen so that the pass is cheapest:
    few trees are long, and attention costs the square of the length; many trees repeat what they share.

    Args:
        sequences: token ids of each prompt from its start to its end token, N of them, of any lengths.
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        super().__init__()
        sequences = [tuple(sequence) for sequence in sequences]
        ends = set(sequences)
        # Those that are pooled come first: of the last block, nothing else is wanted.
        trees = [sorted(tree, key=lambda prefix: prefix not in ends) for tree in _plant(sequences)]
        size = max(map(len, trees))
        self.kept = max(sum(prefix in ends for prefix in tree) for tree in trees)
        tokens, depth = torch.zeros(2, len(trees), size, dtype=torch.int64)
        # What fills up a short tree attends to itself: a softmax over nothing would be NaN.
        attends = torch.eye(size, dtype=torch.bool).repeat(len(trees), 1, 1)
        place = {}
        for row, tree in enumerate(trees):
            index = {prefix: node for node, prefix in enumerate(tree)}
            for prefix in sorted(tree, key=len):  # what it begins with before it
                node = index[prefix]
                tokens[row, node], depth[row, node] = prefix[-1], len(prefix) - 1
                if len(prefix) > 1:
                    attends[row, node] |= attends[row, index[prefix[:-1]]]
                place[prefix] = row * self.kept + node
        self.nodes = len(place)
        self.register_buffer("tokens", tokens, persistent=False)
        self.register_buffer("depth", depth, persistent=False)
        self.register_buffer("mask", torch.zeros(attends.shape).masked_fill(~attends, -torch.inf), persistent=False)
        self.register_buffer("ends", torch.tensor([place[s] for s in sequences]), persistent=False)

    def forward(self, tower: nn.Module) -> Tensor:
        """Encode all sequences with the tower's own weights.

        Args:
            tower: a text tower that passed `require_causal`.

        Returns:
            Text features [N, D], as open_clip's `encode_text` gives them, not normalised.
        """
        dtype = tower.transformer.get_cast_dtype()
        # Looked up as an embedding: threads would add the gradients of a plain index in an order of their own.
        positions = nn.functional.embedding(self.depth, tower.positional_embedding.to(dtype))
        states = tower.token_embedding(self.tokens).to(dtype) + positions
        heads = tower.transformer.resblocks[0].attn.num_heads
        states = run_blocks(tower.transformer, states, self.mask.to(dtype).repeat_interleave(heads, 0), self.kept)
        features = tower.ln_final(states.flatten(0, 1)[self.ends])
        projection = tower.text_projection
        if projection is None:
            return features
        return projection(features) if isinstance(projection, nn.Linear) else features @ projection


def text_tower(clip: nn.Module) -> nn.Module:
    """The text tower of an open_clip model: a module of its own, or spread over the model itself."""
    return getattr(clip, "text", clip)


def require_causal(tower: nn.Module) -> None:
    """Make sure that a prefix tree computes the same as the tower does.

    Raises:
        ConfigError: tokens see those behind them, or the text is not pooled at its end token.
    """
    needed = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
    if not all(hasattr(tower, name) for name in needed):
        raise ConfigError(f"The text tower {type(tower).__name__} is none of open_clip's own transformers. {_REMEDY}")
    mask = getattr(tower, "attn_mask", None)
    if mask is None or not torch.equal(mask, torch.full_like(mask, -torch.inf).triu(1)):
        raise ConfigError(f"The text tower is not causal: its tokens see those behind them. {_REMEDY}")
    pooling = "class token" if getattr(tower, "cls_emb", None) is not None else _pooling(tower)
    if pooling not in ("argmax", "eos"):
        raise ConfigError(f"The text tower pools by '{pooling}', not at the end token. {_REMEDY}")


def cut_sequences(tokens: Tensor, tower: nn.Module) -> list[list[int]]:
    """Cut padded token ids [N, length] behind the end token, at which the tower pools."""
    if _pooling(tower) == "eos":
        end_id = tower.eos_id if hasattr(tower, "eos_id") else tower.text_eos_id
        ends = (tokens == end_id).int().argmax(-1)
    else:
        ends = tokens.argmax(-1)
    return [row[: end + 1].tolist() for row, end in zip(tokens, ends, strict=True)]


def _pooling(tower: nn.Module) -> str:
    return tower.pool_type if hasattr(tower, "pool_type") else tower.text_pool_type


def _plant(sequences: Sequence[Prefix]) -> list[list[Prefix]]:
    """Divide sequences into trees, each a list of prefixes, the shorter ones first."""
    candidates = (_trees(sequences, shared) for shared in range(max(map(len, sequences))))
    return min(candidates, key=_cost)


def _trees(sequences: Sequence[Prefix], shared: int) -> list[list[Prefix]]:
    """One tree for all sequences whose first `shared` tokens are equal."""
    trees: dict[Prefix, dict[Prefix, None]] = {}
    for sequence in sequences:
        tree = trees.setdefault(sequence[:shared], {})
        tree.update(dict.fromkeys(sequence[: end + 1] for end in range(len(sequence))))
    return [sorted(tree, key=len) for tree in trees.values()]


def _cost(trees: Sequence[Sequence[Prefix]]) -> int:
    size = max(map(len, trees))
    return len(trees) * size * (LINEAR_COST + size)
