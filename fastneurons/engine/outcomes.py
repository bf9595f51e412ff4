"""Answer every prompt under several conditions, in one stream through one engine.

An example goes through two phases. First its prompts are read, as in any run; from these readings the workers fill
slots of their bank of edits, without moving a mask off the device. Then each prompt is answered as the model is, and
with each of these edits. The second phase of an example begins as soon as its first is over, while others are read.
Where the edits are the same for all examples, there is no first phase.

Examples in flight are bounded by the slots of the workers' buffers and of the bank.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.data.example import Skipped
from fastneurons.engine.answers import Answerable
from fastneurons.engine.conditions import STEPS_IN_FLIGHT, Design
from fastneurons.engine.edits import Edits, Filled
from fastneurons.engine.engine import PatchedEngine
from fastneurons.engine.reading import EncodedExamples, Slots
from fastneurons.engine.requests import ROW_KEY, SPANS_KEY
from fastneurons.engine.scoring import Scores, ToScore
from fastneurons.errors import EngineError


@dataclass(frozen=True, eq=False)
class Outcome:
    """An example that is through.

    Args:
        encoded: The example; the others are empty of one that is skipped.
        digest: Of its texts.
        log_likelihood: For each of the L languages float64 [C, candidates], log-probabilities summed over each
            candidate's tokens; [C, 0] without an answer.
        is_greedy: Likewise bool [C, candidates], whether greedy decoding would write the candidate after the prompt:
            each of its tokens is the likeliest one.
        neuron_count: int32 [C, N], neurons edited.
        overlap: int32 [C, N], of a control those that are in its category too.
    """

    encoded: Answerable | Skipped
    digest: int
    log_likelihood: list[NDArray[np.float64]] = field(default_factory=list)
    is_greedy: list[NDArray[np.bool_]] = field(default_factory=list)
    neuron_count: NDArray[np.int32] | None = None
    overlap: NDArray[np.int32] | None = None


@dataclass
class _InFlight:
    encoded: Answerable | Skipped
    digest: int
    number: int
    slot: int = -1
    unread: int = 0  # prompts of the first phase in the engine
    edit_slots: list[int] | None = None  # of the bank; None: not filled yet
    filled: Callable[[], Filled] | None = None
    unsent: deque[tuple[int, int, int]] = field(default_factory=deque)  # condition, language, candidate
    unscored: int = 0
    log_likelihood: list[NDArray[np.float64]] = field(default_factory=list)
    is_greedy: list[NDArray[np.bool_]] = field(default_factory=list)

    @property
    def is_through(self) -> bool:
        return isinstance(self.encoded, Skipped) or (
            self.edit_slots is not None and not self.unsent and not self.unscored
        )


class OutcomePass:
    """One pass over examples. Iterating runs the engine; examples come out in order.

    Args:
        engine: Reads, edits and judges, and finds the likeliest tokens. Nothing else may use it meanwhile.
        design: The conditions.
        num_languages: L.
        examples: The examples, each `Answerable` or skipped, from index `first` of the source on.
        first: Index of the first example.
        reads_last: Whether the last token of each prompt is read; else the tokens in its spans.
        stop: Once set, no more is sent; what is through by then is handed on, and the rest is dropped.
        number_of: The number of an example, by which its neurons are drawn, given its index; the index itself, unless
            the source is a share of another one.
    """

    def __init__(
        self,
        engine: PatchedEngine,
        design: Design,
        num_languages: int,
        examples: EncodedExamples,
        first: int,
        reads_last: bool,
        stop: threading.Event,
        number_of: Callable[[int], int] = lambda index: index,
    ) -> None:
        self._number_of = number_of
        self._engine, self._design, self._num_languages = engine, design, num_languages
        self._examples, self._next, self._reads_last, self._stop = examples, first, reads_last, stop
        self._edits, self._scores, self._slots = Edits(engine), Scores(engine), Slots(engine.facts.slots)
        self._most = STEPS_IN_FLIGHT * engine.core.config.scheduler_config.max_num_seqs
        self._pending: deque[_InFlight] = deque()
        self._reading: dict[str, _InFlight] = {}
        self._expected: deque[tuple[_InFlight, int, int, int]] = deque()  # in the order sent
        self._numbers = itertools.count()
        self._prompts = self._tokens_to_read = 0
        self._before = engine.tallies()
        self._exhausted = self._has_results = False
        self._source_error: Exception | None = None
        self._failure: EngineError | None = None
        self._groups, self._fixed = self._prepare()

    def __iter__(self) -> Iterator[Outcome]:
        """All examples, in input order.

        Raises:
            EngineError: the engine or the patch failed, or did not read or judge what it was sent.
            Exception: whatever reading the examples raised, after all examples before it were handed on.
        """
        try:
            while not self._ended:
                self._refill()
                self._step()
                if self._failure is None:
                    self._take_results()
                    self._scores.begin()
                    self._fill()
                yield from self._through()
            yield from self._through()  # a signal may have stopped the pass after the last look
        finally:
            self._abandon()
        self._settle()

    @property
    def _ended(self) -> bool:
        if self._failure is not None or self._stop.is_set():
            return True
        return self._exhausted and not self._pending

    # -- the bank -------------------------------------------------------------------------------------

    def _prepare(self) -> tuple[deque[list[int]], tuple[list[int], Filled] | None]:
        """Groups of slots for examples in flight; or the slots of fixed edits, and their sizes."""
        design = self._design
        if not design.is_fixed:
            groups = []
            while self._edits.num_free >= design.num_edits:
                groups.append([self._edits.take() for _ in range(design.num_edits)])
                if not design.num_edits:
                    break
            return deque(groups), None
        slots = [self._edits.put(edit) for edit in design.edits if edit is not None]
        sets = {
            condition.category: edit.neurons
            for condition, edit in zip(design.conditions, design.edits, strict=True)
            if edit is not None and condition.control is None
        }
        counts, overlaps = [], []
        for condition, edit in zip(design.conditions, design.edits, strict=True):
            if edit is None:
                continue
            like = sets[condition.category]
            shared = edit.neurons & like if condition.control is not None else None
            counts.append(edit.neurons.counts)
            overlaps.append(shared.counts if shared is not None else np.zeros_like(like.counts))
        return deque(), (slots, Filled(np.array(counts, np.int32), np.array(overlaps, np.int32)))

    def _fill(self) -> None:
        """Begin the second phase of the examples that were read, first come first, as far as the bank has room."""
        for item in self._pending:
            if item.edit_slots is not None or item.unread or isinstance(item.encoded, Skipped):
                continue
            if not self._groups:
                return
            item.edit_slots = self._groups.popleft()
            rows = [
                [
                    item.slot * self._num_languages + index if ids is not None else -1
                    for index, ids in enumerate(item.encoded.token_ids)
                ]
            ]
            item.filled = self._edits.fill(rows, self._design.fills(item.edit_slots, item.number))
            self._slots.free.append(item.slot)

    # -- sending --------------------------------------------------------------------------------------

    def _refill(self) -> None:
        """Send answers of examples that were read, and then prompts of others, for as long as there is room."""
        for item in self._pending:
            if item.edit_slots is not None and not self._send_answers(item):
                return
        while not self._exhausted and self._has_room():
            try:
                taken = self._examples.take(wait=not (self._reading or self._scores.unfinished))
            except StopIteration:
                self._exhausted = True
                return
            except Exception as error:
                self._source_error, self._exhausted = error, True
                return
            if taken is None:
                return
            item = self._begin(*taken)
            if item.edit_slots is not None and not self._send_answers(item):
                return

    def _has_room(self) -> bool:
        if len(self._reading) + len(self._scores.unfinished) >= self._most:
            return False
        if self._fixed is not None:
            return True
        # Examples that wait for the bank hold slots of the buffers, and are of no use yet.
        waiting = sum(1 for item in self._pending if item.edit_slots is None and item.slot >= 0)
        return bool(self._slots.free) and waiting <= len(self._groups)

    def _begin(self, encoded: Any, digest: int) -> _InFlight:
        """Send an example's prompts to be read; of fixed edits nothing is read."""
        item = _InFlight(encoded, digest, self._number_of(self._next))
        self._next += 1
        self._pending.append(item)
        if isinstance(encoded, Skipped):
            return item
        C = len(self._design.conditions)
        item.log_likelihood = [np.full((C, len(candidates)), np.nan) for candidates in encoded.candidates]
        item.is_greedy = [np.zeros((C, len(candidates)), bool) for candidates in encoded.candidates]
        # One condition after the other, so that texts that can share cached prefixes follow each other.
        item.unsent.extend(
            (c, index, k)
            for c in range(C)
            for index, candidates in enumerate(encoded.candidates)
            for k in range(len(candidates))
        )
        if self._fixed is not None:
            item.edit_slots = self._fixed[0]
            return item
        item.slot = self._slots.free.pop()
        for index, token_ids in enumerate(encoded.token_ids):
            if token_ids is None:
                continue
            name = f"read-{next(self._numbers)}"
            extra: dict[str, Any] = {ROW_KEY: item.slot * self._num_languages + index}
            if self._reads_last:
                self._tokens_to_read += 1
            else:
                extra[SPANS_KEY] = encoded.read(index)
                self._tokens_to_read += encoded.num_read(index)
            self._engine.send(name, token_ids, extra)
            self._reading[name] = item
            item.unread += 1
            self._prompts += 1
        return item

    def _send_answers(self, item: _InFlight) -> bool:
        """Send what is left of an example's answers; False if there is no more room."""
        assert isinstance(item.encoded, Answerable)
        assert item.edit_slots is not None
        while item.unsent:
            if len(self._scores.unfinished) >= self._most:
                return False
            condition, index, k = item.unsent[0]
            candidate = item.encoded.candidates[index][k]
            slot = self._slot_of(item.edit_slots, condition)
            salt = None if slot is None else self._edits.salt(slot, candidate.first)
            if self._scores.send(ToScore(candidate.token_ids, candidate.first, slot, salt)) is None:
                return False
            item.unsent.popleft()
            item.unscored += 1
            self._expected.append((item, condition, index, k))
        return True

    def _slot_of(self, slots: list[int], condition: int) -> int | None:
        if self._design.conditions[condition].category is None:
            return None
        edited = [each.category is not None for each in self._design.conditions[:condition]]
        return slots[sum(edited)]

    # -- a step, and results --------------------------------------------------------------------------

    def _step(self) -> None:
        """Run one step of the engine, if there is something to run; keep the exception that ended it."""
        if not (self._reading or self._scores.unfinished):
            return
        try:
            for output in self._engine.step():
                if self._scores.finish(output) or not output.finished:
                    continue
                item = self._reading.pop(output.request_id, None)
                if item is not None:
                    item.unread -= 1
        except EngineError as error:
            self._failure = error

    def _take_results(self) -> None:
        """Take the judgements that were begun before the last step, so that they are there by now."""
        try:
            for judged in self._scores.fetch_judged():
                item, condition, index, k = self._expected.popleft()
                item.log_likelihood[index][condition, k] = judged.log_probability.sum(dtype=np.float64)
                assert judged.is_likeliest is not None
                item.is_greedy[index][condition, k] = judged.is_likeliest.all()
                item.unscored -= 1
                if item.is_through and self._fixed is None:
                    assert item.edit_slots is not None
                    self._groups.append(item.edit_slots)  # no request names them any more
        except EngineError as error:
            self._failure = error

    def _through(self) -> Iterator[Outcome]:
        """Hand on the examples at the front that are through."""
        while self._pending and self._pending[0].is_through:
            item = self._pending.popleft()
            if isinstance(item.encoded, Skipped):
                yield Outcome(item.encoded, item.digest)
                continue
            if not self._has_results:
                self._engine.check_calls()
                self._has_results = True
            try:
                sizes = self._fixed[1] if self._fixed is not None else self._sizes_of(item)
            except EngineError as error:
                self._failure = self._failure or error
                return
            count, overlap = (self._of_conditions(each) for each in (sizes.neuron_count, sizes.overlap))
            yield Outcome(item.encoded, item.digest, item.log_likelihood, item.is_greedy, count, overlap)

    @staticmethod
    def _sizes_of(item: _InFlight) -> Filled:
        assert item.filled is not None
        return item.filled()

    def _of_conditions(self, of_edits: NDArray[np.int32]) -> NDArray[np.int32]:
        """[edits, N] as [C, N], 0 for the intact model."""
        edited = [condition.category is not None for condition in self._design.conditions]
        whole = np.zeros((len(edited), len(self._engine.facts.layers)), np.int32)
        whole[edited] = of_edits
        return whole

    # -- the end --------------------------------------------------------------------------------------

    def _abandon(self) -> None:
        """Abort requests that are not finished."""
        left = [*self._reading, *self._scores.unfinished]
        if left:
            with suppress(EngineError):
                self._engine.abort(left)

    def _settle(self) -> None:
        """End the pass: raise the error that ended it, or check that everything sent was read and judged."""
        if self._failure is not None:
            raise self._failure
        if self._stop.is_set():
            return
        self._edits.check()
        self._scores.check()
        for rank, (now, before) in enumerate(zip(self._engine.tallies(), self._before, strict=True)):
            prompts, read = (now[name] - before[name] for name in ("prompts", "rows_read"))
            if (prompts, read) != (self._prompts, self._tokens_to_read):
                raise EngineError(
                    f"rank {rank} read {read} tokens of {prompts} prompts, {self._tokens_to_read} of "
                    f"{self._prompts} were to be read"
                )
        if self._source_error is not None:
            raise self._source_error
