"""From tasks to examples: aligned, selected, put in order, and asked by template.

    source = open_tasks(["xnli", "mgsm"], {"xnli": "xnli.test.tsv", "mgsm": "mgsm/"}, ("en", "de"), DataOptions())
    for example in source:  # Example or Skipped, xnli's first
        ...

The task aligns the languages of each example; `cases.Conversion` asks it in each language by the template (an example
of a user's own has its prompts already, and keeps them unless a template is given); `--select` looks at the result;
few-shot examples are held back; `--shuffle`, `--skip` and `--limit` choose among the rest; and at last few-shot
examples, chat format and answer prefix go around the prompt.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from fastneurons.data.align import AlignmentCount, LeftOut
from fastneurons.data.chat import Chat
from fastneurons.data.example import Example, Skipped
from fastneurons.data.options import DataOptions
from fastneurons.data.places import Place
from fastneurons.data.problems import one_line, shown
from fastneurons.data.select import Selection
from fastneurons.data.tasks.cases import Case, Incomplete
from fastneurons.data.tasks.registry import task_named
from fastneurons.data.tasks.task import Data, Task
from fastneurons.data.tasks.task_examples import TaskExamples
from fastneurons.data.template import Templates
from fastneurons.errors import InputError


def open_tasks(
    names: Sequence[str],
    data: Mapping[str, str],
    languages: Sequence[str] | None,
    options: DataOptions | None = None,
    chat: Chat | None = None,
) -> "TaskSource":
    """Tasks as one source of examples.

    Args:
        names: The tasks, in the order in which they are measured.
        data: Where each one's data is, by its name.
        languages: Short codes; None for all that each of the tasks has.
        options: Which examples, and how they are asked.
        chat: The model's chat template, where `options` ask for it.
    Raises:
        InputError: a task or language that is not known, data that cannot be read or is in no form that the task
            knows, an option that makes no sense.
    """
    return TaskSource(names, data, languages, options or DataOptions(), chat)


class TaskSource:
    """Examples of one or several tasks; every iteration reads them anew, in the same order.

    `open_tasks` makes it and gives the arguments. Iterating raises InputError where a file fails.

    Attributes:
        tasks: The tasks' names, in order.
        languages: The languages, in the order asked for.
        counts: How each task's rows came together in the latest iteration, as far as it went.
    """

    def __init__(
        self,
        names: Sequence[str],
        data: Mapping[str, str],
        languages: Sequence[str] | None,
        options: DataOptions,
        chat: Chat | None,
    ) -> None:
        if not names:
            raise InputError("no task is named; fastneurons tasks lists them")
        for name in names:
            task_named(name)
        if twice := {name for name in names if list(names).count(name) > 1}:
            raise InputError(f"--tasks {','.join(names)}: {', '.join(sorted(twice))} twice")
        if stray := [name for name in data if name not in names]:
            raise InputError(
                f"--data {stray[0]}={data[stray[0]]}: {stray[0]} is none of the tasks {', '.join(names)}"
            )
        if options.apply_chat_template and chat is None:
            raise InputError("--apply-chat-template needs a tokenizer")
        self.tasks = tuple(names)
        self.options = options
        self._templates = Templates(options.template) if options.template is not None else None
        opened = [(task_named(name), _opened(task_named(name), data.get(name), options)) for name in names]
        self.languages = tuple(languages) if languages is not None else _shared_languages(opened)
        fields = {field for task, _ in opened for field in task.fields}
        self._selection = (
            Selection(options.select, self.languages, fields) if options.select is not None else None
        )
        self._parts = [
            TaskExamples(task, found, self.languages, options, self._templates, self._selection, chat)
            for task, found in opened
        ]

    @property
    def counts(self) -> dict[str, AlignmentCount]:
        """The alignment counts of each task."""
        return {part.task.name: part.count for part in self._parts}

    @property
    def add_special_tokens(self) -> bool:
        """Whether the tokenizer must mark the beginning of a prompt, which a chat template does itself."""
        return not self.options.apply_chat_template

    def __iter__(self) -> Iterator[Example | Skipped]:
        if self._selection is not None:
            self._selection.start()
        for part in self._parts:
            for case in part:
                yield case if isinstance(case, Skipped) else part.measured(case)

    def cases(self) -> Iterator[tuple[Task, Case | Skipped | LeftOut | Incomplete]]:
        """Yield all examples, measured or not, ignoring `--select`, `--shuffle`, `--skip` and `--limit`: for checks."""
        for part in self._parts:
            part.count = AlignmentCount(part.task.name, self.languages)
            for case in part.everything(part.count):
                yield part.task, case

    def places(self) -> dict[str, str]:
        """A description of each task's data, by task."""
        return {part.task.name: part.data.describe for part in self._parts}

    def finished(self, case: Case) -> Example:
        """A case as it is measured, with few-shot examples; chat messages without a template become their contents."""
        part = next(part for part in self._parts if part.task.name == case.example.task)
        return part.finished(case)

    def check(self) -> None:
        """Check, before a model is loaded, that each task has anything to measure.

        Raises:
            InputError: none of a task's first 1000 rows can be measured; it says why.
        """
        for part in self._parts:
            part.check()

    def describe(self) -> str:
        """Describe the data and its options in one line: equal for two sources that give the same rows."""
        chosen = self.options.chosen()
        if len(self.tasks) == 1:
            chosen.pop("limit", None)  # what comes before it is the same
        for name in ("split", "config", "revision"):
            chosen.pop(name, None)  # part of the places
        for name, file in (("template", self._templates), ("select", self._selection)):
            if file is not None and file.digest:
                chosen[name] = f"{chosen[name]} ({file.digest[:12]})"
        if "chat-template-kwargs" in chosen:
            given = msgspec.json.encode(chosen["chat-template-kwargs"], order="deterministic")
            chosen["chat-template-kwargs"] = given.decode()
        places = [part.data.describe for part in self._parts]
        if self.tasks == ("jsonl",):
            described = places[0]
        else:
            described = "; ".join(f"{name}={place}" for name, place in zip(self.tasks, places, strict=True))
        return " ".join(
            [
                described,
                *(f"--{name}" if value is True else f"--{name} {value}" for name, value in chosen.items()),
            ]
        )

    def remarks(self) -> list[str]:
        """Notes for people on the places, before reading: files left out, how names were read."""
        return [f"{part.task.name}: {note}" for part in self._parts for note in part.data.notes]

    def remarks_on(self, task: str) -> tuple[str, ...]:
        """The remarks on one task's place."""
        return next(part.data.notes for part in self._parts if part.task.name == task)

    def notes(self) -> list[str]:
        """Notes for people after an iteration: the remarks, and how the rows were aligned."""
        lines = self.remarks() + [line for part in self._parts for line in part.count.lines()]
        if self._selection is not None and (lost := self._selection.not_found()):
            lines.append(
                f"--select {self._selection.text}: no example has the ids {shown(map(one_line, lost))}"
            )
        return lines


def _opened(task: Task, location: str | None, options: DataOptions) -> Data:
    if location is None:
        if task.needs_data:
            raise InputError(f"{task.name} needs --data: {task.sources[0]}")
        location = task.name
    if location.startswith("~"):  # after `xnli=`, no shell expands it
        location = str(Path(location).expanduser())
    return task.open(Place(location, options.split, options.config, options.revision))


def _shared_languages(opened: Sequence[tuple[Task, Data]]) -> tuple[str, ...]:
    """The languages that all tasks have, in the order of the first; at least two, except for monolingual texts."""
    for task, found in opened:
        if not found.lists_languages:
            raise InputError(
                f"--languages is needed: which ones {found.describe} has for {task.name} is not known"
            )
    first, *others = [found.languages for _, found in opened]
    languages = tuple(code for code in first if all(code in other for other in others))
    if len(languages) < (2 if any(task.parallel for task, _ in opened) else 1):
        there = "; ".join(f"{task.name}: {shown(found.languages)}" for task, found in opened)
        raise InputError(f"at least two languages are needed that all tasks have; there are, for {there}")
    return languages
