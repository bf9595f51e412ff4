"""Measure a source's examples with many engines, into one store."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastneurons.config import EngineOptions, ManyEngines, Measurement, RunOptions, check_together
from fastneurons.data.example import Example
from fastneurons.engine.failure import LOG_FOLLOWS, with_log
from fastneurons.engine.quiet import quiet
from fastneurons.errors import EngineError, InputError
from fastneurons.executors.driver import Driver
from fastneurons.executors.local import LocalEngines
from fastneurons.executors.messages import Engines, Job
from fastneurons.executors.shares import local_shares
from fastneurons.experiments.header import header_of
from fastneurons.experiments.histograms import BIN_EDGE, describe_histograms, set_edges
from fastneurons.experiments.interrupts import interruptible
from fastneurons.experiments.measure import check_languages, finish, writer_for
from fastneurons.experiments.resume import KnownExamples
from fastneurons.experiments.source import Source
from fastneurons.experiments.window_source import Blocks, windows_of
from fastneurons.experiments.windows import EngineReport, MeasureJob
from fastneurons.experiments.with_one_engine import begin_progress
from fastneurons.model_name import short_name
from fastneurons.progress import RunProgress
from fastneurons.store import Store, check_output, open_store


def measure_with_engines(
    model: str,
    source: Source,
    languages: tuple[str, ...],
    out: str,
    engines: ManyEngines,
    measurement: Measurement | None = None,
    options: RunOptions | None = None,
    engine: EngineOptions | None = None,
    progress: bool | RunProgress = True,
    verbose: bool = False,
) -> Store:
    """Measure a source's examples with many engines, into one store; otherwise as `measure_into_store`.

    Args:
        engines: How many, and where they run.
    Raises:
        InputError: an argument or what it names is wrong.
        EngineError: engines failed, and were started again in vain; what was measured before is committed.
        StoreError: the store cannot be written or continued; what was committed stays.
    """
    measurement, options = measurement or Measurement(), options or RunOptions()
    engine = engine or EngineOptions()
    check_together(measurement, options, engine)
    if engines.place == "ray" and "distributed_executor_backend" in engine.engine_args:
        raise InputError(
            "--engine-arg distributed_executor_backend with --engines ray: the ranks of an engine are processes of its "
            "node; leave it out"
        )
    check_languages(measurement, languages)
    check_output(out, resume=options.resume, overwrite=options.overwrite)
    job = MeasureJob(
        model, languages, measurement, engine, options, source.tasks, source.add_special_tokens, verbose
    )
    with quiet(verbose) as hushed, interruptible() as stop:
        shown = begin_progress(source, progress, hushed.terminal)
        started = engines_for(engines, job, engine.world_size)
        shown.message(f"loading {short_name(model)} in {started.num_slots} engines")
        try:
            with started:
                driver = Driver(started, shown, stop, engines.window_timeout)
                report = driver.start()
                for line in report.messages:
                    shown.message(line)
                write_with_driver(driver, report, source, out, options, engine, shown, stop)
        except EngineError as error:
            if hushed.log is None or LOG_FOLLOWS in str(error):
                raise
            # An engine that ended before it had a log of its own may have written to this one.
            hushed.keep = True
            raise with_log(error, hushed.log) from error
    return open_store(out)


def engines_for(wanted: ManyEngines, job: Job, world_size: int) -> Engines:
    """The engines that are wanted, none of them started yet.

    Args:
        world_size: Devices of each.
    Raises:
        InputError: the machine or the cluster does not have what they need.
    """
    if wanted.place == "ray":
        from fastneurons.executors.ray_engines import RayEngines

        return RayEngines(job, wanted, world_size)
    assert wanted.number is not None
    return LocalEngines(job, local_shares(wanted.number, world_size))


def write_with_driver(
    driver: Driver,
    report: EngineReport,
    source: Source,
    out: str,
    options: RunOptions,
    engine: EngineOptions,
    progress: RunProgress,
    stop: threading.Event,
) -> None:
    """Measure a source's examples with engines that run already, into a store.

    Args:
        driver: Has started them.
        report: Of one of them.
    Raises:
        EngineError: engines failed; what was measured before is committed.
        StoreError: the store cannot be written or continued; what was committed stays.
    """
    header = header_of(report, source, options, engine, report.tokens)
    corpus = report.measurement.position == "corpus"
    constants = dict(report.constants)
    if report.measurement.histogram is not None:
        counting = _Counting(driver, report)
        progress.message(describe_histograms(counting))
        constants[BIN_EDGE], source = set_edges(counting, source, out, options.resume, engine.seed, progress)
    blocks = Blocks(report.facts.model, report.languages, report.measurement, engine, report.facts)
    with writer_for(out, header, report.measurement, options, constants) as writer:
        first = writer.committed
        known = KnownExamples(writer.committed_examples())
        if first and not writer.is_complete:
            progress.message(f"continuing after {first} examples")
        if not corpus:
            source = source.part(options.shard, options.window)
        reopen = _Reopening(progress, first, lambda: writer.is_complete, writer.reopen)
        progress.start(None if corpus or source.total is None else max(first, source.total), first)
        try:
            with windows_of(source, known, first, options, stop, blocks if corpus else None) as windows:
                ended = driver.run(writer, windows, reopen)
        finally:
            progress.stop()
        writer.wait()
        progress.message(driver.describe())
        found = driver.found
        if corpus:
            found = replace(found, begun=blocks.num_begun)
        finish(writer, source, progress, found, corpus, ended, known.passed, first)


class _Counting:
    """The engines of a run as one that counts histograms: one of them chooses the edges for all."""

    def __init__(self, driver: Driver, report: EngineReport) -> None:
        self.facts, self.measurement, self.languages = report.facts, report.measurement, report.languages
        self.set_edges = driver.set_edges
        self._driver = driver

    def choose_edges(self, texts: Sequence[Example], add_special_tokens: bool = True) -> NDArray[np.float32]:
        """See `Session`; whether there are special tokens is known to the engine."""
        return self._driver.choose_edges(texts)


class _Reopening:
    """Reopens a complete store once there are more examples than it has."""

    def __init__(
        self,
        progress: RunProgress,
        first: int,
        is_complete: Callable[[], bool],
        reopen: Callable[[], None],
    ) -> None:
        self._progress, self._first, self._is_complete, self._reopen = progress, first, is_complete, reopen

    def __call__(self) -> None:
        if self._is_complete():
            self._progress.message(f"continuing after {self._first} examples: there are more by now")
            self._reopen()
