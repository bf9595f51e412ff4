"""Choose the edges of histograms' bins: for each layer, from the distribution of its signal in a sample of tokens.

The sample is counted by the kernels themselves, first with edges at powers of two, then with edges chosen from these
counts, and once more. Edges lie where the layer's neurons, taken together, reach levels that are evenly spaced in their
logit, from 0.0006 % to 99.9994 %: of 64 bins, those near the median hold a tenth of the values each, those in the tails
fewer and fewer, so that the rare large values of a few neurons are told apart, too. One edge lies just above 0.

All neurons of a layer share its edges, so that one small table sorts a signal into its bin. Edges for each neuron would
take as much memory as the counts of a language, and a search for each value.
"""

import random
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
from fastneurons_kernels.bins import cells_of, edges_at, snapped
from numpy.typing import NDArray

from fastneurons.data.example import Example, Skipped
from fastneurons.engine.encode import AnyExample, Tokenised, without_tokens

# Tokens of a sample, of all languages together, and of a text.
SAMPLE_TOKENS = 2048
_TOKENS_OF_A_TEXT = 64
# Texts of each language among which a sample is drawn, and how much is read to find them.
_TEXTS = 256
_MOST_EXAMPLES = 16384
_MOST_CHARACTERS = 1 << 26

ROUNDS = 3  # with 16 bins, the edges hardly change any more

_LEVELS_UP_TO = 12.0  # logit of the highest level; the lowest is its negative
_ABOVE_ZERO = 1  # the cell that begins just above 0
_LAST_CELL = 0x7F7F  # of the largest numbers that are finite


def first_edges(bins: int) -> NDArray[np.float32]:
    """Edges before anything is known of a signal: just above 0, and at powers of two on both sides, float32 [B - 1]."""
    below = (bins - 2) // 2
    above = bins - 2 - below
    powers = (2.0 ** np.linspace(-15, 15, number) for number in (below, above))
    negative, positive = (np.asarray(each) for each in powers)
    return snapped(np.concatenate([-negative[::-1], np.zeros(1), positive]))


def better_edges(edges: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Edges at the levels of a counted distribution; within a bin, values are taken to be spread evenly.

    Args:
        edges: float32 [N, B - 1], of the layers.
        counts: int64 [N, B], values in each bin.
    Returns:
        float32 [N, B - 1]; those given for a layer that has no values.
    """
    return np.stack([_better(*layer) for layer in zip(edges, counts, strict=True)])


def _better(edges: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.float32]:
    if not counts.any():
        return edges
    # Open bins end as far again from 0; where more lies beyond, the next round goes on from there.
    ends = np.concatenate([[min(2.0 * edges[0], 0)], edges, [max(2.0 * edges[-1], 0)]]).astype(np.float64)
    reached = np.concatenate([[0], np.cumsum(counts)]) / counts.sum()
    levels = 1 / (1 + np.exp(-np.linspace(-_LEVELS_UP_TO, _LEVELS_UP_TO, len(edges) - 1)))
    found = cells_of(snapped(np.interp(levels, reached, ends))).tolist()
    return edges_at(_filled({*found, _ABOVE_ZERO}, len(edges)))


def _filled(cells: set[int], number: int) -> NDArray[np.int64]:
    """Cells in order, with further ones in the middle of the widest gaps until there are as many as asked for."""
    while len(cells) < number:
        there = np.array(sorted(cells))
        values = edges_at(there).astype(np.float64)
        middle = cells_of(((values[1:] + values[:-1]) / 2).astype(np.float32))
        inside = (there[:-1] < middle) & (middle < there[1:]) & (middle != 0)
        if inside.any():
            widest = np.argmax(np.where(inside, np.diff(values), -1))
            cells = cells | {int(middle[widest])}
        else:
            cells = cells | {int(there[-1]) + 1 if there[-1] < _LAST_CELL else int(there[0]) - 1}
    return np.array(sorted(cells)[:number])


def sampled_texts(
    examples: Iterable[AnyExample], languages: tuple[str, ...], seed: int
) -> tuple[list[Example], Iterator[AnyExample]]:
    """Draw texts of each language from the first examples of a source.

    Args:
        examples: The source; it is read as far as is needed.
        languages: L codes.
        seed: Chooses the texts.
    Returns:
        Some texts in random order, each an example in one language, as many in each language as its share of a sample
        can take; and all examples, those that were read again included. If reading them failed, the iterator raises
        that error in its place.
    """
    source = iter(examples)
    seen: list[AnyExample] = []
    texts: dict[str, list[Example]] = {code: [] for code in languages}
    characters = 0
    ended: Exception | None = None
    try:
        while (
            len(seen) < _MOST_EXAMPLES
            and characters < _MOST_CHARACTERS
            and any(len(found) < _TEXTS for found in texts.values())
        ):
            example = next(source, None)
            if example is None:
                break
            seen.append(example)
            example = without_tokens(example)
            if isinstance(example, Skipped):
                continue
            for code in languages:
                text = example.prompts.get(code)
                if text and len(texts[code]) < _TEXTS:
                    texts[code].append(Example(example.id, {code: text}, where=example.where))
                characters += len(text or "")
    except Exception as error:  # raised again where the run comes to it
        ended = error
    draw = random.Random(seed)
    drawn: list[Example] = []
    for code in languages:
        draw.shuffle(texts[code])
        drawn += texts[code]
    return drawn, chain(seen, source if ended is None else _raising(ended))


def _raising(error: Exception) -> Iterator[AnyExample]:
    raise error
    yield


def sample_of(texts: Iterable[Tokenised | Skipped], num_languages: int) -> list[Tokenised]:
    """Cut tokenised texts, of one language each, to a sample: an equal share of its tokens for each language.

    Args:
        texts: Read as far as is needed.
        num_languages: L.
    """
    share = max(_TOKENS_OF_A_TEXT, SAMPLE_TOKENS // num_languages)
    left = [share] * num_languages
    sample = []
    for text in texts:
        if isinstance(text, Skipped):
            continue
        [index] = [k for k, ids in enumerate(text.token_ids) if ids is not None]
        cut = text.cut(index, min(_TOKENS_OF_A_TEXT, left[index]))
        if cut is not None:
            sample.append(cut)
            left[index] -= cut.num_read(index)
        if not any(left):
            break
    return sample
