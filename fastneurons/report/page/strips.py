"""Every neuron of a layer, small enough for a page: how often it is in each category and in which languages.

A layer's planes are counts where the page's budget allows it, else shares in as many steps as fit; the page says which.
Each language's plane is stored as the difference from the language before, since languages activate much the same
neurons: that halves what gzip leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastneurons.report.page.blocks import Block, text_bytes

# Steps of a share in categories and in languages, from fine to coarse. With the first ones, tasks are kept apart; the
# last ones are tried without languages, too.
_FINE = ((65535, 65535), (255, 255), (127, 127), (63, 63), (31, 31))
_COARSE = ((127, 127), (63, 63), (31, 31), (15, 15), (15, 7), (15, 3))
_CATEGORIES_ALONE = ((127, 0), (63, 0), (31, 0), (15, 0), (7, 0))
_Steps = tuple[int, int]
_LARGEST_COUNT = 65535
# Layers compressed to estimate the size of all.
_SAMPLED_LAYERS = 4


@dataclass(frozen=True, eq=False)
class NeuronCounts:
    """How many examples find each neuron in each category, and activated in each language; of a corpus, tokens.

    Args:
        category: int32 [G, N, I, 4], by group: all examples, then each task if there are several; None for a corpus.
        language: Integers [G, L, N, I]; None if the store does not say which neurons each language activates.
        examples: int64 [G], examples of each group.
        present: int64 [G, L], examples of each group that have a prompt in each language; of a corpus, tokens.
    """

    category: NDArray[np.int32] | None
    language: NDArray[np.integer] | None
    examples: NDArray[np.int64]
    present: NDArray[np.int64]

    @property
    def num_categories(self) -> int:
        """Planes of categories: all but the first, which follows from the others."""
        return 0 if self.category is None else 3

    @property
    def num_layers(self) -> int:
        """N."""
        if self.category is not None:
            return int(self.category.shape[1])
        return 0 if self.language is None else int(self.language.shape[2])


@dataclass(frozen=True)
class Strips:
    """Planes of every layer.

    Args:
        blocks: One a layer, whose array `planes` uint8 [1 or 3, G * P, I] is that of `_split`; the P planes of a group
            are specific, partial-shared, all-shared (not of a corpus), then the languages.
        scale: [G][P], the value of each plane that stands for a share of 1.
        exact: Whether planes are counts.
        groups: G, groups that have planes.
        has_languages: Whether there are planes of languages.
    """

    blocks: Sequence[Block]
    scale: list[list[int]]
    exact: bool
    groups: int
    has_languages: bool

    @property
    def text_bytes(self) -> int:
        """Size of the blocks in the page."""
        return sum(len(block.text) for block in self.blocks)


def strips(counts: NeuronCounts, budget: int | None) -> Strips | None:
    """Make planes that fit into a budget: exact if possible; else coarser, without tasks, without languages.

    Args:
        counts: Of every neuron.
        budget: Bytes in the page; None for as many as exact counts take.
    Returns:
        None if even the coarsest planes do not fit.
    """
    G, N = len(counts.examples), counts.num_layers
    if not N or not counts.examples[0]:
        return None
    exact = max(int(counts.examples.max()), int(counts.present.max())) <= _LARGEST_COUNT
    has_languages = counts.language is not None
    attempts: list[tuple[_Steps | None, int, bool]] = [(None, G, has_languages)] if exact else []
    attempts += [(steps, G, has_languages) for steps in _FINE]
    attempts += [(steps, 1, has_languages) for steps in _COARSE]
    if counts.category is not None:
        attempts += [(steps, 1, False) for steps in _CATEGORIES_ALONE]
    for steps, groups, languages in attempts:
        if budget is not None and _estimate(counts, steps, groups, languages) > budget:
            continue
        blocks = [_block(counts, layer, steps, groups, languages) for layer in range(N)]
        made = Strips(blocks, _scale(counts, steps, groups, languages), steps is None, groups, languages)
        if budget is None or made.text_bytes <= budget:
            return made
    return None


def _estimate(counts: NeuronCounts, steps: _Steps | None, groups: int, languages: bool) -> int:
    """About how many bytes the planes take in the page, from a few layers."""
    N = counts.num_layers
    sampled = np.unique(np.linspace(0, N - 1, min(N, _SAMPLED_LAYERS)).astype(int))
    size = sum(len(_block(counts, int(n), steps, groups, languages).compressed) for n in sampled)
    return text_bytes(size * N // len(sampled))


def _scale(counts: NeuronCounts, steps: _Steps | None, groups: int, languages: bool) -> list[list[int]]:
    C, L = counts.num_categories, counts.present.shape[1] if languages else 0
    if steps is not None:
        return [[steps[0]] * C + [steps[1]] * L for _ in range(groups)]
    return [[int(counts.examples[g])] * C + [int(n) for n in counts.present[g][:L]] for g in range(groups)]


def _block(counts: NeuronCounts, layer: int, steps: _Steps | None, groups: int, languages: bool) -> Block:
    coded = []
    for g in range(groups):
        planes: list[NDArray[np.integer]] = []
        whole: list[NDArray[np.int64]] = []
        if counts.category is not None:
            planes.append(counts.category[g, layer, :, 1:].T)  # [3, I]
            whole.append(np.full(3, counts.examples[g]))
        if languages and counts.language is not None:
            planes.append(counts.language[g, :, layer])  # [L, I]
            whole.append(counts.present[g])
        values = np.concatenate(planes).astype(np.int64)
        if steps is not None:
            scale = np.array(_scale(counts, steps, 1, languages)[0]) / np.maximum(np.concatenate(whole), 1)
            values = np.rint(values * scale[:, None]).astype(np.int64)
        coded.append(_coded(values, counts.num_categories))
    return Block(arrays={"planes": _split(np.concatenate(coded))})


def _coded(planes: NDArray[np.int64], num_categories: int) -> NDArray[np.int64]:
    """Planes [P, I] with those of all languages but the first as zigzag differences from the plane before."""
    coded = planes.copy()
    difference = np.diff(planes[num_categories:], axis=0)
    coded[num_categories + 1 :] = np.where(difference < 0, -2 * difference - 1, 2 * difference)
    return coded


def _split(coded: NDArray[np.int64]) -> NDArray[np.uint8]:
    """uint8 [1, P, I] if that is enough, else [3, P, I]: low bytes, middle bytes, high bytes, which compress apart."""
    if not coded.size or coded.max() < 256:
        return coded.astype(np.uint8)[None]
    return np.stack([(coded >> shift & 255).astype(np.uint8) for shift in (0, 8, 16)])
