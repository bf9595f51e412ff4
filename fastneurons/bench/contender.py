"""The interface of a contender: a way of reading neurons, which runs in a process of its own."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Work:
    """The prompts of a round: the same token ids for all contenders.

    Args:
        prompts: Token ids by example and language; the prompts of an example are parallel.
        answers: By example and language, the answer's first token, for attribution.
    """

    prompts: list[list[list[int]]]
    answers: list[list[int]]

    @property
    def all_prompts(self) -> list[list[int]]:
        """All prompts, one after another."""
        return [token_ids for example in self.prompts for token_ids in example]

    @property
    def num_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(map(len, self.all_prompts))

    def first(self, examples: int) -> "Work":
        """The work of the first examples alone."""
        return Work(self.prompts[:examples], self.answers[:examples])


@dataclass(frozen=True)
class Setting:
    """The model, languages and engine arguments that all contenders of a run share.

    Args:
        model: A model folder, or a name on the Hub.
        languages: L codes; every example has a prompt in each.
        dtype: As vLLM's: auto, float32, bfloat16, float16.
        engine: Further engine arguments, by vLLM's names; for contenders that run on vLLM.
    """

    model: str
    languages: tuple[str, ...]
    dtype: str = "auto"
    engine: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """A contender's findings, for comparison with the reference; None where it does not measure them.

    Args:
        category: int8 [S, E, N, I] at its S thresholds: 0 non-activated, 1 specific, 2 partial-shared, 3 all-shared.
        thresholds: The S.
        position: "last" or "any", of `category`.
        activation_count: int64 [L, N, I], over all tokens of a language's prompts.
        top_share: float [E, N, 4], each category's share of the top-k neurons, mean over languages.
    """

    category: NDArray[np.int8] | None = None
    thresholds: tuple[float, ...] = (0.0,)
    position: str = "last"
    activation_count: NDArray[np.int64] | None = None
    top_share: NDArray[np.float64] | None = None


class Contender(ABC):
    """A way of reading neurons.

    It runs in a process of its own: vLLM changes classes of Transformers, and engines hold memory.
    """

    # Share of a round's examples to measure: a loop without batches has the same rate on a few of them.
    portion = 1.0
    # Seconds that the latest round spent writing results; None if the contender writes none.
    store_s: float | None = None

    @classmethod
    def missing(cls) -> str | None:
        """Name the package to install, as pip spells it; None if nothing is missing."""
        return None

    @abstractmethod
    def __init__(self, setting: Setting) -> None:
        """Load the model and do everything else that a run does once."""

    @abstractmethod
    def find(self, work: Work) -> Findings:
        """Measure the work and return the findings."""

    @abstractmethod
    def round(self, work: Work) -> None:
        """Measure the work as a user of this method would; only this call is timed."""

    def reference_round(self, work: Work) -> bool:
        """Run the work through the same engine without the patch; False if the contender has no such engine."""
        return False

    def close(self) -> None:  # noqa: B027 - most have nothing to free
        """Free memory and end processes."""


def categories_of(activated: NDArray[np.bool_], axis: int) -> NDArray[np.int8]:
    """Categories of neurons from which languages (along `axis`) activate them; int8, without that axis."""
    languages = activated.shape[axis]
    count = activated.sum(axis)
    some = np.where(count == 1, 1, np.where(count == languages, 3, 2))
    return np.where(count == 0, 0, some).astype(np.int8)
