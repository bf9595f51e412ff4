"""Shards: one run's work divided among N runs that know nothing of each other. A leaf.

Shard I/N takes every N-th window of examples, from the I-th on. So each can be cut without knowing how many examples
there are, all have the same work also where the data is sorted by length, a shard grows with its data, and a window of
a shard is a window of the whole.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from fastneurons.errors import InputError

_T = TypeVar("_T")
_MOST = 2**20


@dataclass(frozen=True)
class Shard:
    """One of N shares of a run's examples.

    Args:
        number: I, from 1 to N.
        count: N.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= _MOST:
            raise InputError(f"--shard {self}: N must be from 1 to {_MOST:,}")
        if not 1 <= self.number <= self.count:
            raise InputError(
                f"--shard {self}: I must be from 1 to {self.count}; number a Slurm array like that, too: "
                f"#SBATCH --array=1-{self.count}"
            )

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `I/N`.

        Raises:
            InputError: it is not that, or I is not from 1 to N.
        """
        found = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", text)
        if found is None:
            raise InputError(f"--shard {text[:100]}: must be I/N with I from 1 to N, such as 1/8")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def file_name(self) -> str:
        """It as part of a file's name."""
        return f"{self.number}-of-{self.count}"

    def owns(self, window: int) -> bool:
        """Whether a window of the whole, counted from 0, belongs to this shard."""
        return window % self.count == self.number - 1

    def whole_window(self, window: int) -> int:
        """The number in the whole of one of this shard's windows, both counted from 0."""
        return window * self.count + self.number - 1

    def whole_example(self, example: int, window: int) -> int:
        """The index in the whole of one of this shard's examples, both counted from 0.

        Args:
            window: Examples of a window.
        """
        own, within = divmod(example, window)
        return self.whole_window(own) * window + within

    def examples(self, examples: Iterable[_T], window: int) -> Iterator[_T]:
        """This shard's examples of a source.

        Args:
            examples: All of the source's examples.
            window: Examples of a window.
        """
        return (example for index, example in enumerate(examples) if self.owns(index // window))

    def size(self, total: int, window: int) -> int:
        """How many examples of `total` this shard has."""
        whole, rest = divmod(total, window)
        windows = whole // self.count + (self.number - 1 < whole % self.count)
        return windows * window + (rest if self.owns(whole) else 0)
