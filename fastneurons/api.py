"""The Python interface: the commands as functions."""

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
    tokens_per_language: int | None = None,
    histogram: int | None = None,
    observe_memory: float | None = None,
    include_special_tokens: bool = False,
    add_bos_token: bool | None = None,
    limit: int | None = None,
    window: int = 256,
    keep_bits: bool = True,
    keep_prompts: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | RunProgress = True,
    verbose: bool = False,
    **engine: Any,
) -> Store:
    """Measure which neurons each language activates, example by example, into a store.

    Args:
        model: A Hugging Face model folder, or a name on the Hub.
        data: A place (a file, folder, pattern, URL or Hub name); a mapping from tasks to places; or an iterable of
            your own examples.
        languages: Codes, as a sequence or "en,de,zh", in the order of the store's language axis. None takes all
            languages in the data.
        out: The store to write: a local path or an fsspec URL.
        tasks: Known data sets, as a sequence or "xnli,mgsm"; without them a place holds your own examples.
        data_options: Options that choose examples and format their prompts.
        thresholds: A neuron is activated if its signal is above the threshold; each has its own plane in the arrays.
        position: Which tokens to read: a prompt's "last" token, "any" of its tokens, any of the "answer"'s tokens;
            or "corpus", to count each language's tokens by themselves.
        signal: "gate", the activation, or "product", the coefficient that enters the down projection.
        attribution: Whether to measure how much each category matters for the answer.
        top_k: Number of a layer's neurons that count as its top contributors; None takes 800 of every 16,384.
        keep_coefficients: Whether to store every coefficient.
        block_size: For a corpus: join each language's texts and cut them into blocks of this many tokens.
        tokens_per_language: For a corpus: stop reading a language after this many tokens; None reads all texts.
        histogram: For a corpus: bins of a histogram of each neuron's signal in each language; None for no histograms.
        observe_memory: Memory on each device for examples in flight, in GiB; None takes 1 on CPUs, and on GPUs a tenth
            of the device's, at most 8.
        include_special_tokens: Whether "any", "answer" and "corpus" also read the tokens that the tokenizer or the
            chat format adds around a text.
        add_bos_token: Whether each prompt gets the tokenizer's begin-of-text token, unless it already begins with
            it; None leaves this to the tokenizer.
        limit: Stop after this many examples of each task.
        window: Number of examples to write and commit at a time.
        keep_bits: Whether to store which neurons were activated, or only counts.
        keep_prompts: Whether to store the prompts' texts.
        resume: Whether to continue an interrupted run, or one whose data or limit has grown.
        overwrite: Whether to replace an existing store.
        progress: Whether to show progress on standard error; or an object whose methods are called instead.
        verbose: Whether to show vLLM's log.
        engine: vLLM's engine arguments by name: `dtype="bfloat16"`, `max_model_len=4096`,
            `tensor_parallel_size=2`, ...
    Returns:
        The complete store; after Ctrl-C, the store with what was measured so far.
    Raises:
        InputError: an argument, the data or the model is wrong.
        EngineError: the engine failed; what was measured before is in the store.
        StoreError: the store cannot be written or continued.
    """
    measurement = Measurement(
        tuple(float(t) for t in thresholds),
        position,
        signal,
        attribution,
        top_k,
        keep_coefficients,
        observe_memory,
        include_special_tokens,
        add_bos_token,
        histogram,
    )
    at_least = 1 if position == "corpus" else 2
    codes = None if languages is None else parse_languages(_listed(languages), at_least)
    options = RunOptions(window, keep_bits, resume, overwrite, block_size, keep_prompts, tokens_per_language)
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
            raise InputError("your own examples need languages, e.g. languages=['en', 'de']")
        if tasks is not None or data_options is not None:
            raise InputError("tasks and data_options are for data in a place, not for your own examples")
        source = example_source("python", type(data).__name__, checked_examples(data), limit)
    return measure_into_store(
        model, source, codes, fspath(out), measurement, options, engine_arguments, progress, verbose
    )


def _listed(names: str | Sequence[str]) -> str:
    return names if isinstance(names, str) else ",".join(names)


def open(path: Path, check: bool = True) -> Store:
    """Open a store for reading.

    Args:
        path: A local path or an fsspec URL.
        check: Whether to check first that every part of the store exists. Without this check, a damaged store
            opens, too, so that you can read what is left; every read is checked in either case.
    Raises:
        StoreError: nothing exists there, or it is not a store, or it is damaged.
    """
    return open_store(fspath(path), check)


def verify(path: Path) -> Verification:
    """Read all of a store and compare it with the checksums made when it was written.

    Args:
        path: A local path or an fsspec URL.
    Returns:
        A report of what is damaged and what is still usable.
    Raises:
        StoreError: nothing exists there, or it is not a store, or it is too damaged to open.
    """
    return verify_store(open_store(fspath(path)))


def findings(store: Store | Path, threshold: float | None = None) -> "Findings":
    """Compute everything that `fastneurons summary` and `plot` show.

    Args:
        store: An open store, or its local path or fsspec URL; complete or not.
        threshold: One of the store's thresholds; None takes the first.
    Returns:
        Findings for `fastneurons.report`: `print_findings`, `findings_json`, `draw_findings`.
    Raises:
        InputError: the store has no such threshold.
        StoreError: nothing exists there, or it is not a store, or it is damaged.
    """
    from fastneurons.report import compute_findings  # here: a run needs no report

    return compute_findings(store if isinstance(store, Store) else open(store), threshold)


def write_report(
    stores: Store | Path | Sequence[Store | Path],
    path: Path,
    threshold: float | None = None,
    folder: bool = False,
) -> None:
    """Write a report that opens in any browser, without a network.

    Args:
        stores: One or several open stores, or their local paths or fsspec URLs; complete or not.
        path: The file to write; with `folder`, the folder, which gets an `index.html`.
        threshold: One that every store has; None takes each one's first.
        folder: Whether to write everything, in files that the page loads when they are needed, instead of what fits
            into one file of a few megabytes.
    Raises:
        InputError: a store has no such threshold, or the path cannot be written.
        StoreError: nothing exists at a path, or it is not a store, or it is damaged.
    """
    from fastneurons.report.page import write_report as write  # here: a run needs no report

    several = [stores] if isinstance(stores, Store | str | PathLike) else stores
    opened = [store if isinstance(store, Store) else open(store) for store in several]
    if not opened:
        raise InputError("a report needs at least one store")
    write(opened, fspath(path), threshold, folder)


def engine_options(**arguments: Any) -> EngineOptions:
    """Make `EngineOptions` from vLLM's argument names, whether or not they have their own field."""
    from dataclasses import fields

    own = {field.name for field in fields(EngineOptions)} - {"engine_args"}
    named = {name: value for name, value in arguments.items() if name in own}
    others = {name: value for name, value in arguments.items() if name not in own}
    return EngineOptions(**named, engine_args=others)
