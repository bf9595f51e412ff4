"""What jobs share that run each text intact and under edits from files: the edits, the store's header, and writing."""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fastneurons.arrays import INTACT
from fastneurons.config import EngineOptions, Measurement, RunOptions
from fastneurons.engine.edits import salt_of
from fastneurons.engine.facts import ModelFacts
from fastneurons.engine.feed import TokenisedExamples
from fastneurons.engine.placement import MeasuredExamples
from fastneurons.errors import EngineError, InputError, StoreError
from fastneurons.experiments.ending import too_few
from fastneurons.experiments.header import header_from
from fastneurons.experiments.interrupts import was_stopped
from fastneurons.experiments.resume import KnownExamples, open_writer, reopen_if_complete
from fastneurons.experiments.source import Source
from fastneurons.experiments.window_arrays import commit
from fastneurons.neuron_sets import Edit, load_edit
from fastneurons.progress import RunProgress
from fastneurons.store import Header, StoreWriter


def named_edits(paths: Sequence[str]) -> list[tuple[str, Edit]]:
    """Read edits; each is named by its file. Of a folder, such as one with a set for each language, all its files.

    Raises:
        InputError: a file cannot be read or holds no edit, a folder has none, or two have the same name.
    """
    found: dict[str, Edit] = {}
    for path in [each for given in paths for each in _files(given)]:
        name = Path(path).stem
        if name in found or name == INTACT:
            taken = "another --edit has that name" if name in found else "the unedited model is called so"
            raise InputError(f"--edit {path}: is named {name}, and {taken}; rename the file")
        found[name] = load_edit(path)
    return list(found.items())


def _files(path: str) -> list[str]:
    """The file itself, or the .safetensors files of a folder by name."""
    if not Path(path).is_dir():
        return [path]
    found = sorted(str(file) for file in Path(path).glob("*.safetensors"))
    if not found:
        raise InputError(f"--edit {path}: the folder has no .safetensors file")
    return found


def header_under_edits(
    kind: str,
    edits: Sequence[tuple[str, Edit]],
    settings: dict[str, Any],
    facts: ModelFacts,
    source: Source,
    languages: tuple[str, ...],
    position: str,
    options: RunOptions,
    engine: EngineOptions,
    tokens: dict[str, Any],
) -> Header:
    """The header of a store of a kind that has a condition for each edit, after `intact`.

    Args:
        settings: The job's options that a continued run must share.
        position: "corpus" if texts are cut into blocks, else "last".
        tokens: The header's field of that name.
    """
    header = header_from(facts, source, languages, Measurement(position=position), options, engine, tokens)
    return msgspec.structs.replace(
        header,
        kind=kind,
        conditions=[INTACT, *(name for name, _ in edits)],
        edits={
            **settings,
            **{f"edit {name}": salt_of(edit).removeprefix("fastneurons ") for name, edit in edits},
        },
        thresholds=[],
    )


def writer_under_edits(out: str, header: Header, options: RunOptions, keep_prompts: bool) -> StoreWriter:
    """The writer of such a store, which is begun or continued. Raises as `StoreWriter` does."""
    return open_writer(out, header, options, keep_bits=False, keep_prompts=keep_prompts)


def write_examples(
    writer: StoreWriter,
    measured: Iterable[MeasuredExamples],
    encoded: TokenisedExamples,
    source: Source,
    known: KnownExamples,
    progress: RunProgress,
    stop: threading.Event,
    tokens: str,
) -> None:
    """Write examples as they come, window by window, and mark the store complete at their end.

    Args:
        writer: The store's; it may hold the first examples already.
        measured: The examples that it lacks, one by one. What can fail because of an engine or the source happens here.
        encoded: Where the examples come from; closed at the end.
        known: The examples that the store held.
        tokens: The array that says how many tokens an example took, for progress.
    Raises:
        EngineError: the engine failed, and not because of a signal; what came before is committed.
        StoreError: the source has fewer examples than the store, or the store cannot be written.
        Exception: whatever taking the examples raised, once all examples before it are committed.
    """
    header, first = writer.header, writer.committed
    languages = tuple(header.languages)
    waiting: list[MeasuredExamples] = []
    try:
        for example in measured:
            reopen_if_complete(writer, first, progress)
            waiting.append(example)
            progress.advance(1, int(example["present"].sum()), int(example[tokens].sum()))
            if (example.first + 1) % header.window == 0:
                commit(writer, waiting, source.tasks, languages)
                waiting = []
    except EngineError:
        if not was_stopped(stop):
            raise
    finally:
        # Also after an error or Ctrl-C: what was computed is kept, and the run can be resumed.
        encoded.close()
        progress.stop()
        if waiting:
            commit(writer, waiting, source.tasks, languages)
        writer.wait()
    if stop.is_set():
        progress.message(f"stopped; {writer.committed} examples are safe; continue with --resume")
        return
    if known.passed < first and not (writer.is_complete and source.limit is not None):
        raise StoreError(too_few(source, known.passed, first))
    if writer.is_complete:
        progress.message("the store is complete already; nothing to do")
        return
    writer.finish()
    for note in source.notes():
        if note not in source.remarks:
            progress.message(note)
