"""Choose the answer that a model prefers: the one to which it gives the highest log-likelihood.

Log-likelihoods are of the answer's tokens given the prompt, summed, in any base. Those of many examples
come as one array [..., C], C choices; an example with fewer has -inf in the places that are left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastneurons.errors import InputError

__all__ = ["Choice", "choice_lengths", "choose", "is_chosen"]

LengthUnit = Literal["characters", "bytes"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The choice for each example.

    Args:
        index: int64 [...], the best choice; the first of them in a tie.
        best: bool [..., C], the choices that are exactly as good as the best one, itself among them.
        margin: float64 [...], best minus second best; 0 in a tie, inf where there is no second one.
    """

    index: NDArray[np.int64]
    best: NDArray[np.bool_]
    margin: NDArray[np.float64]

    @property
    def tied(self) -> NDArray[np.bool_]:
        """bool [...], whether several choices are best."""
        tied: NDArray[np.bool_] = self.best.sum(-1) > 1
        return tied


def choose(loglikelihoods: ArrayLike, lengths: ArrayLike | None = None) -> Choice:
    """The choice with the highest log-likelihood, or with the highest per unit of its length.

    - Without lengths: `acc` of lm-evaluation-harness. Favours short answers.
    - `choice_lengths(choices, "characters")`: its `acc_norm`; `"bytes"`: its `acc_bytes`. The answers' own lengths,
      the space before them not counted. Bytes of UTF-8 are 1 a letter in English, 2 in Russian, 3 in Thai;
      within one example all choices are of one language, so either unit compares fairly.
    - Numbers of tokens: the mean log-likelihood of a token.

    A tie goes to the first choice, as numpy's argmax and so the harness has it, and `tied` says so. Ties are
    exact equality in float64, after the division.

    Args:
        loglikelihoods: [..., C], no NaN; -inf for a choice that is not there.
        lengths: [..., C] or what broadcasts to it, more than 0 for each choice that is there.
    Raises:
        InputError: NaN, +inf, a length of 0 or less, an example with no choice, or shapes that do not fit.
    Source: github.com/EleutherAI/lm-evaluation-harness, lm_eval/api/task.py (process_results).
    """
    scores = np.asarray(loglikelihoods, dtype=np.float64)
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise InputError(f"log-likelihoods of shape {scores.shape}: the last axis is that of the choices")
    if np.isnan(scores).any() or np.isposinf(scores).any():
        raise InputError(f"a log-likelihood is NaN or inf, first at {_first(~(scores < np.inf))}")
    absent = np.isneginf(scores)
    if lengths is not None:
        scores = _per_length(scores, lengths, absent)
    nothing = np.asarray(absent.all(-1))
    if nothing.any():
        raise InputError(f"every choice has log-likelihood -inf, first at {_first(nothing)}")
    index = scores.argmax(-1)[..., None]  # [..., 1]
    best = np.take_along_axis(scores, index, -1)
    others = scores.copy()
    np.put_along_axis(others, index, -np.inf, -1)
    return Choice(index[..., 0], scores == best, best[..., 0] - others.max(-1))


def is_chosen(choice: Choice, gold: ArrayLike, *, share_ties: bool = False) -> NDArray[np.float64]:
    """1 where the choice is the right one, else 0; NaN where no choice is right (`gold` of -1).

    Args:
        choice: Of shape [...].
        gold: int [...], the index of the right choice.
        share_ties: A right choice in a tie of n scores 1 / n, whichever comes first. The harness does not: there the
            order of the choices decides.
    Raises:
        InputError: the shapes differ, or there is no such choice.
    """
    right = np.asarray(gold)
    if right.shape != choice.index.shape:
        raise InputError(f"gold has shape {right.shape}, the choices were made for {choice.index.shape}")
    if (right >= choice.best.shape[-1]).any():
        raise InputError(f"gold is {right.max()}, there are {choice.best.shape[-1]} choices, counted from 0")
    if share_ties:
        is_best = np.take_along_axis(choice.best, np.maximum(right, 0)[..., None], -1)[..., 0]
        scores = is_best / choice.best.sum(-1)
    else:
        scores = choice.index == right
    return np.where(right < 0, np.nan, scores)


def choice_lengths(choices: Sequence[str], unit: LengthUnit) -> NDArray[np.int64]:
    """The length of each choice in code points or in bytes of UTF-8, as lm-evaluation-harness counts them.

    Raises:
        InputError: a choice is empty.
    """
    lengths = [
        len(choice if unit == "characters" else choice.encode("utf-8", "surrogatepass")) for choice in choices
    ]
    if 0 in lengths:
        raise InputError(
            f"choice {lengths.index(0)} is empty: its log-likelihood has no length to be divided by"
        )
    return np.array(lengths, dtype=np.int64)


def _per_length(
    scores: NDArray[np.float64], lengths: ArrayLike, absent: NDArray[np.bool_]
) -> NDArray[np.float64]:
    divisor = np.asarray(lengths, dtype=np.float64)
    try:
        divisor = np.broadcast_to(divisor, scores.shape)
    except ValueError:
        raise InputError(f"lengths of shape {divisor.shape} for log-likelihoods of {scores.shape}") from None
    wrong = ~(divisor > 0) & ~absent
    if wrong.any():
        raise InputError(f"the length of a choice is not above 0, first at {_first(wrong)}")
    quotient = np.full(scores.shape, -np.inf)
    np.divide(scores, divisor, out=quotient, where=~absent)
    return quotient


def _first(where: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(where)[0])
