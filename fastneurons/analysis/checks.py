"""Checks of the array functions' arguments."""

from collections.abc import Mapping
from typing import Any

from fastneurons.errors import InputError


class ContradictionError(ValueError):
    """An array contradicts itself or another one, so a number computed from it would be wrong.

    Args:
        array: Name of the array, as stores spell it.
        reason: How it contradicts, in words.
    """

    def __init__(self, array: str, reason: str) -> None:
        super().__init__(f"{array}: {reason}")
        self.array = array
        self.reason = reason


def check_shapes(sizes: Mapping[str, int], **arrays: tuple[Any, str]) -> None:
    """Compare the shapes of arrays with the sizes that their dimensions have.

    Args:
        sizes: Size of each dimension by its letter; other letters take the size they are first met with.
        arrays: By name, an array and the letters of its dimensions, such as "ELN".
    Raises:
        InputError: an array has another number of dimensions, or a dimension has two sizes.
    """
    known = dict(sizes)
    for name, (array, letters) in arrays.items():
        shape = tuple(array.shape)
        if len(shape) == len(letters):
            for letter, size in zip(letters, shape, strict=True):
                known.setdefault(letter, size)
        if shape != tuple(known.get(letter, -1) for letter in letters):
            expected = ", ".join(f"{d} = {known[d]}" if d in known else d for d in letters)
            raise InputError(f"{name} has shape {list(shape)}; it must be [{expected}]")
