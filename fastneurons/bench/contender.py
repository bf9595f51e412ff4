"""What is compared: a way of reading neurons, which has a process of its own."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Work:
    """What a round measures: the same token ids for all contenders.

    Args:
        prompts: Token ids by example and language; the prompts of an example are parallel.
        answers: By example and language, the answer's first token, for attribution.
    """

    prompts: list[list[list[int]]]
    answers: list[list[int]]

    @property
    def rows(self) -> list[list[int]]:
        """All prompts, one after another."""
        return [token_ids for example in self.prompts for token_ids in example]


@dataclass(frozen=True)
class Setting:
    """What all contenders of a run are told.

    Args:
        model: A model folder, or a name on the Hub.
        languages: L codes; every example has a prompt in each.
        dtype: As vLLM's: auto, float32, bfloat16, float16.
        threads: Of this process; of an engine's worker, where it runs on the CPU.
        engine: Further engine arguments, by vLLM's names; for contenders that run on vLLM.
    """

    model: str
    languages: tuple[str, ...]
    dtype: str
    threads: int
    engine: dict[str, Any]


@dataclass(frozen=True)
class Findings:
    """What a contender found, for comparison with the reference; what it does not measure is None.

    Args:
        category: int8 [B, N, I]: 0 non-activated, 1 specific, 2 partial-shared, 3 all-shared.
        activation_count: int64 [L, N, I], over all tokens of a language's prompts.
        top_share: float [B, N, 4], mean over languages of each category's share of the top-k neurons.
    """

    category: NDArray[np.int8] | None = None
    activation_count: NDArray[np.int64] | None = None
    top_share: NDArray[np.float64] | None = None


class Contender(ABC):
    """A way of reading neurons.

    Made by `load`; `close` frees its memory. It runs in a process of its own: vLLM changes classes of Transformers,
    and engines hold memory.
    """

    @classmethod
    def missing(cls) -> str | None:
        """The package that is not installed, if one is: pip's name."""
        return None

    @abstractmethod
    def __init__(self, setting: Setting) -> None:
        """Load the model; all that a run does once."""

    @abstractmethod
    def find(self, work: Work) -> Findings:
        """Measure, and give what was found."""

    @abstractmethod
    def round(self, work: Work) -> None:
        """Measure all of it as a user of this way would; only this is timed."""

    def reference_round(self, work: Work) -> bool:
        """Run the same work through the same engine without reading; False where there is no such thing."""
        return False

    def close(self) -> None:  # noqa: B027 - most have nothing to free
        """Free what is held."""
