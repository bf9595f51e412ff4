"""Read a store with xarray: labelled arrays, by language, layer and category.

    python store_with_xarray.py STORE

needs neither the model nor a GPU.
"""

import sys
from itertools import combinations

import numpy as np
import xarray


def main(path: str) -> None:
    """Print the share of all-shared neurons by layer, and how much each pair of languages overlaps."""
    run = xarray.open_zarr(path, chunks=None)
    header = run.attrs["fastneurons"]
    run = run.isel(example=(run["outcome"] == 1).values)  # leave skipped rows out

    counts = run["category_count"].sel(category="all-shared").isel(threshold=0)
    shares = counts.mean("example") / header["neurons"]
    print("all-shared neurons by layer:", ", ".join(f"{share:.1%}" for share in shares.values))

    bits = run["activated"].isel(threshold=0)  # [example, language, layer, byte]
    for one, other in combinations(header["languages"], 2):
        a, b = bits.sel(language=one).values, bits.sel(language=other).values
        both, either = np.bitwise_count(a & b).sum(), np.bitwise_count(a | b).sum()
        print(f"{one} and {other} share {both / either:.1%} of the neurons that either activates")


if __name__ == "__main__":
    main(sys.argv[1])
