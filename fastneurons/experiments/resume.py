"""Find the rows of a source that a store does not hold yet, after checking those that it holds."""

import threading
from collections.abc import Iterable, Iterator

from fastneurons.data.digest import DATA_CHANGED, Known, difference, digest_of_row
from fastneurons.data.example import Example, Skipped
from fastneurons.engine.encode import Row, Tokenised
from fastneurons.engine.feed import TokenisedRows
from fastneurons.errors import StoreError


class KnownRows:
    """The rows that a store holds, and how many of them were found in the source."""

    def __init__(self, rows: Iterable[Known]) -> None:
        self._rows = rows
        self.passed = 0

    def __iter__(self) -> Iterator[Known]:
        for row in self._rows:
            yield row
            self.passed += 1  # who asks for the next one has found this


def remaining_rows(rows: Iterable[Row], known: KnownRows, stop: threading.Event) -> Iterator[Row]:
    """The rows after those in the store; none if the source has fewer.

    Raises:
        StoreError: the rows before are not those of the store.
    """
    remaining = iter(rows)
    plain = (row.example if isinstance(row, Tokenised) else row for row in remaining)
    if _pass_by(((row, digest_of_row(row)) for row in plain), known, stop, "example"):
        yield from remaining


def pass_by_blocks(
    blocks: TokenisedRows, known: KnownRows, stop: threading.Event, block_size: int | None
) -> None:
    """Take the first blocks of a corpus, which were counted before: reading them tells where the next begins.

    Args:
        block_size: Tokens of a full block; None where each text is one.
    Raises:
        StoreError: they are not those of the store.
    """
    rows = ((block.example if isinstance(block, Tokenised) else block, digest) for block, digest in blocks)
    _pass_by(rows, known, stop, "block", block_size)


def _pass_by(
    rows: Iterator[tuple[Example | Skipped, int]],
    known: KnownRows,
    stop: threading.Event,
    noun: str,
    block_size: int | None = None,
) -> bool:
    """Consume the rows that a store holds from the source; return whether there may be more."""
    for number, stored in enumerate(known):
        found = next(rows, None)
        if found is None or stop.is_set():
            return False
        problem = difference(stored, *found)
        if problem is None:
            continue
        if block_size is not None and 0 < stored.tokens < block_size:
            # Where more text follows, its blocks would begin elsewhere.
            raise StoreError(
                f"{noun} {number} of the store {problem}. It is shorter than --block-size {block_size}, as the texts "
                "of its language ended there: a corpus of blocks that came to its end cannot be continued with "
                "more texts; pass another --out, or --overwrite instead of --resume"
            )
        raise StoreError(f"{noun} {number} of the store {problem}; {DATA_CHANGED}")
    return True
