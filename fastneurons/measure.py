"""The main job: a stream of examples through an engine into a store."""

import contextlib
import itertools
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import numpy as np

from fastneurons.config import EngineOptions
from fastneurons.data.example import Example, Skipped
from fastneurons.data.options import DataOptions
from fastneurons.engine.quiet import quiet
from fastneurons.engine.session import MeasuredRows, ModelFacts, Session
from fastneurons.errors import EngineError, InputError, StoreError
from fastneurons.model_name import short_name
from fastneurons.progress import RunProgress, Silent, progress_for
from fastneurons.store import Header, Store, StoreWriter, Window, check_output, open_store


@dataclass(frozen=True)
class Source:
    """Where examples come from.

    Args:
        tasks: The tasks' names, as the store keeps them. Rows name theirs; those that do not are of the first.
        name: The file, or what else it is, for people and for checking a resumed run.
        rows: Its rows in order; read once, from the start, also by a resumed run.
        total: How many rows there are, where it is known.
        add_special_tokens: Whether the tokenizer marks a prompt's begin; off for prompts in a chat format.
        options: How the rows were chosen and asked, for the record.
        notes: Asked at the end for what people should be told about the rows.
    """

    tasks: tuple[str, ...]
    name: str
    rows: Iterable[Example | Skipped]
    total: int | None = None
    add_special_tokens: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: Callable[[], Sequence[str]] = tuple


def task_source(
    model: str,
    names: Sequence[str],
    data: Mapping[str, str],
    languages: Sequence[str] | None,
    options: DataOptions | None = None,
    engine: EngineOptions | None = None,
) -> tuple[Source, tuple[str, ...]]:
    """Examples of tasks, as a run measures them, and their languages.

    Args:
        model: Whose chat template is used, where `options` ask for it.
        names: The tasks.
        data: Where each one's data is.
        languages: Short codes; None for all that every task has.
        options: Which examples, and how they are asked.
        engine: Whose tokenizer it is, and how it is loaded.
    Raises:
        InputError: as `open_tasks` and `TaskSource.check` raise it; a task that cannot be measured.
    """
    from fastneurons.data.tasks import open_tasks, task_named

    options, engine = options or DataOptions(), engine or EngineOptions()
    for name in names:
        if not task_named(name).parallel:
            raise InputError(
                f"{name} has each language's texts by themselves; run compares the same text in several"
            )
    chat = None
    if options.apply_chat_template:
        from fastneurons.data.chat import ChatTemplate

        chat = ChatTemplate(engine.tokenizer or model, engine.revision, engine.trust_remote_code)
    source = open_tasks(names, data, languages, options, chat)
    source.check()
    total = options.limit * len(source.tasks) if options.limit is not None else None
    rows = Source(
        source.tasks,
        source.describe(),
        source,
        total,
        source.add_special_tokens,
        options.chosen(),
        source.notes,
    )
    return rows, source.languages


@dataclass(frozen=True)
class RunOptions:
    """What a run measures and how it writes.

    Args:
        thresholds: A neuron is activated where its activation is above; several are several planes.
        limit: Only the first rows of the source.
        window: Examples that are committed at once.
        keep_bits: Whether to store which neurons were activated, not the counts alone.
        resume: Continue a run that did not end.
        overwrite: Replace a store.
    """

    thresholds: tuple[float, ...] = (0.0,)
    limit: int | None = None
    window: int = 256
    keep_bits: bool = True
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.thresholds:
            raise InputError("at least one --threshold is needed")
        if not all(np.isfinite(self.thresholds)):
            raise InputError(f"--threshold {', '.join(map(str, self.thresholds))}: must be finite numbers")
        if len(set(self.thresholds)) != len(self.thresholds):
            raise InputError(f"--threshold {', '.join(map(str, self.thresholds))}: the same one twice")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit {self.limit}: must be at least 1")
        if self.window < 1:
            raise InputError(f"--window {self.window}: must be at least 1")
        if self.resume and self.overwrite:
            raise InputError("--resume and --overwrite exclude each other")


def measure_into_store(
    model: str,
    source: Source,
    languages: tuple[str, ...],
    out: str,
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
        options: What to measure and how to write.
        engine: Engine arguments.
        progress: Whether to show progress on standard error, or an object that is told.
        verbose: Let vLLM's log through.
    Returns:
        The finished store. After Ctrl-C, the unfinished one with all that was measured.
    Raises:
        InputError: an argument or what it names is wrong.
        EngineError: the engine failed; what was measured before is committed.
        StoreError: the store cannot be written or continued; what was committed stays.
    """
    options, engine = options or RunOptions(), engine or EngineOptions()
    check_output(out, resume=options.resume, overwrite=options.overwrite)
    with quiet(verbose) as hushed, _interruptible() as stop:
        shown = progress if not isinstance(progress, bool) else Silent()
        if progress is True:
            shown = progress_for(hushed.terminal)
        shown.message(f"loading {short_name(model)}")
        try:
            with Session(model, languages, options.thresholds, engine, verbose) as session:
                shown.message(describe(session.facts))
                header = _header(session.facts, source, languages, options, engine)
                with _writer(out, header, options) as writer:
                    _measure(session, writer, source, options, shown, stop)
        except EngineError as error:
            if hushed.log is None:
                raise
            raise EngineError(f"{error}; vLLM's log: {hushed.log}") from error
    return open_store(out)


def describe(facts: ModelFacts) -> str:
    """One line on what runs where."""
    where = facts.device if facts.device != "cpu" else f"CPU, {facts.threads_per_worker} threads"
    if facts.workers > 1:
        where = f"{facts.workers} workers, each {where}"
    return (
        f"{short_name(facts.model)}: {len(facts.layers)} layers of {facts.neurons:,} neurons "
        f"({facts.function}{', gated' if facts.gated else ''}), {facts.dtype}, {where}; "
        f"up to {facts.slots} examples in flight in {facts.buffer_bytes / 2**20:.1f} MiB"
    )


def _header(
    facts: ModelFacts, source: Source, languages: tuple[str, ...], options: RunOptions, engine: EngineOptions
) -> Header:
    import fastneurons

    return Header(
        version=fastneurons.__version__,
        model=facts.model,
        revision=engine.revision,
        dtype=facts.dtype,
        quantization=engine.quantization,
        lora=None,
        task=",".join(source.tasks),
        tasks=list(source.tasks),
        source=source.name,
        languages=list(languages),
        position="last",
        signal="gate",
        thresholds=list(options.thresholds),
        layers=list(facts.layers),
        neurons=facts.neurons,
        top_k=None,
        window=options.window,
        config={
            "limit": options.limit,
            "data": dict(source.options),
            "engine": asdict(engine),
            "function": facts.function,
            "gated": facts.gated,
        },
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        status="running",
    )


def _writer(out: str, header: Header, options: RunOptions) -> StoreWriter:
    if options.resume:
        return StoreWriter.resume(out, header, keep_bits=options.keep_bits)
    return StoreWriter.create(out, header, keep_bits=options.keep_bits, overwrite=options.overwrite)


def _measure(
    session: Session,
    writer: StoreWriter,
    source: Source,
    options: RunOptions,
    progress: RunProgress,
    stop: threading.Event,
) -> None:
    """Everything from the first row that the store does not have to the last."""
    if writer.is_complete:
        progress.message("the store is complete already; nothing to do")
        return
    first = writer.committed
    rows = _rest(itertools.islice(source.rows, options.limit), writer.committed_ids(), source.name)
    total = source.total if options.limit is None else min(options.limit, source.total or options.limit)
    if first:
        progress.message(f"continuing after {first} examples")
    progress.start(total, first)
    window: list[MeasuredRows] = []
    ended = False
    try:
        for measured in session.measure(
            rows, first, options.window, options.keep_bits, stop, source.add_special_tokens
        ):
            window.append(measured)
            progress.advance(len(measured.rows), int(measured.present.sum()), int(measured.token_count.sum()))
            if (measured.first + len(measured.rows)) % options.window == 0:
                writer.commit(_window(window, source.tasks))
                window = []
        ended = not stop.is_set()
    finally:
        # Also after an error or Ctrl-C: what was measured is kept, and the run can be resumed.
        progress.stop()
        if window:
            writer.commit(_window(window, source.tasks))
    if ended:
        writer.finish()
        for note in source.notes():
            progress.message(note)
    else:
        progress.message(f"stopped; {writer.committed} examples are safe, --resume continues")


def _rest(
    rows: Iterable[Example | Skipped], committed: Iterable[str], source: str
) -> Iterator[Example | Skipped]:
    """The rows that come after those that are in the store.

    Raises:
        StoreError: the rows before are not those of the store.
    """
    remaining = iter(rows)
    for number, stored in enumerate(committed):
        row = next(remaining, None)
        if row is None or row.id != stored:
            found = "ends before it" if row is None else f"has {row.id!r} there"
            raise StoreError(
                f"example {number} of the store is {stored!r}, but {source} {found}: the data has changed since "
                "the run began; pass another --out, or --overwrite in place of --resume"
            )
    yield from remaining


def _window(parts: list[MeasuredRows], tasks: tuple[str, ...]) -> Window:
    """Groups of rows, put together into a window of the store."""
    rows = [row for part in parts for row in part.rows]
    # A row may come without its task where there is only one.
    task = [tasks.index(row.task) if row.task in tasks else 0 for row in rows]
    occupancy = np.zeros((len(tasks), *parts[0].occupancy.shape), np.int32)
    for part in parts:
        own = part.rows[0].task
        occupancy[tasks.index(own) if own in tasks else 0] += part.occupancy

    def joined(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    first = parts[0].first
    return Window(
        first=first,
        example_id=[row.id for row in rows],
        task=np.array(task, np.int32),
        outcome=np.array([2 if isinstance(row, Skipped) else 1 for row in rows], np.uint8),
        token_count=joined("token_count"),
        present=joined("present"),
        activated=None if parts[0].activated is None else joined("activated"),
        activated_count=joined("activated_count"),
        category_count=joined("category_count"),
        near_threshold_count=joined("near_threshold_count"),
        occupancy=occupancy,
        skipped=[
            {"index": first + i, "id": row.id, "where": row.where, "reason": row.reason}
            for i, row in enumerate(rows)
            if isinstance(row, Skipped)
        ],
    )


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C, or a batch system's SIGTERM, into a request to stop; a second one acts as usual."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, on_interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        restore()
