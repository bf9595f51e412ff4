"""What the page shows of generated texts: numbers by edit and language, and the texts themselves, in parts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.report.generation import Generation, TextGroup
from fastneurons.report.page.blocks import Block
from fastneurons.report.page.examples import LONGEST_PROMPT, ExamplePages, Part, as_it_is, in_parts, shown_ids
from fastneurons.scores import Mean
from fastneurons.store import Store
from fastneurons.visible import visible

PART = 16  # examples of a part: each has a text in every language under every condition
_LONGEST_TEXT = 1000  # in a page with a budget; a folder has all
_LONGEST_MEASURE = 80
_PROMPT = "prompt"


def generation_meta(found: Generation, whole: bool) -> dict[str, Any]:
    """Whether texts were judged, and how; how long they could become; and where the page cuts them, if not `whole`."""
    most = found.header.edits.get("max_tokens")
    measures = sorted({str(each) for each in found.header.measures.values()})
    return {
        "judged": found.is_judged,
        "measures": [visible(each, limit=_LONGEST_MEASURE) for each in measures],
        "max_tokens": most if isinstance(most, int) else None,
        "limit": None if whole else _LONGEST_TEXT,
    }


def generation_arrays(found: Generation) -> dict[str, NDArray[Any]]:
    """Numbers by group (all tasks, then each), of each language and then of all: `right` and `change`
    [G, 3, L + 1, C], mean, low and high; `tokens` and `unchanged` [G, L + 1, C]; `prompts` int32 [G, L + 1]."""
    groups: list[TextGroup] = [found, *found.by_task.values()]
    texts = [
        [
            [group.texts[condition][code] for condition in found.header.conditions]
            for code in found.header.languages
        ]
        + [[group.overall[condition] for condition in found.header.conditions]]
        for group in groups
    ]

    def numbers(name: str) -> NDArray[np.float32]:
        return np.array([[[getattr(t, name) for t in row] for row in group] for group in texts], np.float32)

    def means(name: str) -> NDArray[np.float32]:
        def ends(mean: Mean) -> tuple[float, float, float]:
            return mean.mean, mean.low, mean.high

        found = [[[ends(getattr(t, name)) for t in row] for row in group] for group in texts]
        return np.moveaxis(np.array(found, np.float32), 3, 1)

    return {
        "right": means("right"),
        "change": means("change"),
        "tokens": numbers("tokens"),
        "unchanged": numbers("unchanged"),
        "prompts": np.array([[row[0].number for row in group] for group in texts], np.int32),
    }


def text_pages(store: Store, budget: int | None) -> ExamplePages:
    """Prepare the texts of as many of the first examples as fit.

    Args:
        store: A store of the kind "generate".
        budget: Bytes in the page; None for all examples and whole texts.
    """
    measured = np.flatnonzero(store.measured)
    has_prompts = _PROMPT in store
    parts = (
        _part(store, measured[first : first + PART], has_prompts, budget is None)
        for first in range(0, len(measured), PART)
    )
    return in_parts(parts, PART, len(measured), has_prompts, budget)


def _part(store: Store, rows: NDArray[np.int64], has_prompts: bool, whole: bool) -> Part:
    """Some examples; `rows` are ascending indices on the example axis.

    The table has `index` and `task` [E], and of each text, [E, L, C], whether it is `same` as the intact model's, and
    `correct`, a code of `Answer`; the block has `prompts` [E][L] and `texts` [E][L][C].
    """
    span = slice(int(rows[0]), int(rows[-1]) + 1)
    at = rows - rows[0]

    def read(name: str) -> NDArray[Any]:
        array: NDArray[Any] = store[name][span][at]
        return array

    text = read("text")
    table: dict[str, NDArray[Any]] = {
        "index": rows.astype(np.int32),
        "task": read("task").astype(np.int32),
        "same": (text == text[..., :1]).astype(np.uint8),
    }
    if "correct" in store:
        table["correct"] = read("correct").astype(np.uint8)
    limit = None if whole else _LONGEST_TEXT
    meta: dict[str, Any] = {
        "texts": [[[as_it_is(each, limit) for each in texts] for texts in row] for row in text.tolist()]
    }
    if has_prompts:
        limit = None if whole else LONGEST_PROMPT
        meta["prompts"] = [[as_it_is(each, limit) for each in row] for row in read(_PROMPT).tolist()]
    arrays: dict[str, NDArray[Any]] = {
        "present": read("present").astype(np.uint8),
        "tokens": read("token_count").astype(np.int32),
        "generated": read("generated_count").astype(np.int32),
    }
    return Part(shown_ids(read("example_id").tolist()), table, Block(meta, arrays))
