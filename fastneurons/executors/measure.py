"""Measure a source's examples with many engines, into one store."""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastneurons.config import EngineOptions, ManyEngines, Measurement, RunOptions, check_together
from fastneurons.data.example import Example
from fastneurons.executors.driver import Driver
from fastneurons.executors.with_many_engines import check_engines, drive, with_many_engines
from fastneurons.experiments.handed_windows import EngineReport
from fastneurons.experiments.header import header_of
from fastneurons.experiments.histograms import BIN_EDGE, describe_histograms, set_edges
from fastneurons.experiments.measure import check_languages, writer_for
from fastneurons.experiments.source import Source
from fastneurons.experiments.window_source import Blocks
from fastneurons.experiments.windows import MeasureJob
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
    check_engines(engines, engine)
    check_languages(measurement, languages)
    check_output(out, resume=options.resume, overwrite=options.overwrite)
    job = MeasureJob(
        model, languages, measurement, engine, options, source.tasks, source.add_special_tokens, verbose
    )
    with with_many_engines(engines, job, model, source, engine, progress, verbose) as (
        driver,
        report,
        shown,
        stop,
    ):
        write_with_driver(driver, report, source, out, options, engine, shown, stop)
    return open_store(out)


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
        drive(driver, writer, source, options, progress, stop, blocks if corpus else None)


class _Counting:
    """The engines of a run as one that counts histograms: one of them chooses the edges for all."""

    def __init__(self, driver: Driver, report: EngineReport) -> None:
        self.facts, self.measurement, self.languages = report.facts, report.measurement, report.languages
        self.set_edges = driver.set_edges
        self._driver = driver

    def choose_edges(self, texts: Sequence[Example], add_special_tokens: bool = True) -> NDArray[np.float32]:
        """See `Session`; whether there are special tokens is known to the engine."""
        return self._driver.choose_edges(texts)
