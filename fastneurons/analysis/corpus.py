"""How often a corpus activates each neuron in each language, token by token, from arrays of counts.

    from fastneurons.analysis import corpus

    corpus.activation_probability(activation_count, corpus_tokens)  # [L, N, I]

`fastneurons.analysis.activation_probability` and `token_shares` read the arrays from a store.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.bootstrap import Floats
from fastneurons.analysis.checks import ContradictionError, check_shapes
from fastneurons.analysis.sharing import mean_over_languages


@dataclass(frozen=True)
class TokenMeans:
    """How many tokens of a corpus activate its model's neurons, at one threshold; NaN for a language with no tokens.

    Args:
        tokens: int64 [L], tokens of each language.
        activated: float64 [L, N], share of tokens that activate a neuron, mean over a layer's neurons; also
            the share of a layer's neurons that a token activates, mean over tokens.
        activated_overall: float64 [L], mean over all layers' neurons.
        activated_mean: float64 [N], mean of `activated` over the languages that have tokens.
        activated_overall_mean: Mean of `activated_overall`, likewise.
    """

    tokens: NDArray[np.int64]
    activated: Floats
    activated_overall: Floats
    activated_mean: Floats
    activated_overall_mean: float

    @classmethod
    def of(cls, tokens: NDArray[np.int64], activated: Floats) -> "TokenMeans":
        """Add the means over layers and languages to shares [L, N]."""
        overall = activated.mean(1)
        return cls(
            tokens, activated, overall, mean_over_languages(activated), float(mean_over_languages(overall))
        )


def activation_probability(
    activation_count: NDArray[np.int64],
    corpus_tokens: NDArray[np.int64],
    languages: Sequence[str] | None = None,
) -> Floats:
    """Share of a language's tokens that activate each neuron.

    Args:
        activation_count: int64 [..., L, N, I], tokens that activate the neuron.
        corpus_tokens: int64 [L], tokens read of each language.
        languages: The L codes, for messages.
    Returns:
        float64 in the shape of the counts, in [0, 1]; NaN for a language with no tokens: "not read" is not
        "never activated".
    Raises:
        InputError: the shapes do not fit together.
        ContradictionError: a count exceeds its language's tokens.
    Source: Tang et al. 2024, arXiv:2402.16438.
    """
    letters = "ABDFG"[: max(0, activation_count.ndim - 3)] + "LNI"
    check_shapes({}, activation_count=(activation_count, letters), corpus_tokens=(corpus_tokens, "L"))
    tokens = corpus_tokens[:, None, None]
    if (activation_count > tokens).any():
        count = activation_count.reshape(-1, *activation_count.shape[-3:]).max((0, 2, 3))
        k = int(np.flatnonzero(count > corpus_tokens)[0])
        name = f"language {k}" if languages is None else languages[k]
        raise ContradictionError(
            "activation_count",
            f"{count[k]:,} tokens of {name} activate a neuron, and {corpus_tokens[k]:,} were read",
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        probability: Floats = activation_count / tokens
    return probability


def token_shares(activation_count: NDArray[np.int64], corpus_tokens: NDArray[np.int64]) -> TokenMeans:
    """Means of the activation probability over neurons.

    Args:
        activation_count: int64 [L, N, I], tokens that activate the neuron.
        corpus_tokens: int64 [L], tokens read of each language.
    Raises:
        As `activation_probability`.
    """
    check_shapes({}, activation_count=(activation_count, "LNI"))
    return TokenMeans.of(corpus_tokens, activation_probability(activation_count, corpus_tokens).mean(-1))
