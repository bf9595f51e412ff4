"""Deactivate neurons with many engines, into one store."""

from fastneurons.config import EngineOptions, ManyEngines, Measurement, RunOptions
from fastneurons.errors import InputError
from fastneurons.executors.with_many_engines import check_engines, drive, with_many_engines
from fastneurons.experiments.deactivate import prepare, writer_of
from fastneurons.experiments.design import Deactivation
from fastneurons.experiments.outcome_windows import DeactivateJob
from fastneurons.experiments.source import Source
from fastneurons.progress import RunProgress
from fastneurons.store import Store, open_store


def deactivate_with_engines(
    model: str,
    source: Source,
    languages: tuple[str, ...],
    out: str,
    engines: ManyEngines,
    deactivation: Deactivation | None = None,
    measurement: Measurement | None = None,
    options: RunOptions | None = None,
    engine: EngineOptions | None = None,
    progress: bool | RunProgress = True,
    verbose: bool = False,
) -> Store:
    """Answer each prompt under every condition with many engines, into one store; else as `deactivate_into_store`.

    Args:
        engines: How many, and where they run.
    Raises:
        InputError: an argument or what it names is wrong; also `min_share` without `from_store`, where each engine
            would have to read all examples first.
        EngineError: engines failed, and were started again in vain; what was answered before is committed.
        StoreError: the store cannot be written or continued; what was committed stays.
    """
    engine = engine or EngineOptions()
    check_engines(engines, engine)
    if deactivation is not None and deactivation.min_share is not None and deactivation.from_store is None:
        raise InputError(
            "--min-share with --engines: each engine would read all examples first; measure them with fastneurons run, "
            "and pass its store with --from"
        )
    answering, occupancy = prepare(model, languages, out, deactivation, measurement, options, engine)
    job = DeactivateJob(answering, occupancy, source.tasks, source.add_special_tokens, verbose)
    with with_many_engines(engines, job, model, source, engine, progress, verbose) as (
        driver,
        report,
        shown,
        stop,
    ):
        shown.message(answering.deactivation.describe_passes(len(languages)))
        with writer_of(answering, out, answering.header(report, source)) as writer:
            drive(driver, writer, source, answering.options, shown, stop)
    return open_store(out)
