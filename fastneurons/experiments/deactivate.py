"""The job `deactivate`: each prompt answered as the model is, without each category's neurons, and without random ones.

deactivate_into_store(model, source, ("en", "de", "th"), "d.zarr", Deactivation(controls=5))
"""

import threading
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from fastneurons.arrays import CATEGORIES
from fastneurons.config import EngineOptions, Measurement, RunOptions, check_together
from fastneurons.data.example import Skipped
from fastneurons.engine.collect import Collector
from fastneurons.engine.edits import model_of
from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.feed import TokenisedExamples
from fastneurons.engine.outcomes import Outcome, OutcomePass
from fastneurons.engine.reading import ReadingPass, Slots, Totals
from fastneurons.errors import EngineError, InputError
from fastneurons.experiments.answering import Answering
from fastneurons.experiments.common_sets import (
    Occupancy,
    check_store,
    mean_contribution,
    occupancy_of_store,
)
from fastneurons.experiments.design import Deactivation
from fastneurons.experiments.ending import Found, describe_skipped, finish
from fastneurons.experiments.interrupts import was_stopped
from fastneurons.experiments.measure import check_two_languages
from fastneurons.experiments.resume import KnownExamples, open_writer, remaining_examples, reopen_if_complete
from fastneurons.experiments.source import Source
from fastneurons.experiments.with_one_engine import with_one_engine
from fastneurons.model_name import short_name
from fastneurons.progress import RunProgress
from fastneurons.store import Header, Store, StoreWriter, check_output, open_store


def deactivate_into_store(
    model: str,
    source: Source,
    languages: tuple[str, ...],
    out: str,
    deactivation: Deactivation | None = None,
    measurement: Measurement | None = None,
    options: RunOptions | None = None,
    engine: EngineOptions | None = None,
    progress: bool | RunProgress = True,
    verbose: bool = False,
) -> Store:
    """Answer each prompt of a source under every condition, into a store.

    Args:
        model: A model folder, or a name on the Hub.
        source: The examples, with answers; with `min_share` and without `from_store` they are read twice.
        languages: L codes, the order of the store's language axis.
        out: The store: a local path or an fsspec URL.
        deactivation: What is edited.
        measurement: How categories are read: one threshold, any position but "corpus". With `from_store`, as that
            store was measured.
        options: How it is written.
        engine: Engine arguments; `seed` is that of the first control, too.
        progress: Whether to show progress on standard error, or an object to report it to.
        verbose: Let vLLM's log through.
    Returns:
        The finished store. After Ctrl-C, the unfinished one with all that was answered.
    Raises:
        InputError: an argument or what it names is wrong.
        EngineError: the engine failed; what was answered before is committed.
        StoreError: the store cannot be written or continued; what was committed stays.
    """
    answering, occupancy = prepare(model, languages, out, deactivation, measurement, options, engine)
    has_written = False
    with with_one_engine(source, progress, verbose) as (shown, stop):
        shown.message(answering.deactivation.describe_passes(len(languages)))
        shown.message(f"loading {short_name(model)}")
        with answering.start(verbose) as running:
            report = answering.report(running, source.add_special_tokens)
            for line in report.messages:
                shown.message(line)
            answering.settle_layers(running)
            job = _Job(answering, running, source)
            if answering.design.is_fixed:
                if occupancy is None:
                    shown.message("reading all examples first: --min-share makes one set for all of them")
                    occupancy = job.read(shown, stop)
                if not stop.is_set():
                    answering.settle_sets(running, occupancy)
            if not stop.is_set():
                with writer_of(answering, out, answering.header(report, source)) as writer:
                    has_written = True
                    job.answer(writer, shown, stop)
        if stop.is_set() and not has_written:
            raise KeyboardInterrupt
    return open_store(out)


def prepare(
    model: str,
    languages: tuple[str, ...],
    out: str,
    deactivation: Deactivation | None,
    measurement: Measurement | None,
    options: RunOptions | None,
    engine: EngineOptions | None,
) -> tuple[Answering, Occupancy | None]:
    """Check a deactivation's arguments, which are those of `deactivate_into_store`.

    Returns:
        What there is to do, and how often the store `from_store` has each neuron in each category; None without one.
    Raises:
        InputError: an argument or what it names is wrong.
        StoreError: the store cannot be written or continued, or `from_store` cannot be read.
    """
    deactivation, options, engine = (
        deactivation or Deactivation(), options or RunOptions(), engine or EngineOptions()
    )  # fmt: skip
    measurement = replace(measurement or Measurement(), attribution=deactivation.rank == "contribution")
    check_together(measurement, options, engine)
    _check(measurement, languages)
    _ = deactivation.of(len(languages))  # which raises
    check_output(out, resume=options.resume, overwrite=options.overwrite)
    occupancy: Occupancy | None = None
    if deactivation.from_store is not None:
        store = open_store(deactivation.from_store, check=True)
        check_store(store, deactivation, languages)
        occupancy, has = occupancy_of_store(store), store.header
        measurement = replace(
            measurement,
            position=has.position,
            signal=has.signal,
            thresholds=(has.thresholds[0],),
            attribution=False,
        )
    return Answering(model, languages, measurement, options, engine, deactivation), occupancy


def writer_of(answering: Answering, out: str, header: Header) -> StoreWriter:
    """The writer of a deactivation's store, which is begun or continued. Raises as `StoreWriter` does."""
    return open_writer(out, header, answering.options, keep_prompts=answering.options.keep_prompts)


def _check(measurement: Measurement, languages: tuple[str, ...]) -> None:
    check_two_languages(languages)
    if measurement.position == "corpus":
        raise InputError(
            "--position corpus: counts tokens, and has no categories; use `last`, `any` or `answer`"
        )
    if len(measurement.thresholds) != 1:
        raise InputError("--threshold: given more than once; categories are edited at one threshold")


class _Job:
    """A deactivation over one engine, in this process."""

    def __init__(self, answering: Answering, engine: PatchedEngine, source: Source) -> None:
        self._answering, self._engine, self._source = answering, engine, source

    def read(self, shown: RunProgress, stop: threading.Event) -> Occupancy:
        """Read all examples, and add up how often each neuron is in each category.

        Raises:
            InputError: none of them could be read.
        """
        engine, answering, source = self._engine, self._answering, self._source
        measurement, L, number = answering.measurement, len(answering.languages), 0
        model = model_of(engine)
        count = np.zeros((*model.shape, len(CATEGORIES)), np.int64)
        contribution, prompts = np.zeros((L, *model.shape)), np.zeros(L)
        shown.start(source.total, 0)
        with self._tokenised(source.examples) as examples:
            passing = ReadingPass(
                engine, L, measurement, Collector(engine, L, measurement), Slots(engine.facts.slots), Totals(),
                examples=examples, first=0, window=answering.options.window, keep_bits=False, stop=stop,
            )  # fmt: skip
            for part in passing:
                count += part["occupancy"][0]
                number += int(part["present"].any(1).sum())
                prompts += part["present"].sum(0)
                if "neuron_contribution" in part:
                    contribution += part["neuron_contribution"]
                shown.advance(len(part.examples), int(part["present"].sum()), int(part["token_count"].sum()))
        shown.stop()
        if not number and not stop.is_set():
            raise InputError("no example could be read, so no neuron is in any category")
        scores = mean_contribution(contribution, prompts) if measurement.attribution else None
        return Occupancy(model, number, count, scores)

    def answer(self, writer: StoreWriter, shown: RunProgress, stop: threading.Event) -> None:
        """Answer all prompts that the store does not have."""
        answering, engine, tasks = self._answering, self._engine, self._source.tasks
        first, window = writer.committed, answering.options.window
        known = KnownExamples(writer.committed_examples())
        source = self._source.part(answering.options.shard, window)
        if first and not writer.is_complete:
            shown.message(f"continuing after {first} examples")
        shown.start(None if source.total is None else max(first, source.total), first)
        waiting: list[Outcome] = []
        number, num_skipped = first, 0
        first_skipped: Skipped | None = None

        def commit() -> None:
            writer.commit(answering.window(waiting, number - len(waiting), tasks, len(engine.facts.layers)))
            waiting.clear()

        try:
            with self._tokenised(remaining_examples(source.examples, known, stop)) as encoded:
                reads_last = answering.measurement.position == "last"
                passing = OutcomePass(
                    engine, answering.design, len(answering.languages), encoded, first, reads_last, stop,
                    answering.number_of,
                )  # fmt: skip
                for outcome in passing:
                    reopen_if_complete(writer, first, shown)
                    waiting.append(outcome)
                    number += 1
                    if isinstance(outcome.encoded, Skipped):
                        first_skipped, num_skipped = first_skipped or outcome.encoded, num_skipped + 1
                    shown.advance(1, *answering.work_of(outcome))
                    if number % window == 0:
                        commit()
            ended = not stop.is_set()
        except EngineError:
            if not was_stopped(stop):
                raise
            ended = False
        finally:
            # Also after an error or Ctrl-C: what was answered is kept, and the run can be resumed.
            shown.stop()
            if waiting:
                commit()
            writer.wait()
        found = Found(number - first, num_skipped, describe_skipped(first_skipped), 0)
        finish(writer, source, shown, found, False, ended, known.passed, first)

    def _tokenised(self, examples: Iterable[Any]) -> "closing[TokenisedExamples]":
        """Examples tokenised ahead of the engine, in a thread that ends with the context."""
        answering, engine = self._answering, self._engine
        encode = answering.encoder(engine, self._source.add_special_tokens)
        ahead = max(256, engine.facts.slots)
        return closing(TokenisedExamples(examples, encode, answering.languages, False, ahead))
