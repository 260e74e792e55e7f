"""The mixed batch sampler: exact quotas, whole passes, disjoint ranks, the same stream after a resume."""

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimi_lightning.data.sampling import MixedBatchSampler, SizeBatchSampler

mixes = st.dictionaries(st.sampled_from(["bid", "csiq", "koniq", "live"]), st.integers(1, 30), min_size=1)
quotas = st.integers(1, 7)
property_test = settings(deadline=None, derandomize=True, max_examples=60)


def rows_of(mix):
    """Give every dataset its own rows: 1000.. for the first, 2000.. for the second."""
    return {name: range(1000 * i, 1000 * i + size) for i, (name, size) in enumerate(sorted(mix.items()), 1)}


def drawn(sampler, epochs=1):
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        yield from sampler


@property_test
@given(mixes, st.data())
def test_every_batch_holds_the_quota_of_every_dataset(mix, data):
    quota = {name: data.draw(quotas) for name in mix}
    rows = rows_of(mix)
    sampler = MixedBatchSampler(rows, quota, seed=1)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    for batch in batches:
        for name in mix:
            assert sum(row in rows[name] for row, _ in batch) == quota[name]


@property_test
@given(mixes, quotas, st.integers(1, 3))
def test_every_pass_shows_every_image_once_over_all_ranks(mix, quota, world):
    rows = rows_of(mix)
    ranks = [MixedBatchSampler(rows, dict.fromkeys(mix, quota), seed=3, rank=r, world=world) for r in range(world)]
    steps = [
        [row for batch in same_step for row, _ in batch]
        for same_step in zip(*(drawn(r, 3) for r in ranks), strict=True)
    ]
    for name in mix:
        stream = [row for step in steps for row in step if row in rows[name]]
        whole = len(stream) // len(rows[name])
        assert whole >= 1
        for turn in range(whole):
            # Within a step ranks and datasets alternate, so a pass is compared as a set at its own boundaries.
            part = stream[turn * len(rows[name]) : (turn + 1) * len(rows[name])]
            assert Counter(part) == Counter(rows[name])


def test_the_longest_dataset_is_passed_over_once():
    sampler = MixedBatchSampler({"live": range(7), "koniq": range(100, 145)}, {"live": 2, "koniq": 4}, seed=0)
    assert len(sampler) == 12
    assert len(MixedBatchSampler({"live": range(7)}, {"live": 2}, seed=0, steps=200)) == 200


def test_an_epoch_after_a_resume_is_the_one_that_was_due():
    rows, quota = rows_of({"live": 9, "csiq": 5}), {"live": 2, "csiq": 2}
    through = list(drawn(MixedBatchSampler(rows, quota, seed=5), epochs=4))
    resumed = MixedBatchSampler(rows, quota, seed=5)
    resumed.set_epoch(3)
    assert list(resumed) == through[-len(resumed) :]


def test_an_epoch_may_begin_with_any_of_its_batches():
    rows, quota = rows_of({"live": 9, "csiq": 5}), {"live": 2, "csiq": 2}
    whole, rest = (MixedBatchSampler(rows, quota, seed=5) for _ in range(2))
    rest.first = 3
    assert list(rest) == list(whole)[3:]
    assert len(rest) == len(whole)


def test_streams_are_reshuffled_and_follow_seed_and_name_only():
    rows, quota = rows_of({"live": 20, "csiq": 20}), {"live": 20, "csiq": 20}
    first, second = islice(drawn(MixedBatchSampler(rows, quota, seed=5), 2), 2)
    assert first != second
    assert first != next(iter(MixedBatchSampler(rows, quota, seed=6)))
    assert next(iter(MixedBatchSampler(rows, quota, seed=5, rank=0, world=1))) == first
    turned = MixedBatchSampler(dict(reversed(rows.items())), quota, seed=5)
    assert next(iter(turned)) == first
    alone = MixedBatchSampler({"live": rows["live"]}, {"live": 20}, seed=5)
    assert [d for d in first if d[0] in rows["live"]] == next(iter(alone))


def test_every_dataset_has_an_order_of_its_own():
    rows = rows_of({"live": 20, "csiq": 20})
    (batch,) = MixedBatchSampler(rows, dict.fromkeys(rows, 20), seed=5)
    csiq, live = batch[:20], batch[20:]
    assert [row - rows["csiq"][0] for row, _ in csiq] != [row - rows["live"][0] for row, _ in live]
    assert not {seed for _, seed in csiq} & {seed for _, seed in live}


def test_one_image_drawn_twice_gets_two_views():
    seeds = [seed for batch in drawn(MixedBatchSampler({"live": [0]}, {"live": 3}, seed=5), 2) for _, seed in batch]
    assert len(set(seeds)) == 6


@property_test
@given(st.lists(st.sampled_from([(4, 3), (3, 4), None]), max_size=40), st.integers(1, 5), st.integers(1, 3))
def test_evaluation_sees_each_image_once_and_one_size_a_batch(sizes, batch, world):
    rows = list(range(len(sizes)))
    batches = [b for r in range(world) for b in SizeBatchSampler(rows, sizes, batch, rank=r, world=world)]
    assert sorted(row for b in batches for row, _ in b) == rows
    assert all(len({sizes[row] for row, _ in b}) == 1 and len(b) <= batch for b in batches)
    shares = [sum(map(len, SizeBatchSampler(rows, sizes, batch, rank=r, world=world))) for r in range(world)]
    assert max(shares) - min(shares) <= 1


def test_evaluation_batches_are_full_and_their_views_the_fixed_ones():
    sizes = [(4, 3), (3, 4), (4, 3), (4, 3)]
    sampler = SizeBatchSampler([10, 11, 12, 13], sizes, batch=2)
    assert list(sampler) == [[(10, 0), (12, 0)], [(13, 0)], [(11, 0)]]
    assert len(sampler) == 3
    with pytest.raises(ValueError, match="shorter"):
        SizeBatchSampler([10, 11], sizes[:1], batch=2)


@property_test
@given(mixes, quotas, st.integers(2, 3))
def test_ranks_draw_disjoint_pieces_of_every_pass(mix, quota, world):
    rows = rows_of(mix)
    ranks = [MixedBatchSampler(rows, dict.fromkeys(mix, quota), seed=3, rank=r, world=world) for r in range(world)]
    for same_step in zip(*(drawn(r, 2) for r in ranks), strict=True):
        seeds = [seed for batch in same_step for _, seed in batch]
        assert len(set(seeds)) == len(seeds)  # a seed names a position of a stream
