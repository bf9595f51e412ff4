"""Sources of a job's examples."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fastneurons.config import EngineOptions
from fastneurons.data.options import DataOptions
from fastneurons.engine.encode import AnyExample
from fastneurons.errors import InputError
from fastneurons.shards import Shard


@dataclass(frozen=True)
class Source:
    """A source of examples.

    Args:
        tasks: The tasks' names, as the store keeps them. Examples name theirs; those that do not are of the first.
        name: The file, or what else it is, for people and for checking a resumed run.
        examples: Its examples in order; read once, from the start, also by a resumed run.
        limit: What `examples` was limited to: so many examples of each task.
        total: How many examples there are, where it is known.
        add_special_tokens: Whether the tokenizer marks a prompt's begin; off for prompts in a chat format.
        options: How the examples were chosen and asked, for the record.
        notes: Called at the end; returns notes on the examples, for people.
        remarks: Remarks on the source, for people, shown before anything is measured.
    """

    tasks: tuple[str, ...]
    name: str
    examples: Iterable[AnyExample]
    limit: int | None = None
    total: int | None = None
    add_special_tokens: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: Callable[[], Sequence[str]] = tuple
    remarks: Sequence[str] = ()

    def part(self, shard: Shard | None, window: int) -> "Source":
        """A shard's examples; all of them for None.

        Args:
            window: Examples of a window.
        """
        if shard is None:
            return self
        total = None if self.total is None else shard.size(self.total, window)
        return replace(self, examples=shard.examples(self.examples, window), total=total)


def example_source(
    task: str,
    name: str,
    examples: Iterable[AnyExample],
    limit: int | None = None,
    total: int | None = None,
) -> Source:
    """Make a source from given examples.

    Args:
        task: The task's name.
        name: As in `Source`.
        examples: The examples.
        limit: Only the first ones.
        total: How many there are without the limit, where it is known.
    Raises:
        InputError: the limit is no number of examples.
    """
    if limit is not None:
        if limit < 1:
            raise InputError(f"--limit {limit}: must be at least 1")
        examples = itertools.islice(examples, limit)
        total = limit if total is None else min(limit, total)
    return Source((task,), name, examples, limit, total)


def task_source(
    model: str,
    names: Sequence[str],
    data: Mapping[str, str],
    languages: Sequence[str] | None,
    options: DataOptions | None = None,
    engine: EngineOptions | None = None,
    position: str = "last",
) -> tuple[Source, tuple[str, ...]]:
    """Make a source from tasks; return it with its languages.

    Args:
        model: Whose chat template is used, where `options` ask for it.
        names: The tasks.
        data: Where each one's data is.
        languages: Short codes; None for all that every task has.
        options: Which examples, and how they are asked.
        engine: Whose tokenizer it is, and how it is loaded.
        position: What will be read of them.
    Raises:
        InputError: as `open_tasks` and `TaskSource.check` raise it; a task that cannot be measured.
    """
    from fastneurons.data.tasks import open_tasks, task_named

    options, engine = options or DataOptions(), engine or EngineOptions()
    for name in names:
        if not task_named(name).parallel and position != "corpus":
            raise InputError(
                f"{name} has each language's texts by themselves, and --position {position} compares the same text "
                "in several; --position corpus counts over them"
            )
    chat = None
    if options.apply_chat_template:
        from fastneurons.data.chat import ChatTemplate

        chat = ChatTemplate(
            engine.tokenizer or model, engine.revision, engine.trust_remote_code, options.chat_template_kwargs
        )
    source = open_tasks(names, data, languages, options, chat)
    source.check()
    total = options.limit * len(source.tasks) if options.limit is not None else None
    examples = Source(
        source.tasks,
        source.describe(),
        source,
        options.limit,
        total,
        source.add_special_tokens,
        options.chosen(),
        source.notes,
        source.remarks(),
    )
    return examples, source.languages
