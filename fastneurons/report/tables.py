"""Print a store's findings as tables for a terminal, or convert them to one JSON object."""

from typing import Any, TextIO

import msgspec
from rich.console import Console
from rich.text import Text

from fastneurons.console import PlainConsole
from fastneurons.model_name import short_name
from fastneurons.report.answer_tables import answer_numbers, print_answers
from fastneurons.report.attribution_tables import attribution_numbers, print_attribution
from fastneurons.report.cells import (
    LONGEST_LIST,
    LONGEST_NAME,
    count,
    last_token_line,
    signal_name,
    where_read,
)
from fastneurons.report.corpus_tables import corpus_numbers, print_corpus
from fastneurons.report.findings import Findings, Overview
from fastneurons.report.sharing_tables import print_sharing, sharing_numbers
from fastneurons.visible import visible

PLAIN_WIDTH = 80  # columns of output that is not a terminal


def findings_numbers(found: Findings) -> dict[str, Any]:
    """Return the numbers that `print_findings` prints, with all digits, for JSON; null stands for no value."""
    header = found.header
    result = {
        "store": found.store,
        "complete": found.is_complete,
        "model": header.model,
        "dtype": header.dtype,
        "task": header.task,
        "source": header.source,
        "languages": header.languages,
        "position": header.position,
        "include_special_tokens": header.includes_special_tokens,
        "signal": header.signal,
        "warnings": header.warnings,
        "neurons": header.neurons,
        "examples": found.num_examples,
        "measured": found.num_measured,
        "skipped": found.num_skipped,
        "skip_reasons": msgspec.to_builtins(found.skip_reasons),
    }
    if found.corpus is not None:
        result |= corpus_numbers(found.corpus)
    if (last := found.last_tokens) is not None:
        result["last_token"] = {
            "examples": last.num_examples,
            "all_same": last.all_same,
            "languages": last.languages,
            "sharing": last.sharing,
        }
    if found.sharing is not None:
        result |= sharing_numbers(found.sharing)
    if found.by_task:
        result["tasks"] = {
            task: {"measured": part.num_examples, **sharing_numbers(part)}
            for task, part in found.by_task.items()
        }
    if found.attribution is not None:
        result["attribution"] = attribution_numbers(found.attribution)
    if found.answers is not None:
        result["answers"] = {"measures": header.measures, **answer_numbers(found.answers)}
    return result


def print_findings(found: Findings, stream: TextIO) -> None:
    """Print a store's findings and its skipped rows.

    Prints shares of neurons by layer, category and language, and with attribution how much each category matters;
    for a corpus, how many of each language's tokens activate neurons.

    Args:
        found: The findings of a store.
        stream: Output stream; plain text, 80 columns wide, unless it is a terminal.
    """
    noun = "text" if found.header.is_corpus else "example"
    console = PlainConsole(stream, PLAIN_WIDTH)
    print_incomplete(console, found, noun)
    _print_heading(console, found, noun)
    if found.num_measured and found.corpus is not None:
        print_corpus(console, found.corpus)
    if found.num_measured and found.sharing is not None:
        print_sharing(console, found.sharing, found.by_task)
        if found.attribution is not None and found.attribution_sharing is not None:
            print_attribution(console, found.attribution, found.attribution_sharing)
    if found.num_measured and found.answers is not None:
        print_answers(console, found.answers)
    print_skipped(console, found, noun)


def print_incomplete(console: Console, found: Overview, noun: str) -> None:
    """Say that a store is not complete, if it is not.

    Args:
        noun: Of its rows: "example" or "text".
    """
    if not found.is_complete:
        console.print(
            Text.assemble(
                ("Not complete:", "bold yellow"),
                " the run is still going or was interrupted.\n"
                f"These results cover the {count(found.num_examples, noun)} committed so far.",
            )
        )
        console.print()


def print_model(console: Console, found: Overview, noun: str) -> None:
    """Print the model and how many examples of which task were measured, in two lines."""
    header = found.header
    model, dtype, task = (
        visible(text, limit=LONGEST_NAME) for text in (short_name(header.model), header.dtype, header.task)
    )
    size = f"{len(header.layers)} layers of {header.neurons:,} neurons"
    console.print(Text.assemble((model, "bold"), f" ({dtype}), {size}"))
    if header.lora is not None:
        console.print(f"adapter: {visible(header.lora, limit=LONGEST_NAME)}", soft_wrap=True)
    skipped = found.num_examples - found.num_measured
    languages = count(len(header.languages), "language")
    console.print(
        f"{task}: {count(found.num_measured, noun)} measured in {languages}"
        + (f", {skipped:,} skipped" if skipped else "")
    )


def _print_heading(console: Console, found: Findings, noun: str) -> None:
    header = found.header
    print_model(console, found, noun)
    others = [f"{t:g}" for t in header.thresholds if t != found.threshold]
    signal = f"{signal_name(header)} " if header.signal != "gate" else ""
    console.print(
        f"activated: {signal}above {found.threshold:g} {where_read(header)}"
        + (f" (also in the store: {', '.join(others)})" if others else "")
    )
    if header.includes_special_tokens is not None:
        console.print(f"special tokens: {'included' if header.includes_special_tokens else 'not included'}")
    if (last := found.last_tokens) is not None:
        console.print(last_token_line(100 * last.all_same, last.sharing, last.languages))
    print_warnings(console, found)


def print_warnings(console: Console, found: Overview) -> None:
    """Print what the engine warned of."""
    for warning in found.header.warnings:
        console.print(Text.assemble(("warning:", "yellow"), f" {visible(warning, limit=LONGEST_LIST)}"))


def print_skipped(console: Console, found: Overview, noun: str) -> None:
    """Print the skipped rows by reason, if there are any."""
    if not found.num_skipped:
        return
    console.print()
    console.print(f"skipped: {count(found.num_skipped, noun)}", style="bold")
    for group in found.skip_reasons:
        alike = " (and similar)" if group.varies else ""
        reason = visible(group.reason, limit=LONGEST_LIST)
        console.print(Text.assemble((f"{group.count:,}", "bold"), f"  {reason}{alike}"), soft_wrap=True)
        for row in group.first:
            named = f"  {visible(row.id, limit=LONGEST_NAME)}" if row.id else ""
            console.print(f"     {visible(row.where, limit=LONGEST_LIST)}{named}", soft_wrap=True)
        if group.count > len(group.first):
            console.print(f"     and {group.count - len(group.first):,} more, in skipped.jsonl")
