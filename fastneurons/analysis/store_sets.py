"""Sets of neurons from a store: by category, of one example or of all, or of a list.

    chosen = Selection(languages=("en", "de", "th")).of(store)
    always = set_of_categories(chosen, ["all-shared"], min_share=0.9)
    once = set_of_example(chosen, "france", ["all-shared"])
    strongest = always.highest(0.1, contribution_scores(chosen), "contribution")

Each is a `fastneurons.neuron_sets.NeuronSet`, whose history names the store and what was chosen.
"""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from fastneurons.analysis.bits import bit_blocks, occupancy
from fastneurons.analysis.bootstrap import Floats
from fastneurons.analysis.neuron_lists import By, neuron_places
from fastneurons.analysis.neuron_reading import mean_contributions
from fastneurons.analysis.selection import Chosen
from fastneurons.analysis.words import category_masks, to_bits
from fastneurons.errors import InputError, printable
from fastneurons.neuron_sets import ModelNeurons, NeuronSet
from fastneurons.store import CATEGORIES, Store

_PURPOSE = "the categories of an example need it"


def model_neurons(store: Store) -> ModelNeurons:
    """The layers that a store covers, their widths, and the model they are of."""
    header = store.header
    layers = tuple(header.layers)
    return ModelNeurons(header.model, header.model_fingerprint, layers, (header.neurons,) * len(layers))


def set_of_categories(chosen: Chosen, categories: Sequence[str], min_share: float = 1.0) -> NeuronSet:
    """The neurons that are in one of some categories in at least a given share of the examples.

    Args:
        chosen: Examples, languages and threshold of a store. An example that lacks some of the languages counts with
            the categories over those that it has.
        categories: Of `fastneurons.store.CATEGORIES`. Of several, a neuron may be in one here and in another there.
        min_share: Share of the examples, above 0 and up to 1.
    Raises:
        InputError: there is no such category or share, no example is chosen, or the store lacks the bits that the
            selection needs.
        StoreError: an array is damaged.
    """
    codes = _codes(categories)
    if not 0 < min_share <= 1:
        raise InputError(f"min_share {min_share:g}: is a share of the examples, above 0 and up to 1")
    E = len(chosen)
    if not E:
        raise InputError(f"{chosen.store.path} has no example that was chosen and measured")
    count = occupancy(chosen)[..., codes].sum(-1)
    member = count >= ceil(round(min_share * E, 9))
    details = {"categories": _names(codes), "min_share": min_share, **_provenance(chosen)}
    return NeuronSet.from_bits(model_neurons(chosen.store), member, "categories", details)


def set_of_example(chosen: Chosen, example: str | int, categories: Sequence[str]) -> NeuronSet:
    """The neurons that are in one of some categories in a single example.

    Args:
        chosen: Languages and threshold of a store, and examples among which the one must be.
        example: Its id, or its index on the store's example axis.
        categories: Of `fastneurons.store.CATEGORIES`.
    Raises:
        InputError: there is no such category, no such example among the chosen, or more than one; or the store keeps
            no bits.
        StoreError: an array is damaged.
    """
    codes = _codes(categories)
    index = _example_index(chosen, example)
    one = chosen.subset(chosen.examples == index)
    (block,) = bit_blocks(one, _PURPOSE)
    (masks,) = category_masks(block.planes)  # [4, N, W]
    member = to_bits(np.bitwise_or.reduce(masks[codes]), block.neurons)
    id_ = str(chosen.store["example_id"][index])
    details = {"categories": _names(codes), "example": id_, "index": index, **_provenance(one)}
    return NeuronSet.from_bits(model_neurons(chosen.store), member, "categories of an example", details)


def set_of_list(
    chosen: Chosen,
    category: str | None = None,
    language: str | None = None,
    by: By | None = None,
    top: int | None = None,
    min_share: float | None = None,
) -> NeuronSet:
    """The neurons that `fastneurons.analysis.neuron_lists.neuron_list` lists.

    Args:
        chosen: As of `neuron_list`, and so are the others.
        top: The first so many of the list; None for all that meet its conditions.
    Raises:
        As `neuron_list`.
    """
    if top is not None and top < 1:
        raise InputError(f"top {top}: lists at least one neuron")
    rows, neurons = neuron_places(chosen, category, language, by, min_share)
    among = model_neurons(chosen.store)
    bits = np.zeros(among.shape, np.bool_)
    bits[rows[:top], neurons[:top]] = True
    options = {"category": category, "language": language, "by": by, "top": top, "min_share": min_share}
    given = {name: value for name, value in options.items() if value is not None}
    return NeuronSet.from_bits(among, bits, "neurons", given | _provenance(chosen))


def contribution_scores(chosen: Chosen, language: str | None = None) -> Floats:
    """Mean contribution score of each neuron, to rank a set by.

    Args:
        chosen: All examples of a store that was measured with attribution.
        language: One of the chosen languages; None for the mean over all of them.
    Returns:
        float64 [N, I].
    Raises:
        InputError: the store does not hold these scores, only some of its examples are chosen, or there is no such
            language.
        StoreError: the array is damaged.
    """
    if language is not None and language not in chosen.languages:
        raise InputError(f"language {language} is not among the chosen ones: {', '.join(chosen.languages)}")
    scores = mean_contributions(chosen, needed=True)
    assert scores is not None
    found: Floats = scores.mean(0) if language is None else scores[chosen.languages.index(language)]
    return found


def _codes(categories: Sequence[str]) -> list[int]:
    if isinstance(categories, str):
        categories = [categories]
    if not categories:
        raise InputError(f"no category is named; the categories are {', '.join(CATEGORIES)}")
    for name in categories:
        if name not in CATEGORIES:
            raise InputError(f"no category {name}; the categories are {', '.join(CATEGORIES)}")
    return sorted({CATEGORIES.index(name) for name in categories})


def _names(codes: list[int]) -> list[str]:
    return [CATEGORIES[code] for code in codes]


def _example_index(chosen: Chosen, example: str | int) -> int:
    if isinstance(example, int):
        if example not in chosen.examples:
            raise InputError(f"{chosen.store.path}: no example {example} is measured and among those chosen")
        return example
    ids = chosen.store["example_id"][:][chosen.examples]
    found = chosen.examples[ids == example]
    if len(found) > 1:
        raise InputError(
            f"{chosen.store.path}: {len(found)} of the chosen examples have the id {example}: choose a task, or give "
            "the index of one"
        )
    if not len(found):
        raise InputError(f"{chosen.store.path}: none of the chosen examples has the id {example}")
    return int(found[0])


def _provenance(chosen: Chosen) -> dict[str, Any]:
    """What a set's history says of the store and the selection."""
    of = chosen.attributes()
    kept = ("store", "position", "signal", "threshold", "languages", "tasks", "examples")
    lacking = ("incomplete_examples",) if of["incomplete_examples"] else ()
    found = {name: of[name] for name in (*kept, *lacking)}
    return found | {"store": printable(of["store"])}  # a path need not be UTF-8, a file's history is
