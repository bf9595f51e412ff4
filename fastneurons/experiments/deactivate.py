"""The job `deactivate`: each prompt answered as the model is, without each category's neurons, and without random ones.

deactivate_into_store(model, source, ("en", "de", "th"), "d.zarr", Deactivation(controls=5))
"""

import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fastneurons.arrays import CATEGORIES
from fastneurons.config import EngineOptions, Measurement, RunOptions, check_together
from fastneurons.data.example import Skipped
from fastneurons.engine.answers import AnswerEncoder
from fastneurons.engine.collect import Collector
from fastneurons.engine.conditions import STEPS_IN_FLIGHT, Design
from fastneurons.engine.edits import Change
from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.facts import ModelFacts
from fastneurons.engine.feed import TokenisedExamples
from fastneurons.engine.outcomes import Outcome, OutcomePass
from fastneurons.engine.reading import ReadingPass, Slots, Totals
from fastneurons.engine.scoring import judged_places
from fastneurons.engine.tokenise import Tokeniser, describe_tokens, token_facts
from fastneurons.errors import EngineError, InputError, StoreError
from fastneurons.experiments.common_sets import (
    Occupancy,
    check_store,
    common_edits,
    mean_contribution,
    occupancy_of_store,
)
from fastneurons.experiments.design import Deactivation
from fastneurons.experiments.header import header_of
from fastneurons.experiments.interrupts import was_stopped
from fastneurons.experiments.judging import measures_without_texts
from fastneurons.experiments.measure import describe
from fastneurons.experiments.outcome_arrays import outcome_arrays
from fastneurons.experiments.resume import KnownExamples, remaining_examples
from fastneurons.experiments.source import Source
from fastneurons.experiments.window_arrays import described, skipped_lines
from fastneurons.experiments.with_one_engine import with_one_engine
from fastneurons.model_name import short_name
from fastneurons.neuron_sets.model import ModelNeurons
from fastneurons.progress import RunProgress
from fastneurons.store import Header, Store, StoreWriter, Window, check_output, open_store

if TYPE_CHECKING:
    from fastneurons.engine.observation import ObservationSpec


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
    deactivation, options, engine = (
        deactivation or Deactivation(), options or RunOptions(), engine or EngineOptions()
    )  # fmt: skip
    measurement = replace(measurement or Measurement(), attribution=deactivation.rank == "contribution")
    check_together(measurement, options, engine)
    _check(measurement, languages)
    conditions = deactivation.conditions(len(languages), engine.seed)
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
    with with_one_engine(source, progress, verbose) as (shown, stop):
        shown.message(deactivation.describe_passes(len(languages)))
        shown.message(f"loading {short_name(model)}")
        design = Design(
            conditions,
            Change(scale=deactivation.scale, scope=deactivation.scope),
            share=deactivation.fraction,
            by_contribution=deactivation.rank == "contribution",
            seed=engine.seed,
            edits=(None,) * len(conditions) if deactivation.min_share is not None else (),
        )
        job = _Job(model, languages, measurement, options, engine, deactivation, design)
        with job.start(verbose) as running:
            shown.message(describe(running.facts, job.measurement))
            for warning in running.facts.warnings:
                shown.message(f"warning: {warning}")
            job.prepare(running, occupancy, source, shown, stop)
            if not stop.is_set():
                job.run(running, source, out, shown, stop)
        if stop.is_set() and not job.has_written:
            raise KeyboardInterrupt
    return open_store(out)


def _check(measurement: Measurement, languages: tuple[str, ...]) -> None:
    if len(languages) < 2:
        raise InputError(
            f"--languages {','.join(languages)}: at least two are needed, as neurons are compared across languages"
        )
    if measurement.position == "corpus":
        raise InputError(
            "--position corpus: counts tokens, and has no categories; use `last`, `any` or `answer`"
        )
    if len(measurement.thresholds) != 1:
        raise InputError("--threshold: given more than once; categories are edited at one threshold")


@dataclass(frozen=True)
class _Read:
    """What a header says of how prompts are read."""

    facts: ModelFacts
    measurement: Measurement
    languages: tuple[str, ...]
    top_k: int | None = None


class _Job:
    """One deactivation: its options, and what they become once the model is loaded."""

    def __init__(
        self,
        model: str,
        languages: tuple[str, ...],
        measurement: Measurement,
        options: RunOptions,
        engine: EngineOptions,
        deactivation: Deactivation,
        design: Design,
    ) -> None:
        self.measurement, self.has_written = measurement, False
        self._num_layers = 0
        self._model, self._languages, self._options, self._engine_options = model, languages, options, engine
        self._deactivation, self._design = deactivation, design

    def start(self, verbose: bool) -> PatchedEngine:
        """Start the engine."""
        return PatchedEngine(self._model, self._engine_options, self._observation, verbose=verbose)

    def _observation(self, config: Any) -> "ObservationSpec":
        from fastneurons.engine.device import device_memory, observe_memory_of
        from fastneurons.engine.observation import ObservationSpec

        if self.measurement.observe_memory is None:
            memory = observe_memory_of(device_memory()) / 2**30
            self.measurement = replace(self.measurement, observe_memory=memory)
        measurement, L = self.measurement, len(self._languages)
        most = config.scheduler_config.max_num_seqs
        return ObservationSpec(
            most_slots=max(2, -(-STEPS_IN_FLIGHT * most // L)),
            languages=L,
            thresholds=measurement.thresholds,
            position=measurement.position,
            signal=measurement.signal,
            attribution=measurement.attribution,
            memory_bytes=measurement.memory_bytes,
            only_reads=True,
            edits=self._design.num_slots(L, most),
            judged_places=judged_places(config),
            finds_likeliest=True,
        )

    # -- which neurons ---------------------------------------------------------------------------------

    def prepare(
        self,
        engine: PatchedEngine,
        occupancy: Occupancy | None,
        source: Source,
        shown: RunProgress,
        stop: threading.Event,
    ) -> None:
        """Look up the layers and, of one set for all examples, which neurons it has.

        Raises:
            InputError: there is no such layer, or no neuron in a category.
        """
        facts, chosen = engine.facts, self._deactivation
        widths = (facts.neurons,) * len(facts.layers)
        model = ModelNeurons(facts.model, facts.model_fingerprint, facts.layers, widths)
        try:
            rows = model.rows(chosen.layers)
        except InputError as error:
            raise InputError(f"--layers {chosen.layers}: {error}") from error
        layers = None if chosen.layers is None else tuple(facts.layers[row] for row in rows)
        self._design = replace(self._design, layers=layers)
        if not self._design.is_fixed:
            return
        if occupancy is None:
            shown.message("reading all examples first: --min-share makes one set for all of them")
            occupancy = self._read(engine, source, model, shown, stop)
            if stop.is_set():
                return
        edits = common_edits(occupancy, chosen, self._design.conditions, self._design.seed, model)
        self._design = replace(self._design, edits=edits)

    def _read(
        self,
        engine: PatchedEngine,
        source: Source,
        model: ModelNeurons,
        shown: RunProgress,
        stop: threading.Event,
    ) -> Occupancy:
        """Read all examples, and add up how often each neuron is in each category."""
        L, number = len(self._languages), 0
        count = np.zeros((*model.shape, len(CATEGORIES)), np.int64)
        contribution, prompts = np.zeros((L, *model.shape)), np.zeros(L)
        shown.start(source.total, 0)
        with self._tokenised(engine, source.examples, source.add_special_tokens) as examples:
            passing = ReadingPass(
                engine, L, self.measurement, Collector(engine, L, self.measurement), Slots(engine.facts.slots),
                Totals(), examples=examples, first=0, window=self._options.window, keep_bits=False, stop=stop,
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
        scores = mean_contribution(contribution, prompts) if self.measurement.attribution else None
        return Occupancy(model, number, count, scores)

    # -- answering -------------------------------------------------------------------------------------

    def run(
        self, engine: PatchedEngine, source: Source, out: str, shown: RunProgress, stop: threading.Event
    ) -> None:
        """Answer all prompts, into the store."""
        tokenise = self._tokeniser(engine, source.add_special_tokens)
        shown.message(describe_tokens(tokenise, self.measurement))
        header = self._header(engine, source, token_facts(tokenise, self.measurement, False))
        prompts, overwrite = self._options.keep_prompts, self._options.overwrite
        if self._options.resume:
            opened = StoreWriter.resume(out, header, keep_prompts=prompts)
        else:
            opened = StoreWriter.create(out, header, keep_prompts=prompts, overwrite=overwrite)
        self.has_written = True
        self._num_layers = len(engine.facts.layers)
        with opened as writer:
            self._answer(engine, writer, source, shown, stop)

    def _answer(
        self,
        engine: PatchedEngine,
        writer: StoreWriter,
        source: Source,
        shown: RunProgress,
        stop: threading.Event,
    ) -> None:
        first, window, shard = writer.committed, self._options.window, self._options.shard
        known = KnownExamples(writer.committed_examples())
        source = source.part(shard, window)

        def number_of(index: int) -> int:
            return index if shard is None else shard.whole_example(index, window)

        if first and not writer.is_complete:
            shown.message(f"continuing after {first} examples")
        shown.start(None if source.total is None else max(first, source.total), first)
        waiting: list[Outcome] = []
        number, num_skipped = first, 0
        first_skipped: Skipped | None = None
        try:
            examples = remaining_examples(source.examples, known, stop)
            with self._tokenised(engine, examples, source.add_special_tokens) as encoded:
                reads_last = self.measurement.position == "last"
                passing = OutcomePass(
                    engine, self._design, len(self._languages), encoded, first, reads_last, stop, number_of
                )
                for outcome in passing:
                    if writer.is_complete:
                        shown.message(f"continuing after {first} examples: there are more by now")
                        writer.reopen()
                    waiting.append(outcome)
                    number += 1
                    if isinstance(outcome.encoded, Skipped):
                        first_skipped, num_skipped = first_skipped or outcome.encoded, num_skipped + 1
                    shown.advance(1, *self._work_of(outcome))
                    if number % window == 0:
                        writer.commit(self._window(waiting, number - len(waiting), source.tasks))
                        waiting = []
            ended = not stop.is_set()
        except EngineError:
            if not was_stopped(stop):
                raise
            ended = False
        finally:
            # Also after an error or Ctrl-C: what was answered is kept, and the run can be resumed.
            shown.stop()
            if waiting:
                writer.commit(self._window(waiting, number - len(waiting), source.tasks))
            writer.wait()
        if not ended:
            shown.message(f"stopped; {writer.committed} examples are safe; continue with --resume")
            return
        if known.passed < first and not (writer.is_complete and source.limit is not None):
            raise StoreError(
                f"the store holds {first} examples, and the data give {known.passed}; pass another --out, or "
                "--overwrite instead of --resume"
            )
        if writer.is_complete:
            shown.message("the store is complete already; nothing to do")
            return
        writer.finish()
        if first_skipped is not None and num_skipped == number - first:
            shown.message(
                f"all {num_skipped:,} examples of this run were skipped, so nothing was answered; the first was "
                f"{first_skipped.id!r}: {first_skipped.reason}"
            )
        for note in source.notes():
            if note not in source.remarks:
                shown.message(note)

    def _work_of(self, outcome: Outcome) -> tuple[int, int]:
        """Prompts that were answered for an example, each counted as often as it was, and their tokens."""
        if isinstance(outcome.encoded, Skipped):
            return 0, 0
        C, texts = len(self._design.conditions), [each for of in outcome.encoded.candidates for each in of]
        return C * len(texts), C * sum(len(each.token_ids) for each in texts)

    def _tokeniser(self, engine: PatchedEngine, add_special_tokens: bool) -> Tokeniser:
        return Tokeniser(engine.tokenizer, add_special_tokens, self.measurement.add_bos_token)

    def _tokenised(
        self, engine: PatchedEngine, examples: Iterable[Any], add_special_tokens: bool
    ) -> "closing[TokenisedExamples]":
        """Examples tokenised ahead of the engine, in a thread that ends with the context."""
        tokenise = self._tokeniser(engine, add_special_tokens)
        facts, position = engine.facts, self.measurement.position
        encode = AnswerEncoder(
            tokenise,
            self._languages,
            facts.max_prompt_tokens,
            facts.vocabulary,
            "appended" if position == "answer" else "ignored",
            own_tokens=position != "last",
            include_special_tokens=self.measurement.include_special_tokens,
        )
        return closing(TokenisedExamples(examples, encode, self._languages, False, max(256, facts.slots)))

    def _header(self, engine: PatchedEngine, source: Source, tokens: dict[str, Any]) -> Header:
        read = _Read(engine.facts, self.measurement, self._languages)
        header = header_of(read, source, self._options, self._engine_options, tokens)
        return msgspec.structs.replace(
            header,
            kind="deactivate",
            conditions=[condition.label for condition in self._design.conditions],
            edits=self._deactivation.recorded(len(self._languages)),
            measures=measures_without_texts(source.tasks),
        )

    def _window(self, outcomes: Sequence[Outcome], first: int, tasks: tuple[str, ...]) -> Window:
        """Examples that are through, as a window of the store."""
        examples = [
            outcome.encoded if isinstance(outcome.encoded, Skipped) else outcome.encoded.example
            for outcome in outcomes
        ]
        C, N = len(self._design.conditions), self._num_layers
        arrays = described(examples, tasks, self._languages)
        arrays |= outcome_arrays(outcomes, len(self._languages), C, N)
        return Window(first, arrays, skipped_lines(examples, first))
