"""A script: all log-probabilities that an engine gives after each prompt, unpatched and then patched.

In a process of its own, since compiled graphs and vLLM's settings last as long as one. Prints, for
each engine asked for, a hash of the exact numbers after each prompt: by dtype, unpatched first.

    python -m tests.engine.logprobs '{"model": ..., "dtypes": [...], "eager": true, "whats": [{}], "prompts": [...]}'
"""

import hashlib
import json
import struct
import sys
from typing import Any

from fastneurons.engine.requests import ROW_KEY, SPANS_KEY


def main(request: dict[str, Any]) -> None:
    hashes = {
        dtype: [run(request, dtype, what) for what in (None, *request["whats"])]
        for dtype in request["dtypes"]
    }
    print(json.dumps(hashes))


def run(request: dict[str, Any], dtype: str, what: dict[str, Any] | None) -> list[str]:
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

        spec = ObservationSpec(
            patch=PATCH_VERSION, engine=0, most_slots=64, languages=1, thresholds=(0.0, 0.1), **what
        )
        arguments = {
            "worker_cls": "fastneurons.engine.cpu_worker.CPUNeuronWorker",
            "additional_config": spec,
        }
    engine = LLMEngine.from_engine_args(
        EngineArgs(
            model=request["model"], dtype=dtype, enforce_eager=request["eager"], max_model_len=512,
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
        parameters = SamplingParams(max_tokens=2, temperature=0.0, logprobs=-1, **extra)
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


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
