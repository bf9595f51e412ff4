"""The main job: a stream of examples, or of texts, through an engine into a store."""

import threading
from typing import Any

from fastneurons.arrays import Arrays
from fastneurons.config import EngineOptions, Measurement, RunOptions, check_together
from fastneurons.data.example import Skipped
from fastneurons.engine.facts import ModelFacts
from fastneurons.engine.placement import MeasuredExamples
from fastneurons.engine.session import Session
from fastneurons.engine.tokenise import describe_tokens, token_facts
from fastneurons.errors import EngineError, InputError
from fastneurons.experiments.ending import Found, describe_skipped, finish
from fastneurons.experiments.header import header_of, model_and_adapter
from fastneurons.experiments.histograms import BIN_EDGE, describe_histograms, set_edges
from fastneurons.experiments.interrupts import was_stopped
from fastneurons.experiments.judging import judge_of, measures_of
from fastneurons.experiments.resume import (
    KnownExamples,
    open_writer,
    pass_by_blocks,
    remaining_examples,
    reopen_if_complete,
)
from fastneurons.experiments.source import Source
from fastneurons.experiments.window_arrays import commit
from fastneurons.experiments.with_one_engine import with_one_engine
from fastneurons.model_name import short_name
from fastneurons.progress import RunProgress
from fastneurons.store import Header, Store, StoreWriter, check_output, open_store


def measure_into_store(
    model: str,
    source: Source,
    languages: tuple[str, ...],
    out: str,
    measurement: Measurement | None = None,
    options: RunOptions | None = None,
    engine: EngineOptions | None = None,
    progress: bool | RunProgress = True,
    verbose: bool = False,
) -> Store:
    """Measure a source's examples with a model, into a store.

    Args:
        model: A model folder, or a name on the Hub.
        source: The examples.
        languages: L language codes, the order of the store's language axis.
        out: The store: a local path or an fsspec URL.
        measurement: What to read of each prompt.
        options: How it is read and written.
        engine: Engine arguments.
        progress: Whether to show progress on standard error, or an object to report it to.
        verbose: Let vLLM's log through.
    Returns:
        The finished store. After Ctrl-C, the unfinished one with all that was measured.
    Raises:
        InputError: an argument or what it names is wrong.
        EngineError: the engine failed; what was measured before is committed.
        StoreError: the store cannot be written or continued; what was committed stays.
    """
    measurement, options, engine = (
        measurement or Measurement(),
        options or RunOptions(),
        engine or EngineOptions(),
    )
    check_together(measurement, options, engine)
    check_languages(measurement, languages)
    measures_of(measurement, source.tasks)
    check_output(out, resume=options.resume, overwrite=options.overwrite)
    with with_one_engine(source, progress, verbose) as (shown, stop):
        shown.message(f"loading {short_name(model)}")
        judge = judge_of(measurement, languages)
        with Session(model, languages, measurement, engine, verbose, judge=judge) as session:
            shown.message(describe(session.facts, session.measurement))
            for warning in session.facts.warnings:
                shown.message(f"warning: {warning}")
            write_measurements(session, source, out, options, engine, shown, stop)
    return open_store(out)


def write_measurements(
    session: Session,
    source: Source,
    out: str,
    options: RunOptions,
    engine: EngineOptions,
    progress: RunProgress,
    stop: threading.Event,
) -> float:
    """Measure a source's examples with a session that runs already, into a store.

    Returns:
        Seconds that writing took, in a thread next to the engine.
    Raises:
        EngineError: the engine failed; what was measured before is committed.
        StoreError: the store cannot be written or continued; what was committed stays.
    """
    tokenise = session.tokeniser(source.add_special_tokens)
    progress.message(describe_tokens(tokenise, session.measurement))
    tokens = token_facts(tokenise, session.measurement, options.block_size is not None)
    header = header_of(session, source, options, engine, tokens)
    constants = session.constants()
    if session.measurement.histogram is not None:
        progress.message(describe_histograms(session))
        constants[BIN_EDGE], source = set_edges(session, source, out, options.resume, engine.seed, progress)
    with writer_for(out, header, session.measurement, options, constants) as writer:
        _measure(session, writer, source, options, progress, stop)
        return writer.write_s


def check_languages(measurement: Measurement, languages: tuple[str, ...]) -> None:
    """Refuse a single language if the run compares languages."""
    if measurement.position == "corpus":
        return
    check_two_languages(languages)


def check_two_languages(languages: tuple[str, ...]) -> None:
    """Refuse a single language."""
    if len(languages) < 2:
        raise InputError(
            f"--languages {','.join(languages)}: at least two are needed, as neurons are compared across languages"
        )


def describe(facts: ModelFacts, measurement: Measurement) -> str:
    """Describe in one line the model, where it runs, and its buffers."""
    where = facts.device if facts.device != "cpu" else f"CPU, {facts.threads_per_worker} threads"
    if facts.workers > 1:
        where = f"{facts.workers} workers, each {where}"
    held = "counts" if measurement.position == "corpus" else f"up to {facts.slots} examples in flight"
    return (
        f"{model_and_adapter(facts)}: {len(facts.layers)} layers of {facts.neurons:,} neurons "
        f"({facts.function}{', gated' if facts.gated else ''}), {facts.dtype}, {where}; "
        f"{held} in {facts.buffer_bytes / 2**20:.1f} of {measurement.memory_bytes / 2**20:,.0f} MiB"
    )


def writer_for(
    out: str, header: Header, measurement: Measurement, options: RunOptions, constants: Arrays
) -> StoreWriter:
    """The writer of a run's store, which is begun or continued. Raises as `StoreWriter` does."""
    kept: dict[str, Any] = {
        "keep_bits": options.keep_bits,
        "keep_coefficients": measurement.keep_coefficients,
        "keep_prompts": options.keep_prompts,
        "keep_folds": options.keep_folds,
        "constants": constants,
    }
    return open_writer(out, header, options, **kept)


def _measure(
    session: Session,
    writer: StoreWriter,
    source: Source,
    options: RunOptions,
    progress: RunProgress,
    stop: threading.Event,
) -> None:
    """Measure from the first example that the store does not have to the last."""
    first = writer.committed
    known = KnownExamples(writer.committed_examples())
    corpus = session.measurement.position == "corpus"
    # The blocks of a corpus are not its examples: those that are in the store are known by their tokens.
    if not corpus:
        source = source.part(options.shard, options.window)
    examples = source.examples if corpus else remaining_examples(source.examples, known, stop)
    if first and not writer.is_complete:
        progress.message(f"continuing after {first} examples")
    progress.start(None if corpus or source.total is None else max(first, source.total), first)
    window: list[MeasuredExamples] = []
    num_examples, num_skipped = 0, 0
    first_skipped: Skipped | None = None
    try:
        with session.tokenised(
            examples,
            options.window,
            options.block_size,
            source.add_special_tokens,
            options.shard,
            options.tokens_per_language,
        ) as encoded:
            if corpus:
                pass_by_blocks(encoded, known, stop, options.block_size)
            for measured in session.read(encoded, first, options.window, options.keep_bits, stop):
                reopen_if_complete(writer, first, progress)
                window.append(measured)
                skipped = [example for example in measured.examples if isinstance(example, Skipped)]
                first_skipped = first_skipped or next(iter(skipped), None)
                num_examples, num_skipped = num_examples + len(measured.examples), num_skipped + len(skipped)
                progress.advance(
                    len(measured.examples), int(measured["present"].sum()), int(measured["token_count"].sum())
                )
                if (measured.first + len(measured.examples)) % options.window == 0:
                    commit(writer, window, source.tasks, session.languages)
                    window = []
        ended = not stop.is_set()
    except EngineError:
        if not was_stopped(stop):
            raise
        ended = False
    finally:
        # Also after an error or Ctrl-C: what was measured is kept, and the run can be resumed.
        progress.stop()
        if window:
            commit(writer, window, source.tasks, session.languages)
        writer.wait()
    found = Found(num_examples, num_skipped, describe_skipped(first_skipped), session.totals.begun)
    finish(writer, source, progress, found, corpus, ended, known.passed, first)
