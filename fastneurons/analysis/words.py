"""Counting packed bits, 64 neurons at a time and on all cores.

Bits come as the store keeps them: neuron i is bit `i % 8` of byte `i // 8`. `to_words` turns them into 64-bit words,
and everything else works on those:

    words = to_words(packed, neurons)                 # uint8 [E, L, N, B] -> uint64 [E, L, N, W]
    category_counts(category_planes(words), neurons)  # int32 [E, N, 4]

A *plane* is one bit for each neuron of each layer, [N, W]. Numpy releases the GIL while it combines and counts words,
so tiles of the arrays, small enough for a core's cache, are shared out among threads.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from math import ceil, prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

WORD_BITS = 64
# Of one plane in a tile: the half dozen that are combined at a time fit in the cores' caches, and numpy's calls take
# little of the time.
_TILE_WORDS = 2**15
# Of a tile that is counted neuron by neuron, in which the planes of all its examples are combined: with fewer words,
# the time goes into the calls of numpy (2**9: 1.0 s of a core for each GB; 2**12: 0.4 s).
_COLUMN_WORDS = 2**12
_EXAMPLES_AT_ONCE = 63  # six bits count to 63

_T = TypeVar("_T")


def to_words(packed: NDArray[np.uint8], neurons: int) -> Words:
    """Packed bits as words; those past the last neuron are 0.

    Args:
        packed: uint8 [..., B], B = ceil(I / 8).
        neurons: I.
    Returns:
        uint64 [..., W], W = ceil(I / 64); the same memory if it can be.
    """
    B, W = packed.shape[-1], ceil(neurons / WORD_BITS)
    assert ceil(neurons / 8) == B, f"{B} bytes cannot be those of {neurons} neurons"
    if neurons == WORD_BITS * W and packed.flags.c_contiguous and packed.ctypes.data % 8 == 0:
        return packed.view("<u8")
    padded = np.zeros((*packed.shape[:-1], 8 * W), np.uint8)
    padded[..., :B] = packed
    if neurons % 8:
        padded[..., B - 1] &= (1 << neurons % 8) - 1
    return padded.view("<u8")


def to_bits(words: Words, neurons: int) -> NDArray[np.bool_]:
    """bool [..., I] of words [..., W]."""
    packed = np.ascontiguousarray(words, "<u8").view(np.uint8)
    return np.unpackbits(packed, axis=-1, count=neurons, bitorder="little").view(np.bool_)


def to_packed(words: Words, neurons: int) -> NDArray[np.uint8]:
    """uint8 [..., B] of words [..., W], as the store keeps them."""
    packed = np.ascontiguousarray(words, "<u8").view(np.uint8)
    return packed[..., : ceil(neurons / 8)]


# -- counts by layer ----------------------------------------------------------------------------------------


def count_bits(words: Words) -> NDArray[np.int32]:
    """int32 [...], how many bits of each row of words [..., W] are set."""
    W = words.shape[-1]
    rows = words.reshape(-1, W) if words.size else np.zeros((prod(words.shape[:-1]), 0), np.uint64)
    counts = np.zeros(len(rows), np.int32)

    def count(part: slice) -> None:
        counts[part] = _row_sums(np.bitwise_count(rows[part]))

    in_parallel(count, _parts(len(rows), max(1, _TILE_WORDS // max(1, W))))
    return counts.reshape(words.shape[:-1])


def _row_sums(counts: NDArray[np.uint8]) -> NDArray[np.int32]:
    """int32 [...], sums of each row of the counts of words [..., W], at most 64 each.

    Adding them up as bytes takes longer than counting bits does. Eight of them at a time, if they come in eights, are
    added as a word of four 16-bit sums, which hold the counts of 4,000 words.
    """
    W = counts.shape[-1]
    if W % 8 or W > _MOST_WORDS:
        by_bytes: NDArray[np.int32] = counts.sum(-1, dtype=np.int32)
        return by_bytes
    eights = counts.view(np.uint64)
    pairs = eights & _LOW_BYTES
    pairs += (eights >> np.uint64(8)) & _LOW_BYTES
    fours = pairs.sum(-1).view(np.uint16).reshape(*counts.shape[:-1], 4)
    sums: NDArray[np.int32] = fours.sum(-1, dtype=np.int32)
    return sums


_LOW_BYTES = np.uint64(0x00FF00FF00FF00FF)
_MOST_WORDS = (2**16 - 1) // (2 * WORD_BITS) * 8


def category_planes(words: Words, present: NDArray[np.bool_] | None = None) -> Words:
    """Planes from which an example's categories follow.

    Args:
        words: uint64 [E, L, N, W].
        present: bool [E, L], whether the example has a prompt in the language, which each has in at least one;
            None: in all.
    Returns:
        uint64 [E, 3, N, W]: neurons that any language activates, that two or more activate, and that all languages
        of the example activate.
    """
    E, L, N, W = words.shape
    planes = np.empty((E, 3, N, W), np.uint64)
    absent = None
    if present is not None and not present.all():
        absent = np.where(present, 0, ~np.uint64(0)).astype(np.uint64)

    def combine(tile: tuple[slice, slice]) -> None:
        examples, layers = tile
        some, twice, every = (planes[examples, k, layers] for k in range(3))
        some[:] = twice[:] = 0
        every[:] = ~np.uint64(0)
        spare = np.empty(some.shape, np.uint64)
        for language in range(L):
            row = words[examples, language, layers]
            np.bitwise_and(some, row, out=spare)
            np.bitwise_or(twice, spare, out=twice)
            np.bitwise_or(some, row, out=some)
            if absent is None:
                np.bitwise_and(every, row, out=every)
            else:
                np.bitwise_or(row, absent[examples, language, None, None], out=spare)
                np.bitwise_and(every, spare, out=every)

    in_parallel(combine, _tiles(E, N, W))
    return planes


def category_counts(planes: Words, neurons: int) -> NDArray[np.int32]:
    """int32 [E, N, 4], neurons of each layer in each category, from `category_planes` [E, 3, N, W].

    Each example must have two languages or more: with one, specific and all-shared are the same set.
    """
    some, twice, every = np.moveaxis(count_bits(planes), 1, 0)
    return np.stack([neurons - some, some - twice, twice - every, every], -1)


def category_masks(planes: Words) -> Words:
    """uint64 [E, 4, N, W], the neurons of each category, from `category_planes`; bits past the last are undefined."""
    some, twice, every = np.moveaxis(planes, 1, 0)
    return np.stack([~some, some & ~twice, twice & ~every, every], 1)


def language_number_counts(words: Words, neurons: int) -> NDArray[np.int32]:
    """How many neurons of each layer a given number of languages activate.

    Args:
        words: uint64 [E, L, N, W].
        neurons: I.
    Returns:
        int32 [E, N, L + 1]: entry k counts the neurons that exactly k of the L languages activate.
    """
    E, L, N, W = words.shape
    counts = np.zeros((E, N, L + 1), np.int32)

    def count(tile: tuple[slice, slice]) -> None:
        examples, layers = tile
        # The number of languages of each neuron in binary, a plane a digit, counted up language by language.
        rows = words[examples, :, layers]
        digits = add_planes([rows[:, language] for language in range(L)])
        # From the number's last digit to its first, every prefix that can still be one of 0 .. L.
        found: dict[int, Words | None] = {0: None}
        for weight, digit in reversed(list(enumerate(digits))):
            above, found = found, {}
            for number, plane in above.items():
                if number + (1 << weight) <= L:
                    found[number + (1 << weight)] = digit if plane is None else plane & digit
                found[number] = ~digit if plane is None else plane & ~digit
        for number, plane in found.items():
            if number and plane is not None:
                counts[examples, layers, number] = _row_sums(np.bitwise_count(plane))

    in_parallel(count, _tiles(E, N, W))
    counts[..., 0] = neurons - counts.sum(-1)
    return counts


def pair_counts(words: Words) -> NDArray[np.int32]:
    """int32 [E, L, L, N], neurons of each layer that both languages of a pair activate; symmetric.

    The diagonal has the neurons that each language activates.
    """
    E, L, N, W = words.shape
    counts = np.zeros((E, L, L, N), np.int32)

    first, second = np.triu_indices(L)

    def count(tile: tuple[slice, slice]) -> None:
        examples, layers = tile
        rows = words[examples, :, layers]
        both = np.empty(rows.shape, np.uint64)
        bits = np.empty((len(rows), len(first), *rows.shape[2:]), np.uint8)
        at = 0
        for language in range(L):  # with itself and all later ones
            common = both[:, language:]
            np.bitwise_and(rows[:, language : language + 1], rows[:, language:], out=common)
            np.bitwise_count(common, out=bits[:, at : at + L - language])
            at += L - language
        numbers = _row_sums(bits)
        counts[examples, first, second, layers] = numbers
        counts[examples, second, first, layers] = numbers

    in_parallel(count, _tiles(E, N, W))
    return counts


# -- counts by neuron ---------------------------------------------------------------------------------------


class NeuronCounter:
    """How often each neuron's bit is set, over any number of planes.

    Counts are kept in binary, a plane for each digit, and are unpacked once at the end: a full adder takes five
    operations on words of 64 neurons. The size grows with the logarithm of what is counted.

    Args:
        shape: Of a plane, without its last axis of W words: (N,), or (L, N).
        neurons: I.
    """

    def __init__(self, shape: tuple[int, ...], neurons: int) -> None:
        self._shape = shape
        self._neurons = neurons
        self._digits = np.zeros((0, prod(shape) * ceil(neurons / WORD_BITS)), np.uint64)
        self._number = 0

    def add(self, planes: Words) -> None:
        """Count the set bits of planes [E, *shape, W]."""
        flat = planes.reshape(len(planes), self._digits.shape[1])
        for rows in _parts(len(flat), _EXAMPLES_AT_ONCE):
            self._add(flat[rows])

    def _add(self, flat: Words) -> None:
        self._number += len(flat)
        missing = self._number.bit_length() - len(self._digits)
        if missing > 0:
            added = np.zeros((missing, self._digits.shape[1]), np.uint64)
            self._digits = np.concatenate([self._digits, added])
        digits = self._digits

        def count(columns: slice) -> None:
            carry: Words | None = None
            number = add_rows(flat[:, columns])
            for weight, total in enumerate(digits[:, columns]):
                terms = [number[weight]] if weight < len(number) else []
                if carry is not None:
                    terms.append(carry)
                if not terms:
                    break
                carry = _add_into(total, *terms)

        in_parallel(count, _parts(flat.shape[1], _COLUMN_WORDS))

    def counts(self, *index: int | slice) -> NDArray[np.int32]:
        """Counts so far.

        Args:
            index: Which of the planes' rows, as an array of `shape` would be indexed; all of them by default.
        Returns:
            int32 [*shape, I], or the part of it that is chosen.
        """
        W = ceil(self._neurons / WORD_BITS)
        digits = self._digits.reshape(-1, *self._shape, W)[:, *index]
        counts = np.zeros((*digits.shape[1:-1], self._neurons), np.int32)
        for first in range(0, len(digits), 8):
            byte = digits_to_bytes(digits[first : first + 8].view(np.uint8))[..., : self._neurons]
            counts += np.left_shift(byte, first, dtype=np.int32)
        return counts


def digits_to_bytes(digits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put up to eight packed bits of each neuron together in a byte.

    Args:
        digits: uint8 [D, ..., B], the lowest first.
    Returns:
        uint8 [..., 8 * B].
    """
    unpacked = np.unpackbits(digits, axis=-1, bitorder="little").view(np.uint64)  # eight neurons at a time
    for weight in range(1, len(unpacked)):
        unpacked[weight] <<= np.uint64(weight)
        unpacked[0] |= unpacked[weight]
    found: NDArray[np.uint8] = unpacked[0].view(np.uint8)
    return found


def add_planes(planes: Iterable[Words]) -> list[Words]:
    """Add planes of any one shape up, bit by bit: the sums in binary, a plane for each digit, lowest first."""
    level = list(planes)
    digits: list[Words] = []
    while level:
        carries: list[Words] = []
        while len(level) > 1:
            total = level[0] ^ level[1]
            carry = level[0] & level[1]
            if len(level) > 2:
                carry |= total & level[2]
                total ^= level[2]
            level = [*level[3:], total]
            carries.append(carry)
        digits += level
        level = carries
    return digits


def add_rows(planes: Words) -> list[Words]:
    """`add_planes` of the rows of an array [K, M], many at a time: a third of the rows to each of two others."""
    digits: list[Words] = []
    rows = planes
    while len(rows):
        carries = np.empty((len(rows) // 2, rows.shape[1]), np.uint64)
        at = 0
        while len(rows) > 2:
            third = len(rows) // 3
            first, second, other = rows[:third], rows[third : 2 * third], rows[2 * third : 3 * third]
            carry, at = carries[at : at + third], at + third
            left = np.empty((len(rows) - 2 * third, rows.shape[1]), np.uint64)
            total, left[third:] = left[:third], rows[3 * third :]
            np.bitwise_xor(first, second, out=total)
            np.bitwise_and(first, second, out=carry)
            carry |= total & other
            total ^= other
            rows = left
        if len(rows) == 2:
            np.bitwise_and(rows[0], rows[1], out=carries[at])
            rows = rows[:1] ^ rows[1:]
        digits.append(rows[0])
        rows = carries
    return digits


def _add_into(total: Words, first: Words, second: Words | None = None) -> Words:
    """Add one or two planes to a digit in place; returns the carry."""
    carry = total & first
    np.bitwise_xor(total, first, out=total)
    if second is not None:
        carry |= total & second
        np.bitwise_xor(total, second, out=total)
    return carry


# -- tiles and threads --------------------------------------------------------------------------------------


def in_parallel(function: Callable[[_T], Any], parts: Iterable[_T]) -> None:
    """Call a function for each part, on all cores; the first error is raised. Do not nest."""
    listed = list(parts)
    if len(listed) < 2:
        for part in listed:
            function(part)
        return
    for _ in _threads().map(function, listed):
        pass


@cache
def _threads() -> ThreadPoolExecutor:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(cores, "fastneurons-words")


def _parts(length: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, length)) for first in range(0, length, size)]


def _tiles(num_examples: int, num_layers: int, num_words: int) -> list[tuple[slice, slice]]:
    """Examples and layers, in pieces of which a plane has about `_TILE_WORDS`."""
    if not num_examples * num_layers * num_words:
        return []
    layers = max(1, min(num_layers, _TILE_WORDS // num_words))
    examples = max(1, _TILE_WORDS // (num_layers * num_words)) if layers == num_layers else 1
    return [(rows, part) for rows in _parts(num_examples, examples) for part in _parts(num_layers, layers)]
