"""A session: an engine with its model patched, fed from a stream of examples.

    with Session("Qwen/Qwen3-8B", languages=("en", "de", "zh")) as session:
        for rows in session.measure(examples):
            ...

Examples in flight are bounded by the slots of the workers' buffers, whatever the size of the data
set. Finished ones are handed on in input order.
"""

import contextlib
import gc
import itertools
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.arrays import CATEGORIES, Arrays, nothing
from fastneurons.config import EngineOptions, Measurement, RunOptions, check_together
from fastneurons.data.digest import (
    DATA_CHANGED,
    NO_DIGEST,
    Known,
    difference,
    digest_of_row,
    digest_of_tokens,
)
from fastneurons.data.example import Example, Skipped
from fastneurons.engine.core import Core
from fastneurons.engine.encode import BlockEncoder, Encoder, PromptEncoder, Tokenised
from fastneurons.engine.engine_warnings import collected_warnings
from fastneurons.engine.environment import (
    cpu_computes_bfloat16,
    engine_environment,
    give_freed_memory_back,
)
from fastneurons.engine.failure import LoadError, cause
from fastneurons.engine.feed import Feed
from fastneurons.engine.fingerprint import model_fingerprint, tokenizer_fingerprint
from fastneurons.engine.merge import Slice, merge
from fastneurons.engine.model_checks import check_config, check_files, is_downloaded, local_folder
from fastneurons.engine.model_files import ModelFiles
from fastneurons.engine.placement import InFlight, MeasuredRows, Placement
from fastneurons.engine.tokenise import Tokeniser
from fastneurons.engine.wire import from_wire, to_wire
from fastneurons.errors import EngineError, InputError, StoreError
from fastneurons.model_name import is_path

# Prompts in flight for each one that a step can hold: the next step is ready while one runs, and
# finished ones wait for theirs of the same example.
_STEPS_IN_FLIGHT = 4

# A few hundred answers a language, in many languages: 100 MB at most for the largest models.
_UNEMBEDDING_ROWS_KEPT = 4096

# On CPUs, where vLLM's defaults are a server's. Blocks of 128 tokens would have most of a step's prompts leave most of
# theirs empty, in memory that is zeroed before the first prompt, and share no prefix that is shorter; 32 is the least
# that its attention takes. A step of 2,048 tokens is as efficient as one of 4,096 and half as long in coming.
_ON_CPU = {"enforce_eager": True, "block_size": 32, "max_num_batched_tokens": 2048}

_engines_in_use: set[int] = set()


@dataclass(frozen=True)
class ModelFacts:
    """What a session knows of its model once it is loaded."""

    model: str
    dtype: str
    layers: tuple[int, ...]
    neurons: int
    function: str
    gated: bool
    max_prompt_tokens: int
    vocabulary: int
    device: str
    workers: int
    threads_per_worker: int
    slots: int  # examples in flight
    buffer_bytes: int  # per worker
    top_k: int | None  # neurons that count as the most contributing ones
    model_fingerprint: str | None = (
        None  # of what is known without reading weights; see engine/fingerprint.py
    )
    tokenizer_fingerprint: str | None = None
    warnings: tuple[str, ...] = ()  # of the engine's: what may change results


@dataclass
class SessionTotals:
    """What a session has sent to its engine."""

    prompts: int = 0
    tokens: int = 0
    tokens_to_read: int = 0
    begun: int = (
        0  # texts that began with the tokenizer's begin mark, which was not put before them once more
    )
    steps: int = 0
    waited_s: float = 0.0  # for the source, with the engine idle


class Session:
    """A vLLM engine with its model patched.

    Args:
        model: A folder, or a name on the Hub.
        languages: L codes; at least two, but for position "corpus".
        what: What is read of each prompt.
        options: Engine arguments.
        verbose: Let vLLM's log through.
    Raises:
        InputError: the model cannot be loaded, or its neurons cannot be measured.
    """

    # What nothing that is read depends on is left out; benchmarks compare.
    only_reads = True

    def __init__(
        self,
        model: str,
        languages: tuple[str, ...],
        what: Measurement | None = None,
        options: EngineOptions | None = None,
        verbose: bool = False,
    ) -> None:
        self.languages = languages
        self.what = what or Measurement()
        self.totals = SessionTotals()
        self._options = options or EngineOptions()
        self._engine_number = next(n for n in itertools.count() if n not in _engines_in_use)
        _engines_in_use.add(self._engine_number)
        self._core: Core | None = None
        self._files: ModelFiles | None = None
        self._warnings: list[str] = []
        try:
            with engine_environment(self._options.world_size, verbose):
                self._core = self._start(model)
            self._tokenizer = self._core.tokenizer()
            self._tokenisers: dict[bool, Tokeniser] = {}
            if self._files is None:  # they were downloaded meanwhile
                self._files = self._find_files(model)
            self._slices: list[Slice] = []
            self.facts = self._describe(model)
            self._unembedding: dict[int, NDArray[np.float32]] = {}
            self._calls_before = [tally["calls"] for tally in self._tallies()]
        except BaseException:
            with contextlib.suppress(Exception):  # what went wrong first is what people should be told
                self.close()
            raise
        self._free_slots = list(range(self.facts.slots))
        self._request_numbers = itertools.count()

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(Exception) if error is not None else contextlib.nullcontext():
            self.close()

    @property
    def core(self) -> Core:
        """vLLM's engine core."""
        if self._core is None:
            raise EngineError("the session is closed")
        return self._core

    def close(self) -> None:
        """Shut the engine down and free its memory. Harmless when called twice."""
        core, self._core = self._core, None
        if core is not None:
            core.close()
            give_freed_memory_back()
        if self._engine_number in _engines_in_use:
            from fastneurons.engine.patch import forget

            forget(self._engine_number)
            _engines_in_use.discard(self._engine_number)

    def measure(
        self,
        rows: Iterable[Example | Skipped],
        first: int = 0,
        window: int = 256,
        keep_bits: bool = True,
        stop: threading.Event | None = None,
        block_size: int | None = None,
        add_special_tokens: bool = True,
        known: Iterable[Known] = (),
    ) -> Iterator[MeasuredRows]:
        """Measure a stream of examples, or of texts.

        Args:
            rows: The source from its row `first` on. For a corpus all of it: its blocks are not its rows.
            first: Index of the first row to hand on in the whole source; of a corpus, of the first block.
            window: What is handed on never spans two windows of this many rows. Of a corpus it is a window,
                since tokens of several rows are counted together.
            keep_bits: Whether `activated` is wanted.
            stop: Once set, no more is sent; what is complete by then is handed on, and of a corpus also what
                is in flight.
            block_size: Tokens of a corpus' blocks; None keeps documents.
            add_special_tokens: Whether the tokenizer marks a prompt's begin, as it does by itself. Off for prompts
                in a chat format, which have their marks already.
            known: Of a corpus, the blocks before the first, which must be those of the source. Where the source has
                fewer, nothing is handed on.
        Yields:
            All rows, in input order, in groups.
        Raises:
            EngineError: the engine or the patch failed, or did not read what it was sent.
            StoreError: the source does not begin with the blocks that are `known`.
            Exception: whatever reading `rows` raised, after all rows before it were handed on.
        """
        corpus = self.what.position == "corpus"
        if corpus:
            self._check_window(window, block_size)
        read = _Digesting(rows)
        encode = self._encoder(block_size, add_special_tokens)
        feed = Feed(read, encode, ahead=max(256, self.facts.slots))
        stop = stop or threading.Event()
        pending: deque[InFlight] = deque()
        requests: dict[str, InFlight] = {}
        source_error: BaseException | None = None
        exhausted = False
        next_row = next_taken = first
        try:
            if corpus:
                self._pass_by(feed, known, block_size)
            while True:
                while not (exhausted or stop.is_set()) and self._has_room(
                    next_taken, next_row, first, window
                ):
                    began = time.perf_counter()
                    try:
                        row = feed.take(wait=not requests)
                    except StopIteration:
                        exhausted = True
                        break
                    except Exception as error:
                        source_error, exhausted = error, True
                        break
                    if row is None:
                        break
                    if not requests:
                        self.totals.waited_s += time.perf_counter() - began
                    digest = self._digest_of_block(row) if corpus else read.digests.popleft()
                    pending.append(self._send(row, digest, requests, next_taken // window))
                    next_taken += 1
                failure = self._step(requests) if requests else None
                stopped = stop.is_set() and not (corpus and requests)
                ended = failure is not None or stopped or (exhausted and not requests)
                while group := self._complete(pending, next_row, window, ended, failure):
                    collected = self._collected(group, next_row, window, keep_bits)
                    next_row += len(group)
                    self._free_slots += [item.slot for item in group if item.slot >= 0]
                    if next_row - len(group) == first:
                        self._check_calls()
                    yield collected
                if failure is not None:
                    raise EngineError(f"the engine failed: {cause(failure)}") from failure
                if ended:
                    break
        finally:
            feed.close()
            self.totals.begun += getattr(encode, "num_begun", 0)
        if stop.is_set():
            self._abandon(requests, pending)
            return
        self._check_totals()
        if source_error is not None:
            raise source_error

    # -- the engine ---------------------------------------------------------------------------------

    def _start(self, model: str) -> Core:
        """Make the engine. Everything that vLLM is told is told here."""
        check_together(self.what, RunOptions(), self._options)
        self._files = self._find_files(model)
        try:
            with _importing():
                from vllm.engine import arg_utils  # noqa: F401 - most of what is imported
                from vllm.platforms import current_platform
                from vllm.v1.engine import core_client  # noqa: F401
        except ImportError as error:
            raise InputError(
                f"vLLM cannot be imported ({error}); install it with pip install 'fastneurons[cpu]' "
                "or, on a machine with an NVIDIA GPU, pip install 'fastneurons[gpu]'"
            ) from error
        on_cpu = current_platform.is_cpu()
        options = self._options
        worker = f"fastneurons.engine.{'cpu_worker.CPU' if on_cpu else 'gpu_worker.GPU'}NeuronWorker"
        try:
            with collected_warnings() as collector:
                core = self._load(model, options, worker, on_cpu)
        except InputError:
            raise
        except TypeError as error:
            if "unexpected keyword argument" in str(error):
                name = str(error).rpartition(" ")[2].strip("'")
                raise InputError(f"--engine-arg {name}: vLLM has no engine argument of that name") from error
            raise LoadError(f"{model}: vLLM cannot load it: {cause(error)}") from error
        except Exception as error:
            raise LoadError(f"{model}: vLLM cannot load it: {cause(error)}") from error
        self._warnings = collector.lines
        return core

    def _load(self, model: str, options: EngineOptions, worker: str, on_cpu: bool) -> Core:
        """The engine itself. Raises whatever vLLM raises."""
        # Tokens whose keys and values are taken from the cache pass no layer: they would not be read.
        cached = {} if self.what.position == "last" else {"enable_prefix_caching": False}
        config = engine_config(model, options, worker_cls=worker, **cached)
        try:
            # Once more, with the defaults of its family filled in, and before the weights are downloaded.
            check_config(config.model_config.hf_config.to_dict())
        except InputError as error:
            raise InputError(f"{model}: {error}") from error
        rows = max(1024, _STEPS_IN_FLIGHT * config.scheduler_config.max_num_seqs)
        config.additional_config = {
            "fastneurons": self._spec(most_slots=max(2, -(-rows // len(self.languages))))
        }
        if on_cpu:
            from fastneurons.engine.cpu_norms import prefer_one_kernel

            prefer_one_kernel(config)
        return Core(config)

    def _find_files(self, model: str) -> ModelFiles | None:
        """What the model's files say; None if they have still to be downloaded.

        Raises:
            InputError: they are not those of a model that can be measured.
        """
        options = self._options
        folder = local_folder(model, options.revision, options.engine_args.get("download_dir"))
        if folder is None or (str(folder) != model and not is_path(model) and not is_downloaded(folder)):
            return None
        return ModelFiles(folder, *check_files(folder))

    def _spec(self, most_slots: int) -> dict[str, Any]:
        import msgspec

        from fastneurons.engine.observer import ObservationSpec
        from fastneurons.engine.patch import PATCH_VERSION

        what = self.what
        spec = ObservationSpec(
            patch=PATCH_VERSION,
            engine=self._engine_number,
            most_slots=most_slots,
            languages=len(self.languages),
            thresholds=what.thresholds,
            position=what.position,
            signal=what.signal,
            attribution=what.attribution,
            memory_bytes=what.memory_bytes,
            only_reads=self.only_reads,
        )
        described: dict[str, Any] = msgspec.to_builtins(spec)
        return described

    def _describe(self, model: str) -> ModelFacts:
        ranks = self.core.ask("fastneurons_describe")
        for rank in ranks:
            if rank["refusal"] is not None:
                raise InputError(f"{model}: {rank['refusal']}")
        self._slices = [
            Slice(tuple(rank["layers"]), rank["first_neuron"], rank["neurons"])
            for rank in ranks
            if rank["layers"]
        ]
        slots = min(rank["slots"] for rank in ranks)
        config = self.core.config.model_config
        first = ranks[0]
        warnings = [*self._warnings, *(line for rank in ranks for line in rank["warnings"])]
        files = self._files
        return ModelFacts(
            model=model,
            dtype=first["dtype"],
            layers=tuple(sorted({layer for rank in ranks for layer in rank["layers"]})),
            neurons=first["total_neurons"],
            function=first["function"],
            gated=first["gated"],
            max_prompt_tokens=config.max_model_len - 1,  # vLLM always generates at least one token
            vocabulary=config.get_vocab_size(),
            device=first["device"],
            workers=len(ranks),
            threads_per_worker=first["threads"],
            slots=slots,
            buffer_bytes=max(rank["buffer_bytes"] for rank in ranks),
            top_k=self.what.neurons_in_top(first["total_neurons"]),
            model_fingerprint=model_fingerprint(files.config, files.tensors) if files else None,
            tokenizer_fingerprint=self._fingerprint_of_tokenizer(model),
            warnings=tuple(dict.fromkeys(warnings)),
        )

    def _fingerprint_of_tokenizer(self, model: str) -> str:
        options = self._options
        name, revision = (
            options.tokenizer or model,
            options.engine_args.get("tokenizer_revision", options.revision),
        )
        return tokenizer_fingerprint(
            local_folder(name, revision, options.engine_args.get("download_dir")), self._tokenizer
        )

    def _tallies(self) -> list[dict[str, Any]]:
        tallies: list[dict[str, Any]] = self.core.ask("fastneurons_tally")
        return tallies

    # -- one row --------------------------------------------------------------------------------------

    def _encoder(self, block_size: int | None, add_special_tokens: bool) -> Encoder:
        tokenise = self.tokeniser(add_special_tokens)
        place = (tokenise, self.languages, self.facts.max_prompt_tokens, self.facts.vocabulary)
        marks = self.what.include_special_tokens
        if self.what.position == "corpus":
            return BlockEncoder(*place, block_size, include_special_tokens=marks)
        if self.what.position == "answer":
            return PromptEncoder(*place, "appended", own_tokens=True, include_special_tokens=marks)
        answers = "first token" if self.what.attribution else "ignored"
        own = self.what.position == "any"
        return PromptEncoder(*place, answers, own_tokens=own, include_special_tokens=marks)

    def tokeniser(self, add_special_tokens: bool = True) -> Tokeniser:
        """The model's tokenizer as this session uses it; `add_special_tokens` as for `measure`.

        Raises:
            InputError: it has no begin mark, and one is asked for.
        """
        if add_special_tokens not in self._tokenisers:
            tokenise = Tokeniser(self._tokenizer, add_special_tokens, self.what.add_bos_token)
            self._tokenisers[add_special_tokens] = tokenise
        return self._tokenisers[add_special_tokens]

    def _check_window(self, window: int, block_size: int | None) -> None:
        """Within a window, tokens are counted in 32 bits.

        Raises:
            InputError: they could overflow; or blocks are longer than the model takes.
        """
        longest = self.facts.max_prompt_tokens
        if block_size is not None and block_size > longest:
            raise InputError(
                f"--block-size {block_size}: the model takes {longest} tokens (--max-model-len less one)"
            )
        if window * (block_size or longest) >= 2**31:
            raise InputError(
                f"--window {window}: of a corpus with up to {block_size or longest} tokens a text at most "
                f"{2**31 // (block_size or longest)}"
            )

    def _has_room(self, next_taken: int, next_row: int, first: int, window: int) -> bool:
        """Whether one more row can be sent.

        Of a corpus two windows are in flight, each with counters of its own. Otherwise nothing follows the first
        window before its first results: a small window comes after a small step, and all is well or is told early.
        """
        if self.what.position == "corpus":
            return next_taken // window <= next_row // window + 1
        return bool(self._free_slots) and (next_row > first or next_taken < first + window)

    def _send(
        self, row: Tokenised | Skipped, digest: int, requests: dict[str, InFlight], window_number: int
    ) -> InFlight:
        """Give an example a slot and its prompts to the engine."""
        if isinstance(row, Skipped):
            return InFlight(row, digest)
        from fastneurons.engine.worker import ROW_KEY, SPANS_KEY

        corpus = self.what.position == "corpus"
        item = InFlight(row, digest, -1 if corpus else self._free_slots.pop())
        slot = window_number % 2 if corpus else item.slot
        for index, token_ids in enumerate(row.token_ids):
            if token_ids is None:
                continue
            request_id = str(next(self._request_numbers))
            extra: dict[str, Any] = {ROW_KEY: slot * len(self.languages) + index}
            if self.what.position != "last":
                extra[SPANS_KEY] = row.read(index)
                self.totals.tokens_to_read += row.num_read(index)
            self.core.send(request_id, token_ids, extra)
            requests[request_id] = item
            item.unfinished += 1
            self.totals.prompts += 1
            self.totals.tokens += len(token_ids)
        return item

    def _step(self, requests: dict[str, InFlight]) -> Exception | None:
        """One step of the engine; the exception that ended it, if one did."""
        try:
            for request_id in self.core.step():
                requests.pop(request_id).unfinished -= 1
        except Exception as error:
            return error
        self.totals.steps += 1
        return None

    def _complete(
        self, pending: deque[InFlight], next_row: int, window: int, ended: bool, failure: Exception | None
    ) -> list[InFlight]:
        """Take from the front the rows that are complete, up to the end of a window or of a task.

        Only if they are worth a collection: it waits for the device.
        """
        room = window - next_row % window
        num_complete = 0
        for item in itertools.islice(pending, room):
            if item.task != pending[0].task and self.what.position != "corpus":
                room = num_complete  # what is left of this task will not grow
                break
            if item.unfinished:
                break
            num_complete += 1
        if self.what.position == "corpus":
            # What is counted for a window is one sum: of all its rows, or of none.
            worth = num_complete == room or (ended and failure is None and num_complete == len(pending))
        else:
            worth = ended or num_complete == room or num_complete >= max(1, self.facts.slots // 4)
        return [pending.popleft() for _ in range(num_complete)] if worth else []

    def _collected(self, group: list[InFlight], first: int, window: int, keep_bits: bool) -> MeasuredRows:
        """What the workers read of complete rows."""
        if self.what.position == "corpus":
            return self._count(group, first, window)
        return self._collect(group, first, keep_bits)

    def _collect(self, group: list[InFlight], first: int, keep_bits: bool) -> MeasuredRows:
        """Fetch what the workers read of complete rows."""
        place = Placement.of(group, len(self.languages))
        arguments: dict[str, Any] = {"rows": place.slot_rows, "keep_bits": keep_bits}
        if self.what.attribution and place.slot_rows:
            tokens = sorted({token for row in place.answer_tokens for token in row if token >= 0})
            arguments["answers"] = {
                "index": [[tokens.index(t) if t >= 0 else -1 for t in row] for row in place.answer_tokens],
                "unembedding": to_wire({"rows": self._unembedding_rows(tokens)}),
                "top_k": self.facts.top_k,
                "keep_coefficients": self.what.keep_coefficients,
            }
        if not place.slot_rows:
            return place.measured_rows(first, self._nothing(keep_bits))
        answers = self._ask("fastneurons_collect", **arguments)
        return place.measured_rows(first, merge(self._slices, answers))

    def _count(self, group: list[InFlight], first: int, window: int) -> MeasuredRows:
        """Fetch what was counted of a window of a corpus, and set it back to 0."""
        place = Placement.of(group, len(self.languages))
        answers = self._ask("fastneurons_count", parity=first // window % 2)
        return place.measured_rows(first, merge(self._slices, answers))

    def _nothing(self, keep_bits: bool) -> Arrays:
        """The arrays of no examples."""
        neurons = self.facts.neurons
        sizes = {
            "threshold": len(self.what.thresholds),
            "language": len(self.languages),
            "layer": len(self.facts.layers),
            "neuron": neurons,
            "byte": -(-neurons // 8),
            "category": len(CATEGORIES),
        }
        kept = {"activated": keep_bits, "coefficient": self.what.keep_coefficients}
        return nothing(
            "attributing" if self.what.attribution else "comparing",
            [name for name, wanted in kept.items() if wanted],
            sizes,
        )

    def _unembedding_rows(self, tokens: list[int]) -> NDArray[np.float32]:
        """Rows of the unembedding, float32 [U, H]; those asked for before are known."""
        if not tokens:
            return np.zeros((0, 0), np.float32)
        unknown = [token for token in tokens if token not in self._unembedding]
        if unknown:
            if len(self._unembedding) > _UNEMBEDDING_ROWS_KEPT:
                self._unembedding.clear()
                unknown = tokens
            parts = [answer["rows"] for answer in self._ask("fastneurons_unembedding", tokens=unknown)]
            rows: NDArray[np.float32] = np.sum(np.stack(parts), axis=0)
            self._unembedding |= dict(zip(unknown, rows, strict=True))
        return np.stack([self._unembedding[token] for token in tokens])

    def _ask(self, method: str, **arguments: Any) -> list[Arrays]:
        """Call a method of all workers; each rank's arrays."""
        try:
            answers = self.core.ask(method, **arguments)
        except Exception as error:
            raise EngineError(f"the engine failed: {cause(error)}") from error
        for answer in answers:
            if answer["error"] is not None:
                raise EngineError(f"reading activations failed: {answer['error']}")
        return [from_wire(answer["arrays"]) for answer in answers if answer["arrays"]]

    def _digest_of_block(self, row: Tokenised | Skipped) -> int:
        return NO_DIGEST if isinstance(row, Skipped) else digest_of_tokens(self.languages, row.token_ids)

    def _pass_by(
        self, blocks: Iterator[Tokenised | Skipped], known: Iterable[Known], block_size: int | None
    ) -> None:
        """Take the first blocks of a corpus, which were counted before: reading them tells where the next begins.

        Raises:
            StoreError: they are not those that were.
        """
        for index, (stored, block) in enumerate(zip(known, blocks, strict=False)):
            row = block.example if isinstance(block, Tokenised) else block
            problem = difference(stored, row, self._digest_of_block(block))
            if problem is None:
                continue
            if block_size is not None and 0 < stored.tokens < block_size:
                # Where more text follows, its blocks would begin elsewhere.
                raise StoreError(
                    f"block {index} of the store {problem}. It is shorter than --block-size {block_size}, as the texts "
                    "of its language ended there: a corpus of blocks that came to its end cannot be continued with "
                    "more texts; pass another --out, or --overwrite in place of --resume"
                )
            raise StoreError(f"block {index} of the store {problem}; {DATA_CHANGED}")

    # -- what must hold -----------------------------------------------------------------------------

    def _check_calls(self) -> None:
        """After the first rows: the op ran in each layer of each forward pass.

        A compiled graph of the unpatched model, served from a cache, would show here.
        """
        for rank, (tally, before) in enumerate(zip(self._tallies(), self._calls_before, strict=True)):
            expected = tally["layers"] * tally["forwards"]
            if tally["calls"] - before != expected:
                raise EngineError(
                    f"rank {rank}: the patched layers were called {tally['calls'] - before} times in "
                    f"{tally['forwards']} forward passes of {tally['layers']} layers, {expected} were expected; "
                    "a compiled graph of another model may have been served: clear vLLM's cache (~/.cache/vllm)"
                )

    def _check_totals(self) -> None:
        """At the end: every rank has read each prompt that was sent once, and each of its tokens once."""
        for rank, tally in enumerate(self._tallies()):
            if tally["error"] is not None:
                raise EngineError(f"reading activations failed: {tally['error']}")
            tokens = tally["prompt_tokens"] + tally["cached_tokens"]
            if (tally["prompts"], tokens) != (self.totals.prompts, self.totals.tokens):
                raise EngineError(
                    f"rank {rank} computed {tally['prompts']} prompts and {tokens} tokens, "
                    f"{self.totals.prompts} prompts and {self.totals.tokens} tokens were sent"
                )
            expected = self.totals.prompts if self.what.position == "last" else self.totals.tokens_to_read
            if tally["rows_read"] != expected:
                raise EngineError(f"rank {rank} read {tally['rows_read']} tokens, {expected} were to be read")

    def _abandon(self, requests: dict[str, InFlight], pending: deque[InFlight]) -> None:
        """Take back what was sent and is not complete."""
        self.core.abort(list(requests))
        for item in pending:
            if item.slot >= 0:
                self._free_slots.append(item.slot)


class _Digesting:
    """Hands rows on, and keeps the digest of each one until it is sent."""

    def __init__(self, rows: Iterable[Example | Skipped]) -> None:
        self._rows = rows
        self.digests: deque[int] = deque()

    def __iter__(self) -> Iterator[Example | Skipped]:
        for row in self._rows:
            self.digests.append(digest_of_row(row))
            yield row


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Keep the garbage collector away from what vLLM's import makes: a million objects that all stay.

    It would look at them again and again, now and at every collection that vLLM asks for later: 1.4 s of
    13 s of importing, and 4 s at the engine's end.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if enabled:
            gc.enable()


def engine_config(model: str, options: EngineOptions, **own: Any) -> Any:
    """vLLM's configuration of an engine that only reads prompts.

    Args:
        model: A folder, or a name on the Hub.
        options: What the user said of it.
        own: Other engine arguments; what the user said goes before them.
    """
    from vllm.engine.arg_utils import EngineArgs
    from vllm.platforms import current_platform
    from vllm.usage.usage_lib import UsageContext

    on_cpu = current_platform.is_cpu()
    given = {name: value for name, value in asdict(options).items() if value is not None}
    extra = given.pop("engine_args")
    if on_cpu and options.dtype == "auto" and not cpu_computes_bfloat16():
        given["dtype"] = "float32"
    arguments = {
        **(_ON_CPU if on_cpu else {}),
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        **own,
        **given,
        "model": model,
        **extra,
    }
    config = EngineArgs(**arguments).create_engine_config(UsageContext.LLM_CLASS)
    if on_cpu and options.gpu_memory_utilization is None and "kv_cache_memory_bytes" not in extra:
        _bound_kv_cache(config)
    return config


def _bound_kv_cache(config: Any) -> None:
    """Reserve what a prefill needs, rather than the share of the machine's memory that a server would.

    Each prompt of a step starts a block of its own; the longest prompt must fit; and a second step's
    worth keeps the prompts that are scheduled next.
    """
    model, parallel, scheduler = config.model_config, config.parallel_config, config.scheduler_config
    item_bytes = {"float32": 4}.get(str(model.dtype).removeprefix("torch."), 2)
    token_bytes = (
        2
        * model.get_num_layers(parallel)
        * model.get_num_kv_heads(parallel)
        * model.get_head_size()
        * item_bytes
    )
    num_tokens = (
        model.max_model_len
        + 2 * scheduler.max_num_batched_tokens
        + scheduler.max_num_seqs * config.cache_config.block_size
    )
    config.cache_config.kv_cache_memory_bytes = num_tokens * token_bytes
