"""Edits of a running model: the session's side of the workers' bank (`edit_bank.py`).

    edits = Edits(engine)
    slot = edits.put(load_edit("shared.safetensors"), "shared.safetensors")
    engine.send(name, token_ids, {EDIT_KEY: slot}, cache_salt=edits.salt(slot, len(token_ids)))
    ...
    edits.free(slot)

A slot may be filled again as soon as no request that names it is in the engine. Nothing here waits for the engine.
"""

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.arrays import CATEGORIES, Arrays
from fastneurons.config import EngineOptions
from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.fingerprint import model_fingerprint
from fastneurons.engine.model_checks import check_files, decoder_shape, folder_at_hand
from fastneurons.engine.wire import to_wire
from fastneurons.errors import EngineError
from fastneurons.neuron_sets.edits import Edit, Scope, Site
from fastneurons.neuron_sets.model import ModelNeurons

# Changes of the bank that are under way at once; each is a message to the workers.
_MOST_UNDER_WAY = 16
# Numbers the sets made on the device, which have no digest; an engine's prefix cache outlives an `Edits`.
_fills = itertools.count()


@dataclass(frozen=True)
class Change:
    """A change that is the same for all neurons of a set that is filled on the device: `scale` times the value.

    Args:
        site, scale, scope: As of an `Edit`.
        values: A row that `Edits.put_values` returned: numbers to add; None: nothing.
    """

    site: Site = "product"
    scale: float = 0.0
    scope: Scope = "both"
    values: int | None = None

    def as_arguments(self) -> dict[str, Any]:
        """For the workers."""
        row = -1 if self.values is None else self.values
        return {"site": self.site, "scale": self.scale, "scope": self.scope, "value_row": row}


@dataclass(frozen=True)
class Fill:
    """A slot to fill on the device: from categories of an example that was just read, or as a control for such a fill.

    Args:
        slot: A free one, from `Edits.take`.
        change: What is done to the neurons.
        number: Of the example, for drawing: with the seed, it decides which neurons are drawn.
        example: Its index among the examples whose rows are given with the fills.
        categories: Names; a neuron in any of them is in the set.
        like: Makes it a control: the index, among the fills, of the set whose sizes it has. The rest of the
            arguments but `seed` and `number` are ignored.
        layers: Layer numbers; None: all.
        share: Of the set in each layer that is kept.
        by_contribution: Whether those that contribute most are kept, instead of random ones; needs attribution.
        seed: For drawing.
    """

    slot: int
    change: Change
    number: int
    example: int = 0
    categories: tuple[str, ...] = ()
    like: int | None = None
    layers: tuple[int, ...] | None = None
    share: float = 1.0
    by_contribution: bool = False
    seed: int = 0

    def as_arguments(self) -> dict[str, Any]:
        """For the workers; see `EditBank.fill`."""
        from fastneurons.engine.draw import key_of  # which needs torch

        purpose = "sample" if self.like is None else "control"
        common = {
            "slot": self.slot,
            "change": self.change.as_arguments(),
            "key": key_of(purpose, self.seed, self.number),
        }
        if self.like is not None:
            return common | {"like": self.like}
        return common | {
            "example": self.example,
            "categories": [CATEGORIES.index(name) for name in self.categories],
            "layers": None if self.layers is None else list(self.layers),
            "share": self.share,
            "by_score": self.by_contribution,
        }


@dataclass(frozen=True, eq=False)
class Filled:
    """Sizes of sets that were made on the device.

    Args:
        neuron_count: int32 [F, N], neurons of each fill in each layer.
        overlap: int32 [F, N], how many a control shares with the set that it is for; 0 for others.
    """

    neuron_count: NDArray[np.int32]
    overlap: NDArray[np.int32]


class Edits:
    """The slots of an engine's bank of edits.

    Args:
        engine: One with `edits` in its `ObservationSpec`.
    """

    def __init__(self, engine: PatchedEngine) -> None:
        self._engine = engine
        spec = engine.core.config.additional_config
        self._free = list(range(spec.edits))[::-1]
        self._free_values = list(range(spec.edit_values))[::-1]
        self._salts: dict[int, tuple[str, bool]] = {}  # of a slot; whether prompt and generation differ
        self._values: dict[
            str, tuple[int, int]
        ] = {}  # digest of values: their row, and how many slots use it
        self._value_of: dict[int, str] = {}
        self._under_way: deque[Callable[[], list[Arrays]]] = deque()

    @property
    def model(self) -> ModelNeurons:
        """The model's layers and widths."""
        return model_of(self._engine)

    @property
    def num_free(self) -> int:
        """Number of slots that are free."""
        return len(self._free)

    def take(self) -> int:
        """Take a free slot, to be filled on the device.

        Raises:
            EngineError: there is none.
        """
        if not self._free:
            raise EngineError("the bank of edits is full")
        return self._free.pop()

    def put(self, edit: Edit, name: str = "the edit") -> int:
        """Put an edit into a free slot; it holds for requests that are sent from now on.

        Args:
            edit: The edit.
            name: Its file, for messages.
        Returns:
            The slot.
        Raises:
            InputError: the edit is for another model.
            EngineError: no slot is free, or no row of values; or the engine failed.
        """
        edit.check(self.model, name)
        among, slot, row = edit.neurons.among, self.take(), -1
        if edit.value is not None:
            digest = _digest(among.layers, edit.value)
            try:
                row = self._put_values(digest, among.layers, edit.value)
            except EngineError:
                self._free.append(slot)
                raise
            self._value_of[slot] = digest
        change = {"site": edit.site, "scale": edit.scale, "scope": edit.scope, "value_row": row}
        self._salts[slot] = salt_of(edit), edit.scope != "both"
        self._send(
            "fastneurons_put_edit",
            slot=slot,
            layers=list(among.layers),
            mask=to_wire({"mask": edit.neurons.mask}),
            change=change,
        )
        return slot

    def put_values(self, layers: Sequence[int], values: NDArray[np.float32]) -> int:
        """Put numbers to add into a row of values, for `Change`; they stay as long as the engine.

        Args:
            layers: Layer numbers of the rows.
            values: float32 [layers, I].
        Raises:
            EngineError: no row is free.
        """
        return self._put_values(_digest(layers, values), layers, values)

    def fill(
        self, rows: Sequence[Sequence[int]], fills: Sequence[Fill], threshold: int = 0
    ) -> Callable[[], Filled]:
        """Fill slots from categories of examples that were just read, without moving masks off the device.

        Call it once the engine has finished an example's prompts and before their rows of the buffers are given to
        others. The slots hold for requests that are sent from now on.

        Args:
            rows: For each example the row of the buffers of each of the L languages, -1 where it has none; two or more.
            fills: What goes where.
            threshold: Index of the threshold that categories are by.
        Returns:
            Waits for the sizes of the sets.
        Raises:
            EngineError: the engine failed.
        """
        for fill in fills:
            # Sets are not known here: each fill is an edit of its own.
            self._salts[fill.slot] = f"fastneurons fill {next(_fills)}", fill.change.scope != "both"
        wait = self._engine.ask_later(
            "fastneurons_fill_edits",
            rows=[list(row) for row in rows],
            fills=[fill.as_arguments() for fill in fills],
            threshold=threshold,
        )

        def filled() -> Filled:
            whole = self._of_all_layers(wait())
            return Filled(whole["neuron_count"], whole["overlap"])

        return filled

    def free(self, slot: int) -> None:
        """Free a slot that no request in the engine names any more."""
        self._send("fastneurons_clear_edit", slot=slot)
        del self._salts[slot]
        self._free.append(slot)
        digest = self._value_of.pop(slot, None)
        if digest is not None:
            row, users = self._values[digest]
            self._values[digest] = row, users - 1

    def salt(self, slot: int, boundary: int) -> str:
        """The salt under which a request's prefixes are cached: equal edits share them, different ones never do.

        Args:
            slot: The request's edit.
            boundary: Tokens of its prompt, or its first judged token: where an edit begins or ends to hold that is
                for either prompt or generation.
        """
        salt, depends = self._salts[slot]
        return f"{salt} {boundary}" if depends else salt

    def check(self) -> None:
        """Wait for all changes of the bank that are under way.

        Raises:
            EngineError: one failed.
        """
        while self._under_way:
            self._under_way.popleft()()

    def _put_values(self, digest: str, layers: Sequence[int], values: NDArray[np.float32]) -> int:
        if digest in self._values:
            row, users = self._values[digest]
            self._values[digest] = row, users + 1
            return row
        if not self._free_values:
            unused = next((known for known, (_, users) in self._values.items() if not users), None)
            if unused is None:
                raise EngineError("the bank of edits has no room for the values of one more")
            self._free_values.append(self._values.pop(unused)[0])
        row = self._free_values.pop()
        self._values[digest] = row, 1
        self._send("fastneurons_put_values", row=row, layers=list(layers), values=to_wire({"values": values}))
        return row

    def _send(self, method: str, **arguments: Any) -> None:
        if len(self._under_way) == _MOST_UNDER_WAY:
            self._under_way.popleft()()
        self._under_way.append(self._engine.ask_later(method, **arguments))

    def _of_all_layers(self, ranks: list[Arrays]) -> Arrays:
        """Arrays [F, N] from those of the ranks: each has its own layers, and numbers of all tensor-parallel ranks."""
        layers = self._engine.facts.layers
        whole = {name: np.zeros((len(array), len(layers)), array.dtype) for name, array in ranks[0].items()}
        for part, arrays in zip(self._engine.slices, ranks, strict=True):
            index = [layers.index(layer) for layer in part.layers]
            for name, array in arrays.items():
                whole[name][:, index] = array
        return whole


def model_of(engine: PatchedEngine) -> ModelNeurons:
    """The layers and widths of an engine's model."""
    facts = engine.facts
    widths = (facts.neurons,) * len(facts.layers)
    return ModelNeurons(facts.model, facts.model_fingerprint, facts.layers, widths)


def salt_of(edit: Edit) -> str:
    """A digest of all that an edit does."""
    among = edit.neurons.among
    digest = hashlib.sha256(repr((edit.site, edit.scale, edit.scope, among.layers, among.widths)).encode())
    digest.update(edit.neurons.mask.tobytes())
    if edit.value is not None:
        digest.update(np.where(edit.neurons.bits, edit.value, 0).astype(np.float32).tobytes())
    return f"fastneurons {'' if edit.value is None else '+'}{digest.hexdigest()}"


def check_before_loading(edits: Sequence[tuple[str, Edit]], model: str, options: EngineOptions) -> None:
    """Check that a model has the neurons of some edits, before it is loaded, if its files are on this machine.

    Args:
        edits: Each with its name.
        model: A model folder, or a name on the Hub.
        options: Engine arguments.
    Raises:
        InputError: an edit is for another model, or the model's files are not sound.
    """
    folder = folder_at_hand(model, options.revision, options.engine_args.get("download_dir"))
    if edits and folder is not None:
        config, tensors = check_files(folder)
        check_edits(edits, model, config, model_fingerprint(config, tensors))


def check_edits(
    edits: Sequence[tuple[str, Edit]], model: str, config: dict[str, Any], fingerprint: str | None
) -> None:
    """Check that a model has the neurons of some edits, by its files, before it is loaded.

    Args:
        edits: Each with its name.
        model: The model, for messages.
        config: Its configuration.
        fingerprint: Its fingerprint; None if unknown.
    Raises:
        InputError: an edit is for another model. Of models whose configuration does not say how many neurons its
            layers have, this is found once they are loaded.
    """
    shape = decoder_shape(config)
    if shape is None:
        return
    layers, neurons = shape
    known = ModelNeurons(model, fingerprint, tuple(range(layers)), (neurons,) * layers)
    for name, edit in edits:
        edit.check(known, name)


def _digest(layers: Sequence[int], values: NDArray[np.float32]) -> str:
    return hashlib.sha256(repr(tuple(layers)).encode() + values.tobytes()).hexdigest()
