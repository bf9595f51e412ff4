"""The examples of one task: aligned, converted, selected, put in order, with their prompts completed."""

import itertools
from collections.abc import Iterable, Iterator

import msgspec

from fastneurons.data.align import Aligned, AlignmentCount, LeftOut
from fastneurons.data.chat import Chat
from fastneurons.data.example import Example, Skipped
from fastneurons.data.options import DataOptions
from fastneurons.data.problems import UnusableError
from fastneurons.data.select import Selection
from fastneurons.data.shuffle import shuffled
from fastneurons.data.tasks.around import Around
from fastneurons.data.tasks.cases import Case, Conversion, Incomplete
from fastneurons.data.tasks.few_shot import check_shots, held_back_shots, solved
from fastneurons.data.tasks.task import Data, Task
from fastneurons.data.template import Templates
from fastneurons.errors import InputError

# Examples to look through for a measurable one: a check should not read a large source from end to end.
_LOOKED_AT = 1000
_NEEDS_CHAT_TEMPLATE = "--apply-chat-template puts them into the model's chat format"


class TaskExamples:
    """One task of a source.

    Attributes:
        task: The task.
        data: Its data.
        count: How its rows were aligned in the latest iteration, as far as it went.
    """

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
        self._convert = Conversion(task, languages, templates, options.allow_missing)
        shots: list[Case] = []
        self._held_back: frozenset[str] = frozenset()
        if options.num_fewshot:
            shots, self._held_back = self._drawn_shots(options.num_fewshot)
        self._around = {code: Around(task, code, shots, options, chat) for code in languages}
        self._nothing_around = not (shots or options.answer_prefix or options.apply_chat_template)

    def everything(self, count: AlignmentCount) -> Iterator[Case | Skipped | LeftOut | Incomplete]:
        """Yield all examples, as they come."""
        return (self._convert(found, count) for found in self._found())

    def _found(self) -> Iterator[Aligned | Example | LeftOut | Skipped]:
        if self._convert.keeps_prompts:
            examples = self.data.examples(self._languages)
            if examples is not None:
                return examples
        return self.data.aligned(self._languages)

    def __iter__(self) -> Iterator[Case | Skipped]:
        """Yield the examples to measure and the skipped ones, in order."""
        options = self._options
        self.count = AlignmentCount(self.task.name, self._languages)
        cases: Iterable[Case | Skipped] = self._chosen(self.everything(self.count))
        if options.shuffle is not None:
            cases = shuffled(cases, options.shuffle, Case | Skipped)
        number = 0
        for case in cases:
            if isinstance(case, Skipped):
                yield case
                continue
            number += 1
            if number <= options.skip:
                continue
            yield case
            if options.limit is not None and number == options.skip + options.limit:
                return

    def _chosen(self, cases: Iterable[Case | Skipped | LeftOut | Incomplete]) -> Iterator[Case | Skipped]:
        for case in cases:
            if isinstance(case, Case):
                id = case.example.id
                if id in self._held_back:
                    continue
                if self._selection is not None:
                    fields = {code: piece.fields for code, piece in case.pieces.items()}
                    if not self._selection(case.example, fields):
                        continue
                yield case
            elif isinstance(case, Skipped):
                yield case
            elif isinstance(case, Incomplete) and self.task.skips_incomplete:
                reason = f"no prompt in {', '.join(case.missing)}"
                yield Skipped(case.key, case.where, reason, self.task.name)

    def _drawn_shots(self, number: int) -> tuple[list[Case], frozenset[str]]:
        """The few-shot examples, and the ids of those held back from the data."""
        supplied = self.data.shots(self._languages)
        if supplied is None:
            usable = self.everything(AlignmentCount(self.task.name, self._languages))
            shots = held_back_shots(usable, number, self._languages, self._options.shuffle or 0)
        else:
            shots = solved(map(self._convert.of_aligned, supplied), self._languages)
        check_shots(shots, number, self.task.name, supplied is not None, self._convert.has_worked_answers)
        shots = shots[:number]
        return shots, frozenset(case.example.id for case in shots if supplied is None)

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
        """The example with everything around its prompts, or the reason why it cannot be measured."""
        example = case.example
        if not example.messages:
            return self.finished(case)
        if not self._options.apply_chat_template:
            reason = f"the prompt in {next(iter(example.messages))} is chat messages; {_NEEDS_CHAT_TEMPLATE}"
            return Skipped(example.id, example.where, reason, example.task)
        try:
            return self.finished(case)
        except (InputError, UnusableError) as error:  # others may be such as the template takes
            return Skipped(example.id, example.where, str(error), example.task)

    def check(self) -> None:
        """Check that one of the first 1000 examples can be measured.

        Raises:
            InputError: none can; it says why.
        """
        problems: list[str] = []
        count = AlignmentCount(self.task.name, self._languages)
        number = 0
        for converted in itertools.islice(self.everything(count), _LOOKED_AT):
            # A chat template may refuse its messages.
            found = self.measured(converted) if isinstance(converted, Case) else converted
            if isinstance(found, Example):
                return
            number += 1
            if isinstance(found, Skipped) and len(problems) < 3:
                problems.append(f"{found.where}: {found.reason}")
        described = f"{self.task.name}: {self.data.describe}"
        if not number:
            raise InputError(f"{described} has no rows in {', '.join(self._languages)}")
        lacking = ", ".join(f"{code} {lacked}" for code, lacked in count.missing.most_common())
        raise InputError(
            f"{described}: none of the first {number} examples can be measured: "
            + "; ".join([*problems, *([f"they lack languages: {lacking}"] if lacking else [])])
            + ("; --allow-missing measures an example on the languages that it has" if lacking else "")
        )
