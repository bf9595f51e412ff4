"""Count the languages in which an example's prompts end in the same token, which alone makes neurons look shared."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LastTokens:
    """The last tokens of the examples measured in two languages or more.

    Args:
        num_examples: How many those are.
        all_same: Share of them in which all languages end in the same token.
        languages: Mean number of languages of an example.
        sharing: Mean size of the largest group of an example's languages that end in the same token; 1 where each
            ends in a token of its own.
    """

    num_examples: int
    all_same: float
    languages: float
    sharing: float


def largest_groups(last_token: NDArray[np.int32], present: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The size of the largest group of languages that share their last token.

    Args:
        last_token: int32 [E, L].
        present: bool [E, L], whether the example has a prompt in that language.
    Returns:
        int64 [E]; 0 for an example without a prompt.
    """
    largest = np.zeros(len(last_token), np.int64)
    for language in range(last_token.shape[1]):
        alike = (
            (last_token == last_token[:, language : language + 1])
            & present
            & present[:, language : language + 1]
        )
        largest = np.maximum(largest, alike.sum(1))
    return largest
