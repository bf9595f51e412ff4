"""The Python interface: what `fastneurons run` and its siblings do, as functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from fastneurons.config import EngineOptions, Measurement, RunOptions
from fastneurons.data import Example, Skipped
from fastneurons.data.options import DataOptions
from fastneurons.data.own_rows import checked_examples
from fastneurons.data.tasks import tasks_and_data
from fastneurons.errors import InputError
from fastneurons.experiments.measure import measure_into_store
from fastneurons.experiments.source import example_source, task_source
from fastneurons.languages import parse_languages
from fastneurons.progress import RunProgress
from fastneurons.store import Store, Verification, open_store, verify_store

if TYPE_CHECKING:
    from fastneurons.report import Findings

Path = str | PathLike[str]


def run(
    model: Path,
    data: Path | Mapping[str, Path] | Iterable[Example | Skipped] | None,
    languages: str | Sequence[str] | None,
    out: Path,
    *,
    tasks: str | Sequence[str] | None = None,
    data_options: DataOptions | None = None,
    thresholds: Sequence[float] = (0.0,),
    position: str = "last",
    signal: str = "gate",
    attribution: bool = False,
    top_k: int | None = None,
    keep_coefficients: bool = False,
    block_size: int | None = None,
    observe_memory: float = 1.0,
    include_special_tokens: bool = False,
    add_bos_token: bool | None = None,
    limit: int | None = None,
    window: int = 256,
    keep_bits: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | RunProgress = True,
    verbose: bool = False,
    **engine: Any,
) -> Store:
    """Measure which neurons each language activates, example by example, into a store.

    Args:
        model: A Hugging Face model folder, or a name on the Hub.
        data: A place (a file, folder, pattern, URL or Hub name); places by task, where there are several; or
            examples of your own.
        languages: Codes, as a sequence or "en,de,zh"; the order of the store's language axis. None takes all that
            the data has.
        out: The store: a local path or an fsspec URL.
        tasks: Data sets by name, as a sequence or "xnli,mgsm"; without them a place holds JSONL.
        data_options: Which examples of these places, and how they are asked.
        thresholds: A neuron is activated where its signal is above; several make several planes.
        position: What is read of a prompt: its "last" token, "any" of its tokens, any of the "answer"'s tokens; or
            "corpus", where each language's tokens are counted for themselves.
        signal: "gate", the activation, or "product", the coefficient that enters the down projection.
        attribution: Whether to tell how much each category matters for the answer.
        top_k: Neurons that count as the most contributing ones; None: 800 of 16,384, of whatever there are.
        keep_coefficients: Store the coefficients, too.
        block_size: Of a corpus, join each language's texts and cut them into blocks of so many tokens.
        observe_memory: What may be held of it on each device, in GiB.
        include_special_tokens: Where several tokens are read, also those that the tokenizer or the chat format puts
            around a text.
        add_bos_token: Whether each prompt gets the tokenizer's begin mark, unless it begins with it; None: as the
            tokenizer does by itself.
        limit: Only the first examples, of each task.
        window: Examples committed at once.
        keep_bits: Whether to store which neurons were activated, not the counts alone.
        resume: Continue a run that did not end, or one whose data or limit has grown.
        overwrite: Replace a store that is there.
        progress: Whether to show progress on standard error, or an object that is told.
        verbose: Let vLLM's log through.
        engine: vLLM's engine arguments by name: `dtype="bfloat16"`, `max_model_len=4096`,
            `tensor_parallel_size=2`, ...
    Returns:
        The store, complete; after Ctrl-C what was measured by then.
    Raises:
        InputError: an argument, the data or the model is wrong.
        EngineError: the engine failed; what was measured before is in the store.
        StoreError: the store cannot be written or continued.
    """
    what = Measurement(
        tuple(float(t) for t in thresholds),
        position,
        signal,
        attribution,
        top_k,
        keep_coefficients,
        observe_memory,
        include_special_tokens,
        add_bos_token,
    )
    at_least = 1 if position == "corpus" else 2
    codes = None if languages is None else parse_languages(_listed(languages), at_least)
    options = RunOptions(window, keep_bits, resume, overwrite, block_size)
    model, engine_arguments = fspath(model), engine_options(**engine)
    if data is None or isinstance(data, str | PathLike | Mapping):
        chosen = data_options or DataOptions()
        if limit is not None:
            chosen = replace(chosen, limit=limit)
        places = [] if data is None else [fspath(data)] if isinstance(data, str | PathLike) else []
        if isinstance(data, Mapping):
            places = [f"{name}={fspath(place)}" for name, place in data.items()]
        names, by_task = tasks_and_data(None if tasks is None else _listed(tasks), places)
        source, codes = task_source(model, names, by_task, codes, chosen, engine_arguments, position)
    else:
        if codes is None:
            raise InputError("languages are needed with examples of your own")
        if tasks is not None or data_options is not None:
            raise InputError("tasks and data_options are for data in a place, not for examples of your own")
        source = example_source("python", type(data).__name__, checked_examples(data), limit)
    return measure_into_store(
        model, source, codes, fspath(out), what, options, engine_arguments, progress, verbose
    )


def _listed(names: str | Sequence[str]) -> str:
    return names if isinstance(names, str) else ",".join(names)


def open(path: Path, check: bool = True) -> Store:
    """Open a store for reading.

    Args:
        path: A local path or an fsspec URL.
        check: Whether to look first whether every part of it is there. Without, a damaged store opens for what
            is left of it; what is read is checked in either case.
    Raises:
        StoreError: nothing is there, or it is no store, or it is damaged.
    """
    return open_store(fspath(path), check)


def verify(path: Path) -> Verification:
    """Read all of a store, and hold it against what was written.

    Args:
        path: A local path or an fsspec URL.
    Returns:
        What is damaged, and what is still usable.
    Raises:
        StoreError: nothing is there, or it is no store, or so damaged that it cannot be opened.
    """
    return verify_store(open_store(fspath(path)))


def findings(store: Store | Path, threshold: float | None = None) -> "Findings":
    """Compute all that `fastneurons summary` and `plot` show of a store, once.

    Args:
        store: An open store, or its local path or fsspec URL; complete or not.
        threshold: One of the store's thresholds; its first for None.
    Returns:
        Findings for `fastneurons.report`: `print_findings`, `findings_json`, `draw_findings`.
    Raises:
        InputError: the store has no such threshold.
        StoreError: nothing is there, or it is no store, or it is damaged.
    """
    from fastneurons.report import compute_findings  # here: a run needs no report

    return compute_findings(store if isinstance(store, Store) else open(store), threshold)


def engine_options(**arguments: Any) -> EngineOptions:
    """`EngineOptions` from vLLM's argument names, whether they have a field of their own or not."""
    from dataclasses import fields

    own = {field.name for field in fields(EngineOptions)} - {"engine_args"}
    named = {name: value for name, value in arguments.items() if name in own}
    others = {name: value for name, value in arguments.items() if name not in own}
    return EngineOptions(**named, engine_args=others)
