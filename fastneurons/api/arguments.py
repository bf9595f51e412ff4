"""What several functions take in the same way: data with its languages, edits, lists of names, engine arguments."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from fastneurons.config import EngineOptions
from fastneurons.data import Example, Skipped
from fastneurons.data.options import DataOptions
from fastneurons.data.own_rows import checked_examples
from fastneurons.data.tasks import tasks_and_data
from fastneurons.errors import InputError
from fastneurons.experiments.source import Source, example_source, task_source
from fastneurons.languages import parse_languages

if TYPE_CHECKING:
    from fastneurons.neuron_sets import Edit

Path = str | PathLike[str]


def source_of(
    model: str,
    data: Path | Mapping[str, Path] | Iterable[Example | Skipped] | None,
    languages: str | Sequence[str] | None,
    tasks: str | Sequence[str] | None,
    data_options: DataOptions | None,
    limit: int | None,
    engine: EngineOptions,
    position: str,
    again: bool = False,
) -> tuple[Source, tuple[str, ...]]:
    """Make a source from what `run` and others take as data; return it with its languages.

    Args:
        again: Whether the source is read more than once.
    Raises:
        InputError: the arguments contradict each other, or the data is wrong.
    """
    codes = (
        None if languages is None else parse_languages(listed(languages), 1 if position == "corpus" else 2)
    )
    if data is None or isinstance(data, str | PathLike | Mapping):
        chosen = data_options or DataOptions()
        if limit is not None:
            chosen = replace(chosen, limit=limit)
        places = [] if data is None else [fspath(data)] if isinstance(data, str | PathLike) else []
        if isinstance(data, Mapping):
            places = [f"{name}={fspath(place)}" for name, place in data.items()]
        names, by_task = tasks_and_data(None if tasks is None else listed(tasks), places)
        return task_source(model, names, by_task, codes, chosen, engine, position)
    if codes is None:
        raise InputError("your own examples need languages, e.g. languages=['en', 'de']")
    if tasks is not None or data_options is not None:
        raise InputError("tasks and data_options are for data in a place, not for your own examples")
    examples = checked_examples(data)
    return example_source("python", type(data).__name__, list(examples) if again else examples, limit), codes


def named_edits(edits: "Mapping[str, Edit] | Sequence[Path]") -> "list[tuple[str, Edit]]":
    """Edits with their names; those in files are named by these.

    Raises:
        InputError: a file cannot be read or holds no edit, or two have the same name.
    """
    from fastneurons.experiments import under_edits

    if isinstance(edits, Mapping):
        return list(edits.items())
    return under_edits.named_edits([fspath(path) for path in edits])


def listed(names: str | Sequence[str]) -> str:
    """Names as on the command line: "xnli,mgsm"."""
    return names if isinstance(names, str) else ",".join(names)


def engine_options(**arguments: Any) -> EngineOptions:
    """Make `EngineOptions` from vLLM's argument names, whether or not they have their own field.

    Raises:
        InputError: it is an argument of jobs that use several engines.
    """
    for name in ("engines", "num_engines"):
        if name in arguments:
            raise InputError(f"{name}: only run and deactivate use several engines")
    own = {field.name for field in fields(EngineOptions)} - {"engine_args"}
    named = {name: value for name, value in arguments.items() if name in own}
    others = {name: value for name, value in arguments.items() if name not in own}
    return EngineOptions(**named, engine_args=others)
