"""Align languages into examples: by the data set's key, or row by row if it has none.

An example that only some languages have is yielded too, with the languages it has; the caller decides whether to
measure it.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fastneurons.data.example import Example, Skipped
from fastneurons.data.first_seen import FirstSeen
from fastneurons.errors import InputError


class Piece(msgspec.Struct, frozen=True, gc=False):
    """One language's part of an example, as the data set has it.

    Args:
        key: What the example is known by in every language.
        fields: The task's fields by name.
        where: File and line.
    """

    key: str
    language: str
    fields: dict[str, Any]
    where: str


class LeftOut(msgspec.Struct, frozen=True, gc=False):
    """A row that the data set itself marks as unusable: no error, but counted."""

    key: str
    language: str
    where: str
    reason: str


class Aligned(msgspec.Struct, frozen=True, gc=False):
    """An example in the languages that have it, in the order asked for; at least one."""

    key: str
    pieces: dict[str, Piece]

    @property
    def where(self) -> str:
        """File and line of its first language."""
        return next(iter(self.pieces.values())).where


Row = Piece | LeftOut | Skipped


def pieces_of(row: Example) -> dict[str, Piece]:
    """The pieces of a row that is an example already, with its prompt and answer as fields."""
    pieces = {}
    for code, prompt in row.prompts.items():
        fields: dict[str, Any] = {"prompt": prompt}
        if code in row.answers:
            fields["answer"] = row.answers[code]
        if code in row.aliases:
            fields["aliases"] = row.aliases[code]
        if code in row.messages:
            fields["messages"] = row.messages[code]
        pieces[code] = Piece(row.id, code, fields, row.where)
    return pieces


def by_key(
    streams: Sequence[Iterable[Row]], languages: Sequence[str]
) -> Iterator[Aligned | LeftOut | Skipped]:
    """Rows with the same key, put together.

    The streams are read a row at a time in turn, and an example comes out as soon as its last language is
    there: with a stream for each language, in about the same order, that holds next to nothing; with one stream
    of all languages, one after the other, up to everything. Examples that lack a language come at the end.

    Args:
        streams: In any order; each may hold one language or several.
        languages: What is asked for; streams hold nothing else.
    Yields:
        Examples, and what the streams had to say about bad rows. Of several rows with one key in one language
        the first counts; the others are skipped.
    """
    pending: dict[str, dict[str, Piece | None]] = {}
    done = FirstSeen()
    live = [iter(stream) for stream in streams]
    while live:
        for stream in tuple(live):
            row = next(stream, None)
            if row is None:
                live.remove(stream)
                continue
            if isinstance(row, Skipped):
                yield row
                continue
            parts = pending.get(row.key)
            if parts is None:
                if row.key in done:
                    yield Skipped(row.key, row.where, f"its key is there already in {row.language}")
                    continue
                parts = pending[row.key] = {}
            if row.language in parts:
                first = parts[row.language]
                at = f" ({first.where})" if first else ""
                yield Skipped(row.key, row.where, f"its key is there already in {row.language}{at}")
                continue
            if isinstance(row, LeftOut):
                parts[row.language] = None
                yield row
            else:
                parts[row.language] = row
            if len(parts) == len(languages):
                del pending[row.key]
                done.of(row.key, 1)
                yield from _aligned(row.key, parts, languages)
    while pending:
        key = next(iter(pending))
        yield from _aligned(key, pending.pop(key), languages)


def _aligned(key: str, parts: Mapping[str, Piece | None], languages: Sequence[str]) -> Iterator[Aligned]:
    there = {code: piece for code in languages if (piece := parts.get(code)) is not None}
    if there:
        yield Aligned(key, there)


def by_row(streams: Mapping[str, Iterable[Row]]) -> Iterator[Aligned | LeftOut | Skipped]:
    """The n-th rows of all languages, put together; the key is n, from 1.

    A bad row keeps its place: the example lacks that language, and those after it stay aligned.

    Raises:
        InputError: a language ends before the others.
    """
    live = {code: iter(stream) for code, stream in streams.items()}
    number = 0
    while True:
        number += 1
        rows = {code: next(stream, None) for code, stream in live.items()}
        if None in rows.values():
            ended = [code for code, row in rows.items() if row is None]
            if len(ended) == len(rows):
                return
            raise InputError(_unequal(dict.fromkeys(ended, number - 1), set(rows) - set(ended), number))
        key = str(number)
        pieces: dict[str, Piece] = {}
        for code, row in rows.items():
            if isinstance(row, Piece):
                pieces[code] = Piece(key, code, row.fields, row.where)
            elif isinstance(row, LeftOut):
                yield LeftOut(key, code, row.where, row.reason)
            elif row is not None:
                yield row
        if pieces:
            yield Aligned(key, pieces)


def _unequal(ended: Mapping[str, int], others: Iterable[str], least: int) -> str:
    short = ", ".join(f"{code} has {count:,} rows" for code, count in ended.items())
    return (
        f"{short}, {', '.join(sorted(others))} at least {least:,}: without ids the languages are aligned by row, "
        "so all must have the same rows"
    )


def check_equal_lengths(lengths: Mapping[str, int], location: str) -> None:
    """Check that languages that are aligned by row have the same number of rows.

    Raises:
        InputError: they do not; it gives the lengths.
    """
    counts = Counter(lengths.values())
    if len(counts) < 2:
        return
    most = counts.most_common(1)[0][0]
    odd = ", ".join(f"{code} {count:,}" for code, count in lengths.items() if count != most)
    raise InputError(
        f"{location}: the languages are aligned by row and must have as many rows each, "
        f"but most have {most:,} and others do not: {odd}"
        if counts[most] > 1
        else f"{location}: the languages are aligned by row and must have as many rows each, but they have: "
        + ", ".join(f"{code} {count:,}" for code, count in lengths.items())
    )


@dataclass
class AlignmentCount:
    """Count how a task's rows were aligned, over the rows read so far.

    Args:
        task: Its name.
        languages: Those asked for.
        complete: Examples that are in all of them.
        incomplete: Examples that lack some, whether measured (`--allow-missing`) or not.
        missing: For each language, how many examples lack it.
        left_out: Rows that the data set marks as unusable, by language and reason.
    """

    task: str
    languages: tuple[str, ...]
    complete: int = 0
    incomplete: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, there: Container[str]) -> bool:
        """Count an example by the languages that it has; return whether it has all of them."""
        lacking = [code for code in self.languages if code not in there]
        if not lacking:
            self.complete += 1
            return True
        self.missing.update(lacking)
        self.incomplete += 1
        return False

    def lines(self) -> list[str]:
        """The count for people to read: one line, or none if every example has all languages."""
        if not self.incomplete:
            return []
        total = self.complete + self.incomplete
        missing = ", ".join(f"{code} {count:,}" for code, count in self.missing.most_common())
        reasons = "; ".join(
            f"{count:,} in {code}: {reason}" for (code, reason), count in self.left_out.most_common(5)
        )
        return [
            f"{self.task}: {self.incomplete:,} of {total:,} examples lack a language (missing: {missing})"
            + (f"; left out: {reasons}" if reasons else "")
        ]
