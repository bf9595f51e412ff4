"""What a deactivation becomes with an engine: what it reads, which neurons it edits, and what its store holds."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from fastneurons.config import EngineOptions, Measurement, RunOptions
from fastneurons.data.example import Skipped
from fastneurons.engine.answers import AnswerEncoder
from fastneurons.engine.conditions import STEPS_IN_FLIGHT, Design
from fastneurons.engine.edits import Change, model_of
from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.outcomes import Outcome
from fastneurons.engine.scoring import judged_places
from fastneurons.engine.tokenise import Tokeniser, describe_tokens, token_facts
from fastneurons.errors import InputError
from fastneurons.experiments.common_sets import Occupancy, common_edits
from fastneurons.experiments.design import Deactivation
from fastneurons.experiments.handed_windows import EngineReport
from fastneurons.experiments.header import header_of
from fastneurons.experiments.judging import measures_without_texts
from fastneurons.experiments.measure import describe
from fastneurons.experiments.outcome_arrays import outcome_arrays
from fastneurons.experiments.source import Source
from fastneurons.experiments.window_arrays import described, skipped_lines
from fastneurons.store import Header, Window

if TYPE_CHECKING:
    from fastneurons.engine.observation import ObservationSpec


class Answering:
    """One deactivation. It crosses to other processes by pickle, before its engine is started.

    Args:
        model: A model folder, or a name on the Hub.
        languages: L codes, the order of the store's language axis.
        measurement: How categories are read.
        options: How the store is written.
        engine: Engine arguments; `seed` is that of the first control, too.
        deactivation: What is edited.

    Attributes:
        measurement: The same, with the defaults of the device once the engine has started.
        design: The conditions; with layers and sets once these are settled.
    """

    def __init__(
        self,
        model: str,
        languages: tuple[str, ...],
        measurement: Measurement,
        options: RunOptions,
        engine: EngineOptions,
        deactivation: Deactivation,
    ) -> None:
        self.model, self.languages, self.measurement = model, languages, measurement
        self.options, self.engine_options, self.deactivation = options, engine, deactivation
        conditions = deactivation.conditions(len(languages), engine.seed)
        self.design = Design(
            conditions,
            Change(scale=deactivation.scale, scope=deactivation.scope),
            share=deactivation.fraction,
            by_contribution=deactivation.rank == "contribution",
            seed=engine.seed,
            edits=(None,) * len(conditions) if deactivation.min_share is not None else (),
        )

    def start(self, verbose: bool) -> PatchedEngine:
        """Start an engine."""
        return PatchedEngine(self.model, self.engine_options, self._observation, verbose=verbose)

    def settle_layers(self, engine: PatchedEngine) -> None:
        """Look up the layers to edit.

        Raises:
            InputError: the model has no such layer.
        """
        try:
            rows = model_of(engine).rows(self.deactivation.layers)
        except InputError as error:
            raise InputError(f"--layers {self.deactivation.layers}: {error}") from error
        layers = None if self.deactivation.layers is None else tuple(engine.facts.layers[row] for row in rows)
        self.design = replace(self.design, layers=layers)

    def settle_sets(self, engine: PatchedEngine, occupancy: Occupancy) -> None:
        """Choose the one set of each category for all examples.

        Raises:
            InputError: no neuron is often enough in a category, or the occupancy is of another model.
        """
        design = self.design
        edits = common_edits(occupancy, self.deactivation, design.conditions, design.seed, model_of(engine))
        self.design = replace(design, edits=edits)

    def report(self, engine: PatchedEngine, add_special_tokens: bool) -> EngineReport:
        """The engine as the store's header, and people, need to know it."""
        tokenise = self._tokeniser(engine, add_special_tokens)
        facts, measurement = engine.facts, self.measurement
        messages = (
            describe(facts, measurement),
            *(f"warning: {warning}" for warning in facts.warnings),
            describe_tokens(tokenise, measurement),
        )
        tokens = token_facts(tokenise, measurement, False)
        return EngineReport(facts, measurement, self.languages, None, tokens, messages, {})

    def header(self, report: EngineReport, source: Source) -> Header:
        """The store's header."""
        return msgspec.structs.replace(
            header_of(report, source, self.options, self.engine_options, report.tokens),
            kind="deactivate",
            conditions=[condition.label for condition in self.design.conditions],
            edits=self.deactivation.recorded(len(self.languages)),
            measures=measures_without_texts(source.tasks),
        )

    def encoder(self, engine: PatchedEngine, add_special_tokens: bool) -> AnswerEncoder:
        """Tokenises examples with their answers."""
        facts, position = engine.facts, self.measurement.position
        return AnswerEncoder(
            self._tokeniser(engine, add_special_tokens),
            self.languages,
            facts.max_prompt_tokens,
            facts.vocabulary,
            "appended" if position == "answer" else "ignored",
            own_tokens=position != "last",
            include_special_tokens=self.measurement.include_special_tokens,
        )

    def number_of(self, index: int) -> int:
        """The number by which an example's neurons are drawn: its index in the whole, of which this may be a share."""
        shard = self.options.shard
        return index if shard is None else shard.whole_example(index, self.options.window)

    def work_of(self, outcome: Outcome) -> tuple[int, int]:
        """Prompts that were answered for an example, each counted as often as it was, and their tokens."""
        if isinstance(outcome.encoded, Skipped):
            return 0, 0
        C, texts = len(self.design.conditions), [each for of in outcome.encoded.candidates for each in of]
        return C * len(texts), C * sum(len(each.token_ids) for each in texts)

    def window(
        self, outcomes: Sequence[Outcome], first: int, tasks: tuple[str, ...], num_layers: int
    ) -> Window:
        """Examples that are through, as a window of the store.

        Args:
            first: Index of the first one.
            tasks: The store's.
            num_layers: N.
        """
        examples = [
            outcome.encoded if isinstance(outcome.encoded, Skipped) else outcome.encoded.example
            for outcome in outcomes
        ]
        arrays = described(examples, tasks, self.languages)
        arrays |= outcome_arrays(outcomes, len(self.languages), len(self.design.conditions), num_layers)
        return Window(first, arrays, skipped_lines(examples, first))

    def _observation(self, config: Any) -> "ObservationSpec":
        from fastneurons.engine.device import device_memory, observe_memory_of
        from fastneurons.engine.observation import ObservationSpec

        if self.measurement.observe_memory is None:
            memory = observe_memory_of(device_memory()) / 2**30
            self.measurement = replace(self.measurement, observe_memory=memory)
        measurement, L = self.measurement, len(self.languages)
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
            edits=self.design.num_slots(L, most),
            judged_places=judged_places(config),
            finds_likeliest=True,
        )

    def _tokeniser(self, engine: PatchedEngine, add_special_tokens: bool) -> Tokeniser:
        return Tokeniser(engine.tokenizer, add_special_tokens, self.measurement.add_bos_token)
