"""PyTorch's `.pt` files, from anywhere: read without running anything in them, written as `torch.save` does.

A `.pt` file is a pickle, which can run any code when it is loaded. `weights_only=True` allows tensors and plain
containers alone. What is loaded is still anybody's, so that the callers check it: this module checks each tensor.
"""

import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.errors import InputError, OutputError

# A file of counts of the largest models is 20 MB, one of masks less; what unpacks to more than this is something else.
_MOST_BYTES = 2**34


def load(path: Path) -> Any:
    """Load a file, with its tensors.

    Raises:
        InputError: it cannot be read, or holds something other than tensors and plain containers.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'is not a regular file' if path.exists() else 'does not exist'}")
    import torch

    try:
        _check_size(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: is damaged, or holds something other than tensors, lists, dictionaries, numbers and text, which "
            "could run code: it is not loaded"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except InputError:
        raise
    except Exception as error:  # torch lets through whatever a damaged file leads to
        raise InputError(f"{path}: is not a file of torch.save, or is damaged") from error


def numbers(value: Any, what: str, dims: int, kinds: str = "iu") -> NDArray[Any]:
    """Return a tensor's numbers as an array.

    Args:
        value: Anything.
        what: Its name, for messages.
        dims: How many dimensions it must have.
        kinds: numpy's letters of the kinds of numbers that it may have.
    Raises:
        InputError: it is no such tensor.
    """
    import torch

    expected = f"must be a tensor of {'whole ' if kinds == 'iu' else ''}numbers in {dims} dimension{'s' * (dims > 1)}"
    if not isinstance(value, torch.Tensor):
        raise InputError(f"{what} is a {type(value).__name__}: {expected}")
    described = f"{what} is {str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if value.layout is not torch.strided or value.is_quantized or value.is_meta or value.is_complex():
        raise InputError(f"{described}, sparse, quantized or empty of data: {expected}")
    if value.ndim != dims:
        raise InputError(f"{described}: {expected}")
    # A tensor may claim any shape with strides of 0; what is copied must really be there.
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise InputError(f"{described}, with fewer numbers in the file than its shape has")
    if value.dtype in (torch.bfloat16, torch.float16):
        value = value.float()
    array: NDArray[Any] = value.detach().numpy()
    if array.dtype.kind not in kinds:
        raise InputError(f"{described}: {expected}")
    return array


def whole_number(value: Any, what: str) -> int:
    """Return a whole number, which may be in a tensor.

    Raises:
        InputError: it is none.
    """
    import torch

    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_floating_point():
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{what} is a {type(value).__name__}: must be a whole number")
    return value


def save(value: Any, path: Path) -> None:
    """Write lists and dictionaries of numbers, text and arrays; arrays become tensors.

    Raises:
        OutputError: the file cannot be written.
    """
    import torch

    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        torch.save(_tensors(value), unfinished)
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError where it cannot open a file
        raise OutputError(f"{path}: cannot be written: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _check_size(path: Path) -> None:
    """Refuse a file that is small and unpacks to something huge."""
    if not zipfile.is_zipfile(path):
        size = path.stat().st_size
    else:
        with zipfile.ZipFile(path) as file:
            size = sum(each.file_size for each in file.infolist())
    if size > _MOST_BYTES:
        raise InputError(
            f"{path}: holds {size:,} bytes; files of counts or masks have less than {_MOST_BYTES:,}"
        )


def _tensors(value: Any) -> Any:
    import torch

    match value:
        case dict():
            return {key: _tensors(each) for key, each in value.items()}
        case list() | tuple():
            return [_tensors(each) for each in value]
        case np.ndarray():
            return torch.from_numpy(np.array(value))  # a copy that may be written to, as torch wants it
    return value
