"""One array of a store: read when it is indexed, and never with a gap taken for zeros."""

from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray

from fastneurons.errors import StoreError
from fastneurons.store import schema
from fastneurons.store.failures import reading

if TYPE_CHECKING:
    from fastneurons.store.reader import Store


class StoredArray:
    """An array of a store, read when it is indexed."""

    def __init__(self, store: "Store", name: str, array: "zarr.Array[Any]", dims: tuple[str, ...]) -> None:
        self.name = name
        self.dims = dims
        self._store = store
        self._array = array
        self._found: set[str] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape; the example axis has the committed examples."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its dtype in memory."""
        return self._array.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, selection: Any) -> NDArray[Any]:
        """Read a selection, as numpy would.

        Raises:
            StoreError: the array is damaged.
        """
        with reading(self._store.path, self.name):
            if self.dims[0] == "example":
                self._check_objects(selection[0] if isinstance(selection, tuple) and selection else selection)
            elif self._store.is_complete:
                self._check_sum()
            return np.asarray(self._array[selection])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{dim}: {size}" for dim, size in zip(self.dims, self.shape, strict=True))
        return f"<{self.name} ({sizes}) {self.dtype}>"

    def _check_objects(self, wanted: Any) -> None:
        """Refuse missing objects: zarr reads them as zeros, but the writer writes all, so a gap is damage."""
        length = schema.examples_per_object(self._array)
        if isinstance(wanted, slice):
            chosen = range(*wanted.indices(len(self)))
        elif isinstance(wanted, int | np.integer):
            position = range(len(self))[int(wanted)]
            chosen = range(position, position + 1)
        else:
            chosen = range(len(self))
        if len(chosen) == 0:
            return
        found = self._objects()
        lowest, highest = sorted((chosen[0], chosen[-1]))
        for number in range(lowest // length, highest // length + 1):
            if f"c.{number}" + ".0" * (len(self.dims) - 1) not in found:
                last = min((number + 1) * length, len(self)) - 1
                raise StoreError(
                    f"{self._store.path}: array {self.name} is damaged: "
                    f"examples {number * length} to {last} {self._store._missing}"
                )

    def _check_sum(self) -> None:
        missing = self._array.nchunks - len(self._objects())
        if missing:
            raise StoreError(
                f"{self._store.path}: array {self.name} is damaged: "
                f"{missing} of its objects {self._store._missing}"
            )

    def _objects(self) -> set[str]:
        if self._found is None:
            names = {name for name in self._store._storage.names(self.name) if name.startswith("c.")}
            catalogue = self._store._catalogue
            if catalogue is not None:
                # What no manifest names does not count, whatever it is.
                names = {name for name in names if f"{self.name}/{name}" in catalogue.objects}
                if catalogue.problem is not None:
                    return names
            self._found = names
        return self._found
