"""The examples of a run for the page: a table of all, and parts with each one's prompts and activations."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.selection import Chosen
from fastneurons.report.page.blocks import Block
from fastneurons.visible import visible

PART = 128  # examples of a part
_LONGEST_ID = 200
LONGEST_PROMPT = 600  # in a page with a budget; a folder has all
_PROMPT = "prompt"


@dataclass(frozen=True)
class ExamplePages:
    """Blocks of examples.

    Args:
        blocks: `examples`, the table, and `examples/0`, ... the parts.
        meta: How many there are, and how many of them the page has.
    """

    blocks: Mapping[str, Block]
    meta: dict[str, Any]


@dataclass(frozen=True)
class Part:
    """Some examples.

    Args:
        ids: Their ids, for display.
        table: Their rows of the table, by column.
        block: What a view needs of them.
    """

    ids: list[str]
    table: dict[str, NDArray[Any]]
    block: Block


def example_pages(chosen: Chosen, budget: int | None) -> ExamplePages:
    """Prepare as many of the first examples as fit.

    Args:
        chosen: All examples.
        budget: Bytes in the page; None for all examples and whole prompts.
    """
    measured = chosen.examples
    has_prompts = _PROMPT in chosen.store
    parts = (
        _part(chosen, measured[first : first + PART], has_prompts, budget is None)
        for first in range(0, len(measured), PART)
    )
    return in_parts(parts, PART, len(measured), has_prompts, budget)


def in_parts(
    parts: Iterable[Part], part: int, measured: int, has_prompts: bool, budget: int | None
) -> ExamplePages:
    """Take as many parts as fit, and at least one.

    Args:
        parts: All of them, in order.
        part: Examples in each but the last.
        measured: Examples in all.
        has_prompts: Whether parts have prompts.
        budget: Bytes in the page; None for no limit.
    """
    taken: list[Part] = []
    size = 0
    for each in parts:
        # The table's share of a part, too: compressed with the others it takes a little less.
        size += len(each.block.text) + len(Block({"ids": each.ids}, each.table).text)
        if budget is not None and size > budget and taken:
            break
        taken.append(each)
    table = {
        name: np.concatenate([each.table[name] for each in taken])
        for name in (taken[0].table if taken else ())
    }
    ids = [id for each in taken for id in each.ids]
    return ExamplePages(
        {
            "examples": Block({"ids": ids}, table),
            **{f"examples/{number}": each.block for number, each in enumerate(taken)},
        },
        {"measured": measured, "shown": len(ids), "part": part, "prompts": has_prompts},
    )


def _part(chosen: Chosen, rows: NDArray[np.int64], has_prompts: bool, whole: bool) -> Part:
    """Some examples; `rows` are ascending indices on the example axis."""
    store, t = chosen.store, chosen.threshold_index
    span = slice(int(rows[0]), int(rows[-1]) + 1)
    at = rows - rows[0]

    def read(name: str) -> NDArray[Any]:
        array: NDArray[Any] = store[name][span][at]
        return array

    small = np.uint16 if store.header.neurons < 2**16 else np.int32
    category, activated = read("category_count")[:, t], read("activated_count")[:, t]
    table = {
        "index": rows.astype(np.int32),
        "task": read("task").astype(np.int32),
        "category": category.astype(small),  # [E, N, 4]
        "activated": activated.sum(-1).astype(np.int32),  # [E, L]
    }
    meta: dict[str, Any] = {}
    if has_prompts:
        limit = None if whole else LONGEST_PROMPT
        meta["prompts"] = [[as_it_is(text, limit) for text in texts] for texts in read(_PROMPT).tolist()]
    arrays: dict[str, NDArray[Any]] = {
        "present": read("present").astype(np.uint8),
        "tokens": read("token_count").astype(np.int32),
        "activated": activated.astype(small),  # [E, L, N]
    }
    return Part(shown_ids(read("example_id").tolist()), table, Block(meta, arrays))


def shown_ids(ids: list[str]) -> list[str]:
    """Ids for display."""
    return [visible(str(id), limit=_LONGEST_ID) for id in ids]


def as_it_is(text: str, limit: int | None) -> str:
    """A prompt or another long text with its lines, cut to `limit` characters; the page shows it as text."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"
