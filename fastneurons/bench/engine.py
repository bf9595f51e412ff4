"""fastneurons' engine in each of its modes, and the same engine as vLLM runs by itself."""

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastneurons.bench.contender import Contender, Findings, Setting, Work, categories_of
from fastneurons.bench.device import has_gpu
from fastneurons.config import EngineOptions, Measurement, RunOptions
from fastneurons.data.example import Example
from fastneurons.engine.encode import Tokenised
from fastneurons.engine.placement import MeasuredExamples
from fastneurons.engine.session import Session
from fastneurons.engine.vllm_config import engine_config
from fastneurons.experiments.measure import write_measurements
from fastneurons.experiments.source import Source
from fastneurons.progress import Silent

_TASK = "bench"


class Measured(Contender):
    """A session that measures.

    Args:
        setting: Which model and languages.
        measurement: What to read.
        compiled: Whether vLLM compiles the model.
        store: Whether a round writes a store.
        only_reads: Whether to skip work that no reading depends on.
    """

    def __init__(
        self,
        setting: Setting,
        measurement: Measurement,
        compiled: bool = False,
        store: bool = False,
        only_reads: bool = True,
    ) -> None:
        self._compiled, self._store = compiled, store
        self._options = options_of(setting, compiled)
        self._session = Session(
            setting.model, setting.languages, measurement, self._options, only_reads=only_reads
        )
        self._plain: Any = None

    def find(self, work: Work) -> Findings:
        """Compute findings from the bits, or the counts, that a store would have."""
        parts = self._measure(work)
        measurement = self._session.measurement
        if measurement.position == "corpus":
            return Findings(activation_count=np.sum([part["activation_count"] for part in parts], axis=0)[0])
        packed = np.concatenate([part["activated"] for part in parts])
        neurons = self._session.facts.neurons
        bits = np.unpackbits(packed, axis=-1, count=neurons, bitorder="little")  # [E, S, L, N, I]
        shares = [part["contribution_share"] for part in parts if "contribution_share" in part]
        return Findings(
            category=categories_of(bits.astype(bool), axis=2).swapaxes(0, 1),
            thresholds=measurement.thresholds,
            position=measurement.position,
            top_share=np.concatenate(shares).mean(axis=1) if shares else None,
        )

    def round(self, work: Work) -> None:
        """Measure, and write a store if asked to."""
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
        """Run with the patch taken out; a compiled model has it inside."""
        if self._compiled or self._options.world_size > 1:
            return False
        if self._plain is None:
            self._plain = plain_engine_of(self._session)
        with self._session.engine.unpatched():
            run_plainly(self._plain, work)
        return True

    def close(self) -> None:
        """End the session."""
        self._plain = None
        self._session.close()

    def _measure(self, work: Work) -> list[MeasuredExamples]:
        return list(self._session.measure(_examples(work)))

    def _write(self, work: Work, path: Path) -> None:
        source = Source((_TASK,), _TASK, _examples(work))
        began = time.perf_counter()
        spent = write_measurements(
            self._session, source, str(path), RunOptions(), self._options, Silent(), threading.Event()
        )
        self.store_s = min(spent, time.perf_counter() - began)


class Idle(Contender):
    """The patched engine with nothing to read, driven like vLLM alone."""

    def __init__(self, setting: Setting, compiled: bool = False) -> None:
        self._measured = Measured(setting, Measurement(), compiled, only_reads=False)
        self._engine = plain_engine_of(self._measured._session)

    def find(self, work: Work) -> Findings:
        """Nothing."""
        return Findings()

    def round(self, work: Work) -> None:
        """Run prompts that have no row in the buffers."""
        run_plainly(self._engine, work)

    def reference_round(self, work: Work) -> bool:
        """Run with the patch taken out."""
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
        """Generate one token after each prompt, the least that vLLM does."""
        run_plainly(self._engine, work)

    def close(self) -> None:
        """Stop the engine."""
        self._engine.engine_core.shutdown()


def options_of(setting: Setting, compiled: bool) -> EngineOptions:
    """Engine options. Without prefix cache: a round would find the prompts of the one before."""
    given: dict[str, Any] = {
        # Three engines hold memory at once.
        **({"gpu_memory_utilization": 0.3} if has_gpu() else {}),
        "enforce_eager": not compiled,
        "dtype": setting.dtype,
        "enable_prefix_caching": False,
        **setting.engine,
    }
    own = {name: given.pop(name) for name in list(given) if name in EngineOptions.__dataclass_fields__}
    return EngineOptions(**own, engine_args=given)


def run_plainly(engine: Any, work: Work) -> None:
    """Send all prompts through an `LLMEngine`, as fast as it takes them."""
    from vllm.inputs import tokens_input
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    parameters = SamplingParams(
        max_tokens=1, temperature=0.0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
    )
    for number, token_ids in enumerate(work.all_prompts):
        engine.add_request(f"plain-{number}", tokens_input(token_ids), parameters)
    while engine.has_unfinished_requests():
        engine.step()


def plain_engine_of(session: Session) -> Any:
    """An `LLMEngine` around the core of a running session, made like its constructor does except for the core."""
    from vllm.renderers import renderer_from_config
    from vllm.v1.engine.input_processor import InputProcessor
    from vllm.v1.engine.llm_engine import LLMEngine
    from vllm.v1.engine.output_processor import OutputProcessor

    config, client = session.core.config, session.core.client
    renderer = renderer_from_config(config)
    engine = LLMEngine.__new__(LLMEngine)
    vars(engine).update(
        vllm_config=config,
        model_config=config.model_config,
        observability_config=config.observability_config,
        external_launcher_dp=False,
        dp_group=None,
        should_execute_dummy_batch=False,
        log_stats=False,
        logger_manager=None,
        renderer=renderer,
        input_processor=InputProcessor(config, renderer),
        output_processor=OutputProcessor(
            renderer.tokenizer, log_stats=False, stream_interval=config.scheduler_config.stream_interval
        ),
        engine_core=client,
    )
    return engine


def _examples(work: Work) -> Iterator[Tokenised]:
    """Yield prompts as token ids: no contender tokenises."""
    for number, (prompts, answers) in enumerate(zip(work.prompts, work.answers, strict=True)):
        yield Tokenised(Example(str(number), {}, {}, "", _TASK), list(prompts), list(answers))
