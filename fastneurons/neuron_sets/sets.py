"""`NeuronSet`: some of a model's neurons, as a packed mask by layer, and how they were chosen.

Neuron i is bit `i % 8` of byte `i // 8`, as in a store's `activated`. Sets are immutable; every operation returns a
new one, whose history continues those of its operands.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastneurons.errors import InputError
from fastneurons.neuron_sets.history import History, history_of
from fastneurons.neuron_sets.model import ModelNeurons


class NeuronSet:
    """A set of neurons.

    `|`, `&` and `-` combine two sets of one model; `==` compares their neurons, not how they were made. Iterating
    gives pairs (layer number, neuron), ascending, and `(layer, neuron) in chosen` looks one up.

    Args:
        among: The layers and widths that the set is taken from.
        mask: uint8 [N, B], packed; bits past a layer's width must be 0.
        history: How it was made.
    Raises:
        InputError: the mask has another shape or dtype, or marks neurons that do not exist.
    """

    __slots__ = ("among", "history", "mask")

    def __init__(self, among: ModelNeurons, mask: NDArray[np.uint8], history: History) -> None:
        expected = (len(among.layers), among.num_bytes)
        if mask.dtype != np.uint8 or mask.shape != expected:
            raise InputError(
                f"mask is {mask.dtype} {list(mask.shape)}: must be uint8 {list(expected)}, layers by bytes of bits"
            )
        self.among = among
        self.mask = np.array(mask, order="C")
        self.mask.flags.writeable = False
        self.history = history
        beyond = self.mask & ~_packed(among.exists)
        if beyond.any():
            row = int(beyond.any(1).argmax())
            raise InputError(
                f"mask marks neurons past the {among.widths[row]:,} that layer {among.layers[row]} has"
            )

    # -- made from something else -------------------------------------------------------------------------------

    @classmethod
    def from_bits(
        cls,
        among: ModelNeurons,
        bits: ArrayLike,
        kind: str = "bits",
        details: Mapping[str, Any] | None = None,
    ) -> "NeuronSet":
        """The neurons that an array marks.

        Args:
            bits: bool [N, I].
            kind: The step's name in the history.
            details: What else the history says of it; anything that JSON can hold.
        Raises:
            InputError: the array has another shape or dtype.
        """
        marked = np.asarray(bits)
        if marked.dtype != np.bool_ or marked.shape != among.shape:
            raise InputError(
                f"bits are {marked.dtype} {list(marked.shape)}: must be bool {list(among.shape)}"
            )
        return cls(among, _packed(marked), history_of(kind, details or {}))

    @classmethod
    def from_pairs(
        cls,
        among: ModelNeurons,
        pairs: Iterable[tuple[int, int]],
        kind: str = "list",
        details: Mapping[str, Any] | None = None,
    ) -> "NeuronSet":
        """The neurons of a list.

        Args:
            pairs: Layer number and neuron of each.
            kind: The step's name in the history.
            details: What else the history says of it.
        Raises:
            InputError: one of them does not exist.
        """
        bits = np.zeros(among.shape, np.bool_)
        place = {layer: row for row, layer in enumerate(among.layers)}
        for layer, neuron in pairs:
            row = place[layer] if layer in place else among.rows([layer])[0]  # which says that there is none
            if not 0 <= neuron < among.widths[row]:
                raise InputError(
                    f"no neuron {layer}:{neuron}; layer {layer} has {among.widths[row]:,} neurons"
                )
            bits[row, neuron] = True
        return cls.from_bits(among, bits, kind, details)

    @classmethod
    def from_layers(cls, among: ModelNeurons, layers: str | Iterable[int] | None = None) -> "NeuronSet":
        """All neurons of some layers.

        Args:
            layers: Numbers, or "10-20" (both ends included), "0,3,10-20"; None for all layers.
        Raises:
            InputError: a layer does not exist.
        """
        rows = among.rows(layers)
        bits = np.zeros(among.shape, np.bool_)
        bits[rows] = among.exists[rows]
        return cls.from_bits(among, bits, "all neurons", {"layers": among.ranges(rows)})

    # -- what it holds ------------------------------------------------------------------------------------------

    @property
    def bits(self) -> NDArray[np.bool_]:
        """bool [N, I]."""
        unpacked = np.unpackbits(self.mask, axis=1, count=self.among.shape[1], bitorder="little")
        return unpacked.view(np.bool_)

    @property
    def counts(self) -> NDArray[np.int64]:
        """int64 [N], number of neurons in each layer."""
        counts: NDArray[np.int64] = np.bitwise_count(self.mask).sum(1, dtype=np.int64)
        return counts

    @property
    def sizes(self) -> dict[int, int]:
        """Number of neurons in each layer, by layer number."""
        return dict(zip(self.among.layers, self.counts.tolist(), strict=True))

    def __len__(self) -> int:
        return int(self.counts.sum())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for layer, row in zip(self.among.layers, self.bits, strict=True):
            for neuron in np.flatnonzero(row).tolist():
                yield layer, neuron

    def __contains__(self, pair: object) -> bool:
        match pair:
            case (int() | np.integer() as layer, int() | np.integer() as neuron) if (
                layer in self.among.layers
            ):
                row = self.among.layers.index(int(layer))
                inside = bool(0 <= neuron < self.among.widths[row])
                return inside and bool(int(self.mask[row, neuron // 8]) >> int(neuron % 8) & 1)
        return False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NeuronSet):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        among = self.among
        return among.model_fingerprint or among.model, among.layers, among.widths, self.mask.tobytes()

    def __repr__(self) -> str:
        total = sum(self.among.widths)
        return (
            f"<NeuronSet of {self.among.model}: {len(self):,} of {total:,} neurons, {self.history[-1].kind}>"
        )

    # -- combined -----------------------------------------------------------------------------------------------

    def __or__(self, other: "NeuronSet") -> "NeuronSet":
        return self._combined(other, "union", np.bitwise_or)

    def __and__(self, other: "NeuronSet") -> "NeuronSet":
        return self._combined(other, "intersection", np.bitwise_and)

    def __sub__(self, other: "NeuronSet") -> "NeuronSet":
        return self._combined(other, "difference", lambda one, two: one & ~two)

    def _combined(
        self, other: "NeuronSet", kind: str, operation: Callable[..., NDArray[np.uint8]]
    ) -> "NeuronSet":
        if not isinstance(other, NeuronSet):
            return NotImplemented
        apart = self.among.why_apart(other.among)
        if apart is not None:
            raise InputError(f"the sets are of different models: {apart}")
        history = history_of(kind, {}, self.history, other.history)
        return NeuronSet(self.among, operation(self.mask, other.mask), history)

    def in_layers(self, layers: str | Iterable[int]) -> "NeuronSet":
        """The set's neurons in some layers.

        Args:
            layers: As of `from_layers`.
        Raises:
            InputError: a layer does not exist.
        """
        rows = self.among.rows(layers)
        mask = np.zeros_like(self.mask)
        mask[rows] = self.mask[rows]
        return self._after(mask, "part", {"layers": self.among.ranges(rows)})

    def complement(self, layers: str | Iterable[int] | None = None) -> "NeuronSet":
        """All other neurons of some layers.

        Args:
            layers: As of `from_layers`; None for all, those included in which the set has no neuron.
        Raises:
            InputError: a layer does not exist.
        """
        rows = self.among.rows(layers)
        mask = np.zeros_like(self.mask)
        mask[rows] = (_packed(self.among.exists) & ~self.mask)[rows]
        return self._after(mask, "complement", {"layers": self.among.ranges(rows)})

    # -- drawn and ranked ---------------------------------------------------------------------------------------

    def random_like(self, seed: int) -> "NeuronSet":
        """Draw a control: as many neurons of each layer, uniformly from all of the layer, this set's included.

        The same set and seed give the same control; different sets have independent ones, also with one seed.

        Raises:
            InputError: the seed is negative.
        """
        bits = np.zeros(self.among.shape, np.bool_)
        for row, count in enumerate(self.counts):
            order = self._generator("control", seed, row).permutation(self.among.widths[row])
            bits[row, order[:count]] = True
        return self._after(_packed(bits), "random of the same sizes", {"seed": seed})

    def sample(self, share: float, seed: int) -> "NeuronSet":
        """Draw a share of the set's neurons in each layer, rounded to whole neurons.

        With the same seed, a smaller share is part of a larger one.

        Raises:
            InputError: the share is not from 0 to 1, or the seed is negative.
        """
        kept = self._kept(share)
        bits = np.zeros(self.among.shape, np.bool_)
        for row, members in enumerate(self.bits):
            order = self._generator("sample", seed, row).permutation(np.flatnonzero(members))
            bits[row, order[: kept[row]]] = True
        return self._after(_packed(bits), "random share", {"share": share, "seed": seed})

    def highest(self, share: float, scores: ArrayLike, name: str = "score") -> "NeuronSet":
        """Keep a share of the set's neurons in each layer: those with the highest scores, rounded to whole neurons.

        Args:
            share: From 0 to 1.
            scores: Numbers [N, I]; those of other neurons do not matter. Of equal scores, the first neurons are kept.
            name: What the scores are, for the history.
        Raises:
            InputError: the share is not from 0 to 1, the shape is another, or the score of a member is NaN.
        """
        kept = self._kept(share)
        score = np.asarray(scores, np.float64)
        if score.shape != self.among.shape:
            raise InputError(f"scores have shape {list(score.shape)}: must have {list(self.among.shape)}")
        bits = self.bits
        if np.isnan(score[bits]).any():
            raise InputError(
                f"{name}: {int(np.isnan(score[bits]).sum()):,} of the set's neurons have no value"
            )
        chosen = np.zeros(self.among.shape, np.bool_)
        for row, members in enumerate(bits):
            own = np.flatnonzero(members)
            chosen[row, own[np.argsort(-score[row, own], kind="stable")[: kept[row]]]] = True
        return self._after(_packed(chosen), "highest share", {"share": share, "by": name})

    def overlap(self, other: "NeuronSet") -> "Overlap":
        """Count the neurons that two sets have in common, beside what chance would give.

        Raises:
            InputError: they are of different models.
        """
        common = (self & other).counts
        by_chance = self.counts * other.counts / np.array(self.among.widths)
        return Overlap(common, by_chance)

    def _generator(self, purpose: str, seed: int, row: int) -> np.random.Generator:
        """A generator for one layer.

        It is seeded with the purpose and the layer's neurons as well: from the seed alone, a control of a random set
        would be that set again, and a control of a sample would be correlated with it.
        """
        if seed < 0:
            raise InputError(f"seed {seed}: must be 0 or greater")
        own = sha256(purpose.encode() + self.mask[row].tobytes()).digest()
        return np.random.default_rng([seed, self.among.layers[row], *own])

    def _kept(self, share: float) -> list[int]:
        if not 0 <= share <= 1:
            raise InputError(f"share {share:g}: must be from 0 to 1")
        return [int(share * count + 0.5) for count in self.counts.tolist()]

    def _after(self, mask: NDArray[np.uint8], kind: str, details: Mapping[str, Any]) -> "NeuronSet":
        return NeuronSet(self.among, mask, history_of(kind, details, self.history))


@dataclass(frozen=True, eq=False)
class Overlap:
    """Neurons that two sets have in common.

    Args:
        common: int64 [N], in each layer.
        by_chance: float64 [N], how many there would be if one of the sets were drawn at random from the layer: the
            mean of the hypergeometric distribution.
    """

    common: NDArray[np.int64]
    by_chance: NDArray[np.float64]


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(bits, axis=1, bitorder="little")
