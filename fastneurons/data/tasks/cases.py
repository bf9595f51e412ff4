"""The one conversion of aligned languages into examples: each becomes a case, or a skipped row that says why."""

from collections.abc import Sequence

import msgspec

from fastneurons.data.align import Aligned, AlignmentCount, LeftOut, Piece, pieces_of
from fastneurons.data.example import Example, Skipped
from fastneurons.data.problems import one_line
from fastneurons.data.tasks.own import AS_IT_IS
from fastneurons.data.tasks.registry import TASKS
from fastneurons.data.tasks.task import Task
from fastneurons.data.template import Compiled, Templates, chosen_template
from fastneurons.data.valid_values import id_problem, shown_id, text_problem
from fastneurons.errors import InputError


class Case(msgspec.Struct, frozen=True, gc=False, tag=True):
    """An example as its task asks it, and the fields that it was made from.

    Args:
        example: With bare prompts.
        worked: What stands for the answer in a few-shot example, by language.
        aligned: The example's languages as the data has them; None where it was an example already.
    """

    example: Example
    worked: dict[str, str]
    aligned: Aligned | None = None

    @property
    def pieces(self) -> dict[str, Piece]:
        """The task's fields, with file and line, by language."""
        return self.aligned.pieces if self.aligned is not None else pieces_of(self.example)


class Incomplete(msgspec.Struct, frozen=True, gc=False):
    """An example that is not measured because it lacks languages."""

    key: str
    where: str
    missing: tuple[str, ...]


class Conversion:
    """Makes cases of what a task's data yields: checks ids, fills the templates, and checks the prompts.

    Args:
        task: The task.
        languages: Those asked for.
        templates: A user's templates; None for the task's own.
        allow_missing: Whether an example may lack languages.
    Raises:
        InputError: there is no template for a language, or it names fields that the task does not have, or the
            languages have different numbers of choices.
    """

    def __init__(
        self, task: Task, languages: tuple[str, ...], templates: Templates | None, allow_missing: bool
    ) -> None:
        self._task = task
        self._languages = languages
        self._templates = _compiled_templates(task, languages, templates)
        self._fewest = (2 if task.parallel else 1) if allow_missing else len(languages)

    @property
    def keeps_prompts(self) -> bool:
        """Whether examples that come with their prompts stay as they are: no template changes them."""
        return all(one.template == AS_IT_IS for one in self._templates.values())

    @property
    def has_worked_answers(self) -> bool:
        """Whether a few-shot example shows more than the answer, such as the steps that lead to it."""
        return bool(self._templates[self._languages[0]].template.worked)

    def __call__(
        self, found: Aligned | Example | LeftOut | Skipped, count: AlignmentCount
    ) -> Case | Skipped | LeftOut | Incomplete:
        """Convert one aligned example, and count the languages that it has."""
        if isinstance(found, LeftOut):
            count.left_out[found.language, found.reason] += 1
            return found
        if isinstance(found, Skipped):
            return Skipped(shown_id(found.id), found.where, found.reason, self._task.name)
        if isinstance(found, Example):  # its ids and texts were checked as they were read
            id, there = found.id, frozenset(found.prompts)
        elif problem := id_problem(found.key):
            return Skipped(shown_id(found.key), found.where, problem, self._task.name)
        else:
            id, there = found.key, frozenset(found.pieces)
        complete = count.add(there) if self._task.parallel else True
        if not complete and len(there) < self._fewest:
            return Incomplete(id, found.where, tuple(code for code in self._languages if code not in there))
        return Case(found, found.answers) if isinstance(found, Example) else self.of_aligned(found)

    def of_aligned(self, found: Aligned) -> Case | Skipped:
        """Ask an aligned example by the templates."""
        name = self._task.name
        for field in self._task.same:
            values = {
                code: piece.fields[field] for code, piece in found.pieces.items() if field in piece.fields
            }
            if len(set(values.values())) > 1:
                differing = ", ".join(f"{code} {one_line(str(value), 30)}" for code, value in values.items())
                return Skipped(
                    found.key, found.where, f"its languages do not agree on {field}: {differing}", name
                )
        prompts: dict[str, str] = {}
        answers: dict[str, str] = {}
        choices: dict[str, tuple[str, ...]] = {}
        worked: dict[str, str] = {}
        aliases: dict[str, tuple[str, ...]] = {}
        messages: dict[str, list[dict[str, str]]] = {}
        for code, piece in found.pieces.items():
            try:
                filled = self._templates[code](piece.fields)
            except KeyError as error:
                return Skipped(
                    found.key, piece.where, f"the template in {code} needs the field {error}", name
                )
            if problem := text_problem(filled.prompt):
                return Skipped(found.key, piece.where, f"the prompt in {code} {problem}", name)
            if "messages" in piece.fields:
                if not self._templates[code].is_bare:
                    reason = f"the prompt in {code} is chat messages, which cannot be put into a template"
                    return Skipped(found.key, piece.where, reason, name)
                messages[code] = piece.fields["messages"]
            if "aliases" in piece.fields:
                aliases[code] = self._templates[code].aliases(piece.fields, piece.fields["aliases"])
            prompts[code] = filled.prompt
            if filled.answer is not None:
                answers[code] = filled.answer
            if filled.choices:
                choices[code] = filled.choices
            if filled.worked:
                worked[code] = filled.worked
        example = Example(
            found.key, prompts, answers, found.where, name, choices, aliases=aliases, messages=messages
        )
        return Case(example, worked, found)


def _compiled_templates(
    task: Task, languages: Sequence[str], templates: Templates | None
) -> dict[str, Compiled]:
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
