"""Perplexity of texts by language, of the intact model and under edits.

    from fastneurons.analysis.perplexity import perplexity

    perplexity(open_store("p.zarr"))  # an xarray.Dataset

The perplexity of a language's texts is exp(-(sum of log-probabilities) / (number of tokens judged)): every token counts
the same, whatever text it is in. All conditions judge the same tokens, so that changes are paired; intervals are over
examples.
"""

from collections.abc import Sequence

import numpy as np
import xarray
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import REPLICATES, Estimate, Floats, blocks, bootstrap_generator
from fastneurons.analysis.reading import add_estimate, drawn_weights
from fastneurons.analysis.selection import language_indices, task_indices
from fastneurons.arrays import INTACT
from fastneurons.errors import InputError
from fastneurons.store import Outcome, Store


class TokenMeans:
    """Mean log-probabilities of a token and their bootstrap replicates, from blocks of examples.

    Args:
        shape: L languages, C conditions.
        replicates: R; 0 for no intervals.
    """

    def __init__(self, shape: tuple[int, int], replicates: int = REPLICATES) -> None:
        self.tokens = np.zeros(shape[0], np.int64)
        self._sum = np.zeros(shape)
        self._drawn_sum = np.zeros((replicates, *shape))
        self._drawn_tokens = np.zeros((replicates, shape[0]))

    def add(
        self,
        log_probability: NDArray[np.floating],
        judged_count: NDArray[np.integer],
        weights: NDArray[np.float32],
    ) -> None:
        """Add a block of examples.

        Args:
            log_probability: [E, L, C], summed over each text's judged tokens; NaN without any.
            judged_count: [E, L].
            weights: [E, R].
        """
        filled = np.where(judged_count[..., None] > 0, log_probability, 0.0)
        self.tokens += judged_count.sum(0)
        self._sum += filled.sum(0)
        if len(self._drawn_sum):
            drawn = weights.T.astype(np.float64)
            self._drawn_sum += (drawn @ filled.reshape(len(filled), -1)).reshape(self._drawn_sum.shape)
            self._drawn_tokens += drawn @ judged_count.astype(np.float64)

    def means(self) -> tuple[Floats, Floats]:
        """float64 [L, C] and [R, L, C]; NaN where no token was judged."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._sum / self.tokens[:, None], self._drawn_sum / self._drawn_tokens[..., None]


def perplexity(
    store: Store,
    tasks: Sequence[str] = (),
    languages: Sequence[str] = (),
    replicates: int = REPLICATES,
    seed: int | None = None,
) -> xarray.Dataset:
    """Perplexity by language and condition, and its change against the intact model.

    Args:
        store: A store of the kind "perplexity", complete or not.
        tasks: Names of tasks; empty for all of them.
        languages: Codes, in the order of results; empty for all of the store's.
        replicates: Bootstrap replicates; 0 for no intervals.
        seed: Of the bootstrap; None for the one that all analyses share.
    Returns:
        A dataset by language and condition: `perplexity`; `change`, the mean fall of a token's log-probability
        against the intact model, which is the logarithm of the quotient of the perplexities; NaN where no token was
        judged. Names with `_low` and `_high` are 95 % bootstrap intervals over examples. `tokens` by language says
        how many were judged.
    Raises:
        InputError: the store is of another kind, or has no such task or language.
        StoreError: an array is damaged.
    """
    store.needs_kind("perplexity")
    header = store.header
    if INTACT not in header.conditions:
        raise InputError(f"{store.path}: conditions {', '.join(header.conditions)}: none is {INTACT}")
    chosen, wanted = language_indices(store, languages, at_least=1), task_indices(store, tasks)
    sums = TokenMeans((len(chosen), len(header.conditions)), replicates)
    rng, examples = bootstrap_generator(seed), 0
    for _, window in store.windows("outcome", "task", "log_probability", "judged_count"):
        rows = (window["outcome"] == Outcome.MEASURED) & np.isin(window["task"], wanted)
        log_probability = window["log_probability"][rows][:, chosen].astype(np.float64)
        judged = window["judged_count"][rows][:, chosen]
        examples += len(judged)
        for part in blocks(len(judged)):
            weights = drawn_weights(rng, part.stop - part.start, replicates)
            sums.add(log_probability[part], judged[part], weights)
    mean, drawn = sums.means()
    intact = header.conditions.index(INTACT)
    found = xarray.Dataset(
        coords={"language": [header.languages[k] for k in chosen], "condition": header.conditions},
        attrs={
            "store": store.path,
            "complete": int(store.is_complete),
            "model": header.model,
            "languages": [header.languages[k] for k in chosen],
            "tasks": [header.tasks[k] for k in wanted],
            "examples": examples,
        },
    )
    dims = ("language", "condition")
    with np.errstate(over="ignore"):
        add_estimate(found, "perplexity", dims, Estimate.of(np.exp(-mean), np.exp(-drawn)))
    change, drawn_change = mean[:, [intact]] - mean, drawn[..., [intact]] - drawn
    add_estimate(found, "change", dims, Estimate.of(change, drawn_change))
    found["tokens"] = ("language",), sums.tokens
    return found
