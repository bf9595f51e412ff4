"""`Edit`: how a model is to be changed at the neurons of a set.

At the neurons of the set, the value x of a site becomes `scale * x + value`: a scale of 0 without values switches the
neurons off, 0 with values sets them to these, 1 with values adds them, 1.5 without values amplifies.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastneurons.errors import InputError
from fastneurons.neuron_sets.model import ModelNeurons
from fastneurons.neuron_sets.sets import NeuronSet

# "product": the coefficient, which enters the down projection. "gate": the activation, before the product.
Site = Literal["product", "gate"]
# Which tokens: those of the prompt, those that the model generates, or all.
Scope = Literal["prompt", "generation", "both"]


class Edit:
    """A change of some neurons: scale, then add.

    Args:
        neurons: The neurons that are changed.
        site: "product" or "gate".
        scale: Factor of the site's value.
        scope: "prompt", "generation" or "both".
        value: Numbers [N, I] that are added, kept as float32; those of neurons outside the set do not matter, but
            must be finite as well. None to add nothing.
    Raises:
        InputError: the set is empty, a number is not finite, or an argument is none of those named.
    """

    __slots__ = ("neurons", "scale", "scope", "site", "value")

    def __init__(
        self,
        neurons: NeuronSet,
        *,
        site: Site = "product",
        scale: float = 0.0,
        scope: Scope = "both",
        value: ArrayLike | None = None,
    ) -> None:
        if not len(neurons):
            raise InputError("the set of neurons is empty: there is nothing to edit")
        if site not in get_args(Site):
            raise InputError(f"site {site!r}: must be one of {', '.join(get_args(Site))}")
        if scope not in get_args(Scope):
            raise InputError(f"scope {scope!r}: must be one of {', '.join(get_args(Scope))}")
        if not abs(scale) <= float(np.finfo(np.float32).max):  # nor is NaN
            raise InputError(f"scale {scale:g}: must be a finite number in float32")
        self.neurons = neurons
        self.site = site
        self.scale = float(scale)
        self.scope = scope
        self.value = None if value is None else _checked(value, neurons.among)

    def check(self, model: ModelNeurons, name: str = "the edit") -> None:
        """Check that a model has the neurons of this edit.

        Args:
            model: Its layers and widths, and its fingerprint if known.
            name: Of the edit, for the message: its file.
        Raises:
            InputError: layers, widths or fingerprints differ.
        """
        problem = self.neurons.among.why_not_of(model)
        if problem is not None:
            raise InputError(f"{name}: is for another model: {problem}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Edit):
            return NotImplemented
        same = (self.neurons, self.site, self.scale, self.scope) == (
            other.neurons, other.site, other.scale, other.scope
        )  # fmt: skip
        if self.value is None or other.value is None:
            return same and self.value is other.value
        return same and np.array_equal(self.value, other.value)

    def __hash__(self) -> int:
        return hash((self.neurons, self.site, self.scale, self.scope))

    def __repr__(self) -> str:
        added = "" if self.value is None else " + value"
        return f"<Edit: {self.scale:g} x {self.site}{added}, {self.scope}, at {self.neurons!r}>"


def _checked(value: ArrayLike, among: ModelNeurons) -> NDArray[np.float32]:
    given = np.asarray(value)
    if given.shape != among.shape or given.dtype.kind not in "fiu":
        raise InputError(
            f"value is {given.dtype} {list(given.shape)}: must be float32 {list(among.shape)}, layers by neurons"
        )
    with np.errstate(over="ignore"):
        numbers = given.astype(np.float32, order="C")
    wrong = np.argwhere(~np.isfinite(numbers))
    if len(wrong):
        row, neuron = wrong[0].tolist()
        raise InputError(
            f"value of neuron {among.layers[row]}:{neuron} is {given[row, neuron]:g}: must be finite in float32"
        )
    numbers.flags.writeable = False
    return numbers
