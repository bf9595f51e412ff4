"""Every array of a run, described once: dimensions, dtype, fill value, who has it, and how parts of it combine.

Workers fill these arrays, `engine/merge.py` puts the ranks' slices together, a window joins what was measured group by
group, and the store's schema lays them out. All of them follow this table: a new array is one entry here and the code
that computes it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import nan
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class Answer(IntEnum):
    """The codes of `correct`."""

    WRONG = 0
    RIGHT = 1
    NOT_JUDGED = 2


STRING = "string"

# Parts of a corpus that are also counted apart. From eight random groups, the standard error of an estimate is known to
# about a quarter of itself; and the counts take nine times the space.
FOLDS = 8

# Codes 0, 1, 2, 3, by how many of an example's languages activate a neuron: none, one, some, all.
CATEGORIES = ("non-activated", "specific", "partial-shared", "all-shared")

# The sign cases of a gated model's two projections, by their codes; NaN is not above 0.
SIGN_CASES = ("gate>0 up>0", "gate>0 up<=0", "gate<=0 up>0", "gate<=0 up<=0")

# The condition in which the model runs as it is.
INTACT = "intact"

# A way to judge written answers, which headers name: one is right if each of its tokens is the likeliest one, so that
# greedy decoding would write it. Nothing is generated.
GREEDY_MATCH = "greedy-match"

# The kinds of stores, by the command that writes them: `run`, `deactivate`, `generate`, `perplexity`.
KINDS = ("measure", "deactivate", "generate", "perplexity")

# Which stores have an array: all of them; those whose examples have prompts; of the kind "measure", those at position
# `last`, those that compare languages in each example, those with attribution, and those that count the tokens of a
# corpus; of these, those with histograms; of these, those of gated models; those with log-probabilities; those whose
# answers are judged; those of one kind.
Runs = Literal[
    "all",
    "prompting",
    "last",
    "comparing",
    "attributing",
    "counting",
    "binning",
    "signing",
    "scoring",
    "judging",
    "deactivate",
    "generate",
]

# How the slices of tensor-parallel ranks, each with some of a layer's neurons, make the whole. "neurons": side by side.
# "bits": likewise, packed. "sum", "max", "min": what their names say. "same": each rank has the whole.
Ranks = Literal["neurons", "bits", "sum", "max", "min", "same"]


@dataclass(frozen=True)
class Array:
    """An array of a run.

    Args:
        name: Its name, in the store and everywhere else.
        dtype: A numpy dtype, or "string" for variable-length UTF-8.
        dims: Its dimension names. An array with "example" first grows with the run; any other is a sum over examples,
            or, without `summed_by`, a constant of the model. Stores without conditions lack the dimension "condition".
        runs: Which runs have it.
        optional: Whether such a run has a choice.
        later: Whether stores of such runs may lack it because they were written before it was introduced.
        fill: The value where nothing was measured.
        ranks: How the slices of tensor-parallel ranks combine; None where no worker fills it. Those of pipeline
            stages lie one after another on the layer axis.
        summed_by: Of a sum over examples: the dimension of which a window may change one index and not the next, and
            which is therefore written index by index while the run goes on.
        folds_of: The sum that it divides into folds, its first dimension: the counts of window w are added to fold
            w mod `FOLDS`. The store's writer computes it.
    """

    name: str
    dtype: str
    dims: tuple[str, ...]
    runs: Runs = "all"
    optional: bool = False
    later: bool = False
    fill: int | float | str = 0
    ranks: Ranks | None = None
    summed_by: str | None = None
    folds_of: str | None = None

    @property
    def grows(self) -> bool:
        """Whether it grows with each window's examples."""
        return self.dims[0] == "example"

    @property
    def is_constant(self) -> bool:
        """Whether it is a constant of the model, which no example changes."""
        return not self.grows and self.summed_by is None

    @property
    def part_dims(self) -> tuple[str, ...]:
        """The dimensions of a worker's result, for the examples of one task."""
        return tuple(dim for dim in self.dims if dim != "task")

    def empty(self, sizes: Mapping[str, int]) -> NDArray[Any]:
        """A worker's result for no examples: an empty array, or a sum of nothing.

        Args:
            sizes: The size of each dimension but "example".
        """
        return np.zeros([0 if dim == "example" else sizes[dim] for dim in self.part_dims], self.dtype)


def dimension_sizes(
    *,
    thresholds: int,
    languages: int,
    layers: int,
    neurons: int,
    tasks: int = 1,
    examples: int = 0,
    conditions: int = 0,
    bins: int = 0,
) -> dict[str, int]:
    """Return the size of every dimension of a run's arrays.

    Args:
        layers: N, how many are measured.
        neurons: I, of each layer.
        examples: E; 0 for arrays of no examples.
        conditions: C; 0 where the model runs only as it is.
        bins: B of a histogram; 0 without one.
    """
    return {
        "example": examples,
        "threshold": thresholds,
        "language": languages,
        "layer": layers,
        "neuron": neurons,
        "byte": -(-neurons // 8),  # of packed bits
        "category": len(CATEGORIES),
        "task": tasks,
        "condition": conditions,
        "fold": FOLDS,
        "bin": bins,
        "edge": max(0, bins - 1),  # between bins, the first and the last of which are open
        "case": len(SIGN_CASES),
    }


_PER_LANGUAGE = ("example", "threshold", "language", "layer")
_SCORES = ("example", "language", "layer", "category")
_OUTCOMES = ("example", "language", "condition")

ARRAYS = (
    Array("example_id", STRING, ("example",), fill=""),
    # Digest of the texts as sent, or of a block's token ids; 0 for an example that the source skipped.
    Array("digest", "uint64", ("example",), later=True),
    Array("task", "int32", ("example",)),
    Array("outcome", "uint8", ("example",)),
    Array("token_count", "int32", ("example", "language")),
    Array("present", "bool", ("example", "language"), fill=False, ranks="same"),
    # The text as it was sent to the tokenizer; empty where the example has no prompt in the language.
    Array("prompt", STRING, ("example", "language"), "prompting", optional=True, later=True, fill=""),
    # The log-probability of the judged tokens, summed, and their number: of the reference answer, or of a whole text.
    Array("log_probability", "float32", _OUTCOMES, "scoring", fill=nan),
    Array("judged_count", "int32", ("example", "language"), "scoring"),
    # Whether the answer is right, one of the codes of `Answer`.
    Array("correct", "uint8", _OUTCOMES, "judging", fill=2),
    # Neurons that a condition edits; and of a random control's, those that are in its category as well.
    Array("neuron_count", "int32", ("example", "condition", "layer"), "deactivate"),
    Array("overlap", "int32", ("example", "condition", "layer"), "deactivate"),
    # The text that follows the prompt, and how many tokens were generated for it.
    Array("text", STRING, _OUTCOMES, "generate", fill=""),
    Array("generated_count", "int32", _OUTCOMES, "generate"),
    # The id of the token that was read.
    Array("last_token", "int32", ("example", "language"), "last", later=True, fill=-1),
    Array(
        "activated", "uint8", (*_PER_LANGUAGE, "byte"), "comparing", optional=True, ranks="bits"
    ),
    Array("activated_count", "int32", _PER_LANGUAGE, "comparing", ranks="sum"),
    Array("near_threshold_count", "int32", _PER_LANGUAGE, "comparing", ranks="sum"),
    Array(
        "category_count", "int32", ("example", "threshold", "layer", "category"), "comparing", ranks="sum"
    ),
    Array(
        "occupancy", "int32", ("task", "threshold", "layer", "neuron", "category"), "comparing",
        ranks="neurons", summed_by="task",
    ),
    Array("contribution_share", "float32", _SCORES, "attributing", fill=nan),
    Array("contribution_max", "float32", _SCORES, "attributing", fill=nan, ranks="max"),
    Array("contribution_mean", "float32", _SCORES, "attributing", fill=nan),
    Array("contribution_min", "float32", _SCORES, "attributing", fill=nan, ranks="min"),
    Array("contribution_sum", "float32", _SCORES, "attributing", fill=nan, ranks="sum"),
    Array("effective_max", "float32", _SCORES, "attributing", fill=nan, ranks="max"),
    Array("effective_mean", "float32", _SCORES, "attributing", fill=nan),
    Array("effective_min", "float32", _SCORES, "attributing", fill=nan, ranks="min"),
    Array(
        "coefficient", "float16", ("example", "language", "layer", "neuron"), "attributing",
        optional=True, fill=nan, ranks="neurons",
    ),
    # The L2 norm of each neuron's value vector, as the engine has its weights.
    Array("value_norm", "float32", ("layer", "neuron"), "attributing", later=True, ranks="neurons"),
    Array(
        # float64: in float32, what an example adds to the sum of 100,000 is rounded to two digits, and how
        # examples were grouped on their way would show.
        "neuron_contribution", "float64", ("language", "layer", "neuron"), "attributing", later=True,
        ranks="neurons", summed_by="language",
    ),
    Array(
        # int64: past 2.1 billion tokens of a language, int32 wraps silently.
        "activation_count", "int64", ("threshold", "language", "layer", "neuron"), "counting",
        ranks="neurons", summed_by="language",
    ),
    Array("corpus_tokens", "int64", ("language",), "counting", summed_by="language"),
    # The lower end of each bin but the first, ascending: the bin of a signal is the number of edges that it reaches.
    Array("bin_edge", "float32", ("layer", "edge"), "binning", later=True),
    Array(
        "histogram", "int64", ("language", "layer", "neuron", "bin"), "binning", later=True, ranks="neurons",
        summed_by="language",
    ),
    # Sums of the signal and of its square; exact within a window, so that its order does not show.
    Array(
        "signal_sum", "float64", ("language", "layer", "neuron"), "binning", later=True, ranks="neurons",
        summed_by="language",
    ),
    Array(
        "signal_square_sum", "float64", ("language", "layer", "neuron"), "binning", later=True, ranks="neurons",
        summed_by="language",
    ),
    Array(
        "sign_count", "int64", ("language", "layer", "neuron", "case"), "signing", later=True, ranks="neurons",
        summed_by="language",
    ),
    # Both again by parts of the corpus, for the uncertainty of what is computed from them.
    Array(
        "fold_activation_count", "int64", ("fold", "threshold", "language", "layer", "neuron"), "counting",
        optional=True, later=True, summed_by="fold", folds_of="activation_count",
    ),
    Array(
        "fold_tokens", "int64", ("fold", "language"), "counting", optional=True, later=True, summed_by="fold",
        folds_of="corpus_tokens",
    ),
)  # fmt: skip

# Further results of workers, from which the store's shares and means are computed.
INTERMEDIATE = (
    Array("answered", "bool", ("example", "language"), "attributing", ranks="same"),
    Array("top_count", "int32", _SCORES, "attributing", ranks="same"),
    Array("effective_sum", "float64", _SCORES, "attributing", ranks="sum"),
)

_BY_NAME = {spec.name: spec for spec in (*ARRAYS, *INTERMEDIATE)}

# What attribution says of each category, float32 [E, L, N, 4] each.
ATTRIBUTION = tuple(spec.name for spec in ARRAYS if spec.dims == _SCORES)


def spec_of(name: str) -> Array:
    """The description of an array by its name. Raises KeyError where there is none."""
    return _BY_NAME[name]


def nothing(kind: Runs, kept: Collection[str], sizes: Mapping[str, int]) -> Arrays:
    """Workers' results for no examples.

    Args:
        kind: "comparing" or "attributing".
        kept: Which of the optional arrays are wanted.
        sizes: The size of each dimension but "example".
    """
    kinds = {"comparing"} | ({"attributing"} if kind == "attributing" else set())
    wanted = [
        spec
        for spec in ARRAYS
        if spec.runs in kinds and (not spec.optional or spec.name in kept) and not spec.is_constant
    ]
    return {spec.name: spec.empty(sizes) for spec in wanted}


def spread(arrays: Arrays, places: Sequence[int], length: int) -> Arrays:
    """Arrays of some examples on an example axis of `length`, each at its place, fill values elsewhere."""
    if len(places) == length:
        return dict(arrays)
    whole = {}
    for name, array in arrays.items():
        if not spec_of(name).grows:
            whole[name] = array
            continue
        whole[name] = np.full((length, *array.shape[1:]), spec_of(name).fill, array.dtype)
        whole[name][list(places)] = array
    return whole


def join(parts: Sequence[Arrays], tasks: Sequence[int], num_tasks: int) -> Arrays:
    """Join groups of examples: concatenate growing arrays and add sums, task by task where tasks are apart.

    Args:
        parts: Each group's arrays; the same names in each.
        tasks: The task of each group.
        num_tasks: K.
    """
    joined: Arrays = {}
    for name in parts[0]:
        spec = spec_of(name)
        if spec.grows:
            joined[name] = np.concatenate([part[name] for part in parts])
        elif "task" in spec.dims:
            joined[name] = np.zeros((num_tasks, *parts[0][name].shape), spec.dtype)
            for part, task in zip(parts, tasks, strict=True):
                joined[name][task] += part[name]
        else:
            # Of a corpus, a group is a window, whose histograms are too large to be copied for nothing.
            joined[name] = (
                parts[0][name] if len(parts) == 1 else np.sum([part[name] for part in parts], axis=0)
            )
    return joined
