"""Begin a store, or continue it with the examples of a source that it does not hold yet, after checking the others."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any

from fastneurons.config import RunOptions
from fastneurons.data.digest import DATA_CHANGED, Known, difference, digest_of_example
from fastneurons.data.example import Example, Skipped
from fastneurons.engine.encode import AnyExample, without_tokens
from fastneurons.engine.feed import TokenisedExamples
from fastneurons.errors import StoreError
from fastneurons.progress import RunProgress
from fastneurons.store import Header, StoreWriter


def open_writer(out: str, header: Header, options: RunOptions, **kept: Any) -> StoreWriter:
    """The writer of a store, which is begun or, as the options say, continued. Raises as `StoreWriter` does.

    Args:
        kept: What the store keeps, as of `StoreWriter.create`.
    """
    if options.resume:
        return StoreWriter.resume(out, header, **kept)
    return StoreWriter.create(out, header, overwrite=options.overwrite, **kept)


def reopen_if_complete(writer: StoreWriter, first: int, progress: RunProgress) -> None:
    """Go on with a store that was complete with its first examples, as there are more by now."""
    if writer.is_complete:
        progress.message(f"continuing after {first} examples: there are more by now")
        writer.reopen()


class KnownExamples:
    """The examples that a store holds, and how many of them were found in the source."""

    def __init__(self, examples: Iterable[Known]) -> None:
        self._examples = examples
        self.passed = 0

    def __iter__(self) -> Iterator[Known]:
        for example in self._examples:
            yield example
            self.passed += 1  # who asks for the next one has found this


def remaining_examples(
    examples: Iterable[AnyExample], known: KnownExamples, stop: threading.Event
) -> Iterator[AnyExample]:
    """The examples after those in the store; none if the source has fewer.

    Raises:
        StoreError: the examples before are not those of the store.
    """
    remaining = iter(examples)
    plain = (without_tokens(example) for example in remaining)
    if _pass_by(((example, digest_of_example(example)) for example in plain), known, stop, "example"):
        yield from remaining


def pass_by_blocks(
    blocks: TokenisedExamples, known: KnownExamples, stop: threading.Event, block_size: int | None
) -> None:
    """Take the first blocks of a corpus, which were counted before: reading them tells where the next begins.

    Args:
        block_size: Tokens of a full block; None where each text is one.
    Raises:
        StoreError: they are not those of the store.
    """
    examples = ((without_tokens(block), digest) for block, digest in blocks)
    _pass_by(examples, known, stop, "block", block_size)


def _pass_by(
    examples: Iterator[tuple[Example | Skipped, int]],
    known: KnownExamples,
    stop: threading.Event,
    noun: str,
    block_size: int | None = None,
) -> bool:
    """Consume the examples that a store holds from the source; return whether there may be more."""
    for number, stored in enumerate(known):
        found = next(examples, None)
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
