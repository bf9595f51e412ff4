"""Options of `deactivate`: which neurons are edited in which way, and beside which controls."""

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, get_args

from fastneurons.arrays import CATEGORIES, INTACT
from fastneurons.errors import InputError
from fastneurons.neuron_sets.edits import Scope
from fastneurons.neuron_sets.model import parse_layers

if TYPE_CHECKING:
    from fastneurons.engine.conditions import Condition

RANKS = ("random", "contribution")
_MOST_CONTROLS = 1000


@dataclass(frozen=True)
class Deactivation:
    """What is edited, and how.

    Args:
        categories: Names, each edited by itself; None: all that there can be.
        controls: Random sets of the same sizes for each category, drawn by as many seeds.
        operation: "zero": hold the neurons at 0. "scale=1.5": multiply them.
        scope: Whether tokens of the "prompt", of the answer ("generation") or "both" are edited.
        layers: "10-20", both ends included, or "0,3,10-20"; None: all.
        fraction: Of a category's neurons in each layer that is edited, above 0 and up to 1.
        rank: With a fraction, whether it is "random" or those with the highest "contribution".
        min_share: One set for all examples: the neurons that are in the category in at least this share of them. None:
            each example's own.
        from_store: With `min_share`, the store that says in how many examples; None: the data are read first.
    Raises:
        InputError: a value is none of these, or two contradict each other.
    """

    categories: tuple[str, ...] | None = None
    controls: int = 5
    operation: str = "zero"
    scope: Scope = "both"
    layers: str | None = None
    fraction: float = 1.0
    rank: str = "random"
    min_share: float | None = None
    from_store: str | None = None

    def __post_init__(self) -> None:
        for name in self.categories or ():
            if name not in CATEGORIES:
                raise InputError(f"--category {name}: must be one of {', '.join(CATEGORIES)}")
        if self.categories is not None and not self.categories:
            raise InputError(f"--category: name at least one of {', '.join(CATEGORIES)}")
        if len(set(self.categories or ())) != len(self.categories or ()):
            raise InputError(f"--category {','.join(self.categories or ())}: names one twice")
        if not 1 <= self.controls <= _MOST_CONTROLS:
            raise InputError(
                f"--controls {self.controls}: must be from 1 to {_MOST_CONTROLS:,}: no effect is reported without that "
                "of random neurons"
            )
        _ = self.scale  # which raises
        if self.scope not in get_args(Scope):
            raise InputError(f"--scope {self.scope}: must be one of {', '.join(get_args(Scope))}")
        if self.layers is not None:
            parse_layers(self.layers)
        if not 0 < self.fraction <= 1:
            raise InputError(f"--fraction {self.fraction:g}: must be above 0 and at most 1")
        if self.rank not in RANKS:
            raise InputError(f"--rank {self.rank}: must be one of {', '.join(RANKS)}")
        if self.rank != "random" and self.fraction == 1:
            raise InputError(f"--rank {self.rank} needs --fraction: all of the neurons are taken")
        if self.min_share is not None and not 0 < self.min_share <= 1:
            raise InputError(f"--min-share {self.min_share:g}: must be above 0 and at most 1")
        if self.from_store is not None and self.min_share is None:
            raise InputError(
                "--from needs --min-share: a store says in which share of its examples a neuron is in a category"
            )

    @property
    def scale(self) -> float:
        """The factor of the operation."""
        if self.operation == "zero":
            return 0.0
        name, _, number = self.operation.partition("=")
        try:
            factor = float(number)
        except ValueError:
            factor = float("nan")
        if name != "scale" or not isfinite(factor):
            raise InputError(f"--operation {self.operation}: must be zero or scale=NUMBER, e.g. scale=1.5")
        return factor

    def of(self, num_languages: int) -> tuple[str, ...]:
        """The categories, given the number of languages.

        Raises:
            InputError: one of them is always empty.
        """
        possible = [name for name in reversed(CATEGORIES) if name != "partial-shared" or num_languages > 2]
        for name in self.categories or ():
            if name not in possible:
                raise InputError(f"--category {name}: with two languages, no neuron is shared by some alone")
        return tuple(self.categories or possible)

    def conditions(self, num_languages: int, seed: int) -> "tuple[Condition, ...]":
        """The conditions in the store's order: intact, the categories, and each one's controls.

        Args:
            seed: Of the first control; the others count on from it.
        """
        from fastneurons.engine.conditions import Condition

        categories = self.of(num_languages)
        return (
            Condition(INTACT),
            *(Condition(name, name) for name in categories),
            *(
                Condition(f"random:{name}:{seed + k}", name, seed + k)
                for name in categories
                for k in range(self.controls)
            ),
        )

    def describe_passes(self, num_languages: int) -> str:
        """Say how often each prompt is run."""
        K, R = len(self.of(num_languages)), self.controls
        read = "" if self.from_store is not None else ", after it was read once"
        return (
            f"each prompt is answered {1 + K * (1 + R)} times{read}: intact, with each of {K} categories edited, and "
            f"with {R} random set{'' if R == 1 else 's'} for each (1 + {K} x (1 + {R}))"
        )

    def recorded(self, num_languages: int) -> dict[str, Any]:
        """The header's field `edits`: all that decides what is edited, by the options' names."""
        given = {
            "category": ",".join(self.of(num_languages)),
            "controls": self.controls,
            "operation": self.operation,
            "scope": self.scope,
            "layers": self.layers,
            "fraction": self.fraction if self.fraction != 1 else None,
            "rank": self.rank if self.fraction != 1 else None,
            "min_share": self.min_share,
            "from": self.from_store,
        }
        return {name: value for name, value in given.items() if value is not None}
