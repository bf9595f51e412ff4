"""How answers change when neurons are switched off: paired differences to the intact model and to random controls.

    from fastneurons.analysis.deactivation import deactivation

    deactivation(open_store("d.zarr"))  # an xarray.Dataset

Every prompt was answered under each condition, so that all differences are within an example. A category's controls,
random neurons of the same number in each layer, are averaged over their seeds in each example before anything else:
intervals are over examples, not over draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import REPLICATES, Estimate, Floats, blocks, bootstrap_generator
from fastneurons.analysis.reading import add_estimate, drawn_weights
from fastneurons.analysis.selection import language_indices, task_indices
from fastneurons.arrays import INTACT, Answer
from fastneurons.errors import InputError
from fastneurons.store import Header, Outcome, Store

_RANDOM = "random:"


class Conditions(NamedTuple):
    """The places of a store's conditions on their axis.

    Args:
        intact: Of the unedited model.
        categories: The K categories' names.
        edited: Of each category.
        controls: Of each category's controls, one for each seed.
    """

    intact: int
    categories: list[str]
    edited: list[int]
    controls: list[list[int]]


def control_name(category: str, seed: int) -> str:
    """Return the label of a control's condition."""
    return f"{_RANDOM}{category}:{seed}"


def conditions_of(header: Header) -> Conditions:
    """Read the conditions' labels.

    Raises:
        InputError: there is no intact condition, or a control of a category that was not edited.
    """
    names = header.conditions
    if INTACT not in names:
        raise InputError(f"conditions {', '.join(names)}: none is {INTACT}")
    categories = [name for name in names if name != INTACT and not name.startswith(_RANDOM)]
    controls: list[list[int]] = [[] for _ in categories]
    for place, name in enumerate(names):
        if name.startswith(_RANDOM):
            category = name.removeprefix(_RANDOM).rpartition(":")[0]
            if category not in categories:
                raise InputError(f"condition {name} is the control of no other condition")
            controls[categories.index(category)].append(place)
    return Conditions(names.index(INTACT), categories, [names.index(each) for each in categories], controls)


# -- arrays alone -------------------------------------------------------------------------------------------


class Contrasts(NamedTuple):
    """A score of each example under grouped conditions, and its differences within the example.

    Args:
        level: float64 [E, L, 1 + 2 K]: intact, each category, and the mean of each one's controls.
        difference: float64 [E, L, 3, K]: category less intact, controls less intact, category less controls.
    """

    level: Floats
    difference: Floats


def contrasts(score: NDArray[Any], places: Conditions) -> Contrasts:
    """Group a score's conditions and take its differences within each example.

    Args:
        score: Floats [E, L, C]; NaN where there is none.
        places: Where the conditions are on the last axis.
    Returns:
        NaN where a part is missing: a mean over controls needs all of them.
    """
    values = np.asarray(score, np.float64)
    intact = values[..., [places.intact]]
    edited = values[..., places.edited]
    random = np.stack(
        [
            values[..., each].mean(-1) if each else np.full(values.shape[:-1], np.nan)
            for each in places.controls
        ],
        -1,
    )
    level = np.concatenate([intact, edited, random], -1)
    return Contrasts(level, np.stack([edited - intact, random - intact, edited - random], -2))


class MeansOverExamples:
    """Means over the examples that have a value, and their bootstrap replicates, from blocks of examples.

    The size does not depend on the number of examples. All values of an example share its weights, so that
    differences of two means are paired.

    Args:
        shape: Of an example's values, languages first: [L, ...].
        replicates: R; 0 for means without intervals.
    """

    def __init__(self, shape: tuple[int, ...], replicates: int = REPLICATES) -> None:
        self.number = np.zeros(shape, np.int64)
        self._sum = np.zeros(shape)
        self._drawn_sum = np.zeros((replicates, *shape))
        self._drawn_number = np.zeros((replicates, *shape))

    def add(self, values: Floats, weights: NDArray[np.float32]) -> None:
        """Add a block of examples, [E, L, ...], NaN where there is no value, with weights [E, R]."""
        given = ~np.isnan(values)
        filled = np.where(given, values, 0.0)
        self.number += given.sum(0)
        self._sum += filled.sum(0)
        if len(self._drawn_sum):
            drawn = weights.T.astype(np.float64)
            flat = (len(values), -1)
            self._drawn_sum += (drawn @ filled.reshape(flat)).reshape(self._drawn_sum.shape)
            self._drawn_number += (drawn @ given.reshape(flat).astype(np.float64)).reshape(
                self._drawn_number.shape
            )

    def estimate(self) -> Estimate:
        """The means, [L, ...], with their intervals over examples; NaN where no example has a value."""
        return Estimate.of(*self._means())

    def overall(self) -> Estimate:
        """The mean over languages of the languages' means, [...]; languages without values are left out."""
        mean, drawn = self._means()
        return Estimate.of(_mean_of_given(mean, 0), _mean_of_given(drawn, 1))

    def _means(self) -> tuple[Floats, Floats]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._sum / self.number, self._drawn_sum / self._drawn_number


def _mean_of_given(values: Floats, axis: int) -> Floats:
    given = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(given, values, 0.0).sum(axis) / given.sum(axis)
    return mean


# -- from a store -------------------------------------------------------------------------------------------

# The three differences of `Contrasts`, by the ends of their variables' names.
_DIFFERENCES = ("from_intact", "control_from_intact", "from_control")


@dataclass
class _Sums:
    """What a pass over a store adds up."""

    scores: dict[str, tuple[MeansOverExamples, MeansOverExamples]]
    neurons: NDArray[np.int64]  # [K, N], of the sets, summed over examples
    random: NDArray[np.int64]  # [K], of their controls
    overlap: NDArray[np.int64]  # [K], of these, those in the set
    by_chance: Floats  # [K], neurons of one random set that are expected in the set
    empty: NDArray[np.int64]  # [K], examples whose set is empty
    examples: int = 0


def deactivation(
    store: Store,
    tasks: Sequence[str] = (),
    languages: Sequence[str] = (),
    replicates: int = REPLICATES,
    seed: int | None = None,
) -> xarray.Dataset:
    """What switching neurons off does to answers, by language and category, set against random neurons.

    Args:
        store: A store of the kind "deactivate", complete or not.
        tasks: Names of tasks; empty for all of them.
        languages: Codes, in the order of results; empty for all of the store's.
        replicates: Bootstrap replicates; 0 for no intervals.
        seed: Of the bootstrap; None for the one that all analyses share.
    Returns:
        A dataset with the score `log_probability`, of the reference answer, and `accuracy`, the share of the judged
        answers that are right; NaN where there is nothing to average. Of each score: by language and condition
        (`intact`, the categories, and `random:CATEGORY`, the mean of its controls) the mean; and by language and
        category SCORE_from_intact, category less intact; SCORE_control_from_intact, controls less intact; and
        SCORE_from_control, category less controls. Names with `_low` and `_high` are 95 % bootstrap intervals over
        examples; names that begin with `overall_` are means over languages, each counting the same. `examples` and
        `judged` are the prompts by language behind each score; `neurons` by category and layer is the mean number of
        neurons switched off; `overlap` by category is the share of the controls' neurons that are in the category as
        well, `overlap_by_chance` what random draws are expected to give; `empty` counts examples without
        any neuron of the category.
    Raises:
        InputError: the store is of another kind, or has no such task or language.
        StoreError: an array is damaged.
    """
    store.needs_kind("deactivate")
    header, places = store.header, conditions_of(store.header)
    chosen = language_indices(store, languages, at_least=1)
    wanted = task_indices(store, tasks)
    sums = _read(store, places, chosen, wanted, replicates, seed)
    found = xarray.Dataset(
        coords={
            "language": [header.languages[k] for k in chosen],
            "category": places.categories,
            "condition": [INTACT, *places.categories, *(f"{_RANDOM}{each}" for each in places.categories)],
            "layer": header.layers,
        },
        attrs={
            "store": store.path,
            "complete": int(store.is_complete),
            "model": header.model,
            "position": header.position,
            "signal": header.signal,
            "threshold": header.thresholds[0],
            "languages": [header.languages[k] for k in chosen],
            "tasks": [header.tasks[k] for k in wanted],
            "examples": sums.examples,
            "controls": max(map(len, places.controls), default=0),
        },
    )
    for name, (level, difference) in sums.scores.items():
        add_estimate(found, name, ("language", "condition"), level.estimate())
        add_estimate(found, f"overall_{name}", ("condition",), level.overall())
        each, overall = difference.estimate(), difference.overall()
        for d, ending in enumerate(_DIFFERENCES):
            of_language = Estimate(each.mean[:, d], each.low[:, d], each.high[:, d])
            of_all = Estimate(overall.mean[d], overall.low[d], overall.high[d])
            add_estimate(found, f"{name}_{ending}", ("language", "category"), of_language)
            add_estimate(found, f"overall_{name}_{ending}", ("category",), of_all)
    found["examples"] = ("language",), sums.scores["log_probability"][0].number[:, 0]
    found["judged"] = ("language",), sums.scores["accuracy"][0].number[:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        found["neurons"] = ("category", "layer"), sums.neurons / np.float64(sums.examples)
        found["overlap"] = ("category",), sums.overlap / sums.random.astype(np.float64)
        # A set of half a layer is expected to share half of its neurons with its control, and half of the effect.
        found["overlap_by_chance"] = ("category",), sums.by_chance / sums.neurons.sum(-1)
    found["empty"] = ("category",), sums.empty
    return found


def _read(
    store: Store,
    places: Conditions,
    languages: Sequence[int],
    tasks: Sequence[int],
    replicates: int,
    seed: int | None,
) -> _Sums:
    header = store.header
    L, K, N = len(languages), len(places.categories), len(header.layers)
    levels, differences = (L, 1 + 2 * K), (L, 3, K)

    def means() -> tuple[MeansOverExamples, MeansOverExamples]:
        return MeansOverExamples(levels, replicates), MeansOverExamples(differences, replicates)

    def counts(*shape: int) -> NDArray[np.int64]:
        return np.zeros(shape, np.int64)

    scores = {"log_probability": means(), "accuracy": means()}
    sums = _Sums(scores, counts(K, N), counts(K), counts(K), np.zeros(K), counts(K))
    rng = bootstrap_generator(seed)
    names = ("outcome", "task", "log_probability", "correct", "neuron_count", "overlap")
    for _, window in store.windows(*names):
        rows = (window["outcome"] == Outcome.MEASURED) & np.isin(window["task"], tasks)
        block = {name: array[rows] for name, array in window.items()}
        judged = block["correct"][:, languages]
        values = {
            "log_probability": block["log_probability"][:, languages],
            "accuracy": np.where(judged == Answer.NOT_JUDGED, np.nan, judged == Answer.RIGHT),
        }
        E = len(judged)
        sums.examples += E
        for part in blocks(E):
            weights = drawn_weights(rng, part.stop - part.start, replicates)
            for name, (level, difference) in sums.scores.items():
                made = contrasts(values[name][part], places)
                level.add(made.level, weights)
                difference.add(made.difference, weights)
        neurons = block["neuron_count"][:, places.edited].astype(np.int64)  # [E, K, N]
        sums.neurons += neurons.sum(0)
        sums.by_chance += (neurons**2).sum((0, 2)) / header.neurons
        sums.empty += (neurons.sum(-1) == 0).sum(0)
        for k, controls in enumerate(places.controls):
            sums.random[k] += block["neuron_count"][:, controls].sum()
            sums.overlap[k] += block["overlap"][:, controls].sum()
    return sums
