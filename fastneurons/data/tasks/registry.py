"""All tasks by name, and the tasks that a command line names."""

import difflib
from collections.abc import Sequence

from fastneurons.data.tasks.belebele import Belebele
from fastneurons.data.tasks.fact import Fact
from fastneurons.data.tasks.mgsm import Mgsm, MgsmCot
from fastneurons.data.tasks.mzsre import KeEn2Xx, KeXx2En
from fastneurons.data.tasks.own import Capitals, Corpus, Jsonl
from fastneurons.data.tasks.pawsx import PawsX
from fastneurons.data.tasks.sentences import Flores, Parallel
from fastneurons.data.tasks.stories import XCopa, XStoryCloze
from fastneurons.data.tasks.task import Task
from fastneurons.data.tasks.xnli import Xnli
from fastneurons.errors import InputError

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Xnli(), Fact(), KeEn2Xx(), KeXx2En(), Mgsm(), MgsmCot(), Belebele(), XCopa(), XStoryCloze(), PawsX(),
        Flores(), Parallel(), Capitals(), Jsonl(), Corpus(),
    )
}  # fmt: skip


def task_named(name: str) -> Task:
    """The task of that name.

    Raises:
        InputError: there is none; it names one that is spelled alike.
    """
    if name in TASKS:
        return TASKS[name]
    folded = name.strip().lower().replace("_", "-")
    close = difflib.get_close_matches(folded, TASKS, 1, 0.6)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(TASKS)}"
    raise InputError(f"unknown task {name!r}; {hint}")


def tasks_and_data(tasks: str | None, data: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The tasks that `--tasks` and `--data` name, with the location of each one's data.

    `--data PATH` belongs to the only task, or is JSONL where no task is named; `--data xnli=PATH` to xnli.

    Args:
        tasks: Names separated by commas, or None.
        data: Each `--data`, as given.
    Raises:
        InputError: an unknown task, data for none or for several, or no data at all.
    """
    names = [name.strip() for name in (tasks or "").split(",") if name.strip()]
    for name in names:
        task_named(name)
    places: dict[str, str] = {}
    for given in data:
        name, equals, location = given.partition("=")
        if not equals or (name not in TASKS and name not in names):
            if equals and not name.count("/") and difflib.get_close_matches(name, TASKS, 1, 0.75):
                task_named(name)  # a task misspelled
            if len(names) > 1:
                raise InputError(
                    f"--data {given}: which of the tasks {', '.join(names)} is it for? --data {names[0]}={given}"
                )
            name, location = (names[0] if names else "jsonl"), given
        if not location:
            raise InputError(f"--data {given}: no path after '='")
        if name in places:
            raise InputError(f"--data {name}={location}: there is {name}={places[name]} already")
        places[name] = location
    names = names or list(places)
    if not names:
        raise InputError(
            "nothing to measure: pass --data FILE.jsonl, or --tasks NAME with --data PATH; fastneurons tasks lists them"
        )
    return tuple(names), places
