"""Fine-tune a model."""

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from fastneurons.api.arguments import Path, listed
from fastneurons.data.options import DataOptions
from fastneurons.data.tasks import tasks_and_data
from fastneurons.errors import InputError
from fastneurons.languages import parse_languages

if TYPE_CHECKING:
    from fastneurons.training.progress import TrainingProgress


def align(
    model: Path,
    data: Path | Mapping[str, Path] | Sequence[str],
    languages: str | Sequence[str] | None,
    out: Path,
    *,
    tasks: str | Sequence[str] | None = None,
    data_options: DataOptions | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: "bool | TrainingProgress" = True,
    **training: Any,
) -> bool:
    """Fine-tune a model on parallel data, into a LoRA adapter, or into a model with `merge` or `neurons`.

    Args:
        model: A Hugging Face model folder, or a name on the Hub.
        data: A place (a file, folder, pattern, URL or Hub name); a mapping from tasks to places; or a sequence of
            places as on the command line.
        languages: Codes, as a sequence or "en,de,zh". None takes all languages in the data.
        out: The folder to write.
        tasks: Known data sets, as a sequence or "xnli,mgsm"; without them a place holds your own examples.
        data_options: Options that choose examples and format their prompts.
        revision: Branch, tag or commit of a Hub model.
        trust_remote_code: Whether to run Python code that comes with the model.
        resume: Whether to continue an interrupted training from its last checkpoint.
        overwrite: Whether to replace an earlier training.
        progress: Whether to show progress on standard error; or an object whose methods are called instead.
        training: The options of `fastneurons.training.TrainingOptions` by name: `objective="translate"`,
            `max_steps=200`, `lora_rank=8`, ...
    Returns:
        Whether the training is complete; False after Ctrl-C, with a checkpoint to resume from.
    Raises:
        InputError: an argument, the data or the model is wrong, or libraries are missing.
        TrainingError: the training failed.
    """
    from pathlib import Path as LocalPath

    from fastneurons.data.chat import ChatTemplate
    from fastneurons.data.tasks import open_tasks
    from fastneurons.experiments.interrupts import interruptible
    from fastneurons.training import TrainingOptions
    from fastneurons.training import align as train
    from fastneurons.training.align import BaseModel

    unknown = sorted(training.keys() - set(TrainingOptions.__dataclass_fields__))
    if unknown:
        raise InputError(f"{unknown[0]}: align has no option of that name")
    options, chosen = TrainingOptions(**training), data_options or DataOptions()
    codes = None
    if languages is not None:
        codes = parse_languages(listed(languages), 2 if options.objective == "translate" else 1)
    if isinstance(data, Mapping):
        places = [f"{name}={fspath(place)}" for name, place in data.items()]
    else:
        places = [fspath(data)] if isinstance(data, str | PathLike) else list(data)
    names, by_task = tasks_and_data(None if tasks is None else listed(tasks), places)
    base = BaseModel(fspath(model), revision, trust_remote_code)
    chat = None
    if chosen.apply_chat_template:
        chat = ChatTemplate(base.name, revision, trust_remote_code, chosen.chat_template_kwargs)
    source = open_tasks(names, by_task, codes, chosen, chat)
    source.check()
    with interruptible() as stop:
        return train(
            base,
            source,
            LocalPath(fspath(out)),
            options,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
            stop=stop,
            version=_version(),
        )


def _version() -> str:
    from fastneurons import __version__

    return __version__
