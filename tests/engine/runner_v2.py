"""A script: measure on the CPU as on a GPU, with vLLM's second model runner and the Triton kernels.

See test_runner_v2.py.
"""

import json
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np


def use_second_runner() -> None:
    """Let vLLM find a Triton backend for the CPU while it looks for one, and only then."""
    import triton

    backends: dict[str, Any] = triton.backends.backends
    backends["cpu"] = SimpleNamespace(driver=SimpleNamespace(is_active=lambda: True))
    import vllm.triton_utils

    del backends["cpu"]
    assert vllm.triton_utils.HAS_TRITON


def use_triton_kernels() -> None:
    """The patched op's GPU path, on CPU tensors: the fused kernel and the one for categories, interpreted."""
    from fastneurons_kernels.categories import categories_triton

    from fastneurons.engine import observer

    observer.uses_fused_kernel = lambda device: True
    observer.categories = categories_triton


def warm_up_as_on_a_gpu() -> None:
    """Have the worker run vLLM's own warm-ups, whole steps of requests that are not ours, as its GPU worker does.

    That of the sampler, and that of attention, which eager models on Blackwell run as well. Their sampling parameters
    ask for log-probabilities and penalties; top-k, top-p and grammar bit masks are left out, which the interpreter
    cannot run.
    """
    from vllm import SamplingParams
    from vllm.model_executor.warmup.attention_warmup import mixed_batch_attention_warmup
    from vllm.v1.worker.gpu import warmup

    from fastneurons.engine.cpu_worker import CPUNeuronWorker

    parameters = SamplingParams(
        temperature=0.0, frequency_penalty=0.5, repetition_penalty=1.2, min_tokens=2,
        logit_bias={0: -1.0, 1: 0.5}, logprobs=5, prompt_logprobs=1,
    )  # fmt: skip
    SamplingParams.for_sampler_warmup = staticmethod(lambda: parameters)
    warmup.torch.accelerator.synchronize = lambda *_, **__: None
    compile_or_warm_up = CPUNeuronWorker.compile_or_warm_up_model

    def warm_up(self: Any) -> Any:
        warmup.warmup_kernels(self.model_runner, self.execute_model, lambda _: self.sample_tokens(None))
        calls = self.observer.num_calls()
        assert calls > 0
        mixed_batch_attention_warmup(self)
        assert self.observer.num_calls() > calls
        assert self.observer.tally == type(self.observer.tally)()  # nothing of it was read or counted
        return compile_or_warm_up(self)

    CPUNeuronWorker.compile_or_warm_up_model = warm_up


def main(request: dict[str, Any]) -> None:
    use_second_runner()
    use_triton_kernels()
    warm_up_as_on_a_gpu()
    from fastneurons.config import Measurement
    from fastneurons.data.example import Example
    from fastneurons.engine.session import Session
    from fastneurons.experiments.judging import judge_of
    from tests.engine import everything
    from tests.engine.support import LANGUAGES, measure, tiny_options

    rows = [Example(name, prompts) for name, prompts in request["rows"]]
    measurement = Measurement(score=True, max_new_tokens=3)
    judge = judge_of(measurement, LANGUAGES)
    with Session(
        request["model"], LANGUAGES, measurement, tiny_options(), judge=judge, **everything.BANK
    ) as session:
        worker = session.core.worker
        runner = type(worker.model_runner)
        measured = measure(session, rows)
        compared = {f"compared: {name}": array for name, array in everything.a_little(session).items()}
    np.savez(request["out"], **measured, **compared, runner=f"{runner.__module__}.{runner.__qualname__}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
