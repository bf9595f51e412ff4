"""fastneurons' engine in each of its modes, and the same engine as vLLM runs by itself."""

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from fastneurons.bench.contender import Contender, Findings, Setting, Work, categories_of
from fastneurons.config import EngineOptions, Measurement, RunOptions
from fastneurons.data.example import Example, Skipped
from fastneurons.engine.encode import Encoder, Tokenised
from fastneurons.engine.placement import MeasuredRows
from fastneurons.engine.session import Session, engine_config
from fastneurons.measure import Source, write_measurements
from fastneurons.progress import Silent

_TASK = "bench"


class Measured(Contender):
    """A session that measures.

    Args:
        setting: Which model and languages.
        what: What is read.
        compiled: Whether vLLM compiles the model.
        store: Whether a round writes a store.
        only_reads: Whether what nothing that is read depends on is left out.
    """

    def __init__(
        self,
        setting: Setting,
        what: Measurement,
        compiled: bool = False,
        store: bool = False,
        only_reads: bool = True,
    ) -> None:
        self._setting, self._compiled, self._store = setting, compiled, store
        self._options = options_of(setting, compiled)
        self._session = _ReadySession(setting.model, setting.languages, what, self._options, only_reads)
        self._plain: Any = None

    def find(self, work: Work) -> Findings:
        """From the bits, or the counts, that a store would have."""
        parts = self._measure(work)
        what = self._session.what
        if what.position == "corpus":
            counts = [part.activation_count for part in parts if part.activation_count is not None]
            return Findings(activation_count=np.sum(counts, axis=0)[0])
        packed = np.concatenate([part.activated for part in parts if part.activated is not None])
        neurons = self._session.facts.neurons
        bits = np.unpackbits(packed, axis=-1, count=neurons, bitorder="little")  # [B, S, L, N, I]
        shares = [part.attribution["contribution_share"] for part in parts if part.attribution]
        return Findings(
            category=categories_of(bits.astype(bool), axis=2).swapaxes(0, 1),
            thresholds=what.thresholds,
            position=what.position,
            top_share=np.concatenate(shares).mean(axis=1) if shares else None,
        )

    def round(self, work: Work) -> None:
        """Measure; and write it all, where that is asked for."""
        if not self._store:
            self._measure(work)
            return
        folder = tempfile.mkdtemp(prefix="fastneurons-bench-")
        try:
            self._write(work, Path(folder, "round.zarr"))
        finally:
            # Not in the time of the round that follows, nor worth a measurement of its own.
            threading.Thread(target=shutil.rmtree, args=(folder,), daemon=True).start()

    def reference_round(self, work: Work) -> bool:
        """With the patch taken out; a compiled model has it inside."""
        if self._compiled or self._setting.engine.get("tensor_parallel_size", 1) > 1:
            return False
        if self._plain is None:
            self._plain = plain_engine_of(self._session)
        with _unpatched(self._session):
            run_plainly(self._plain, work)
        return True

    def close(self) -> None:
        """End the session."""
        self._plain = None
        self._session.close()

    def _measure(self, work: Work) -> list[MeasuredRows]:
        self._session.work = work
        return list(self._session.measure(_examples(work)))

    def _write(self, work: Work, path: Path) -> None:
        self._session.work = work
        source = Source((_TASK,), _TASK, _examples(work))
        began = time.perf_counter()
        with _timed_commits() as spent:
            write_measurements(
                self._session, source, str(path), RunOptions(), self._options, Silent(), threading.Event()
            )
        self.store_s = min(sum(spent), time.perf_counter() - began)


class Idle(Contender):
    """The patched engine with nothing to read, driven as vLLM is by itself."""

    def __init__(self, setting: Setting, compiled: bool = False) -> None:
        self._measured = Measured(setting, Measurement(), compiled, only_reads=False)
        self._engine = plain_engine_of(self._measured._session)

    def find(self, work: Work) -> Findings:
        """Nothing."""
        return Findings()

    def round(self, work: Work) -> None:
        """Prompts that no row of the buffers belongs to."""
        run_plainly(self._engine, work)

    def reference_round(self, work: Work) -> bool:
        """With the patch taken out."""
        return self._measured.reference_round(work)

    def close(self) -> None:
        """End the session."""
        self._engine = None
        self._measured.close()


class Unpatched(Contender):
    """vLLM alone."""

    def __init__(self, setting: Setting, compiled: bool = False) -> None:
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.llm_engine import LLMEngine

        from fastneurons.engine.environment import engine_environment

        options = options_of(setting, compiled)
        with engine_environment(options.world_size, verbose=False):
            config = engine_config(setting.model, options)
            self._engine = LLMEngine.from_vllm_config(
                config, usage_context=UsageContext.LLM_CLASS, disable_log_stats=True
            )

    def find(self, work: Work) -> Findings:
        """Nothing."""
        return Findings()

    def round(self, work: Work) -> None:
        """One token after each prompt, which is the least that vLLM does."""
        run_plainly(self._engine, work)

    def close(self) -> None:
        """Stop the engine."""
        self._engine.engine_core.shutdown()


def options_of(setting: Setting, compiled: bool) -> EngineOptions:
    """Engine options. Nothing is cached: a round would find the prompts of the one before."""
    given: dict[str, Any] = {
        # Three engines hold memory at once.
        **({"gpu_memory_utilization": 0.3} if torch.cuda.is_available() else {}),
        "enforce_eager": not compiled,
        "dtype": setting.dtype,
        "enable_prefix_caching": False,
        **setting.engine,
    }
    own = {name: given.pop(name) for name in list(given) if name in EngineOptions.__dataclass_fields__}
    return EngineOptions(**own, engine_args=given)


def run_plainly(engine: Any, work: Work) -> None:
    """All prompts through a `LLMEngine`, as fast as it takes them."""
    from vllm.inputs import tokens_input
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    parameters = SamplingParams(
        max_tokens=1, temperature=0.0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
    )
    for number, token_ids in enumerate(work.rows):
        engine.add_request(f"plain-{number}", tokens_input(token_ids), parameters)
    while engine.has_unfinished_requests():
        engine.step()


def plain_engine_of(session: Session) -> Any:
    """A `LLMEngine` around the core of a session that runs."""
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.core_client import EngineCoreClient
    from vllm.v1.engine.llm_engine import LLMEngine

    core = session.core
    with mock.patch.object(EngineCoreClient, "make_client", lambda **_: core.client):
        return LLMEngine.from_vllm_config(
            core.config, usage_context=UsageContext.LLM_CLASS, disable_log_stats=True
        )


class _ReadySession(Session):
    """A session whose prompts are token ids already: no contender tokenises."""

    work: Work

    def __init__(
        self,
        model: str,
        languages: tuple[str, ...],
        what: Measurement,
        options: EngineOptions,
        only_reads: bool,
    ) -> None:
        self.only_reads = only_reads
        super().__init__(model, languages, what, options)

    def _encoder(self, block_size: int | None, add_special_tokens: bool) -> Encoder:
        return _AsTheyAre(self.work)


class _AsTheyAre:
    """An `Encoder` for examples whose id is their place in the work."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __call__(self, rows: list[Example | Skipped]) -> list[Tokenised | Skipped]:
        numbers = [int(row.id) for row in rows]
        return [
            Tokenised(row, list(self._work.prompts[k]), list(self._work.answers[k]))
            for row, k in zip(rows, numbers, strict=True)
            if isinstance(row, Example)
        ]

    def rest(self) -> list[Tokenised | Skipped]:
        return []


def _examples(work: Work) -> list[Example]:
    return [Example(str(k), {}, {}, "", _TASK) for k in range(len(work.prompts))]


@contextmanager
def _unpatched(session: Session) -> Iterator[None]:
    """The model as vLLM loaded it, and its runner unwatched."""
    worker = session.core.worker
    observer, runner = worker.observer, worker.model_runner
    modules = [getattr(layer.site.parent, layer.site.name) for layer in observer.layers]
    place = "_model_forward" if "_model_forward" in vars(runner) else "prepare_inputs"
    watched = vars(runner).pop(place)
    worker.observer = None
    for layer in observer.layers:
        setattr(layer.site.parent, layer.site.name, layer.original)
    try:
        yield
    finally:
        for layer, module in zip(observer.layers, modules, strict=True):
            setattr(layer.site.parent, layer.site.name, module)
        setattr(runner, place, watched)
        worker.observer = observer


@contextmanager
def _timed_commits() -> Iterator[list[float]]:
    """Seconds of each window that is written, beside the engine."""
    from fastneurons.store import StoreWriter

    spent: list[float] = []
    # What the writer's own thread does with a window; `commit` hands it over.
    write = StoreWriter._write

    def timed(self: StoreWriter, window: Any) -> None:
        began = time.perf_counter()
        write(self, window)
        spent.append(time.perf_counter() - began)

    with mock.patch.object(StoreWriter, "_write", timed):
        yield spent
