"""Texts that a model generates, intact and under edits, into a store."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from fastneurons.arrays import Answer, Arrays
from fastneurons.config import EngineOptions, Measurement, RunOptions
from fastneurons.data.example import Example, Skipped
from fastneurons.engine.edits import Edits, check_before_loading
from fastneurons.engine.encode import PromptEncoder, Tokenised, without_tokens
from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.feed import TokenisedExamples
from fastneurons.engine.generation import Generated, ToGenerate, generate, greedy
from fastneurons.engine.placement import MeasuredExamples
from fastneurons.engine.scoring import scoring_engine
from fastneurons.engine.tokenise import Tokeniser, token_facts
from fastneurons.errors import InputError, printable
from fastneurons.experiments.header import model_and_adapter
from fastneurons.experiments.resume import KnownExamples, remaining_examples
from fastneurons.experiments.source import Source
from fastneurons.experiments.under_edits import header_under_edits, write_examples, writer_under_edits
from fastneurons.experiments.with_one_engine import with_one_engine
from fastneurons.model_name import short_name
from fastneurons.neuron_sets import Edit
from fastneurons.progress import RunProgress
from fastneurons.scores import exact_match, first_line, number_match, starts_with
from fastneurons.store import Header, Store, check_output, open_store

MEASURES = ("starts-with", "exact-match", "last-number")


@dataclass(frozen=True)
class Decoding:
    """How texts are generated, and judged.

    Args:
        max_tokens: Most tokens of a text.
        temperature: 0 takes the likeliest token each time.
        seed: For a temperature above 0: with it, a prompt has the same random numbers under every condition.
        until: Texts are cut before the first of these strings.
        measure: How an answer is judged, where an example has one: whether the text "starts-with" it, is it
            ("exact-match", of the first line), or has it as its "last-number".
    """

    max_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0
    until: tuple[str, ...] = ()
    measure: str = "starts-with"

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise InputError(f"--max-tokens {self.max_tokens}: must be at least 1")
        if not 0 <= self.temperature <= 100:  # nor is NaN
            raise InputError(f"--temperature {self.temperature:g}: must be from 0 to 100")
        if "" in self.until:
            raise InputError("--until: an empty text ends every text at once; leave the option out")
        if self.measure not in MEASURES:
            raise InputError(f"--measure {self.measure}: must be one of {', '.join(MEASURES)}")

    def cut(self, text: str) -> str:
        """The text before the first string of `until`."""
        ends = [place for string in self.until if (place := text.find(string)) >= 0]
        return text[: min(ends)] if ends else text

    def judge(self, text: str, example: Example, language: str) -> Answer:
        """Whether a text is the answer to an example."""
        reference = example.answers.get(language)
        if not reference:
            return Answer.NOT_JUDGED
        answers = [reference, *example.aliases.get(language, ())]
        if self.measure == "starts-with":
            return Answer(starts_with(text, answers, language))
        if self.measure == "exact-match":
            return Answer(exact_match(first_line(text), answers, language))
        try:
            return Answer(any(number_match(text, answer, language) for answer in answers))
        except InputError:  # the answer is no number
            return Answer.NOT_JUDGED


def generate_into_store(
    model: str,
    source: Source,
    languages: tuple[str, ...],
    out: str,
    edits: Sequence[tuple[str, Edit]] = (),
    decoding: Decoding | None = None,
    options: RunOptions | None = None,
    engine: EngineOptions | None = None,
    progress: bool | RunProgress = True,
    verbose: bool = False,
) -> Store:
    """Generate texts after a source's prompts, intact and under each edit, into a store of the kind "generate".

    Args:
        model: A model folder, or a name on the Hub.
        source: The prompts.
        languages: L language codes, the order of the store's language axis.
        out: The store: a local path or an fsspec URL.
        edits: The edits with their names, which become conditions after `intact`.
        decoding: How texts are generated, and judged.
        options: How the store is written.
        engine: Engine arguments.
        progress: Whether to show progress on standard error, or an object to report it to.
        verbose: Let vLLM's log through.
    Returns:
        The finished store. After Ctrl-C, the unfinished one with all that was generated.
    Raises:
        InputError: an argument or what it names is wrong.
        EngineError: the engine failed; what was generated before is committed.
        StoreError: the store cannot be written or continued; what was committed stays.
    """
    decoding, options, engine = decoding or Decoding(), options or RunOptions(), engine or EngineOptions()
    check_output(out, resume=options.resume, overwrite=options.overwrite)
    check_before_loading(edits, model, engine)
    observation = {
        "edits": len(edits),
        "edit_values": sum(edit.value is not None for _, edit in edits),
        "judged_places": 0,  # an adapter may change the unembedding: only sampled rows meet it
    }
    with with_one_engine(source, progress, verbose) as (shown, stop):
        shown.message(f"loading {short_name(model)}")
        with scoring_engine(model, engine, verbose=verbose, observation=observation) as running:
            job = GenerationJob(running, source, languages, edits, decoding, options, engine)
            job.write(out, shown, stop)
    return open_store(out)


@dataclass(frozen=True)
class GenerationJob:
    """Generation with an engine that runs already. Arguments as of `generate_into_store`."""

    running: PatchedEngine
    source: Source
    languages: tuple[str, ...]
    edits: Sequence[tuple[str, Edit]]
    decoding: Decoding
    options: RunOptions
    engine: EngineOptions

    def write(self, out: str, progress: RunProgress, stop: threading.Event) -> None:
        """Generate, into a store.

        Raises:
            EngineError: the engine failed; what was generated before is committed.
            StoreError: the store cannot be written or continued; what was committed stays.
        """
        facts, source = self.running.facts, self.source
        bank = Edits(self.running)
        slots = [bank.put(edit, name) for name, edit in self.edits]
        bank.check()
        progress.message(
            f"{model_and_adapter(facts)}: {facts.dtype}; each prompt intact and under {len(slots)} edits; "
            f"up to {self.decoding.max_tokens:,} tokens a text"
        )
        for warning in facts.warnings:
            progress.message(f"warning: {warning}")
        tokenise = Tokeniser(self.running.tokenizer, source.add_special_tokens)
        encode = PromptEncoder(tokenise, self.languages, facts.max_prompt_tokens, facts.vocabulary)
        header = self._header(tokenise)
        with writer_under_edits(out, header, self.options, self.options.keep_prompts) as writer:
            first = writer.committed
            known = KnownExamples(writer.committed_examples())
            if first and not writer.is_complete:
                progress.message(f"continuing after {first} examples")
            progress.start(None if source.total is None else max(first, source.total), first)
            examples = TokenisedExamples(
                remaining_examples(source.examples, known, stop), encode, self.languages, False, 256
            )
            texts = TextsPass(self, examples, bank, slots, first, stop)
            write_examples(writer, texts.run(), examples, source, known, progress, stop, "generated_count")
        if not stop.is_set():  # else requests may still name them
            for slot in slots:
                bank.free(slot)

    def _header(self, tokenise: Tokeniser) -> Header:
        decoding = self.decoding
        settings: dict[str, Any] = {"max_tokens": decoding.max_tokens, "temperature": decoding.temperature}
        if decoding.temperature:
            settings["sampling_seed"] = decoding.seed
        if decoding.until:
            settings["until"] = list(decoding.until)
        header = header_under_edits(
            "generate", self.edits, settings, self.running.facts, self.source, self.languages, "last",
            self.options, self.engine, token_facts(tokenise, Measurement(), False),
        )  # fmt: skip
        return msgspec.structs.replace(header, measures=dict.fromkeys(self.source.tasks, decoding.measure))


@dataclass
class _InFlight:
    """An example whose texts are being generated: `texts` [L][C]."""

    encoded: Tokenised | Skipped
    digest: int
    texts: list[list[Generated | None]]
    unfinished: int = 0
    is_sent: bool = False


@dataclass
class TextsPass:
    """One pass of prompts through an engine, each under every condition.

    Args:
        job: What is generated.
        examples: The prompts, with the digests of their examples.
        bank: The engine's bank of edits.
        slots: The slot of each edit.
        first: Index of the first example.
        stop: Once set, no more is sent, and examples that are not complete are dropped.
    """

    job: GenerationJob
    examples: Iterator[tuple[Tokenised | Skipped, int]]
    bank: Edits
    slots: Sequence[int]
    first: int
    stop: threading.Event
    _pending: deque[_InFlight] = field(default_factory=deque)
    _expected: deque[tuple[_InFlight, int, int]] = field(default_factory=deque)  # item, language, condition

    def run(self) -> Iterator[MeasuredExamples]:
        """Yield examples with `text`, `generated_count` and `correct`, in order.

        Raises:
            EngineError: the engine failed.
            Exception: whatever taking the examples raised, after all examples before it.
        """
        decoding, running = self.job.decoding, self.job.running
        parameters = greedy(running, decoding.max_tokens, temperature=decoding.temperature)
        for generated in generate(running, self._prompts(), parameters, self.stop):
            item, language, condition = self._expected.popleft()
            item.texts[language][condition] = generated
            item.unfinished -= 1
            yield from self._through()
        if not self.stop.is_set():
            yield from self._through()

    def _prompts(self) -> Iterator[ToGenerate]:
        num_languages, conditions = len(self.job.languages), [None, *self.slots]
        for number, (encoded, digest) in enumerate(self.examples, self.first):
            item = _InFlight(encoded, digest, [[None] * len(conditions) for _ in range(num_languages)])
            self._pending.append(item)
            for index, ids in enumerate(encoded.token_ids) if isinstance(encoded, Tokenised) else ():
                if ids is None:
                    continue
                seed = self.job.decoding.seed + number * num_languages + index
                for condition, slot in enumerate(conditions):
                    item.unfinished += 1
                    self._expected.append((item, index, condition))
                    salt = None if slot is None else self.bank.salt(slot, len(ids))
                    yield ToGenerate(ids, slot, salt, seed=seed)
            item.is_sent = True

    def _through(self) -> Iterator[MeasuredExamples]:
        while self._pending and self._pending[0].is_sent and not self._pending[0].unfinished:
            yield self._measured(self._pending.popleft())

    def _measured(self, item: _InFlight) -> MeasuredExamples:
        languages = self.job.languages
        ids = item.encoded.token_ids if isinstance(item.encoded, Tokenised) else [None] * len(languages)
        tokens = np.array([[len(each) if each else 0 for each in ids]], np.int32)
        shape = (1, len(languages), 1 + len(self.slots))
        text = np.full(shape, "", np.dtypes.StringDType())
        count, correct = np.zeros(shape, np.int32), np.full(shape, Answer.NOT_JUDGED, np.uint8)
        for index, language in enumerate(languages):
            for condition, generated in enumerate(item.texts[index]):
                if generated is None or not isinstance(item.encoded, Tokenised):
                    continue
                place = (0, index, condition)
                # Numbers of bytes that are no UTF-8 come out as replacement characters.
                decoded = self.job.running.tokenizer.decode(generated.token_ids, skip_special_tokens=True)
                text[place] = printable(self.job.decoding.cut(decoded))
                count[place] = len(generated.token_ids)
                correct[place] = self.job.decoding.judge(text[place], item.encoded.example, language)
        arrays: Arrays = {
            "digest": np.array([item.digest], np.uint64),
            "token_count": tokens,
            "present": tokens > 0,
            "text": text,
            "generated_count": count,
            "correct": correct,
        }
        example = without_tokens(item.encoded)
        measured = MeasuredExamples(self.first, [example], arrays)
        self.first += 1
        return measured
