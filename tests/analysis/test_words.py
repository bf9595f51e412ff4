"""Counting on words against counting booleans, for drawn numbers of examples, languages, layers and neurons."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastneurons.analysis import words as counting
from fastneurons.analysis.words import (
    NeuronCounter,
    add_planes,
    add_rows,
    category_counts,
    category_masks,
    category_planes,
    count_bits,
    language_number_counts,
    pair_counts,
    to_bits,
    to_packed,
    to_words,
)

SIZES = st.tuples(
    st.integers(0, 5), st.integers(2, 6), st.integers(1, 3), st.sampled_from([1, 7, 8, 13, 64, 65, 128, 200])
)


def drawn(sizes: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """bool [E, L, N, I] and the same packed, with the bits past the last neuron set."""
    rng = np.random.default_rng(seed)
    bits = rng.random(sizes) < rng.random((sizes[0], 1, sizes[2], 1))
    packed = np.packbits(bits, axis=-1, bitorder="little")
    if sizes[-1] % 8:
        packed[..., -1] |= (0xFF << sizes[-1] % 8) & 0xFF
    return bits, packed


def slow_categories(bits: np.ndarray, present: np.ndarray) -> np.ndarray:
    """bool [E, N, I, 4], by the definition."""
    number = (bits & present[:, :, None, None]).sum(1)
    every = number == present.sum(1)[:, None, None]
    masks = [number == 0, number == 1, (number > 1) & ~every, every]
    return np.stack(masks, -1)


@given(SIZES, st.integers(0, 2**32))
def test_words_are_the_bits_without_what_lies_past_the_last_neuron(sizes, seed):
    bits, packed = drawn(sizes, seed)
    before = packed.copy()
    words = to_words(packed, sizes[-1])
    np.testing.assert_array_equal(to_bits(words, sizes[-1]), bits)
    np.testing.assert_array_equal(to_packed(words, sizes[-1]), np.packbits(bits, axis=-1, bitorder="little"))
    np.testing.assert_array_equal(count_bits(words), bits.sum(-1))
    np.testing.assert_array_equal(packed, before)


@given(SIZES, st.integers(0, 2**32), st.booleans())
def test_categories_are_by_the_number_of_languages(sizes, seed, some_absent):
    bits, packed = drawn(sizes, seed)
    present = np.ones(sizes[:2], np.bool_)
    if some_absent:
        present[:, 2:] = np.random.default_rng(seed).random((sizes[0], sizes[1] - 2)) < 0.5
    bits &= present[:, :, None, None]
    packed[~present] = 0
    expected = slow_categories(bits, present)
    planes = category_planes(to_words(packed, sizes[-1]), present)
    np.testing.assert_array_equal(category_counts(planes, sizes[-1]), expected.sum(2))
    masks = to_bits(category_masks(planes), sizes[-1])  # [E, 4, N, I]
    np.testing.assert_array_equal(np.moveaxis(masks, 1, -1), expected)


@given(SIZES, st.integers(0, 2**32))
def test_numbers_of_languages(sizes, seed):
    bits, packed = drawn(sizes, seed)
    number = bits.sum(1)
    expected = np.stack([(number == k).sum(-1) for k in range(sizes[1] + 1)], -1)
    np.testing.assert_array_equal(language_number_counts(to_words(packed, sizes[-1]), sizes[-1]), expected)


@given(SIZES, st.integers(0, 2**32))
def test_pairs(sizes, seed):
    bits, packed = drawn(sizes, seed)
    found = pair_counts(to_words(packed, sizes[-1]))
    for first in range(sizes[1]):
        np.testing.assert_array_equal(found[:, first, first], bits[:, first].sum(-1))
    for first, second in combinations(range(sizes[1]), 2):
        both = (bits[:, first] & bits[:, second]).sum(-1)
        np.testing.assert_array_equal(found[:, first, second], both)
        np.testing.assert_array_equal(found[:, second, first], both)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 70), max_size=4), st.integers(0, 2**32))
def test_counts_by_neuron_do_not_depend_on_the_parts(parts, seed):
    counter = NeuronCounter((3, 2), 70)
    expected = np.zeros((3, 2, 70), np.int64)
    for number, size in enumerate(parts):
        bits, packed = drawn((size, 3, 2, 70), seed + number)
        counter.add(to_words(packed, 70))
        expected += bits.sum(0)
        np.testing.assert_array_equal(counter.counts(), expected)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 7, 8, 20])
def test_sums_of_planes_in_binary(number):
    rng = np.random.default_rng(number)
    planes = rng.integers(0, 2**63, (number, 5), np.uint64)
    expected = to_bits(planes, 320).reshape(number, -1).sum(0) if number else np.zeros(320)
    for digits in (add_planes(planes), add_rows(planes)):
        total = sum((to_bits(digit, 320).astype(int) << k for k, digit in enumerate(digits)), np.zeros(320))
        np.testing.assert_array_equal(total, expected)


def test_results_do_not_depend_on_tiles(monkeypatch):
    bits, packed = drawn((9, 4, 5, 200), 0)
    words = to_words(packed, 200)

    def everything():
        counter = NeuronCounter((4, 5), 200)
        counter.add(words)
        planes = category_planes(words)
        return (
            planes, category_counts(planes, 200), pair_counts(words), language_number_counts(words, 200),
            counter.counts(),
        )  # fmt: skip

    whole = everything()
    monkeypatch.setattr(counting, "_TILE_WORDS", 7)
    monkeypatch.setattr(counting, "_COLUMN_WORDS", 3)
    for once, again in zip(whole, everything(), strict=True):
        np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(whole[-1], bits.sum(0))


@pytest.mark.parametrize("width", [1, 7, 8, 16, 224, 4080, 4088, 8000])
def test_rows_of_ones_count_as_many_bits_as_they_have(width):
    words = np.full((2, width), ~np.uint64(0))
    words[1, 0] = 1
    assert count_bits(words).tolist() == [64 * width, 64 * (width - 1) + 1]
