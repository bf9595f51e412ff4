"""The summary of a store: tables for a terminal, or one object for JSON."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import msgspec
from rich.console import Console
from rich.markup import escape

from fastneurons.analysis import attribution, last_tokens, shares, shares_by_task, token_shares
from fastneurons.model_name import short_name
from fastneurons.report.attribution_tables import attribution_numbers, print_attribution
from fastneurons.report.cells import count, percent, signal_name, where_read
from fastneurons.report.corpus_tables import corpus_numbers, print_corpus
from fastneurons.report.sharing_tables import print_sharing, sharing_numbers
from fastneurons.store import SkippedRow, Store

_PLAIN_WIDTH = 80
# Skipped rows named for each reason.
_NAMED = 3


@dataclass(frozen=True)
class SkipReason:
    """Skipped rows whose reasons are the same but for numbers and what is quoted.

    Args:
        reason: That of the first.
        count: How many there are.
        varies: Whether there are differences of that kind.
        first: The first few.
    """

    reason: str
    count: int
    varies: bool
    first: list[SkippedRow]


def skip_reasons(rows: Sequence[SkippedRow], named: int = _NAMED) -> list[SkipReason]:
    """Skipped rows by reason, the most frequent first."""
    groups: dict[str, list[SkippedRow]] = {}
    for row in rows:
        groups.setdefault(re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "*", row.reason), []).append(row)
    ordered = sorted(groups.values(), key=len, reverse=True)
    return [
        SkipReason(group[0].reason, len(group), len({row.reason for row in group}) > 1, group[:named])
        for group in ordered
    ]


def summary(store: Store, threshold: float | None = None) -> dict[str, Any]:
    """What `print_summary` prints, as numbers that JSON can hold; null where there is no value.

    Args:
        store: A store, complete or not.
        threshold: One of its thresholds; the first for None.
    Raises:
        InputError: the store has no such threshold.
        StoreError: an array is damaged.
    """
    header, rows = store.header, store.skipped()
    result = {
        "store": store.path,
        "complete": store.is_complete,
        "model": header.model,
        "dtype": header.dtype,
        "task": header.task,
        "source": header.source,
        "languages": header.languages,
        "position": header.position,
        "include_special_tokens": header.includes_special_tokens,
        "signal": header.signal,
        "neurons": header.neurons,
        "examples": store.num_examples,
        "measured": int(store.measured.sum()),
        "skipped": len(rows),
        "skip_reasons": msgspec.to_builtins(skip_reasons(rows)),
    }
    if header.is_corpus:
        return result | corpus_numbers(token_shares(store, threshold))
    if told := last_tokens(store):
        result["last_token"] = {
            "examples": told.num_examples,
            "all_same": told.all_same,
            "languages": told.languages,
            "sharing": told.sharing,
        }
    result |= sharing_numbers(shares(store, threshold))
    if len(header.tasks) > 1:
        result["tasks"] = {
            task: {"measured": part.num_examples, **sharing_numbers(part)}
            for task, part in shares_by_task(store, threshold).items()
        }
    if header.has_attribution:
        result["attribution"] = attribution_numbers(attribution(store))
    return result


def summary_json(store: Store, threshold: float | None = None) -> str:
    """`summary` as JSON text, indented."""
    return msgspec.json.format(msgspec.json.encode(summary(store, threshold)), indent=2).decode()


def print_summary(store: Store, stream: TextIO, threshold: float | None = None) -> None:
    """Print what a store tells and what was skipped.

    Shares of neurons by layer, category and language, and with attribution how much each category matters;
    of a corpus, how many of each language's tokens activate neurons.

    Args:
        store: A store, complete or not.
        stream: Where to; plain and 80 columns wide unless it is a terminal.
        threshold: One of the store's thresholds; the first for None.
    Raises:
        InputError: the store has no such threshold.
        StoreError: an array is damaged.
    """
    header = store.header
    threshold = header.thresholds[store.threshold_index(threshold)]
    noun = "text" if header.is_corpus else "example"
    console = Console(file=stream, width=None if stream.isatty() else _PLAIN_WIDTH, highlight=False)
    num_measured = int(store.measured.sum())
    if not store.is_complete:
        console.print(
            "[bold yellow]Not complete:[/] its run goes on or was interrupted;\n"
            f"this is of the {count(store.num_examples, noun)} committed by now."
        )
        console.print()
    _print_heading(console, store, threshold, num_measured, noun)
    if num_measured and header.is_corpus:
        print_corpus(console, token_shares(store, threshold))
    elif num_measured:
        found = shares(store, threshold)
        print_sharing(console, found, shares_by_task(store, threshold) if len(header.tasks) > 1 else {})
        if header.has_attribution:
            first = found if threshold == header.thresholds[0] else shares(store)
            print_attribution(console, attribution(store), first)
    _print_skipped(console, store.skipped(), noun)


def _print_heading(console: Console, store: Store, threshold: float, num_measured: int, noun: str) -> None:
    header = store.header
    console.print(f"[bold]{escape(short_name(header.model))}[/] ({header.dtype}), {len(header.layers)} layers of "
                  f"{header.neurons:,} neurons")  # fmt: skip
    skipped = store.num_examples - num_measured
    languages = count(len(header.languages), "language")
    console.print(
        f"{escape(header.task)}: {count(num_measured, noun)} measured in {languages}"
        + (f", {skipped:,} skipped" if skipped else "")
    )
    others = [f"{t:g}" for t in header.thresholds if t != threshold]
    signal = f"{signal_name(header)} " if header.signal != "gate" else ""
    console.print(
        f"activated: {signal}above {threshold:g} {where_read(header)}"
        + (f" (also in the store: {', '.join(others)})" if others else "")
    )
    if header.includes_special_tokens is not None:
        console.print(
            f"special tokens: {'read like text' if header.includes_special_tokens else 'not included'}"
        )
    if told := last_tokens(store):
        console.print(
            f"last token: same in all languages in {percent(told.all_same)} % of examples; "
            f"mean {told.sharing:.2f} of {told.languages:.3g}"
        )


def _print_skipped(console: Console, rows: Sequence[SkippedRow], noun: str) -> None:
    if not rows:
        return
    console.print()
    console.print(f"skipped: {count(len(rows), noun)}", style="bold")
    for group in skip_reasons(rows):
        alike = " (and the like)" if group.varies else ""
        console.print(f"[bold]{group.count:,}[/]  {escape(group.reason)}{alike}", soft_wrap=True)
        for row in group.first:
            named = f"  {escape(row.id)}" if row.id else ""
            console.print(f"     {escape(row.where)}{named}", soft_wrap=True)
        if group.count > len(group.first):
            console.print(f"     and {group.count - len(group.first):,} more, in skipped.jsonl")
