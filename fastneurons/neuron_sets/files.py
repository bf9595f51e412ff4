"""Sets and edits as safetensors files.

Tensors: `mask` uint8 [N, B]; of an edit with values, `value` float32 [N, I]. Metadata, all of it text: `format`,
`model`, `model_fingerprint` (left out if unknown), `layers`, `widths` and `history` in JSON; of an edit `site`,
`scale` and `scope`. Files come from anywhere: everything is checked before it is used, and read in bounded memory.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as safetensors_bytes

from fastneurons.errors import InputError, OutputError, printable
from fastneurons.neuron_sets.edits import Edit
from fastneurons.neuron_sets.history import decode_history, encode_history
from fastneurons.neuron_sets.model import ModelNeurons
from fastneurons.neuron_sets.sets import NeuronSet

FORMAT = "fastneurons-neuron-set-1"
_ANY_FORMAT = "fastneurons-neuron-set-"
_EDIT_KEYS = ("site", "scale", "scope")
# The header of a set with a history of ten thousand steps takes 2 MB.
_LONGEST_HEADER = 2**24


def save(chosen: NeuronSet | Edit, path: str | os.PathLike[str]) -> None:
    """Write a set or an edit; a file of that name is replaced once the new one is complete.

    Raises:
        InputError: the path cannot name a file.
        OutputError: the file cannot be written.
    """
    neurons = chosen.neurons if isinstance(chosen, Edit) else chosen
    among = neurons.among
    metadata = {
        "format": FORMAT,
        "model": printable(among.model),
        "layers": msgspec.json.encode(among.layers).decode(),
        "widths": msgspec.json.encode(among.widths).decode(),
        "history": encode_history(neurons.history),
    }
    if among.model_fingerprint is not None:
        metadata["model_fingerprint"] = among.model_fingerprint
    tensors: dict[str, NDArray[Any]] = {"mask": neurons.mask}
    if isinstance(chosen, Edit):
        metadata |= {"site": chosen.site, "scale": repr(chosen.scale), "scope": chosen.scope}
        if chosen.value is not None:
            tensors["value"] = chosen.value
    _write(Path(path), safetensors_bytes(tensors, metadata))


def load_set(path: str | os.PathLike[str]) -> NeuronSet:
    """Read a set; of an edit's file, the set of neurons that it changes.

    Raises:
        InputError: the file cannot be read, or is none of a set.
    """
    with _named(path):
        return _Contents(Path(path)).neurons


def load(path: str | os.PathLike[str]) -> NeuronSet | Edit:
    """Read a set or an edit, whichever the file holds.

    Raises:
        InputError: as `load_edit`.
    """
    with _named(path):
        contents = _Contents(Path(path))
        return contents.edit or contents.neurons


def load_edit(path: str | os.PathLike[str]) -> Edit:
    """Read an edit; a bare set is an edit that holds its neurons at 0.

    Raises:
        InputError: the file cannot be read, is none of an edit or a set, or the edit cannot be applied.
    """
    with _named(path):
        contents = _Contents(Path(path))
        return contents.edit or Edit(contents.neurons)


class _Contents:
    """A file's contents, checked. Raises InputError, or what safetensors raises, without the file's name."""

    def __init__(self, path: Path) -> None:
        _check_file(path)
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            _check_format(metadata)
            among = ModelNeurons(
                model=_text(metadata, "model"),
                model_fingerprint=metadata.get("model_fingerprint"),
                layers=_numbers(metadata, "layers"),
                widths=_numbers(metadata, "widths"),
            )
            history = decode_history(_text(metadata, "history"))
            is_edit = any(key in metadata for key in _EDIT_KEYS)
            names = set(file.keys())
            unknown = names - ({"mask", "value"} if is_edit else {"mask"})
            if unknown:
                raise InputError(
                    f"has an unexpected tensor {min(unknown)!r}: a set has a mask alone, an edit may have a value"
                )
            mask = _tensor(file, names, "mask", "U8", (len(among.layers), among.num_bytes))
            self.neurons = NeuronSet(among, mask, history)
            self.edit = None
            if is_edit:
                site, scale, scope = (_text(metadata, key) for key in _EDIT_KEYS)
                value = _tensor(file, names, "value", "F32", among.shape) if "value" in names else None
                self.edit = Edit(self.neurons, site=site, scale=_scale(scale), scope=scope, value=value)  # type: ignore[arg-type]


def _check_file(path: Path) -> None:
    """Check that there is a regular file, and that its header is not too long to be read."""
    # Without waiting: a pipe would wait for its writer.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InputError("is not a regular file")
        length = int.from_bytes(file.read(8), "little")
        if length > _LONGEST_HEADER:
            raise InputError("is no safetensors file, or none of a set: its header would be too long")


def _check_format(metadata: dict[str, str]) -> None:
    found = metadata.get("format")
    if found == FORMAT:
        return
    if found is not None and found.startswith(_ANY_FORMAT):
        raise InputError(f"was written by a later fastneurons, in format {found}; this one reads {FORMAT}")
    raise InputError(
        "is a safetensors file, but neither a set of neurons nor an edit: "
        f"the format in its metadata must be {FORMAT}"
    )


def _text(metadata: dict[str, str], key: str) -> str:
    if key not in metadata:
        raise InputError(f"its metadata has no {key}")
    return metadata[key]


def _numbers(metadata: dict[str, str], key: str) -> tuple[int, ...]:
    try:
        return msgspec.json.decode(_text(metadata, key).encode(), type=tuple[int, ...])
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise InputError(f"{key} in its metadata: must be a list of numbers, such as [0, 1, 2]") from error


def _scale(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"scale {text!r}: is not a number") from error


def _tensor(file: Any, names: set[str], name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Load a tensor once its header says that it is the expected one."""
    if name not in names:
        raise InputError(f"has no tensor {name!r}")
    stored = file.get_slice(name)
    if stored.get_dtype() != dtype or tuple(stored.get_shape()) != shape:
        raise InputError(
            f"{name} is {stored.get_dtype()} {list(stored.get_shape())}: must be {dtype} {list(shape)}"
        )
    return np.asarray(file.get_tensor(name))


@contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put the file's name in front of whatever is wrong with it."""
    name = os.fspath(path)
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except SafetensorError as error:
        raise InputError(f"{name}: is no safetensors file, or is damaged: {error}") from error
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from error


def _write(path: Path, data: bytes) -> None:
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise InputError(f"{path}: is not a file; name one to write")
    if not target.parent.is_dir():
        raise InputError(f"{path}: the folder {target.parent} does not exist")
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.unfinished")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(target)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
