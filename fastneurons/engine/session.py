"""A session: a patched engine that reads the examples fed to it.

    with Session("Qwen/Qwen3-8B", languages=("en", "de", "zh")) as session:
        for part in session.measure(examples):
            ...

Finished examples are handed on in input order.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.arrays import Arrays
from fastneurons.config import EngineOptions, Measurement, RunOptions, check_together
from fastneurons.data.example import Example
from fastneurons.engine.blocks import ShardEncoder
from fastneurons.engine.collect import Collector
from fastneurons.engine.core import Core
from fastneurons.engine.edges import ROUNDS, better_edges, first_edges, sample_of
from fastneurons.engine.edits import Edits
from fastneurons.engine.encode import AnyExample, Encoder
from fastneurons.engine.encoders import check_window, encoder_for
from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.facts import ModelFacts
from fastneurons.engine.feed import ListedExamples, TokenisedExamples
from fastneurons.engine.judging import Judge
from fastneurons.engine.observation import ObservationSpec
from fastneurons.engine.placement import MeasuredExamples
from fastneurons.engine.reading import EncodedExamples, ReadingPass, Slots, Totals
from fastneurons.engine.scoring import judged_places
from fastneurons.engine.tokenise import Tokeniser
from fastneurons.engine.wire import to_wire
from fastneurons.shards import Shard

# Prompts in flight for each one that a step can hold: the next step is ready while one runs, and
# finished ones wait for theirs of the same example.
_STEPS_IN_FLIGHT = 4


class Session:
    """A patched engine that reads each prompt as a measurement asks.

    Args:
        model: A folder, or a name on the Hub.
        languages: L codes; at least two, but for position "corpus".
        measurement: What to read of each prompt.
        options: Engine arguments.
        verbose: Let vLLM's log through.
        only_reads: Skip work that no reading depends on (logits, unread rows of the last layer). Benchmarks turn this
            off. Requests of which the next token is wanted, or that are scored, are computed all the same.
        num_edits: Slots of the workers' bank of edits, for `edits`.
        num_edit_values: Rows of values that these may add.
        judges: Whether texts may be scored as well (`engine/scoring.py`).
        finds_likeliest: Whether scores say as well which judged tokens greedy decoding would take.
        judge: Judges the answers of the examples that are measured.
    Raises:
        InputError: the model cannot be loaded, or its neurons cannot be measured.
    """

    def __init__(
        self,
        model: str,
        languages: tuple[str, ...],
        measurement: Measurement | None = None,
        options: EngineOptions | None = None,
        verbose: bool = False,
        *,
        only_reads: bool = True,
        num_edits: int = 0,
        num_edit_values: int = 0,
        judges: bool = False,
        finds_likeliest: bool = False,
        judge: Judge | None = None,
    ) -> None:
        self.languages = languages
        self.measurement = measurement or Measurement()
        self.totals = Totals()
        self._only_reads, self._judges, self._judge = only_reads, judges or judge is not None, judge
        self._num_edits, self._num_edit_values = num_edits, num_edit_values
        self._finds_likeliest = finds_likeliest
        options = options or EngineOptions()
        check_together(self.measurement, RunOptions(), options)
        self.engine = PatchedEngine(
            model,
            options,
            self._observation,
            # Tokens that are read are never taken from the cache; where all are, it gains nothing.
            cache_prefixes=self.measurement.position == "last" or judge is not None,
            verbose=verbose,
        )
        self._collector = Collector(self.engine, len(languages), self.measurement)
        self._slots = Slots(self.facts.slots)
        self._tokenisers: dict[bool, Tokeniser] = {}

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.__exit__(kind, error, trace)

    def close(self) -> None:
        """Shut the engine down and free its memory. Harmless when called twice."""
        self.engine.close()

    @property
    def facts(self) -> ModelFacts:
        """Facts about the model and where it runs."""
        return self.engine.facts

    @property
    def core(self) -> Core:
        """vLLM's engine core."""
        return self.engine.core

    @cached_property
    def edits(self) -> Edits:
        """The engine's bank of edits."""
        return Edits(self.engine)

    @property
    def top_k(self) -> int | None:
        """Neurons of a layer that count as its most contributing ones; None without attribution."""
        return self.measurement.neurons_in_top(self.facts.neurons)

    def constants(self) -> Arrays:
        """The arrays of a run that are constants of the model: `value_norm`, with attribution.

        Raises:
            EngineError: the engine failed.
        """
        if not self.measurement.attribution:
            return {}
        return self.engine.ask_whole("fastneurons_constants", adapted=self.facts.adapter is not None)

    def set_edges(self, edges: NDArray[np.float32]) -> None:
        """Sort signals into bins with these edges from now on. Only between passes.

        Args:
            edges: float32 [N, B - 1]; see `fastneurons_kernels.histogram`.
        Raises:
            EngineError: the engine failed.
        """
        wired = to_wire({"edges": np.ascontiguousarray(edges, np.float32)})
        self.engine.ask("fastneurons_set_edges", layers=list(self.facts.layers), edges=wired)

    def choose_edges(self, texts: Sequence[Example], add_special_tokens: bool = True) -> NDArray[np.float32]:
        """Choose edges of the histograms' bins from a sample of texts, and set them.

        Args:
            texts: Each in one language.
            add_special_tokens: As for `measure`.
        Returns:
            float32 [N, B - 1].
        Raises:
            EngineError: the engine failed.
        """
        bins = self.measurement.histogram
        assert bins is not None
        begun = self.totals.begun  # of the texts that are counted, not of these
        with self.tokenised(texts, 1, None, add_special_tokens) as encoded:
            sample = sample_of((text for text, _ in encoded), len(self.languages))
        self.totals.begun = begun
        edges = np.tile(first_edges(bins), (len(self.facts.layers), 1))
        for _ in range(ROUNDS):
            self.set_edges(edges)
            counts = np.zeros((len(edges), bins), np.int64)
            for part in self.read(ListedExamples(sample), window=max(1, len(sample))):
                counts += part["histogram"].sum((0, 2), dtype=np.int64)
            edges = better_edges(edges, counts)
        self.set_edges(edges)
        return edges

    def measure(
        self,
        examples: Iterable[AnyExample],
        first: int = 0,
        window: int = 256,
        keep_bits: bool = True,
        stop: threading.Event | None = None,
        block_size: int | None = None,
        add_special_tokens: bool = True,
        adapted: bool = True,
        tokens_per_language: int | None = None,
    ) -> Iterator[MeasuredExamples]:
        """Measure a stream of examples, or of texts.

        Args:
            examples: The source from its example `first` on. For a corpus all of it: its blocks are not its examples.
            first: Index of the first example to hand on in the whole source; of a corpus, of the first block.
            window: What is handed on never spans two windows of this many examples. Of a corpus it is a window,
                since tokens of several examples are counted together.
            keep_bits: Whether to collect `activated`.
            stop: Once set, nothing more is sent; examples complete by then are handed on, and for a corpus also those
                in flight.
            block_size: Tokens of a corpus' blocks; None keeps documents.
            add_special_tokens: Whether the tokenizer marks a prompt's begin, as it does by itself. Off for prompts
                in a chat format, which have their marks already.
            adapted: Whether the model computes them with the session's adapter, if it has one.
            tokens_per_language: Of a corpus: stop reading a language after this many tokens; None reads all.
        Yields:
            All examples, in input order, in groups.
        Raises:
            EngineError: the engine or the patch failed, or did not read what it was sent.
            Exception: whatever reading `examples` raised, after all examples before it were handed on.
        """
        with self.tokenised(
            examples, window, block_size, add_special_tokens, tokens_per_language=tokens_per_language
        ) as encoded:
            if self.measurement.position == "corpus":
                for _ in islice(encoded, first):
                    pass
            yield from self.read(encoded, first, window, keep_bits, stop, adapted)

    @contextlib.contextmanager
    def tokenised(
        self,
        examples: Iterable[AnyExample],
        window: int = 256,
        block_size: int | None = None,
        add_special_tokens: bool = True,
        shard: Shard | None = None,
        tokens_per_language: int | None = None,
    ) -> Iterator[TokenisedExamples]:
        """Examples tokenised ahead of the engine, in a thread that ends with the context. Arguments as for `measure`.

        Args:
            shard: Of a corpus, the share of its blocks that is wanted; examples are chosen beforehand.
        Raises:
            InputError: tokens of a window could overflow their counters, or blocks are longer than the model takes.
        """
        if self.measurement.position == "corpus":
            check_window(window, block_size, self.facts.max_prompt_tokens)
        encode = self.encoder(block_size, add_special_tokens, tokens_per_language)
        if shard is not None and self.measurement.position == "corpus":
            encode = ShardEncoder(encode, shard, window)
        encoded = TokenisedExamples(
            examples,
            encode,
            self.languages,
            self.measurement.position == "corpus",
            max(256, self.facts.slots),
        )
        try:
            yield encoded
        finally:
            encoded.close()
            self.totals.begun += getattr(encode, "num_begun", 0)

    def read(
        self,
        examples: EncodedExamples,
        first: int = 0,
        window: int = 256,
        keep_bits: bool = True,
        stop: threading.Event | None = None,
        adapted: bool = True,
    ) -> ReadingPass:
        """Read examples that are token ids already; for the rest as `measure`.

        Args:
            examples: The examples from index `first` on; of a corpus its blocks.
        """
        return ReadingPass(
            self.engine,
            len(self.languages),
            self.measurement,
            self._collector,
            self._slots,
            self.totals,
            examples=examples,
            first=first,
            window=window,
            keep_bits=keep_bits,
            stop=stop or threading.Event(),
            adapted=adapted and self.facts.adapter is not None,
            judge=self._judge,
        )

    def tokeniser(self, add_special_tokens: bool = True) -> Tokeniser:
        """The model's tokenizer as this session uses it; `add_special_tokens` as for `measure`.

        Raises:
            InputError: it has no begin mark, and one is asked for.
        """
        if add_special_tokens not in self._tokenisers:
            tokenise = Tokeniser(self.engine.tokenizer, add_special_tokens, self.measurement.add_bos_token)
            self._tokenisers[add_special_tokens] = tokenise
        return self._tokenisers[add_special_tokens]

    def _observation(self, config: Any) -> ObservationSpec:
        """The specification of what workers observe, given vLLM's configuration."""
        from fastneurons.engine.device import device_memory, observe_memory_of

        if self.measurement.observe_memory is None:
            self.measurement = replace(
                self.measurement, observe_memory=observe_memory_of(device_memory()) / 2**30
            )
        rows = max(1024, _STEPS_IN_FLIGHT * config.scheduler_config.max_num_seqs)
        measurement = self.measurement
        return ObservationSpec(
            most_slots=max(2, -(-rows // len(self.languages))),
            languages=len(self.languages),
            thresholds=measurement.thresholds,
            position=measurement.position,
            signal=measurement.signal,
            attribution=measurement.attribution,
            memory_bytes=measurement.memory_bytes,
            bins=measurement.histogram,
            only_reads=self._only_reads,
            judged_places=judged_places(config) if self._judges else 0,
            edits=self._num_edits,
            edit_values=self._num_edit_values,
            finds_likeliest=self._finds_likeliest,
        )

    def encoder(
        self, block_size: int | None, add_special_tokens: bool, tokens_per_language: int | None = None
    ) -> Encoder:
        """Make what turns examples into token ids; arguments as for `measure`."""
        return encoder_for(
            self.tokeniser(add_special_tokens),
            self.languages,
            self.measurement,
            self.facts,
            block_size,
            self._judge is not None,
            tokens_per_language,
        )
