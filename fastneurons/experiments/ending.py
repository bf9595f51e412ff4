"""How a job ends: its store is complete, or is not yet, and there are things to say of what it skipped."""

from dataclasses import dataclass

from fastneurons.data.digest import DATA_CHANGED
from fastneurons.data.example import Skipped
from fastneurons.errors import StoreError
from fastneurons.experiments.source import Source
from fastneurons.progress import RunProgress
from fastneurons.store import StoreWriter


@dataclass(frozen=True)
class Found:
    """Examples of a run that were measured or skipped.

    Args:
        first_skipped: The first of those skipped, as "id: reason".
        begun: Texts that began with the tokenizer's begin mark.
    """

    examples: int
    skipped: int
    first_skipped: str | None
    begun: int


def describe_skipped(example: Skipped | None) -> str | None:
    """Name a skipped example and the reason."""
    return None if example is None else f"{example.id!r}: {example.reason}"


def finish(
    writer: StoreWriter,
    source: Source,
    progress: RunProgress,
    found: Found,
    corpus: bool,
    ended: bool,
    passed: int,
    first: int,
) -> None:
    """Mark the store complete if the run came to its end, and say what there is to say.

    Args:
        ended: Whether it did.
        passed: Examples of the store that the source has as well.
        first: Examples that the store held at the start.
    Raises:
        StoreError: the source has fewer examples than the store, or the store cannot be written.
    """
    if found.begun:
        noun = "texts" if corpus else "prompts"
        progress.message(
            f"{found.begun:,} {noun} begin with the tokenizer's begin mark themselves; it was not put before "
            "them once more"
        )
    if not ended:
        progress.message(f"stopped; {writer.committed} examples are safe; continue with --resume")
        return
    if passed < first and not (writer.is_complete and source.limit is not None):
        raise StoreError(too_few(source, passed, first))
    if writer.is_complete:
        progress.message("the store is complete already; nothing to do")
        return
    if (fewer := _languages_with_fewer(writer)) is not None:
        progress.message(fewer)
    writer.finish()
    if found.first_skipped is not None and found.skipped == found.examples:
        noun = "text" if corpus else "example"
        done = "answered" if writer.header.kind == "deactivate" else "measured"
        progress.message(
            f"all {found.examples:,} {noun}s of this run were skipped, so nothing was {done}; the first was "
            f"{found.first_skipped}"
        )
    for note in source.notes():
        if note not in source.remarks:
            progress.message(note)


def _languages_with_fewer(writer: StoreWriter) -> str | None:
    """Say which languages of a corpus have fewer tokens than were asked for; None if none has."""
    header = writer.header
    if (tokens_per_language := header.tokens_per_language) is None or header.shard is not None:
        return None
    fewer = [
        f"{code} {number:,}"
        for code, number in zip(header.languages, writer.sum_of("corpus_tokens").tolist(), strict=True)
        if number < tokens_per_language
    ]
    if not fewer:
        return None
    return f"--tokens-per-language {tokens_per_language:,}: some languages have fewer: {', '.join(fewer)}"


def too_few(source: Source, found: int, stored: int) -> str:
    """Say that a store has more examples than its source, and what to do."""
    if source.limit is not None:
        return (
            f"the store holds {stored} examples already, and --limit {source.limit} gives {found}; pass a larger one, "
            "or another --out"
        )
    return f"the store holds {stored} examples, and {source.name} ends after {found}: {DATA_CHANGED}"
