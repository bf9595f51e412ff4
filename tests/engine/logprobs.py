"""All log-probabilities that an engine gives after each prompt, unpatched and then patched: hashes of the numbers.

A process that has imported vLLM and nothing of ours answers one request after another, each in a fork: compiled graphs
and vLLM's settings last as long as a process.
"""

import atexit
import functools
import hashlib
import multiprocessing
import os
import struct
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tests.engine import quick_starts
from tests.engine.forked import in_process_of


def log_probabilities(request: dict[str, Any]) -> list[list[str]]:
    """Hashes by prompt, of each engine: the unpatched one's first.

    Args:
        request: `model`, a folder; `dtype`; `eager`, or else compiled; `prompts`, texts; `whats`, what each patched
            engine observes; `cache`, a folder for compiled graphs.
    """
    return _process().submit(_in_a_fork, request).result()


@functools.cache
def _process() -> ProcessPoolExecutor:
    process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _import_vllm)
    atexit.register(process.shutdown, cancel_futures=True)
    return process


def _import_vllm() -> None:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    quick_starts.prepare()


def _in_a_fork(request: dict[str, Any]) -> list[list[str]]:
    found: list[list[str]] = in_process_of(multiprocessing.get_context("fork"), _run_all, request)
    return found


def _run_all(request: dict[str, Any]) -> list[list[str]]:
    os.environ["VLLM_CACHE_ROOT"] = request["cache"]
    assert "fastneurons" not in sys.modules
    return [run(request, what) for what in (None, *request["whats"])]


def run(request: dict[str, Any], what: dict[str, Any] | None) -> list[str]:
    """Start an engine, patched to observe `what` or unpatched, run the prompts, shut it down."""
    from vllm.distributed import cleanup_dist_env_and_memory
    from vllm.engine.arg_utils import EngineArgs
    from vllm.inputs import tokens_input
    from vllm.sampling_params import SamplingParams
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.llm_engine import LLMEngine

    arguments: dict[str, Any] = {}
    if what is not None:
        from fastneurons.engine.observation import ObservationSpec
        from fastneurons.engine.patch import PATCH_VERSION
        from fastneurons.engine.requests import ROW_KEY, SPANS_KEY

        spec = ObservationSpec(
            patch=PATCH_VERSION, engine=0, most_slots=64, languages=1, thresholds=(0.0, 0.1), **what
        )
        arguments = {
            "worker_cls": "fastneurons.engine.cpu_worker.CPUNeuronWorker",
            "additional_config": spec,
        }
    engine = LLMEngine.from_engine_args(
        EngineArgs(
            model=request["model"], dtype=request["dtype"], enforce_eager=request["eager"], max_model_len=512,
            max_num_batched_tokens=64, kv_cache_memory_bytes=1 << 26, max_logprobs=-1, **arguments,
        ),
        UsageContext.LLM_CLASS,
    )  # fmt: skip
    tokenizer = engine.get_tokenizer()
    corpus = (what or {}).get("position") == "corpus"
    for number, prompt in enumerate(request["prompts"]):
        extra = (
            {"extra_args": {ROW_KEY: 0 if corpus else number, SPANS_KEY: [0, 512]}}
            if what is not None
            else {}
        )
        parameters = SamplingParams(max_tokens=2, temperature=0.0, logprobs=-1, detokenize=False, **extra)
        engine.add_request(str(number), tokens_input(tokenizer(prompt)["input_ids"]), parameters)
    hashes = {}
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                hashes[int(output.request_id)] = exact_hash(output.outputs[0].logprobs)
    if what is not None:
        [tally] = engine.collective_rpc("fastneurons_tally")
        assert tally["prompts"] == len(request["prompts"]), tally
        assert tally["error"] is None, tally
    engine.engine_core.shutdown()
    del engine
    cleanup_dist_env_and_memory()
    return [hashes[number] for number in range(len(request["prompts"]))]


def exact_hash(steps: Any) -> str:
    """A hash of all log-probabilities of all steps, in the order of the vocabulary."""
    numbers = [entry[token].logprob for entry in steps for token in sorted(entry)]
    assert len(numbers) >= 2 * 300
    return hashlib.sha256(struct.pack(f"{len(numbers)}d", *numbers)).hexdigest()
