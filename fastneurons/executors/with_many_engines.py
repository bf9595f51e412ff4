"""What every job over many engines does around it: starts them, drives them over a source, names a log if they fail."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace

from fastneurons.config import EngineOptions, ManyEngines, RunOptions
from fastneurons.engine.failure import LOG_FOLLOWS, with_log
from fastneurons.engine.quiet import quiet
from fastneurons.errors import EngineError, InputError
from fastneurons.executors.driver import Driver
from fastneurons.executors.local import LocalEngines
from fastneurons.executors.messages import Engines, Job
from fastneurons.executors.shares import local_shares
from fastneurons.experiments.ending import finish
from fastneurons.experiments.handed_windows import EngineReport
from fastneurons.experiments.interrupts import interruptible
from fastneurons.experiments.resume import KnownExamples, reopen_if_complete
from fastneurons.experiments.source import Source
from fastneurons.experiments.window_source import Blocks, windows_of
from fastneurons.experiments.with_one_engine import begin_progress
from fastneurons.model_name import short_name
from fastneurons.progress import RunProgress
from fastneurons.store import StoreWriter


@contextlib.contextmanager
def with_many_engines(
    engines: ManyEngines,
    job: Job,
    model: str,
    source: Source,
    engine: EngineOptions,
    progress: bool | RunProgress,
    verbose: bool,
) -> Iterator[tuple[Driver, EngineReport, RunProgress, threading.Event]]:
    """Surround the work of a job that starts many engines.

    Args:
        engines: How many, and where they run.
        job: What each of them is to do.
        model: For messages.
        source: The job's examples; its remarks are shown first.
        engine: The arguments of each engine.
        progress: Whether to show progress on standard error, or an object to report it to.
        verbose: Let vLLM's log through.
    Yields:
        The driver of the engines, the report of the first one that is ready, where to report progress, and an event
        that Ctrl-C or a SIGTERM sets.
    Raises:
        InputError: the machine or the cluster does not have what the engines need, or they cannot load the model.
        EngineError: as raised within, with the place of a log.
        KeyboardInterrupt: the run was stopped before an engine was ready.
    """
    with quiet(verbose) as hushed, interruptible() as stop:
        shown = begin_progress(source, progress, hushed.terminal)
        started = _engines_for(engines, job, engine)
        shown.message(f"loading {short_name(model)} in {started.num_slots} engines")
        try:
            with started:
                driver = Driver(started, shown, stop, engines.window_timeout)
                report = driver.start()
                for line in report.messages:
                    shown.message(line)
                yield driver, report, shown, stop
        except EngineError as error:
            if hushed.log is None or LOG_FOLLOWS in str(error):
                raise
            # An engine that ended before it had a log of its own may have written to this one.
            hushed.keep = True
            raise with_log(error, hushed.log) from error


def _engines_for(wanted: ManyEngines, job: Job, engine: EngineOptions) -> Engines:
    """The engines that are wanted, none of them started yet."""
    if wanted.place == "ray":
        from fastneurons.executors.ray_engines import RayEngines

        return RayEngines(job, wanted, engine.world_size)
    assert wanted.number is not None
    return LocalEngines(job, local_shares(wanted.number, engine.world_size))


def check_engines(wanted: ManyEngines, engine: EngineOptions) -> None:
    """Refuse engine arguments that contradict where the engines run.

    Raises:
        InputError: there is one.
    """
    if wanted.place == "ray" and "distributed_executor_backend" in engine.engine_args:
        raise InputError(
            "--engine-arg distributed_executor_backend with --engines ray: the ranks of an engine are processes of its "
            "node; leave it out"
        )


def drive(
    driver: Driver,
    writer: StoreWriter,
    source: Source,
    options: RunOptions,
    progress: RunProgress,
    stop: threading.Event,
    blocks: Blocks | None = None,
) -> None:
    """Have engines that run already measure the examples that a store does not have.

    Args:
        driver: Has started them.
        writer: Commits.
        blocks: Of a corpus: cuts its texts.
    Raises:
        EngineError: engines failed; what was measured before is committed.
        StoreError: the store cannot be written or continued; what was committed stays.
    """
    corpus = blocks is not None
    first = writer.committed
    known = KnownExamples(writer.committed_examples())
    if first and not writer.is_complete:
        progress.message(f"continuing after {first} examples")
    if not corpus:
        source = source.part(options.shard, options.window)
    progress.start(None if corpus or source.total is None else max(first, source.total), first)
    try:
        with windows_of(source, known, first, options, stop, blocks) as windows:
            ended = driver.run(writer, windows, lambda: reopen_if_complete(writer, first, progress))
    finally:
        progress.stop()
    writer.wait()
    progress.message(driver.describe())
    found = driver.found
    if blocks is not None:
        found = replace(found, begun=blocks.num_begun)
    finish(writer, source, progress, found, corpus, ended, known.passed, first)
