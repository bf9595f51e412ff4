"""The conditions under which each prompt is answered, and the edits that make them."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastneurons.arrays import CATEGORIES
from fastneurons.engine.edits import Change, Fill
from fastneurons.neuron_sets.edits import Edit

# Texts in flight for each one that a step can hold: the next step is ready while one runs.
STEPS_IN_FLIGHT = 4
# Slots of the bank for examples in flight, at most: 60 MB of masks in the largest models.
_MOST_SLOTS = 1024


@dataclass(frozen=True)
class Condition:
    """A way to run a prompt.

    Args:
        label: Its name in the store.
        category: The category that is edited, or whose control this is; None: the model as it is.
        control: The seed of a random control; None: the category itself.
    """

    label: str
    category: str | None = None
    control: int | None = None


@dataclass(frozen=True)
class Design:
    """The conditions, and the sets that they edit.

    Args:
        conditions: C of them.
        change: What is done to the neurons.
        layers: Layer numbers; None: all.
        share: Of each set in each layer that is edited.
        by_contribution: Whether those that contribute most are, instead of random ones.
        seed: For drawing that share.
        edits: The edit of each condition where all examples have the same ones, None for the intact model; empty where
            they come from each example's categories.
    """

    conditions: tuple[Condition, ...]
    change: Change
    layers: tuple[int, ...] | None = None
    share: float = 1.0
    by_contribution: bool = False
    seed: int = 0
    edits: tuple[Edit | None, ...] = ()

    @property
    def num_edits(self) -> int:
        """Conditions that edit something."""
        return sum(condition.category is not None for condition in self.conditions)

    @property
    def is_fixed(self) -> bool:
        """Whether all examples have the same edits."""
        return bool(self.edits)

    def num_slots(self, num_languages: int, max_num_seqs: int) -> int:
        """Slots of the bank that keep an engine busy."""
        if self.is_fixed:
            return self.num_edits
        texts = max(1, num_languages * len(self.conditions))
        examples = 2 + -(-STEPS_IN_FLIGHT * max_num_seqs // texts)
        return self.num_edits * max(2, min(examples, _MOST_SLOTS // max(1, self.num_edits)))

    def fills(self, slots: Sequence[int], number: int) -> list[Fill]:
        """The slots to fill for an example.

        Args:
            slots: One for each condition that edits something, in their order.
            number: The example's, for drawing.
        """
        edited = [condition for condition in self.conditions if condition.category is not None]
        place = {each.category: k for k, each in enumerate(edited) if each.control is None}
        made = []
        for slot, condition in zip(slots, edited, strict=True):
            assert condition.category in CATEGORIES
            if condition.control is not None:
                like = place[condition.category]
                made.append(Fill(slot, self.change, number, like=like, seed=condition.control))
                continue
            of_category = Fill(
                slot,
                self.change,
                number,
                categories=(condition.category,),
                layers=self.layers,
                share=self.share,
                by_contribution=self.by_contribution,
                seed=self.seed,
            )
            made.append(of_category)
        return made
