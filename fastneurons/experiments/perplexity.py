"""Log-probabilities of texts, of the intact model and under edits, into a store."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fastneurons.arrays import Arrays
from fastneurons.config import EngineOptions, Measurement, RunOptions
from fastneurons.data.example import Skipped
from fastneurons.engine.blocks import BlockEncoder
from fastneurons.engine.edits import Edits, check_before_loading
from fastneurons.engine.encode import Encoder, Tokenised, without_tokens
from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.feed import TokenisedExamples
from fastneurons.engine.placement import MeasuredExamples
from fastneurons.engine.scoring import ToScore, score, scoring_engine
from fastneurons.engine.texts import TextEncoder, windows_of
from fastneurons.engine.tokenise import Tokeniser, token_facts
from fastneurons.errors import InputError
from fastneurons.experiments.header import model_and_adapter
from fastneurons.experiments.resume import KnownExamples, pass_by_blocks, remaining_examples
from fastneurons.experiments.source import Source
from fastneurons.experiments.under_edits import header_under_edits, write_examples, writer_under_edits
from fastneurons.experiments.with_one_engine import with_one_engine
from fastneurons.model_name import short_name
from fastneurons.neuron_sets import Edit
from fastneurons.progress import RunProgress
from fastneurons.store import Store, check_output, open_store


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
class _InFlight:
    """An example whose texts are being scored.

    Args:
        log_probability: float64 [L, C], of the tokens judged so far.
        judged: int64 [L], how many tokens that will be.
        unscored: Parts of its texts that are in the engine.
        is_sent: Whether all are.
    """

    encoded: Tokenised | Skipped
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
        examples: The examples, with the digests of their texts.
        conditions: For each condition its slot of the bank and its salt; None for the intact model.
        length: Most tokens of a window.
        stride: Tokens between the beginnings of windows.
        num_languages: L.
        first: Index of the first example.
        stop: Once set, no more is sent, and examples that are not complete are dropped.
    """

    engine: PatchedEngine
    examples: Iterator[tuple[Tokenised | Skipped, int]]
    conditions: Sequence[tuple[int | None, str | None]]
    length: int
    stride: int
    num_languages: int
    first: int
    stop: threading.Event
    _pending: deque[_InFlight] = field(default_factory=deque)
    # For each part of a text in the engine: its item, language, condition, and which of its judged tokens count.
    _expected: deque[tuple[_InFlight, int, int, NDArray[np.bool_] | None]] = field(default_factory=deque)

    def run(self) -> Iterator[MeasuredExamples]:
        """Yield examples with `log_probability` and `judged_count`, in order.

        Raises:
            EngineError: the engine failed, or did not score all that it was sent.
            Exception: whatever taking the examples raised, after all examples before it.
        """
        for values in score(self.engine, self._texts(), self.stop):
            item, language, condition, counted = self._expected.popleft()
            chosen = values if counted is None else values[counted]
            item.log_probability[language, condition] += chosen.sum(dtype=np.float64)
            item.unscored -= 1
            yield from self._through()
        yield from self._through()

    def _texts(self) -> Iterator[ToScore]:
        for encoded, digest in self.examples:
            shape = (self.num_languages, len(self.conditions))
            item = _InFlight(encoded, digest, np.zeros(shape), np.zeros(self.num_languages, np.int64))
            self._pending.append(item)
            for index, ids in enumerate(encoded.token_ids) if isinstance(encoded, Tokenised) else ():
                if ids is not None:
                    yield from self._parts(item, index, ids)
            item.is_sent = True

    def _parts(self, item: _InFlight, index: int, ids: list[int]) -> Iterator[ToScore]:
        """The windows of a text, each under every condition."""
        assert isinstance(item.encoded, Tokenised)
        spans = item.encoded.read(index)
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

    def _through(self) -> Iterator[MeasuredExamples]:
        while self._pending and self._pending[0].is_sent and not self._pending[0].unscored:
            yield self._measured(self._pending.popleft())

    def _measured(self, item: _InFlight) -> MeasuredExamples:
        ids = item.encoded.token_ids if isinstance(item.encoded, Tokenised) else [None] * self.num_languages
        count = np.array([[len(each) if each else 0 for each in ids]], np.int32)
        values = np.where(item.judged[:, None] > 0, item.log_probability, np.nan)
        arrays: Arrays = {
            "digest": np.array([item.digest], np.uint64),
            "token_count": count,
            "present": count > 0,
            "log_probability": values[None].astype(np.float32),
            "judged_count": item.judged[None].astype(np.int32),
        }
        example = without_tokens(item.encoded)
        measured = MeasuredExamples(self.first, [example], arrays)
        self.first += 1
        return measured


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
        f"{model_and_adapter(facts)}: {facts.dtype}; intact and {len(edits)} edits; windows of {length:,} tokens, "
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
    settings = {"block_size": length} if corpus else {"max_length": length, "stride": stride}
    position = Measurement(position="corpus" if corpus else "last")
    tokens = token_facts(tokenise, position, corpus)
    header = header_under_edits(
        "perplexity", edits, settings, facts, source, languages, position.position, options, engine, tokens
    )
    with writer_under_edits(out, header, options, options.keep_prompts and not corpus) as writer:
        first = writer.committed
        known = KnownExamples(writer.committed_examples())
        examples = source.examples if corpus else remaining_examples(source.examples, known, stop)
        if first and not writer.is_complete:
            progress.message(f"continuing after {first} examples")
        progress.start(None if corpus or source.total is None else max(first, source.total), first)
        encoded = TokenisedExamples(examples, encode, languages, corpus, 256)

        def scored() -> Iterator[MeasuredExamples]:
            if corpus:
                pass_by_blocks(encoded, known, stop, strides.block_size)
            yield from TextsPass(
                running, encoded, conditions, length, stride, len(languages), first, stop
            ).run()

        write_examples(writer, scored(), encoded, source, known, progress, stop, "token_count")
    if not stop.is_set():  # else requests may still name them
        for slot in slots:
            bank.free(slot)
