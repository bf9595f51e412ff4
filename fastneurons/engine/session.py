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
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.config import EngineOptions
from fastneurons.data.example import Example, Skipped
from fastneurons.engine.environment import cpu_computes_bfloat16, engine_environment
from fastneurons.engine.feed import Feed, Tokenised
from fastneurons.engine.merge import Arrays, Slice, merge
from fastneurons.errors import EngineError, InputError
from fastneurons.model_name import is_path

# Prompts in flight for each one that a step can hold: the next step is ready while one runs, and
# finished ones wait for theirs of the same example.
_STEPS_IN_FLIGHT = 4

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
    slots: int
    buffer_bytes: int  # per worker


@dataclass(frozen=True)
class MeasuredRows:
    """E consecutive rows of one task, measured or skipped, in input order.

    Arrays are those of the store (DESIGN.md, section 5) for these rows; zeros where a row was skipped.
    """

    first: int
    rows: list[Example | Skipped]
    token_count: NDArray[np.int32]  # [E, L]
    present: NDArray[np.bool_]  # [E, L]
    activated: NDArray[np.uint8] | None  # [E, S, L, N, B]
    activated_count: NDArray[np.int32]  # [E, S, L, N]
    near_threshold_count: NDArray[np.int32]  # [E, S, L, N]
    category_count: NDArray[np.int32]  # [E, S, N, 4]
    occupancy: NDArray[np.int32]  # [S, N, I, 4], over the examples measured


@dataclass
class _InFlight:
    """A row that was taken and not yet handed on."""

    row: Tokenised | Skipped
    slot: int = -1
    unfinished: int = 0  # prompts

    @property
    def task(self) -> str | None:
        """The task that it belongs to."""
        return self.row.task if isinstance(self.row, Skipped) else self.row.example.task


@dataclass
class SessionTotals:
    """What a session has sent to its engine."""

    prompts: int = 0
    tokens: int = 0
    steps: int = 0
    waited_s: float = 0.0  # for the source, with the engine idle


class Session:
    """A vLLM engine with its model patched.

    Args:
        model: A folder, or a name on the Hub.
        languages: L codes, at least two.
        thresholds: S thresholds; a neuron is activated where its activation is above.
        options: Engine arguments.
        verbose: Let vLLM's log through.
    Raises:
        InputError: the model cannot be loaded, or its neurons cannot be measured.
    """

    def __init__(
        self,
        model: str,
        languages: tuple[str, ...],
        thresholds: tuple[float, ...] = (0.0,),
        options: EngineOptions | None = None,
        verbose: bool = False,
    ) -> None:
        self.languages = languages
        self.thresholds = thresholds
        self.totals = SessionTotals()
        self._options = options or EngineOptions()
        self._engine_number = next(n for n in itertools.count() if n not in _engines_in_use)
        _engines_in_use.add(self._engine_number)
        self._engine: Any = None
        try:
            with engine_environment(self._options.world_size, verbose):
                self._engine = self._start(model)
            self._tokenizer = self._engine.get_tokenizer()
            self._slices: list[Slice] = []
            self.facts = self._describe(model)
            self._calls_before = [tally["calls"] for tally in self._tallies()]
        except BaseException:
            self.close()
            raise
        self._free_slots = list(range(self._num_slots))
        self._request_numbers = itertools.count()

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Shut the engine down and free its memory. Harmless when called twice."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.engine_core.shutdown()
            del engine
            from vllm.distributed import cleanup_dist_env_and_memory

            cleanup_dist_env_and_memory()
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
        add_special_tokens: bool = True,
    ) -> Iterator[MeasuredRows]:
        """Measure a stream of examples.

        Args:
            rows: The source from its row `first` on.
            first: Index of the first row in the whole source.
            window: What is handed on never spans two windows of this many rows, nor two tasks.
            keep_bits: Whether `activated` is wanted.
            stop: Once set, no more is sent; what is complete by then is handed on.
            add_special_tokens: Whether the tokenizer marks a prompt's begin; see `Feed`.
        Yields:
            All rows, in input order, in groups.
        Raises:
            EngineError: the engine or the patch failed, or did not read what it was sent.
            Exception: whatever reading `rows` raised, after all rows before it were handed on.
        """
        feed = Feed(
            rows, self.languages, self._tokenizer, self.facts.max_prompt_tokens, self.facts.vocabulary,
            ahead=max(256, self._num_slots), add_special_tokens=add_special_tokens,
        )  # fmt: skip
        stop = stop or threading.Event()
        pending: deque[_InFlight] = deque()
        requests: dict[str, _InFlight] = {}
        source_error: BaseException | None = None
        exhausted = False
        next_row = first
        try:
            while True:
                while not exhausted and self._free_slots and not stop.is_set():
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
                    pending.append(self._send(row, requests))
                failure = self._step(requests) if requests else None
                ended = failure is not None or stop.is_set() or (exhausted and not requests)
                while group := self._complete(pending, next_row, window, everything=ended):
                    measured = self._collect(group, next_row, keep_bits)
                    next_row += len(group)
                    for item in group:
                        if item.slot >= 0:
                            self._free_slots.append(item.slot)
                    if next_row - len(group) == first:
                        self._check_calls()
                    yield measured
                if failure is not None:
                    raise EngineError(f"the engine failed: {_root_cause(failure)}") from failure
                if ended:
                    break
        finally:
            feed.close()
        if stop.is_set():
            self._abandon(requests, pending)
            return
        self._check_totals()
        if source_error is not None:
            raise source_error

    # -- the engine ---------------------------------------------------------------------------------

    def _start(self, model: str) -> Any:
        """Make the engine. Everything that vLLM is told is told here."""
        _check_model_folder(model)
        try:
            with _importing():
                from vllm.engine.arg_utils import EngineArgs
                from vllm.platforms import current_platform
                from vllm.usage.usage_lib import UsageContext
                from vllm.v1.engine.llm_engine import LLMEngine
        except ImportError as error:
            raise InputError(
                f"vLLM cannot be imported ({error}); install it with pip install 'fastneurons[cpu]' "
                "or, on a machine with an NVIDIA GPU, pip install 'fastneurons[gpu]'"
            ) from error
        on_cpu = current_platform.is_cpu()
        options = self._options
        given = {name: value for name, value in asdict(options).items() if value is not None}
        extra = given.pop("engine_args")
        if on_cpu and options.dtype == "auto" and not cpu_computes_bfloat16():
            given["dtype"] = "float32"
        arguments = {
            "enforce_eager": on_cpu,
            **given,
            "model": model,
            "worker_cls": f"fastneurons.engine.{'cpu_worker.CPU' if on_cpu else 'gpu_worker.GPU'}NeuronWorker",
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
            **extra,
        }
        try:
            config = EngineArgs(**arguments).create_engine_config(UsageContext.LLM_CLASS)
            rows = max(1024, _STEPS_IN_FLIGHT * config.scheduler_config.max_num_seqs)
            self._num_slots = max(2, -(-rows // len(self.languages)))
            config.additional_config = {"fastneurons": self._spec()}
            if on_cpu and options.gpu_memory_utilization is None and "kv_cache_memory_bytes" not in extra:
                _bound_kv_cache(config)
            return LLMEngine.from_vllm_config(
                config, usage_context=UsageContext.LLM_CLASS, disable_log_stats=True
            )
        except TypeError as error:
            if "unexpected keyword argument" in str(error):
                name = str(error).rpartition(" ")[2].strip("'")
                raise InputError(f"--engine-arg {name}: vLLM has no engine argument of that name") from error
            raise InputError(f"{model}: vLLM cannot load it: {_root_cause(error)}") from error
        except Exception as error:
            raise InputError(f"{model}: vLLM cannot load it: {_root_cause(error)}") from error

    def _spec(self) -> dict[str, Any]:
        import msgspec

        from fastneurons.engine.observer import ObservationSpec
        from fastneurons.engine.patch import PATCH_VERSION

        spec = ObservationSpec(
            PATCH_VERSION, self._engine_number, self._num_slots, len(self.languages), self.thresholds
        )
        described: dict[str, Any] = msgspec.to_builtins(spec)
        return described

    def _describe(self, model: str) -> ModelFacts:
        ranks = self._engine.collective_rpc("fastneurons_describe")
        for rank in ranks:
            if rank["refusal"] is not None:
                raise InputError(f"{model}: {rank['refusal']}")
        self._slices = [
            Slice(tuple(rank["layers"]), rank["first_neuron"], rank["neurons"])
            for rank in ranks
            if rank["layers"]
        ]
        config = self._engine.vllm_config.model_config
        first = ranks[0]
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
            slots=self._num_slots,
            buffer_bytes=max(rank["buffer_bytes"] for rank in ranks),
        )

    def _tallies(self) -> list[dict[str, Any]]:
        tallies: list[dict[str, Any]] = self._engine.collective_rpc("fastneurons_tally")
        return tallies

    # -- one row --------------------------------------------------------------------------------------

    def _send(self, row: Tokenised | Skipped, requests: dict[str, _InFlight]) -> _InFlight:
        """Give an example a slot and its prompts to the engine."""
        if isinstance(row, Skipped):
            return _InFlight(row)
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        from fastneurons.engine.worker import ROW_KEY

        item = _InFlight(row, self._free_slots.pop())
        for index, token_ids in enumerate(row.token_ids):
            if token_ids is None:
                continue
            request_id = str(next(self._request_numbers))
            parameters = SamplingParams(
                max_tokens=1,
                temperature=0.0,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
                extra_args={ROW_KEY: item.slot * len(self.languages) + index},
            )
            self._engine.add_request(request_id, tokens_input(token_ids), parameters)
            requests[request_id] = item
            item.unfinished += 1
            self.totals.prompts += 1
            self.totals.tokens += len(token_ids)
        return item

    def _step(self, requests: dict[str, _InFlight]) -> Exception | None:
        """One step of the engine; the exception that ended it, if one did."""
        try:
            for output in self._engine.step():
                if output.finished:
                    requests.pop(output.request_id).unfinished -= 1
        except Exception as error:
            return error
        self.totals.steps += 1
        return None

    def _complete(
        self, pending: deque[_InFlight], next_row: int, window: int, everything: bool
    ) -> list[_InFlight]:
        """Take from the front the rows that are complete, up to the end of a window or of a task.

        Only if they are worth a collection: it waits for the device.
        """
        room = window - next_row % window
        num_complete = 0
        for item in itertools.islice(pending, room):
            if item.task != pending[0].task:
                room = num_complete  # what is left of this task will not grow
                break
            if item.unfinished:
                break
            num_complete += 1
        worth = everything or num_complete == room or num_complete >= max(1, self._num_slots // 4)
        return [pending.popleft() for _ in range(num_complete)] if worth else []

    def _collect(self, group: list[_InFlight], first: int, keep_bits: bool) -> MeasuredRows:
        """Fetch what the workers read of complete rows, and put it in its place among skipped ones."""
        num_languages = len(self.languages)
        token_count = np.zeros((len(group), num_languages), np.int32)
        present = np.zeros((len(group), num_languages), np.bool_)
        measured, slot_rows = [], []
        for index, item in enumerate(group):
            if isinstance(item.row, Skipped):
                continue
            measured.append(index)
            lengths = [len(ids) if ids is not None else 0 for ids in item.row.token_ids]
            token_count[index] = lengths
            present[index] = token_count[index] > 0
            slot_rows.append(
                [item.slot * num_languages + i if length else -1 for i, length in enumerate(lengths)]
            )
        arrays = self._fetch(slot_rows, keep_bits)
        whole = {
            name: array
            if name == "occupancy" or len(measured) == len(group)
            else _spread(array, measured, len(group))
            for name, array in arrays.items()
        }
        return MeasuredRows(
            first=first,
            rows=[item.row.example if isinstance(item.row, Tokenised) else item.row for item in group],
            token_count=token_count,
            present=present,
            activated=whole.get("activated"),
            activated_count=whole["activated_count"],
            near_threshold_count=whole["near_threshold_count"],
            category_count=whole["category_count"],
            occupancy=whole["occupancy"],
        )

    def _fetch(self, slot_rows: list[list[int]], keep_bits: bool) -> Arrays:
        S, L, N, I = len(self.thresholds), len(self.languages), len(self.facts.layers), self.facts.neurons  # noqa: E741
        if not slot_rows:
            arrays: Arrays = {
                "activated_count": np.zeros((0, S, L, N), np.int32),
                "near_threshold_count": np.zeros((0, S, L, N), np.int32),
                "category_count": np.zeros((0, S, N, 4), np.int32),
                "occupancy": np.zeros((S, N, I, 4), np.int32),
            }
            return arrays | ({"activated": np.zeros((0, S, L, N, -(-I // 8)), np.uint8)} if keep_bits else {})
        from fastneurons.engine.wire import from_wire

        try:
            answers = self._engine.collective_rpc("fastneurons_collect", args=(slot_rows, keep_bits))
        except Exception as error:
            raise EngineError(f"the engine failed: {_root_cause(error)}") from error
        for answer in answers:
            if answer["error"] is not None:
                raise EngineError(f"reading activations failed: {answer['error']}")
        return merge(self._slices, [from_wire(answer["arrays"]) for answer in answers if answer["arrays"]])

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
                    f"rank {rank} read {tally['prompts']} prompts and {tokens} tokens, "
                    f"{self.totals.prompts} prompts and {self.totals.tokens} tokens were sent"
                )

    def _abandon(self, requests: dict[str, _InFlight], pending: deque[_InFlight]) -> None:
        """Take back what was sent and is not complete."""
        self._engine.abort_request(list(requests))
        for item in pending:
            if item.slot >= 0:
                self._free_slots.append(item.slot)


def _spread(array: NDArray[Any], places: list[int], size: int) -> NDArray[Any]:
    """`array` [M, ...] at `places` along a first axis of `size`, zeros elsewhere."""
    whole = np.zeros((size, *array.shape[1:]), array.dtype)
    whole[places] = array
    return whole


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


def _check_model_folder(model: str) -> None:
    """What can be known of a local model before vLLM is asked.

    Raises:
        InputError: a path that is no model folder.
    """
    path = Path(model)
    if path.is_file():
        raise InputError(f"{model} is a file; a model is a folder with config.json and its weights")
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"{model} is no model: it has no config.json")
    elif is_path(model):
        raise InputError(f"{model}: no such folder")


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


def _root_cause(error: BaseException) -> str:
    """The message that says what went wrong, out of the layers that vLLM wraps around it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:4])[:600] or type(error).__name__
