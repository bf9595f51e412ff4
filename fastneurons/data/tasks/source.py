"""From tasks to examples: aligned, selected, put in order, and asked by template.

    source = open_tasks(["xnli", "mgsm"], {"xnli": "xnli.test.tsv", "mgsm": "mgsm/"}, ("en", "de"), DataOptions())
    for row in source:      # Example or Skipped, xnli's first
        ...

The way of a row: the task aligns it; its template makes a prompt of it in each language (a row of a user's own is an
example already, and where no template is given it stays as it is); `--select` looks at that; few-shot examples are
held back; `--shuffle`, `--skip` and `--limit` choose among the rest; and at last few-shot examples, chat format and
answer prefix are put around the prompt.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fastneurons.data.align import Aligned, AlignmentCount, LeftOut
from fastneurons.data.chat import Chat
from fastneurons.data.example import Example, Skipped
from fastneurons.data.options import DataOptions
from fastneurons.data.places import Place, shown
from fastneurons.data.problems import UnusableError, one_line
from fastneurons.data.select import Selection
from fastneurons.data.shuffle import shuffled
from fastneurons.data.tasks.around import Around, Case
from fastneurons.data.tasks.own import AS_IT_IS
from fastneurons.data.tasks.registry import TASKS, task_named
from fastneurons.data.tasks.task import Data, Task
from fastneurons.data.template import Compiled, Templates, chosen_template
from fastneurons.data.valid_values import id_problem, shown_id, text_problem
from fastneurons.errors import InputError

# Few-shot examples are drawn from the first so many usable ones, and what can be measured is looked for among
# the first so many rows: neither should read a large source from end to end.
_LOOKED_AT = 1000
NEEDS_CHAT_TEMPLATE = "--apply-chat-template puts them into the model's chat format"


class Incomplete(msgspec.Struct, frozen=True, gc=False):
    """An example that is not measured, as it lacks languages."""

    key: str
    where: str
    missing: tuple[str, ...]


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
            _Part(task, found, self.languages, options, self._templates, self._selection, chat)
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
            for row in part:
                yield row if isinstance(row, Skipped) else part.measured(row)

    def cases(self) -> Iterator[tuple[Task, Case | Skipped | LeftOut | Incomplete]]:
        """Yield all rows, measured or not, ignoring `--select`, `--shuffle`, `--skip` and `--limit`: for checks."""
        for part in self._parts:
            part.count = AlignmentCount(part.task.name, self.languages)
            for row in part.everything(part.count):
                yield part.task, row

    def places(self) -> dict[str, str]:
        """A description of each task's data, by task."""
        return {part.task.name: part.data.describe for part in self._parts}

    def finished(self, case: Case) -> Example:
        """A case as it is measured, few-shot examples and all; of chat messages without a template their contents."""
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
    if location.startswith("~"):  # behind `xnli=` no shell does it
        location = str(Path(location).expanduser())
    return task.open(Place(location, options.split, options.config, options.revision))


def _shared_languages(opened: Sequence[tuple[Task, Data]]) -> tuple[str, ...]:
    """The languages that all tasks have, in the order of the first; two at least, but for texts by themselves."""
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


class _Part:
    """One task of a source."""

    def __init__(
        self,
        task: Task,
        data: Data,
        languages: tuple[str, ...],
        options: DataOptions,
        templates: Templates | None,
        selection: Selection | None,
        chat: Chat | None,
    ) -> None:
        self.task = task
        self.data = data
        self.count = AlignmentCount(task.name, languages)
        self._languages = languages
        self._options = options
        self._selection = selection
        data.check(languages, options.allow_missing)
        self._compiled = _compiled(task, languages, templates)
        self._shots: list[Case] = []
        self._held_back: frozenset[str] = frozenset()
        if options.num_fewshot:
            self._draw_shots(options.num_fewshot)
        self._around = {code: Around(task, code, self._shots, options, chat) for code in languages}
        self._nothing_around = not (self._shots or options.answer_prefix or options.apply_chat_template)

    # -- rows ---------------------------------------------------------------------------------------

    def everything(self, count: AlignmentCount) -> Iterator[Case | Skipped | LeftOut | Incomplete]:
        """Yield all rows, as they come."""
        least = 2 if self.task.parallel else 1
        for row in self._rows():
            if isinstance(row, LeftOut):
                count.left_out[row.language, row.reason] += 1
                yield row
            elif isinstance(row, Skipped):
                yield Skipped(shown_id(row.id), row.where, row.reason, self.task.name)
            elif isinstance(row, Aligned) and (problem := id_problem(row.key)):
                yield Skipped(shown_id(row.key), row.where, problem, self.task.name)
            else:
                there = row.pieces if isinstance(row, Aligned) else row.prompts
                complete = count.add(there) if self.task.parallel else True
                if complete or (self._options.allow_missing and len(there) >= least):
                    yield self._case(row) if isinstance(row, Aligned) else Case(row, row.answers)
                else:
                    missing = tuple(code for code in self._languages if code not in there)
                    key = row.key if isinstance(row, Aligned) else row.id
                    yield Incomplete(key, row.where, missing)

    def _rows(self) -> Iterator[Aligned | Example | LeftOut | Skipped]:
        if all(one.template == AS_IT_IS for one in self._compiled.values()):
            examples = self.data.examples(self._languages)
            if examples is not None:
                return examples
        return self.data.aligned(self._languages)

    def __iter__(self) -> Iterator[Case | Skipped]:
        """Yield the rows to measure and the skipped ones, in order."""
        options = self._options
        self.count = AlignmentCount(self.task.name, self._languages)
        rows: Iterable[Case | Skipped] = self._chosen(self.everything(self.count))
        if options.shuffle is not None:
            rows = shuffled(rows, options.shuffle, Case | Skipped)
        number = 0
        for row in rows:
            if isinstance(row, Skipped):
                yield row
                continue
            number += 1
            if number <= options.skip:
                continue
            yield row
            if options.limit is not None and number == options.skip + options.limit:
                return

    def _chosen(self, rows: Iterable[Case | Skipped | LeftOut | Incomplete]) -> Iterator[Case | Skipped]:
        for row in rows:
            if isinstance(row, Case):
                id = row.example.id
                if id in self._held_back:
                    continue
                if self._selection is not None:
                    fields = {code: piece.fields for code, piece in row.pieces.items()}
                    if not self._selection(row.example, fields):
                        continue
                yield row
            elif isinstance(row, Skipped):
                yield row
            elif isinstance(row, Incomplete) and self.task.skips_incomplete:
                reason = f"no prompt in {', '.join(row.missing)}"
                yield Skipped(row.key, row.where, reason, self.task.name)

    def _case(self, row: Aligned) -> Case | Skipped:
        name = self.task.name
        for field in self.task.same:
            values = {
                code: piece.fields[field] for code, piece in row.pieces.items() if field in piece.fields
            }
            if len(set(values.values())) > 1:
                differing = ", ".join(f"{code} {one_line(str(value), 30)}" for code, value in values.items())
                return Skipped(
                    row.key, row.where, f"its languages do not agree on {field}: {differing}", name
                )
        prompts: dict[str, str] = {}
        answers: dict[str, str] = {}
        choices: dict[str, tuple[str, ...]] = {}
        worked: dict[str, str] = {}
        aliases: dict[str, tuple[str, ...]] = {}
        messages: dict[str, list[dict[str, str]]] = {}
        for code, piece in row.pieces.items():
            try:
                filled = self._compiled[code](piece.fields)
            except KeyError as error:
                return Skipped(row.key, piece.where, f"the template in {code} needs the field {error}", name)
            if problem := text_problem(filled.prompt):
                return Skipped(row.key, piece.where, f"the prompt in {code} {problem}", name)
            if "messages" in piece.fields:
                if not self._compiled[code].is_bare:
                    reason = f"the prompt in {code} is chat messages, which cannot be put into a template"
                    return Skipped(row.key, piece.where, reason, name)
                messages[code] = piece.fields["messages"]
            if "aliases" in piece.fields:
                aliases[code] = self._compiled[code].aliases(piece.fields, piece.fields["aliases"])
            prompts[code] = filled.prompt
            if filled.answer is not None:
                answers[code] = filled.answer
            if filled.choices:
                choices[code] = filled.choices
            if filled.worked:
                worked[code] = filled.worked
        example = Example(
            row.key, prompts, answers, row.where, name, choices, aliases=aliases, messages=messages
        )
        return Case(example, worked, row)

    # -- few-shot examples --------------------------------------------------------------------------

    def _draw_shots(self, number: int) -> None:
        """Take solved examples that come with the data, or else hold some of the data itself back.

        Of the data, those of the first 1000 usable examples are taken whose ids have the lowest hashes: the same
        ones every time, in every language, and not neighbours, which often share a premise.
        """
        seed = self._options.shuffle or 0
        supplied = self.data.shots(self._languages)
        if supplied is not None:
            found = list(self._solved(map(self._case, supplied)))
        else:
            usable = self._solved(self.everything(AlignmentCount(self.task.name, self._languages)))
            found = sorted(
                itertools.islice(usable, _LOOKED_AT),
                key=lambda case: hashlib.sha256(f"{seed}:{case.example.id}".encode()).digest(),
            )
        if len(found) < number:
            where = "beside the data" if supplied is not None else f"among its first {_LOOKED_AT}"
            hint = (
                "; they must come with the data, as MGSM's exemplars.py and the Hub's train split do"
                if self._compiled[self._languages[0]].template.worked
                else ""
            )
            raise InputError(
                f"--num-fewshot {number}: {self.task.name} has {len(found)} examples with answers in all languages "
                f"{where}{hint}"
            )
        if talks := next((case for case in found[:number] if case.example.messages), None):
            raise InputError(
                f"--num-fewshot {number}: {talks.example.where}: the prompt of {one_line(talks.example.id)} is chat "
                "messages, which can be no few-shot examples; put solved examples among the messages themselves"
            )
        self._shots = found[:number]
        if supplied is None:
            self._held_back = frozenset(case.example.id for case in self._shots)

    def _solved(self, rows: Iterable[Any]) -> Iterator[Case]:
        """Those that can stand in a prompt: usable, and with an answer in every language."""
        wanted = set(self._languages)
        return (row for row in rows if isinstance(row, Case) and set(row.worked) >= wanted)

    def finished(self, case: Case) -> Example:
        """The example with everything around its prompts."""
        bare = case.example
        if self._nothing_around:
            return bare
        around = {
            code: self._around[code].of_messages(bare.messages[code], code)
            if code in bare.messages
            else self._around[code](prompt)
            for code, prompt in bare.prompts.items()
        }
        prompts = {code: whole.text for code, whole in around.items()}
        if not self._options.apply_chat_template:
            return msgspec.structs.replace(bare, prompts=prompts)
        joints = {code: self._around[code].joint(bare.messages.get(code)) for code in prompts}
        return msgspec.structs.replace(
            bare,
            prompts=prompts,
            contents={code: whole.contents or () for code, whole in around.items()},
            joints={code: joint for code, joint in joints.items() if joint is not None},
        )

    def measured(self, case: Case) -> Example | Skipped:
        """The example with everything around its prompts, or why it cannot be measured."""
        example = case.example
        if not example.messages:
            return self.finished(case)
        if not self._options.apply_chat_template:
            reason = f"the prompt in {next(iter(example.messages))} is chat messages; {NEEDS_CHAT_TEMPLATE}"
            return Skipped(example.id, example.where, reason, example.task)
        try:
            return self.finished(case)
        except (InputError, UnusableError) as error:  # others may be such as the template takes
            return Skipped(example.id, example.where, str(error), example.task)

    def check(self) -> None:
        problems: list[str] = []
        count = AlignmentCount(self.task.name, self._languages)
        rows = 0
        for row in itertools.islice(self.everything(count), _LOOKED_AT):
            # A chat template may refuse its messages.
            found = self.measured(row) if isinstance(row, Case) else row
            if isinstance(found, Example):
                return
            rows += 1
            if isinstance(found, Skipped) and len(problems) < 3:
                problems.append(f"{found.where}: {found.reason}")
        described = f"{self.task.name}: {self.data.describe}"
        if not rows:
            raise InputError(f"{described} has no rows in {', '.join(self._languages)}")
        lacking = ", ".join(f"{code} {number}" for code, number in count.missing.most_common())
        raise InputError(
            f"{described}: none of the first {rows} examples can be measured: "
            + "; ".join([*problems, *([f"they lack languages: {lacking}"] if lacking else [])])
            + ("; --allow-missing measures an example on the languages that it has" if lacking else "")
        )


def _compiled(task: Task, languages: Sequence[str], templates: Templates | None) -> dict[str, Compiled]:
    """Each language's template.

    Raises:
        InputError: there is none for a language, or it names fields that there are not, or the languages have
            different numbers of choices.
    """
    entries = templates.of(task.name, TASKS) if templates is not None else {}
    compiled: dict[str, Compiled] = {}
    without = []
    for code in languages:
        origin = f"--template {templates.path}: {task.name} in {code}" if templates is not None else task.name
        template = chosen_template(task.template(code), entries, code, origin)
        if template is None:
            without.append(code)
        else:
            compiled[code] = Compiled(template, origin, task.fields)
    if without:
        raise InputError(
            f"{task.name} has no template in {', '.join(without)}; give one with --template FILE "
            f"(fields: {', '.join(task.fields)})"
        )
    numbers = {code: len(one.template.choices) for code, one in compiled.items()}
    if len(set(numbers.values())) > 1:
        raise InputError(
            f"{task.name}: the templates have different numbers of choices: "
            + ", ".join(f"{code} {number}" for code, number in numbers.items())
        )
    return compiled
