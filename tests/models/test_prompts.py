"""The prefix tree against open_clip's own `encode_text`: features and gradients."""

import math

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mimi_lightning.errors import ConfigError
from mimi_lightning.models.prompts import PromptTree, cut_sequences, joint_prompts, require_causal, text_tower

CONTEXT, VOCABULARY = 12, 20
END = VOCABULARY - 1
SMALL = {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 16, "heads": 2, "layers": 2}
VISION = {"image_size": 16, "patch_size": 8, "layers": 1, "width": 16, "head_width": 8}


def make(custom=False, **text):
    torch.manual_seed(0)
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    model = kind(8, VISION, {**SMALL, **text}, quick_gelu=True).double()
    for parameter in model.parameters():  # large enough that attention is far from even
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def compare(model, tokens):
    """Features and gradients of the tree beside those of the padded pass; returns the tree."""
    tower = text_tower(model)
    require_causal(tower)
    tree = PromptTree(cut_sequences(tokens, tower)).double()
    results = []
    for encode in (lambda: model.encode_text(tokens), lambda: tree(tower)):
        model.zero_grad()
        features = encode()
        features.cos().sum().backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        results.append((features, gradients))
    (plain, expected), (features, gradients) = results
    torch.testing.assert_close(features, plain, rtol=1e-10, atol=1e-10)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-9, msg=name)
    return tree


def pad(sequences):
    rows = [[0, *words, END] + [0] * (CONTEXT - 2 - len(words)) for words in sequences]
    return torch.tensor(rows)


@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        {},
        {"pool_type": "eos", "eos_id": END},
        {"proj_bias": True},
        {"proj_type": "none"},
        {"qk_norm": True, "scale_attn": True},
    ],
)
def test_every_kind_of_causal_tower(custom, text):
    tree = compare(make(custom, **text), pad([[1, 2, 3], [1, 2, 4, 5], [1, 6], [7], [1, 2, 3]]))
    assert tree.nodes == 12


words = st.lists(st.integers(1, 3), max_size=CONTEXT - 2)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(words, min_size=1, max_size=12))
def test_any_prompt_set(sequences):
    tree = compare(MODEL, pad(sequences))
    prefixes = {tuple(words[:end]) for words in ([0, *s, END] for s in sequences) for end in range(1, len(words) + 1)}
    assert tree.nodes == len(prefixes)


MODEL = make()


def test_the_published_prompts(tiny_clip):
    prompts = joint_prompts()
    assert len(prompts) == 5 * 9 * 11
    assert prompts[0] == "a photo of a animal with jpeg2000 compression artifacts, which is of bad quality"
    assert prompts[-1] == "a photo of a others with other artifacts, which is of perfect quality"
    model = open_clip.create_model(tiny_clip)
    tokens = open_clip.get_tokenizer(tiny_clip)(prompts)
    tree = PromptTree(cut_sequences(tokens, text_tower(model)))
    assert tree.nodes == 2203
    assert tree.tokens.shape == (9, 251)  # one tree a scene
    with torch.no_grad():
        torch.testing.assert_close(tree(text_tower(model)), model.encode_text(tokens), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("custom", "text", "message"),
    [
        (True, {"no_causal_mask": True}, "not causal"),
        (True, {"embed_cls": True}, "class token"),
        (True, {"pool_type": "last"}, "pools by 'last'"),
        (False, {"pool_type": "first"}, "pools by 'first'"),
    ],
)
def test_a_tower_that_is_not_causal_is_refused(custom, text, message):
    with pytest.raises(ConfigError, match=message):
        require_causal(text_tower(make(custom, **text)))


def test_a_foreign_tower_is_refused():
    with pytest.raises(ConfigError, match="The text tower Linear is none of open_clip's own"):
        require_causal(torch.nn.Linear(1, 1))


def test_the_mask_lets_a_node_see_its_ancestors_and_itself():
    tree = PromptTree([[0, 1, 9], [0, 2, 9]])
    assert tree.tokens.tolist() == [[9, 9, 0, 1, 2]]  # those that are pooled first
    assert tree.depth.tolist() == [[2, 2, 0, 1, 1]]
    assert tree.kept == 2
    assert (tree.mask[0] == 0).int().tolist() == [
        [1, 0, 1, 1, 0],
        [0, 1, 1, 0, 1],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 1, 0, 1],
    ]
    assert tree.mask[0, 0, 1] == -math.inf
