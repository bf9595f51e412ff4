"""The examples of a run for the page: a table of all, and parts with each one's prompts and activations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis.selection import Chosen
from fastneurons.report.page.blocks import Block
from fastneurons.visible import visible

PART = 128  # examples of a part
_LONGEST_ID = 200
_LONGEST_PROMPT = 600  # in a page with a budget; a folder has all
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


def example_pages(chosen: Chosen, budget: int | None) -> ExamplePages:
    """Prepare as many of the first examples as fit.

    Args:
        chosen: All examples.
        budget: Bytes in the page; None for all examples and whole prompts.
    """
    measured = chosen.examples
    has_prompts = _PROMPT in chosen.store
    parts: list[_Part] = []
    size = 0
    for first in range(0, len(measured), PART):
        part = _part(chosen, measured[first : first + PART], has_prompts, budget is None)
        # The table's share of a part, too: compressed with the others it takes a little less.
        size += len(part.block.text) + len(Block(part.meta, part.table).text)
        if budget is not None and size > budget and parts:
            break
        parts.append(part)
    table = {
        name: np.concatenate([part.table[name] for part in parts])
        for name in (parts[0].table if parts else ())
    }
    meta = {"ids": [id for part in parts for id in part.meta["ids"]]}
    shown = len(meta["ids"])
    return ExamplePages(
        {
            "examples": Block(meta, table),
            **{f"examples/{number}": part.block for number, part in enumerate(parts)},
        },
        {"measured": len(measured), "shown": shown, "part": PART, "prompts": has_prompts},
    )


@dataclass(frozen=True)
class _Part:
    meta: dict[str, Any]
    table: dict[str, NDArray[Any]]
    block: Block


def _part(chosen: Chosen, rows: NDArray[np.int64], has_prompts: bool, whole: bool) -> _Part:
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
        limit = None if whole else _LONGEST_PROMPT
        meta["prompts"] = [[_prompt(text, limit) for text in texts] for texts in read(_PROMPT).tolist()]
    arrays: dict[str, NDArray[Any]] = {
        "present": read("present").astype(np.uint8),
        "tokens": read("token_count").astype(np.int32),
        "activated": activated.astype(small),  # [E, L, N]
    }
    ids = [visible(str(id), limit=_LONGEST_ID) for id in read("example_id").tolist()]
    return _Part({"ids": ids}, table, Block(meta, arrays))


def _prompt(text: str, limit: int | None) -> str:
    """A prompt as it is, lines and all; the page shows it as text."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"
