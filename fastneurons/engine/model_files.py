"""A model's files, read before anything is loaded: its configuration, and the names and shapes of its weights.

Nothing here imports torch or vLLM, and nothing is read that has no bound: only regular files are opened, and
of weights only their headers.
"""

import contextlib
import json
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from fastneurons.errors import InputError

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"

# The largest configurations and indexes known are below 10 MB.
_LARGEST_JSON = 64 << 20
# The format's own limit.
_LARGEST_HEADER = 100_000_000
_ITEM_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


@dataclass(frozen=True)
class TensorHeader:
    """A tensor of a checkpoint, as its file's header describes it."""

    name: str
    dtype: str  # as safetensors spells it: "BF16", "F32", "I8", ...
    shape: tuple[int, ...]
    file: str  # the file's name, without its folder


@dataclass(frozen=True)
class ModelFiles:
    """A model's folder and what its files say."""

    folder: Path
    config: dict[str, Any]
    tensors: list[TensorHeader]


def read_config(folder: Path) -> dict[str, Any]:
    """The model's configuration.

    Raises:
        InputError: there is none, or it is no JSON object.
    """
    path = folder / CONFIG
    if not path.exists() and (folder / ADAPTER_CONFIG).exists():
        base = read_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
        of = f" of {base}" if isinstance(base, str) and base else ""
        instead = f"pass {base} and" if of else "pass its base model and"
        raise InputError(f"{folder} is an adapter{of}, not a model: {instead} --lora {folder}")
    if not path.exists():
        raise InputError(f"{folder} is not a model: it has no {CONFIG}")
    return read_object(path)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        InputError: the file cannot be read, is too large, or holds something else.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _LARGEST_JSON:
            raise InputError(f"{path} has {size:,} bytes; at most {_LARGEST_JSON:,} are read")
        text = file.read()
    if not text.strip():
        raise InputError(f"{path} is empty")
    try:
        value = json.loads(text)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds {_kind(value)} where a JSON object is needed")
    return value


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading if it is a regular one: a FIFO would wait, a device might never end.

    Raises:
        InputError: it is something else, or cannot be opened.
    """
    try:
        # Not Path.open: opening a FIFO without O_NONBLOCK waits for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise InputError(f"{path} is {_special(mode)}, not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        yield file


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that vLLM would read, in the order of their names.

    Raises:
        InputError: the index names a file that is missing, or there are pickled weights alone.
    """
    present = sorted(folder.glob("*.safetensors"))
    consolidated = [path for path in present if path.name.startswith("consolidated")]
    if not present:
        pickled = [
            path.name for suffix in ("bin", "pt", "pth", "ckpt") for path in folder.glob(f"*.{suffix}")
        ]
        if pickled:
            raise InputError(
                f"{folder} has pickled weights alone ({sorted(pickled)[0]}), which can run code when they are read; "
                "weights must be safetensors: load them with Transformers and save_pretrained them once"
            )
        return []
    index = folder / (f"consolidated.{INDEX.partition('.')[2]}" if consolidated else INDEX)
    if not index.exists():
        return consolidated or present
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise InputError(f"{index} has no weight_map from tensors to files")
    named = sorted(set(places.values()))
    for name in named:
        if not (folder / name).exists():
            raise InputError(f"{folder} is not whole: {index.name} names {name}, which is missing")
    return [folder / name for name in named]


def read_headers(files: Sequence[Path]) -> list[TensorHeader]:
    """The tensors of safetensors files, sorted by name.

    Raises:
        InputError: a file is not a regular one, is cut short, or is not a safetensors file.
    """
    headers = [header for path in files for header in _read_header(path)]
    return sorted(headers, key=lambda header: header.name)


def _read_header(path: Path) -> list[TensorHeader]:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        if len(start) == 8 and start.startswith(b"version "):
            raise InputError(f"{path} is a Git LFS pointer: the weights themselves were not downloaded")
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(_LARGEST_HEADER, size - 8):
            raise InputError(f"{path} is not a safetensors file, or is cut short ({size:,} bytes)")
        text = file.read(length)
    try:
        entries = json.loads(text)
        headers = []
        end = 0
        for name, entry in entries.items():
            if name == "__metadata__":
                continue
            shape = tuple(entry["shape"])
            first, last = entry["data_offsets"]
            bits = _ITEM_BITS.get(entry["dtype"])
            if not all(isinstance(n, int) and n >= 0 for n in (*shape, first, last)) or first > last:
                raise ValueError(name)
            if bits is not None and 8 * (last - first) != prod(shape) * bits:
                raise ValueError(name)
            end = max(end, last)
            headers.append(TensorHeader(name, str(entry["dtype"]), shape, path.name))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} has a damaged header") from error
    if end > size - 8 - length:
        raise InputError(f"{path} is cut short: its tensors need {8 + length + end:,} bytes, it has {size:,}")
    return headers


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")


def _special(mode: int) -> str:
    for is_kind, name in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if is_kind(mode):
            return name
    return "something special"
