"""The main job: a stream of examples, or of texts, through an engine into a store."""

import contextlib
import itertools
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import numpy as np

from fastneurons.arrays import join
from fastneurons.config import EngineOptions, Measurement, RunOptions, check_together
from fastneurons.data.digest import DATA_CHANGED, difference, digest_of_row
from fastneurons.data.example import Example, Skipped
from fastneurons.data.options import DataOptions
from fastneurons.engine.failure import LoadError, with_log
from fastneurons.engine.placement import MeasuredRows
from fastneurons.engine.quiet import quiet
from fastneurons.engine.session import ModelFacts, Session
from fastneurons.engine.tokenise import describe_tokens, token_facts
from fastneurons.errors import EngineError, InputError, StoreError, printable
from fastneurons.model_name import short_name
from fastneurons.progress import RunProgress, Silent, progress_for
from fastneurons.store import (
    CommittedRow,
    Header,
    Outcome,
    Store,
    StoreWriter,
    Window,
    check_output,
    open_store,
)


@dataclass(frozen=True)
class Source:
    """Where examples come from.

    Args:
        tasks: The tasks' names, as the store keeps them. Rows name theirs; those that do not are of the first.
        name: The file, or what else it is, for people and for checking a resumed run.
        rows: Its rows in order; read once, from the start, also by a resumed run.
        limit: What `rows` was limited to: so many examples of each task.
        total: How many rows there are, where it is known.
        add_special_tokens: Whether the tokenizer marks a prompt's begin; off for prompts in a chat format.
        options: How the rows were chosen and asked, for the record.
        notes: Asked at the end for what people should be told about the rows.
        remarks: What people should be told about the source before anything is measured.
    """

    tasks: tuple[str, ...]
    name: str
    rows: Iterable[Example | Skipped]
    limit: int | None = None
    total: int | None = None
    add_special_tokens: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: Callable[[], Sequence[str]] = tuple
    remarks: Sequence[str] = ()


def example_source(
    task: str,
    name: str,
    rows: Iterable[Example | Skipped],
    limit: int | None = None,
    total: int | None = None,
) -> Source:
    """Examples that are there already, as a run measures them.

    Args:
        task: The task's name.
        name: As in `Source`.
        rows: The examples.
        limit: Only the first ones.
        total: How many there are without the limit, where it is known.
    Raises:
        InputError: the limit is no number of rows.
    """
    if limit is not None:
        if limit < 1:
            raise InputError(f"--limit {limit}: must be at least 1")
        rows = itertools.islice(rows, limit)
        total = limit if total is None else min(limit, total)
    return Source((task,), name, rows, limit, total)


def task_source(
    model: str,
    names: Sequence[str],
    data: Mapping[str, str],
    languages: Sequence[str] | None,
    options: DataOptions | None = None,
    engine: EngineOptions | None = None,
    position: str = "last",
) -> tuple[Source, tuple[str, ...]]:
    """Examples of tasks, as a run measures them, and their languages.

    Args:
        model: Whose chat template is used, where `options` ask for it.
        names: The tasks.
        data: Where each one's data is.
        languages: Short codes; None for all that every task has.
        options: Which examples, and how they are asked.
        engine: Whose tokenizer it is, and how it is loaded.
        position: What will be read of them.
    Raises:
        InputError: as `open_tasks` and `TaskSource.check` raise it; a task that cannot be measured.
    """
    from fastneurons.data.tasks import open_tasks, task_named

    options, engine = options or DataOptions(), engine or EngineOptions()
    for name in names:
        if not task_named(name).parallel and position != "corpus":
            raise InputError(
                f"{name} has each language's texts by themselves, and --position {position} compares the same text "
                "in several; --position corpus counts over them"
            )
    chat = None
    if options.apply_chat_template:
        from fastneurons.data.chat import ChatTemplate

        chat = ChatTemplate(
            engine.tokenizer or model, engine.revision, engine.trust_remote_code, options.chat_template_kwargs
        )
    source = open_tasks(names, data, languages, options, chat)
    source.check()
    total = options.limit * len(source.tasks) if options.limit is not None else None
    rows = Source(
        source.tasks,
        source.describe(),
        source,
        options.limit,
        total,
        source.add_special_tokens,
        options.chosen(),
        source.notes,
        source.remarks(),
    )
    return rows, source.languages


def measure_into_store(
    model: str,
    source: Source,
    languages: tuple[str, ...],
    out: str,
    what: Measurement | None = None,
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
        what: What is read of each prompt.
        options: How it is read and written.
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
    what, options, engine = what or Measurement(), options or RunOptions(), engine or EngineOptions()
    check_together(what, options, engine)
    _check(what, languages)
    check_output(out, resume=options.resume, overwrite=options.overwrite)
    with quiet(verbose) as hushed, _interruptible() as stop:
        shown = progress if not isinstance(progress, bool) else Silent()
        if progress is True:
            shown = progress_for(hushed.terminal)
        for remark in source.remarks:
            shown.message(remark)
        shown.message(f"loading {short_name(model)}")
        try:
            with Session(model, languages, what, engine, verbose) as session:
                shown.message(describe(session.facts, what))
                for warning in session.facts.warnings:
                    shown.message(f"warning: {warning}")
                write_measurements(session, source, out, options, engine, shown, stop)
        except (EngineError, LoadError) as error:
            if hushed.log is None:
                raise
            hushed.keep = True
            raise with_log(error, hushed.log) from error
    return open_store(out)


def write_measurements(
    session: Session,
    source: Source,
    out: str,
    options: RunOptions,
    engine: EngineOptions,
    progress: RunProgress,
    stop: threading.Event,
) -> None:
    """Measure a source's examples with a session that runs already, into a store.

    Raises:
        EngineError: the engine failed; what was measured before is committed.
        StoreError: the store cannot be written or continued; what was committed stays.
    """
    tokenise = session.tokeniser(source.add_special_tokens)
    progress.message(describe_tokens(tokenise, session.what))
    tokens = token_facts(tokenise, session.what, options.block_size is not None)
    header = _header(session.facts, source, session.languages, session.what, options, engine, tokens)
    with _writer(out, header, session.what, options) as writer:
        _measure(session, writer, source, options, progress, stop)


def _check(what: Measurement, languages: tuple[str, ...]) -> None:
    """Refuse a single language where several are compared."""
    if what.position == "corpus":
        return
    if len(languages) < 2:
        raise InputError(
            f"--languages {','.join(languages)}: at least two are needed, as neurons are compared across languages"
        )


def describe(facts: ModelFacts, what: Measurement) -> str:
    """One line on what runs where, and what is held for it."""
    where = facts.device if facts.device != "cpu" else f"CPU, {facts.threads_per_worker} threads"
    if facts.workers > 1:
        where = f"{facts.workers} workers, each {where}"
    held = "counts" if what.position == "corpus" else f"up to {facts.slots} examples in flight"
    return (
        f"{short_name(facts.model)}: {len(facts.layers)} layers of {facts.neurons:,} neurons "
        f"({facts.function}{', gated' if facts.gated else ''}), {facts.dtype}, {where}; "
        f"{held} in {facts.buffer_bytes / 2**20:.1f} of {what.memory_bytes / 2**20:,.0f} MiB"
    )


def _header(
    facts: ModelFacts,
    source: Source,
    languages: tuple[str, ...],
    what: Measurement,
    options: RunOptions,
    engine: EngineOptions,
    tokens: dict[str, Any],
) -> Header:
    import fastneurons

    blocks = f" --block-size {options.block_size}" if options.block_size is not None else ""

    return Header(
        version=fastneurons.__version__,
        model=printable(facts.model),
        revision=engine.revision,
        dtype=facts.dtype,
        quantization=engine.quantization,
        lora=None,
        task=",".join(source.tasks),
        tasks=list(source.tasks),
        source=printable(source.name) + blocks,
        languages=list(languages),
        position=what.position,
        signal=what.signal,
        thresholds=list(what.thresholds),
        layers=list(facts.layers),
        neurons=facts.neurons,
        top_k=facts.top_k,
        tokens=tokens,
        window=options.window,
        config={
            "limit": source.limit,
            "data": _printable(dict(source.options)),
            "engine": _printable(asdict(engine)),
            "function": facts.function,
            "gated": facts.gated,
        },
        model_fingerprint=facts.model_fingerprint,
        tokenizer_fingerprint=facts.tokenizer_fingerprint,
        warnings=list(facts.warnings),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        status="running",
    )


def _printable(value: Any) -> Any:
    """Options as they can be stored: paths among them may hold bytes that are no UTF-8."""
    if isinstance(value, dict):
        return {name: _printable(one) for name, one in value.items()}
    return printable(value) if isinstance(value, str) else value


def _writer(out: str, header: Header, what: Measurement, options: RunOptions) -> StoreWriter:
    kept = {"keep_bits": options.keep_bits, "keep_coefficients": what.keep_coefficients}
    if options.resume:
        return StoreWriter.resume(out, header, **kept)
    return StoreWriter.create(out, header, overwrite=options.overwrite, **kept)


def _measure(
    session: Session,
    writer: StoreWriter,
    source: Source,
    options: RunOptions,
    progress: RunProgress,
    stop: threading.Event,
) -> None:
    """Everything from the first row that the store does not have to the last."""
    first = writer.committed
    known = _Known(writer.committed_rows())
    corpus = session.what.position == "corpus"
    # The blocks of a corpus are not its rows: there, the session compares.
    rows = source.rows if corpus else _rest(source.rows, known, stop)
    if first and not writer.is_complete:
        progress.message(f"continuing after {first} examples")
    progress.start(None if corpus or source.total is None else max(first, source.total), first)
    window: list[MeasuredRows] = []
    ended = False
    written = _Writing(writer, source.tasks)
    try:
        for measured in session.measure(
            rows,
            first,
            options.window,
            options.keep_bits,
            stop,
            options.block_size,
            source.add_special_tokens,
            known if corpus else (),
        ):
            if writer.is_complete:
                progress.message(f"continuing after {first} examples: there are more by now")
                writer.reopen()
            window.append(measured)
            progress.advance(
                len(measured.rows), int(measured["present"].sum()), int(measured["token_count"].sum())
            )
            if (measured.first + len(measured.rows)) % options.window == 0:
                written.commit(window)
                window = []
        ended = not stop.is_set()
    finally:
        # Also after an error or Ctrl-C: what was measured is kept, and the run can be resumed.
        progress.stop()
        if window:
            written.commit(window)
        written.wait()
    if session.totals.begun:
        noun = "texts" if corpus else "prompts"
        progress.message(
            f"{session.totals.begun:,} {noun} begin with the tokenizer's begin mark themselves; it was not put before "
            "them once more"
        )
    if not ended:
        progress.message(f"stopped; {writer.committed} examples are safe, --resume continues")
        return
    if known.passed < first and not (writer.is_complete and source.limit is not None):
        raise StoreError(_too_few(source, known.passed, first))
    if writer.is_complete:
        progress.message("the store is complete already; nothing to do")
        return
    writer.finish()
    for note in source.notes():
        if note not in source.remarks:
            progress.message(note)


class _Writing:
    """Writes windows beside the engine, one at a time: compressing and storing run outside Python's lock.

    A window that could not be written is told when the next one comes, or at the end.
    """

    def __init__(self, writer: StoreWriter, tasks: tuple[str, ...]) -> None:
        self._writer = writer
        self._tasks = tasks
        self._thread = ThreadPoolExecutor(1, "fastneurons-store")
        self._last: Future[None] | None = None

    def commit(self, window: list[MeasuredRows]) -> None:
        """Write a window, once the one before it is written.

        Raises:
            StoreError: that one could not be written.
        """
        if self._last is not None:
            self._last.result()
        self._last = self._thread.submit(self._write, window)

    def wait(self) -> None:
        """Return when all is written. Raises as `commit` does."""
        self._thread.shutdown()
        if self._last is not None:
            self._last.result()

    def _write(self, window: list[MeasuredRows]) -> None:
        self._writer.commit(_window(window, self._tasks))


class _Known:
    """The rows that a store holds, and how many of them were found in the source."""

    def __init__(self, rows: Iterable[CommittedRow]) -> None:
        self._rows = rows
        self.passed = 0

    def __iter__(self) -> Iterator[CommittedRow]:
        for row in self._rows:
            yield row
            self.passed += 1  # who asks for the next one has found this


def _rest(
    rows: Iterable[Example | Skipped], known: _Known, stop: threading.Event
) -> Iterator[Example | Skipped]:
    """The rows that come after those that are in the store; none where the source has fewer.

    Raises:
        StoreError: the rows before are not those of the store.
    """
    remaining = iter(rows)
    for number, stored in enumerate(known):
        row = next(remaining, None)
        if row is None or stop.is_set():
            return
        problem = difference(stored, row, digest_of_row(row))
        if problem is not None:
            raise StoreError(f"example {number} of the store {problem}; {DATA_CHANGED}")
    yield from remaining


def _too_few(source: Source, found: int, stored: int) -> str:
    if source.limit is not None:
        return (
            f"the store holds {stored} examples already, and --limit {source.limit} gives {found}; pass a larger one, "
            "or another --out"
        )
    return f"the store holds {stored} examples, and {source.name} ends after {found}: {DATA_CHANGED}"


def _window(parts: list[MeasuredRows], tasks: tuple[str, ...]) -> Window:
    """Groups of rows, put together into a window of the store."""
    # A row may come without its task where there is only one; those of a group are of one task.
    task_of: dict[str | None, int] = {name: number for number, name in enumerate(tasks)}
    rows = [row for part in parts for row in part.rows]
    arrays = join(
        [part.arrays for part in parts], [task_of.get(part.rows[0].task, 0) for part in parts], len(tasks)
    )
    arrays["example_id"] = np.array([printable(row.id) for row in rows], np.dtypes.StringDType())
    arrays["task"] = np.array([task_of.get(row.task, 0) for row in rows], np.int32)
    skipped = [isinstance(row, Skipped) for row in rows]
    arrays["outcome"] = np.where(skipped, Outcome.SKIPPED, Outcome.MEASURED).astype(np.uint8)
    first = parts[0].first
    return Window(
        first,
        arrays,
        [
            {
                "index": first + index,
                "id": printable(row.id),
                "where": printable(row.where),
                "reason": printable(row.reason),
            }
            for index, row in enumerate(rows)
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
