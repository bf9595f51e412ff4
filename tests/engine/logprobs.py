"""A script: all log-probabilities that an engine, patched or not, gives after each prompt; printed exactly.

    python logprobs.py '{"model": ..., "patched": true, "dtype": ..., "eager": true, "prompts": [...]}'
"""

import hashlib
import json
import struct
import sys
from typing import Any


def main(request: dict[str, Any]) -> None:
    from vllm import SamplingParams
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.llm_engine import LLMEngine

    arguments: dict[str, Any] = {}
    if request["patched"]:
        from fastneurons.engine.observer import ObservationSpec
        from fastneurons.engine.patch import PATCH_VERSION

        spec = ObservationSpec(PATCH_VERSION, 0, slots=64, languages=1, thresholds=(0.0, 0.1))
        import msgspec

        arguments = {
            "worker_cls": "fastneurons.engine.cpu_worker.CPUNeuronWorker",
            "additional_config": {"fastneurons": msgspec.to_builtins(spec)},
        }
    engine = LLMEngine.from_engine_args(
        EngineArgs(
            model=request["model"], dtype=request["dtype"], enforce_eager=request["eager"], max_model_len=512,
            max_num_batched_tokens=64, kv_cache_memory_bytes=1 << 26, max_logprobs=-1, **arguments,
        ),
        UsageContext.LLM_CLASS,
    )  # fmt: skip
    from vllm.inputs import tokens_input

    tokenizer = engine.get_tokenizer()
    for number, prompt in enumerate(request["prompts"]):
        extra = {"extra_args": {"fastneurons_row": number}} if request["patched"] else {}
        parameters = SamplingParams(max_tokens=2, temperature=0.0, logprobs=-1, **extra)
        engine.add_request(str(number), tokens_input(tokenizer(prompt)["input_ids"]), parameters)
    digests = {}
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                digests[int(output.request_id)] = digest(output.outputs[0].logprobs)
    if request["patched"]:
        [tally] = engine.collective_rpc("fastneurons_tally")
        assert tally["prompts"] == len(request["prompts"]), tally
        assert tally["error"] is None, tally
    print(json.dumps([digests[number] for number in range(len(request["prompts"]))]))


def digest(steps: Any) -> str:
    """A hash of all log-probabilities of all steps, in the order of the vocabulary."""
    numbers = [entry[token].logprob for entry in steps for token in sorted(entry)]
    assert len(numbers) >= 2 * 300
    return hashlib.sha256(struct.pack(f"{len(numbers)}d", *numbers)).hexdigest()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
