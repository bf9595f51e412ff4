"""Does LAPE stay in bounded memory for the largest models, and what does that cost against holding everything?

    python benchmarks/lape_memory.py [--layers 80] [--neurons 28672] [--languages 30] [--whole]

Draws counts layer by layer and finds the neurons in a process of its own, with blocks of layers as a store gives them,
or, with --whole, from one array. Prints seconds and the peak of the process's memory over that of the imports; compare
two calls. The drawing is done on every pass, so that no array of all counts is there; its time is printed by itself.
"""

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np

from fastneurons.analysis.lape import lape


class Drawn:
    """Counts int64 [L, 1, I] of one layer after another, the same on every pass."""

    def __init__(self, languages: int, layers: int, neurons: int) -> None:
        self.shape = (languages, layers, neurons)
        self.tokens = np.full(languages, 10**8, np.int64) + np.arange(languages)
        self.draw_s = 0.0

    def __iter__(self) -> Iterator[np.ndarray]:
        languages, layers, neurons = self.shape
        for layer in range(layers):
            began = time.perf_counter()
            rng = np.random.default_rng(layer)
            share = rng.random((languages, 1, neurons)) ** 4
            block = (share * self.tokens[:, None, None]).astype(np.int64)
            self.draw_s += time.perf_counter() - began
            yield block


def peak_mb() -> float:
    """The peak of this process's memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=80)
    parser.add_argument("--neurons", type=int, default=28672)
    parser.add_argument("--languages", type=int, default=30)
    parser.add_argument("--whole", action="store_true", help="hold all counts in one array")
    args = parser.parse_args()
    drawn = Drawn(args.languages, args.layers, args.neurons)
    counts = [np.concatenate(list(drawn), axis=1)] if args.whole else drawn
    before, drawn.draw_s, began = peak_mb(), 0.0, time.perf_counter()
    found = lape(counts, drawn.tokens)
    seconds = time.perf_counter() - began
    total = 8 * np.prod(drawn.shape) / 2**20
    print(
        f"{args.layers} x {args.neurons:,} neurons, {args.languages} languages: {total:,.0f} MiB of counts; "
        f"{'whole' if args.whole else 'by layers'}: {seconds - drawn.draw_s:.1f} s "
        f"(and {drawn.draw_s:.1f} s of drawing), {peak_mb() - before:,.0f} MiB more; {int(found.selected.sum()):,} neurons"
    )


if __name__ == "__main__":
    main()
