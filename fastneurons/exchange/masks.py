"""Masks of language-specific neurons in the format of LAPE's published code, from and to sets of neurons.

    from fastneurons.exchange.masks import read_masks, save_sets

    sets = read_masks("activation_mask/llama-7b", None, ["en", "zh"], width=11008)
    save_sets(sets, Path("masks"))

A mask file is a list by language of lists by layer of LongTensors: the indices of the neurons to switch off. It names
neither languages nor a model nor its width.

Source: identify.py of github.com/RUCAIBox/Language-Specific-Neurons (Tang et al. 2024, arXiv:2402.16438).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.errors import InputError, OutputError, printable
from fastneurons.exchange import pt_files
from fastneurons.exchange.counts import read_average
from fastneurons.neuron_sets import Edit, ModelNeurons, NeuronSet, save

MASKS = "masks.pt"


def read_masks(
    path: str | Path,
    among: ModelNeurons | None,
    names: Sequence[str] = (),
    *,
    width: int | None = None,
    model: str = "unknown",
) -> dict[str, NeuronSet]:
    """Read a mask file.

    Args:
        among: The model's layers and widths; None for as many layers as the file has.
        names: A name for each mask, in the order of the file: the languages. Empty for mask-0, mask-1, ...
        width: Without `among`, the number of neurons of each layer, which the file does not say.
        model: Without `among`, the model's name.
    Returns:
        The sets by name.
    Raises:
        InputError: in a line, what is wrong with the file.
    """
    path = Path(path)
    found = pt_files.load(path)
    try:
        masks = _checked(found)
        if names and len(names) != len(masks):
            raise InputError(f"has masks of {len(masks)} languages, and --languages names {len(names)}")
        if among is None:
            if width is None:
                raise InputError("does not say how many neurons a layer has: give a width")
            among = ModelNeurons(model, None, tuple(range(len(masks[0]))), (width,) * len(masks[0]))
        if len(masks[0]) != len(among.layers):
            raise InputError(f"has {len(masks[0])} layers, and the model {len(among.layers)}")
        return {
            name: _set(mask, among, {"file": printable(str(path)), "set": name})
            for name, mask in zip(names or [f"mask-{k}" for k in range(len(masks))], masks, strict=True)
        }
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def write_masks(sets: Sequence[NeuronSet], path: Path) -> None:
    """Write sets of one model as a mask file.

    Raises:
        InputError: there are none, or they are of different models.
        OutputError: the file cannot be written.
    """
    if not sets:
        raise InputError("there are no sets to write")
    for other in sets[1:]:
        apart = sets[0].among.why_apart(other.among)
        if apart is not None:
            raise InputError(f"the sets are of different models: {apart}")
    pt_files.save([[np.flatnonzero(row) for row in each.bits] for each in sets], path)


def edits_of(
    sets: Mapping[str, NeuronSet], scale: float | None = None, means: Sequence[str | Path] = ()
) -> dict[str, Edit] | None:
    """Edits of imported sets; an empty set has none.

    Args:
        scale: Multiply the neurons' coefficients by this.
        means: Files of counts with `average_activations`, one for each set: set the neurons' activations to these.
    Returns:
        By name; None if neither is given.
    Raises:
        InputError: there is another number of files, one is wrong, or a number is not finite.
    """
    if means:
        if len(means) != len(sets):
            raise InputError(
                f"--means names {len(means)} files, and there are {len(sets)} masks: give one for each"
            )
        found = {}
        for (name, neurons), file in zip(sets.items(), means, strict=True):
            value = read_average(file)
            if value.shape != neurons.among.shape:
                shape, wanted = (
                    f"{layers} layers of {width:,} neurons"
                    for layers, width in (value.shape, neurons.among.shape)
                )
                raise InputError(f"{file}: is of {shape}, and the masks' model has {wanted}")
            if len(neurons):
                found[name] = Edit(neurons, site="gate", value=value)
        return found
    if scale is None:
        return None
    return {name: Edit(neurons, scale=scale) for name, neurons in sets.items() if len(neurons)}


def save_sets(sets: Mapping[str, NeuronSet], folder: Path, edits: Mapping[str, Edit] | None = None) -> None:
    """Save sets as files NAME.safetensors in a folder, and all of them as `masks.pt`, in their order.

    Args:
        folder: Made if it does not exist.
        edits: By name, what to save as NAME.safetensors instead of sets; a set without one has no file.
    Raises:
        InputError: the folder cannot be made.
        OutputError: a file cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot create this folder: {error.strerror or error}") from error
    for name, chosen in (sets if edits is None else edits).items():
        save(chosen, folder / f"{_file_name(name)}.safetensors")
    write_masks(list(sets.values()), folder / MASKS)


def _checked(found: Any) -> list[list[NDArray[np.int64]]]:
    """The masks [L][N], each of ascending indices."""
    if not isinstance(found, list | tuple) or not found:
        raise InputError("must be a list by language of lists by layer of tensors of indices")
    masks = []
    for k, layers in enumerate(found):
        if not isinstance(layers, list | tuple) or not layers:
            raise InputError(
                f"mask {k} is a {type(layers).__name__}: must be a list by layer of tensors of indices"
            )
        if len(layers) != len(found[0]):
            raise InputError(f"mask {k} has {len(layers)} layers, and mask 0 {len(found[0])}")
        masks.append([_indices(own, f"mask {k}, layer {layer}") for layer, own in enumerate(layers)])
    return masks


def _indices(own: Any, what: str) -> NDArray[np.int64]:
    # torch.tensor([]) is a float: a layer without neurons, where the indices were not made long.
    empty = getattr(own, "ndim", None) == 1 and not own.numel()
    indices = np.zeros(0, np.int64) if empty else pt_files.numbers(own, what, 1).astype(np.int64)
    if len(indices) and indices.min() < 0:
        raise InputError(f"{what} has neuron {indices.min()}: must be 0 or greater")
    unique = np.unique(indices)
    if len(unique) < len(indices):
        raise InputError(f"{what} names a neuron twice")
    return unique


def _set(mask: list[NDArray[np.int64]], among: ModelNeurons, details: dict[str, Any]) -> NeuronSet:
    bits = np.zeros(among.shape, np.bool_)
    for row, own in enumerate(mask):
        if len(own) and own[-1] >= among.widths[row]:
            raise InputError(
                f"{details['set']}: no neuron {among.layers[row]}:{own[-1]}; layer {among.layers[row]} has "
                f"{among.widths[row]:,} neurons"
            )
        bits[row, own] = True
    return NeuronSet.from_bits(among, bits, "imported mask", details)


def _file_name(name: str) -> str:
    """A name without what a file's name cannot have."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:100] or "_"
