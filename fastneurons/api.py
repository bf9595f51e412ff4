"""The Python interface: what `fastneurons run` and its siblings do, as functions."""

from collections.abc import Iterable, Sequence
from os import PathLike, fspath
from typing import Any

from fastneurons.config import EngineOptions
from fastneurons.data import Example, Skipped, open_jsonl
from fastneurons.languages import parse_languages
from fastneurons.progress import RunProgress
from fastneurons.run import RunOptions, Source, measure_into_store
from fastneurons.store import Store, open_store

Path = str | PathLike[str]


def run(
    model: Path,
    data: Path | Iterable[Example | Skipped],
    languages: str | Sequence[str],
    out: Path,
    *,
    thresholds: Sequence[float] = (0.0,),
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
        data: A JSONL file (plain or gzip), or examples of your own.
        languages: Codes, as a sequence or "en,de,zh"; the order of the store's language axis.
        out: The store: a local path or an fsspec URL.
        thresholds: A neuron is activated where its activation is above; several make several planes.
        limit: Only the first rows of the data.
        window: Examples committed at once.
        keep_bits: Whether to store which neurons were activated, not the counts alone.
        resume: Continue a run that did not end.
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
    codes = parse_languages(languages if isinstance(languages, str) else ",".join(languages))
    options = RunOptions(tuple(float(t) for t in thresholds), limit, window, keep_bits, resume, overwrite)
    if isinstance(data, str | PathLike):
        source = Source("jsonl", fspath(data), open_jsonl(fspath(data), codes))
    else:
        source = Source("python", type(data).__name__, data)
    return measure_into_store(
        fspath(model), source, codes, fspath(out), options, engine_options(**engine), progress, verbose
    )


def open(path: Path) -> Store:
    """Open a store for reading.

    Args:
        path: A local path or an fsspec URL.
    Raises:
        StoreError: nothing is there, or it is no store, or it is damaged.
    """
    return open_store(fspath(path))


def engine_options(**arguments: Any) -> EngineOptions:
    """`EngineOptions` from vLLM's argument names, whether they have a field of their own or not."""
    from dataclasses import fields

    own = {field.name for field in fields(EngineOptions)} - {"engine_args"}
    named = {name: value for name, value in arguments.items() if name in own}
    others = {name: value for name, value in arguments.items() if name not in own}
    return EngineOptions(**named, engine_args=others)
