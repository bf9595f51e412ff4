"""Pass arrays from workers in their own processes to the session, through memory that both map.

vLLM's messages would copy a collection five times on its way: into a pickle, through two sockets, and into and out of a
msgpack. Here a device copies into memory that the session maps, and the session's next copy is the merged array.

The files in which that memory lies are removed once both have opened them: nothing is left behind, whoever is killed.
A worker on another machine finds no such files, and sends bytes.
"""

import contextlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastneurons.engine.host_memory import HostMemory, room_for
from fastneurons.engine.wire import MOST_COLLECTIONS, Wired, from_wire, to_wire

_PLACE = Path("/dev/shm")
# A worker takes its blocks in turn, up to two for a collection. The session reads a block after the worker has let go
# of it, and begins no collection before it is through with all but the last `MOST_COLLECTIONS`.
_BLOCKS = 2 * MOST_COLLECTIONS + 1


@contextlib.contextmanager
def folder_to_share() -> Iterator[str | None]:
    """A folder in memory, while the files in it are being opened; None if the system has none."""
    if not _PLACE.is_dir() or not os.access(_PLACE, os.W_OK):
        yield None
        return
    folder = tempfile.mkdtemp(prefix="fastneurons-", dir=_PLACE)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class SharedBlock:
    """A block of a worker's memory that lies in a file; `host_memory.Memory`."""

    def __init__(self, descriptor: int, page_lock: bool) -> None:
        self._descriptor, self._page_lock = descriptor, page_lock
        self._tensor = torch.empty(0, dtype=torch.uint8)
        self._is_shared = False

    def at_least(self, num_bytes: int) -> Tensor:
        """Enlarge the file if it is too small; if there is no room, take memory of this process."""
        if len(self._tensor) < num_bytes:
            self._let_go()
            size = room_for(num_bytes)
            try:
                os.posix_fallocate(
                    self._descriptor, 0, size
                )  # unlike truncating, it fails where there is no room
            except OSError:
                self._tensor = torch.empty(size, dtype=torch.uint8, pin_memory=self._page_lock)
                return self._tensor
            self._tensor = torch.frombuffer(mmap.mmap(self._descriptor, size), dtype=torch.uint8)
            self._is_shared = True
            if self._page_lock:
                # Where that fails, copies take longer.
                torch.cuda.cudart().cudaHostRegister(self._tensor.data_ptr(), size, 0)
        return self._tensor

    def offset_of(self, array: NDArray[Any]) -> int | None:
        """Offset of an array in the file; None if it is not there."""
        offset = array.__array_interface__["data"][0] - self._tensor.data_ptr()
        return offset if self._is_shared and 0 <= offset < len(self._tensor) else None

    def _let_go(self) -> None:
        if self._is_shared and self._page_lock:
            torch.cuda.cudart().cudaHostUnregister(self._tensor.data_ptr())
        self._is_shared = False


class WorkerShare:
    """A worker's end: the memory of its collections, and how the session finds arrays in it.

    Args:
        folder: The session's, see `folder_to_share`.
        rank: This worker's.
        page_lock: Whether a GPU copies into it.
    Raises:
        OSError: the folder is not there, as on another machine.
    """

    def __init__(self, folder: str, rank: int, page_lock: bool) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        files = [os.open(file, flags, 0o600) for file in _files(folder, rank)]
        self._blocks = [SharedBlock(file, page_lock) for file in files]
        self.memory = HostMemory(self._blocks, most_begun=0)

    def to_wire(self, arrays: dict[str, NDArray[Any]]) -> dict[str, Wired]:
        """Like `wire.to_wire`, but for an array in shared memory, send its block and offset instead of its bytes."""
        return {name: self._described(name, array) for name, array in arrays.items()}

    def _described(self, name: str, array: NDArray[Any]) -> Wired:
        for index, block in enumerate(self._blocks):
            if (offset := block.offset_of(array)) is not None:
                return [array.dtype.str, list(array.shape), [index, offset]]
        return to_wire({name: array})[name]


class SessionShare:
    """The session's end of all workers' shares.

    Args:
        folder: As for the workers.
        ranks: The workers that have shares.
    """

    def __init__(self, folder: str, ranks: list[int]) -> None:
        self._files = {rank: [os.open(file, os.O_RDONLY) for file in _files(folder, rank)] for rank in ranks}
        self._mapped: dict[int, mmap.mmap] = {}

    def from_wire(self, rank: int, wired: dict[str, Wired]) -> dict[str, NDArray[Any]]:
        """A rank's arrays, as views of its shared memory or of its message.

        They are good until the next collection begins.
        """
        return {
            name: self._array(rank, *each) if isinstance(each[2], list) else from_wire({name: each})[name]
            for name, each in wired.items()
        }

    def close(self) -> None:
        """Close the files; memory is freed with the last array in it."""
        for file in [file for files in self._files.values() for file in files]:
            os.close(file)
        self._files, self._mapped = {}, {}

    def _array(self, rank: int, dtype: str, shape: list[int], place: list[int]) -> NDArray[Any]:
        block, offset = place
        file = self._files[rank][block]
        count = int(np.prod(shape, dtype=np.int64))
        end = offset + count * np.dtype(dtype).itemsize
        if file not in self._mapped or len(self._mapped[file]) < end:
            self._mapped[file] = mmap.mmap(file, 0, prot=mmap.PROT_READ)
        return np.frombuffer(self._mapped[file], dtype, count, offset).reshape(shape)


def own(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Copy those arrays that are views of memory that workers will write to again."""
    return {name: array if array.flags.owndata else array.copy() for name, array in arrays.items()}


def _files(folder: str, rank: int) -> list[str]:
    return [str(Path(folder) / f"{rank}-{block}") for block in range(_BLOCKS)]
