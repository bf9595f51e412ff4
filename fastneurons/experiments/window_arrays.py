"""Put measured examples together into a window of the store: their arrays, texts, and what was skipped."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastneurons.arrays import Arrays, join
from fastneurons.data.example import Example, Skipped
from fastneurons.engine.placement import MeasuredExamples
from fastneurons.errors import printable
from fastneurons.store import Outcome, StoreWriter, Window


def commit(
    writer: StoreWriter, parts: list[MeasuredExamples], tasks: tuple[str, ...], languages: tuple[str, ...]
) -> None:
    """Have the writer's thread put a window together and write it."""
    writer.submit(lambda: window_of(parts, tasks, languages))


def window_of(parts: list[MeasuredExamples], tasks: tuple[str, ...], languages: tuple[str, ...]) -> Window:
    """Groups of examples, put together into a window of the store."""
    examples = [example for part in parts for example in part.examples]
    # The examples of a group are of one task.
    task_of_part = [int(described(part.examples[:1], tasks, languages)["task"][0]) for part in parts]
    arrays = join([part.arrays for part in parts], task_of_part, len(tasks))
    return Window(
        parts[0].first,
        arrays | described(examples, tasks, languages),
        skipped_lines(examples, parts[0].first),
    )


def described(
    examples: Sequence[Example | Skipped], tasks: tuple[str, ...], languages: tuple[str, ...]
) -> Arrays:
    """The arrays that say what examples are: `example_id`, `task`, `outcome`, and the texts in `prompt`."""
    # An example may come without its task where there is only one.
    task_of: dict[str | None, int] = {name: number for number, name in enumerate(tasks)}
    arrays: Arrays = {}
    arrays["example_id"] = np.array([printable(example.id) for example in examples], np.dtypes.StringDType())
    arrays["task"] = np.array([task_of.get(example.task, 0) for example in examples], np.int32)
    arrays["prompt"] = np.array(
        [
            [
                "" if isinstance(example, Skipped) else printable(example.prompts.get(code, ""))
                for code in languages
            ]
            for example in examples
        ],
        np.dtypes.StringDType(),
    )
    skipped = [isinstance(example, Skipped) for example in examples]
    arrays["outcome"] = np.where(skipped, Outcome.SKIPPED, Outcome.MEASURED).astype(np.uint8)
    return arrays


def skipped_lines(examples: Sequence[Example | Skipped], first: int) -> list[dict[str, Any]]:
    """Entries of `skipped.jsonl` for the skipped ones among examples.

    Args:
        first: Index of the first example.
    """
    return [
        {
            "index": first + index,
            "id": printable(example.id),
            "where": printable(example.where),
            "reason": printable(example.reason),
        }
        for index, example in enumerate(examples)
        if isinstance(example, Skipped)
    ]
