"""Log-probabilities of texts, of the intact model and under edits, into a store."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastneurons.arrays import Arrays
from fastneurons.config import EngineOptions, Measurement, RunOptions
from fastneurons.data.example import Skipped
from fastneurons.engine.edits import Edits, check_before_loading, salt_of
from fastneurons.engine.encode import BlockEncoder, Encoder, Tokenised
from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.placement import MeasuredRows
from fastneurons.engine.scoring import ToScore, score, scoring_engine
from fastneurons.engine.session import TokenisedRows
from fastneurons.engine.texts import TextEncoder, windows_of
from fastneurons.engine.tokenise import Tokeniser, token_facts
from fastneurons.errors import InputError, StoreError, printable
from fastneurons.experiments.measure import _too_few, printable_options, window_of
from fastneurons.experiments.resume import KnownRows, pass_by_blocks, remaining_rows
from fastneurons.experiments.source import Source
from fastneurons.experiments.with_one_engine import with_one_engine
from fastneurons.model_name import short_name
from fastneurons.neuron_sets import Edit, load_edit
from fastneurons.progress import RunProgress
from fastneurons.store import Header, Store, StoreWriter, check_output, open_store

INTACT = "intact"


@dataclass(frozen=True)
class Strides:
    """How texts are cut that are longer than a window.

    Args:
        max_length: Most tokens that the model reads at once; None takes as many as it takes.
        stride: Tokens between the beginnings of two windows; None takes half of `max_length`. With `block_size`, all
            of it.
        block_size: Join each language's texts and cut them into blocks of this many tokens; None keeps texts.
    """

    max_length: int | None = None
    stride: int | None = None
    block_size: int | None = None

    def __post_init__(self) -> None:
        for name, value, least in (
            ("max-length", self.max_length, 2), ("stride", self.stride, 1), ("block-size", self.block_size, 2),
        ):  # fmt: skip
            if value is not None and value < least:
                raise InputError(f"--{name} {value}: must be at least {least}")
        if self.block_size is not None and (self.stride is not None or self.max_length is not None):
            raise InputError("--block-size goes without --max-length and --stride: a block is read at once")
        if self.stride is not None and self.max_length is not None and self.stride > self.max_length:
            raise InputError(
                f"--stride {self.stride}: tokens between two windows of --max-length {self.max_length} would not be "
                "judged; at most as many"
            )

    def within(self, longest: int) -> tuple[int, int]:
        """Length and stride for a model that takes `longest` tokens.

        Raises:
            InputError: it takes fewer than are asked for.
        """
        for name, value in (("max-length", self.max_length), ("block-size", self.block_size)):
            if value is not None and value > longest:
                raise InputError(f"--{name} {value}: the model takes {longest} tokens (--max-model-len)")
        if self.block_size is not None:
            return self.block_size, self.block_size
        length = self.max_length or longest
        stride = self.stride or max(1, length // 2)
        if stride > length:
            raise InputError(f"--stride {stride}: the model takes {length} tokens; at most as many")
        return length, stride


@dataclass
class _Row:
    """A row whose texts are being scored.

    Args:
        log_probability: float64 [L, C], of the tokens judged so far.
        judged: int64 [L], how many tokens that will be.
        unscored: Parts of its texts that are in the engine.
        is_sent: Whether all are.
    """

    row: Tokenised | Skipped
    digest: int
    log_probability: NDArray[np.float64]
    judged: NDArray[np.int64]
    unscored: int = 0
    is_sent: bool = False


@dataclass
class TextsPass:
    """One pass of texts through an engine, each under every condition.

    Args:
        engine: One that scores.
        rows: The rows, with the digests of their texts.
        conditions: For each condition its slot of the bank and its salt; None for the intact model.
        length: Most tokens of a window.
        stride: Tokens between the beginnings of windows.
        num_languages: L.
        first: Index of the first row.
        stop: Once set, no more is sent, and rows that are not complete are dropped.
    """

    engine: PatchedEngine
    rows: Iterator[tuple[Tokenised | Skipped, int]]
    conditions: Sequence[tuple[int | None, str | None]]
    length: int
    stride: int
    num_languages: int
    first: int
    stop: threading.Event
    _pending: deque[_Row] = field(default_factory=deque)
    # For each part of a text in the engine: its row, language, condition, and which of its judged tokens count.
    _expected: deque[tuple[_Row, int, int, NDArray[np.bool_] | None]] = field(default_factory=deque)

    def run(self) -> Iterator[MeasuredRows]:
        """Yield rows with `log_probability` and `judged_count`, in order.

        Raises:
            EngineError: the engine failed, or did not score all that it was sent.
            Exception: whatever taking the rows raised, after all rows before it.
        """
        for values in score(self.engine, self._texts(), self.stop):
            item, language, condition, counted = self._expected.popleft()
            chosen = values if counted is None else values[counted]
            item.log_probability[language, condition] += chosen.sum(dtype=np.float64)
            item.unscored -= 1
            yield from self._through()
        yield from self._through()

    def _texts(self) -> Iterator[ToScore]:
        for row, digest in self.rows:
            shape = (self.num_languages, len(self.conditions))
            item = _Row(row, digest, np.zeros(shape), np.zeros(self.num_languages, np.int64))
            self._pending.append(item)
            for index, ids in enumerate(row.token_ids) if isinstance(row, Tokenised) else ():
                if ids is not None:
                    yield from self._parts(item, index, ids)
            item.is_sent = True

    def _parts(self, item: _Row, index: int, ids: list[int]) -> Iterator[ToScore]:
        """The windows of a text, each under every condition."""
        assert isinstance(item.row, Tokenised)
        spans = item.row.read(index)
        judged = np.zeros(len(ids), bool)
        for begin, end in zip(spans[::2], spans[1::2], strict=True):
            judged[begin:end] = True
        for window in windows_of(len(ids), max(1, spans[0]), self.length, self.stride):
            counted = judged[window.begin + window.first : window.end]
            item.judged[index] += int(counted.sum())
            for condition, (slot, salt) in enumerate(self.conditions):
                item.unscored += 1
                self._expected.append((item, index, condition, None if counted.all() else counted))
                yield ToScore(ids[window.begin : window.end], window.first, slot, salt)

    def _through(self) -> Iterator[MeasuredRows]:
        while self._pending and self._pending[0].is_sent and not self._pending[0].unscored:
            yield self._measured(self._pending.popleft())

    def _measured(self, item: _Row) -> MeasuredRows:
        ids = item.row.token_ids if isinstance(item.row, Tokenised) else [None] * self.num_languages
        count = np.array([[len(each) if each else 0 for each in ids]], np.int32)
        values = np.where(item.judged[:, None] > 0, item.log_probability, np.nan)
        arrays: Arrays = {
            "digest": np.array([item.digest], np.uint64),
            "token_count": count,
            "present": count > 0,
            "log_probability": values[None].astype(np.float32),
            "judged_count": item.judged[None].astype(np.int32),
        }
        row = item.row.example if isinstance(item.row, Tokenised) else item.row
        measured = MeasuredRows(self.first, [row], arrays)
        self.first += 1
        return measured


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


def perplexity_into_store(
    model: str,
    source: Source,
    languages: tuple[str, ...],
    out: str,
    edits: Sequence[tuple[str, Edit]],
    strides: Strides | None = None,
    options: RunOptions | None = None,
    engine: EngineOptions | None = None,
    progress: bool | RunProgress = True,
    verbose: bool = False,
) -> Store:
    """Score a source's texts, intact and under each edit, into a store of the kind "perplexity".

    Args:
        model: A model folder, or a name on the Hub.
        source: The texts.
        languages: L language codes, the order of the store's language axis.
        out: The store: a local path or an fsspec URL.
        edits: The edits with their names, which become conditions after `intact`.
        strides: How long texts are cut.
        options: How the store is written.
        engine: Engine arguments.
        progress: Whether to show progress on standard error, or an object to report it to.
        verbose: Let vLLM's log through.
    Returns:
        The finished store. After Ctrl-C, the unfinished one with all that was scored.
    Raises:
        InputError: an argument or what it names is wrong.
        EngineError: the engine failed; what was scored before is committed.
        StoreError: the store cannot be written or continued; what was committed stays.
    """
    strides, options, engine = strides or Strides(), options or RunOptions(), engine or EngineOptions()
    check_output(out, resume=options.resume, overwrite=options.overwrite)
    _check_scopes(edits)
    check_before_loading(edits, model, engine)
    observation = {"edits": len(edits), "edit_values": sum(edit.value is not None for _, edit in edits)}
    with with_one_engine(source, progress, verbose) as (shown, stop):
        shown.message(f"loading {short_name(model)}")
        with scoring_engine(model, engine, verbose=verbose, observation=observation) as running:
            write_perplexity(running, source, languages, out, edits, strides, options, engine, shown, stop)
    return open_store(out)


def _check_scopes(edits: Sequence[tuple[str, Edit]]) -> None:
    """Raise InputError if an edit is for some tokens alone."""
    # A text is neither prompt nor generated.
    if scoped := [name for name, edit in edits if edit.scope != "both"]:
        raise InputError(
            f"--edit {', '.join(scoped)}: is for prompts or for generated tokens alone, and a text is neither; "
            "perplexity takes edits whose scope is both"
        )


def write_perplexity(
    running: PatchedEngine,
    source: Source,
    languages: tuple[str, ...],
    out: str,
    edits: Sequence[tuple[str, Edit]],
    strides: Strides,
    options: RunOptions,
    engine: EngineOptions,
    progress: RunProgress,
    stop: threading.Event,
) -> None:
    """Score a source's texts with an engine that runs already; arguments and errors as of `perplexity_into_store`."""
    facts = running.facts
    length, stride = strides.within(facts.max_prompt_tokens + 1)
    bank = Edits(running)
    slots = [bank.put(edit, name) for name, edit in edits]
    bank.check()
    conditions: list[tuple[int | None, str | None]] = [
        (None, None),
        *((slot, bank.salt(slot, 0)) for slot in slots),
    ]
    progress.message(
        f"{short_name(facts.model)}: {facts.dtype}; intact and {len(edits)} edits; windows of {length:,} tokens, "
        f"{stride:,} apart"
    )
    for warning in facts.warnings:
        progress.message(f"warning: {warning}")
    corpus = strides.block_size is not None
    tokenise = Tokeniser(running.tokenizer, source.add_special_tokens)
    limits = (tokenise, languages, length, facts.vocabulary)
    encode: Encoder = (
        BlockEncoder(*limits, strides.block_size)
        if corpus
        else TextEncoder(tokenise, languages, facts.vocabulary)
    )
    header = _header(running, source, languages, edits, strides, (length, stride), options, engine, tokenise)
    texts_kept = options.keep_prompts and not corpus
    writer = (
        StoreWriter.resume(out, header, keep_bits=False, keep_prompts=texts_kept)
        if options.resume
        else StoreWriter.create(
            out, header, keep_bits=False, keep_prompts=texts_kept, overwrite=options.overwrite
        )
    )
    with writer:
        first = writer.committed
        known = KnownRows(writer.committed_rows())
        rows = source.rows if corpus else remaining_rows(source.rows, known, stop)
        if first and not writer.is_complete:
            progress.message(f"continuing after {first} examples")
        progress.start(None if corpus or source.total is None else max(first, source.total), first)
        waiting: list[MeasuredRows] = []
        encoded = TokenisedRows(rows, encode, languages, corpus, 256)
        try:
            if corpus:
                pass_by_blocks(encoded, known, stop, strides.block_size)
            texts = TextsPass(running, encoded, conditions, length, stride, len(languages), first, stop)
            for measured in texts.run():
                if writer.is_complete:
                    progress.message(f"continuing after {first} examples: there are more by now")
                    writer.reopen()
                waiting.append(measured)
                progress.advance(1, int(measured["present"].sum()), int(measured["token_count"].sum()))
                if texts.first % options.window == 0:
                    _commit(writer, waiting, source, languages)
                    waiting = []
        finally:
            # Also after an error or Ctrl-C: what was scored is kept, and the run can be resumed.
            encoded.close()
            progress.stop()
            if waiting:
                _commit(writer, waiting, source, languages)
            writer.wait()
        if stop.is_set():
            progress.message(f"stopped; {writer.committed} examples are safe; continue with --resume")
            return
        if known.passed < first and not (writer.is_complete and source.limit is not None):
            raise StoreError(_too_few(source, known.passed, first))
        if writer.is_complete:
            progress.message("the store is complete already; nothing to do")
            return
        writer.finish()
    for slot in slots:
        bank.free(slot)
    for note in source.notes():
        if note not in source.remarks:
            progress.message(note)


def _commit(
    writer: StoreWriter, parts: list[MeasuredRows], source: Source, languages: tuple[str, ...]
) -> None:
    writer.submit(lambda: window_of(parts, source.tasks, languages))


def _header(
    running: PatchedEngine,
    source: Source,
    languages: tuple[str, ...],
    edits: Sequence[tuple[str, Edit]],
    strides: Strides,
    cut: tuple[int, int],
    options: RunOptions,
    engine: EngineOptions,
    tokenise: Tokeniser,
) -> Header:
    import fastneurons

    facts = running.facts
    blocks = strides.block_size is not None
    position = Measurement(position="corpus" if blocks else "last")
    lengths = {"block_size": cut[0]} if blocks else {"max_length": cut[0], "stride": cut[1]}
    return Header(
        version=fastneurons.__version__,
        kind="perplexity",
        conditions=[INTACT, *(name for name, _ in edits)],
        edits={
            **lengths,
            **{f"edit {name}": salt_of(edit).removeprefix("fastneurons ") for name, edit in edits},
        },
        model=printable(facts.model),
        revision=engine.revision,
        dtype=facts.dtype,
        quantization=engine.quantization,
        lora=None,
        task=",".join(source.tasks),
        tasks=list(source.tasks),
        source=printable(source.name),
        languages=list(languages),
        position=position.position,
        signal=position.signal,
        thresholds=[],
        layers=list(facts.layers),
        neurons=facts.neurons,
        top_k=None,
        tokens=token_facts(tokenise, position, blocks),
        window=options.window,
        config={
            "limit": source.limit,
            "data": printable_options(dict(source.options)),
            "engine": printable_options(asdict(engine)),
        },
        model_fingerprint=facts.model_fingerprint,
        tokenizer_fingerprint=facts.tokenizer_fingerprint,
        warnings=list(facts.warnings),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        status="running",
    )
