"""Defaults for GPUs, computed here without one, and held against vLLM's own scheduler: are its steps full?"""

import itertools
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from fastneurons.config import EngineOptions, Measurement
from fastneurons.engine import device, vllm_config
from fastneurons.engine.device import gpu_defaults, observe_memory_of

GIB = 2**30
CARDS = {
    "16 GiB": 16 * GIB,
    "24 GiB": 24 * GIB,
    "A100 40": int(39.5 * GIB),
    "H100": 80 * GIB,
    "H200": 141 * GIB,
}
# Prompts sent to the engine ahead of what a step takes, as a session does (`session._STEPS_IN_FLIGHT`).
SENT_FOR_EACH_SEQ = 4


@pytest.fixture(scope="module")
def scheduler_of(models):
    """Makes vLLM's asynchronous scheduler as its engine core does, for given engine arguments."""
    pytest.importorskip("vllm")
    model = str(models())

    def make(seqs: int, tokens: int) -> Any:
        import torch
        from vllm.v1.core.sched.async_scheduler import AsyncScheduler
        from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
        from vllm.v1.structured_output import StructuredOutputManager

        options = EngineOptions(
            dtype="float32", max_model_len=512, max_num_seqs=seqs, max_num_batched_tokens=tokens,
            engine_args={"enable_prefix_caching": False},
        )  # fmt: skip
        config = vllm_config.engine_config(model, options)
        blocks = 4 * (seqs + tokens // 32)  # enough for whatever is in flight
        config.cache_config.num_gpu_blocks = blocks
        spec = FullAttentionSpec(block_size=32, num_kv_heads=1, head_size=32, dtype=torch.float32)
        cache = KVCacheConfig(blocks, [], [KVCacheGroupSpec(["layer"], spec)])
        return AsyncScheduler(config, cache, StructuredOutputManager(config), block_size=32)

    return make


def tokens_of_steps(scheduler: Any, length: int, most_sent: int, num_steps: int) -> list[int]:
    """Tokens of the first steps, two of them in flight as in `EngineCore.step_with_batch_queue`."""
    from vllm.sampling_params import SamplingParams
    from vllm.v1.outputs import ModelRunnerOutput
    from vllm.v1.request import Request

    parameters = SamplingParams(max_tokens=1, temperature=0.0)
    names = itertools.count()
    in_flight: deque[Any] = deque()
    tokens: list[int] = []
    while len(tokens) < num_steps:
        while len(scheduler.requests) < most_sent:
            scheduler.add_request(Request(str(next(names)), [5] * length, parameters, None))
        step = scheduler.schedule()
        tokens.append(step.total_num_scheduled_tokens)
        done = [not scheduler.requests[name].is_prefill_chunk for name in step.num_scheduled_tokens]
        in_flight.append((step, done))
        if len(in_flight) < 2:
            continue
        step, done = in_flight.popleft()
        ids = list(step.num_scheduled_tokens)
        scheduler.update_from_output(
            step,
            ModelRunnerOutput(
                req_ids=ids,
                req_id_to_index={name: index for index, name in enumerate(ids)},
                sampled_token_ids=[[0] if through else [] for through in done],
            ),
        )
    return tokens


@pytest.mark.engine
@pytest.mark.parametrize("memory", [CARDS["24 GiB"], CARDS["H100"]], ids=["24 GiB", "H100"])
@pytest.mark.parametrize("length", [8, 24, 30, 128, 300])
def test_steps_are_full_with_two_in_flight(length, memory, scheduler_of):
    chosen = gpu_defaults(memory, {})
    seqs, tokens = chosen["max_num_seqs"], chosen["max_num_batched_tokens"]
    steps = tokens_of_steps(scheduler_of(seqs, tokens), length, SENT_FOR_EACH_SEQ * seqs, num_steps=4)
    assert steps == [tokens] * 4


@pytest.mark.engine
def test_steps_are_not_full_with_what_vllm_chooses_by_itself(scheduler_of):
    """The check above can fail: every second step would be empty on an A100, and short of tokens on an H100."""
    assert tokens_of_steps(scheduler_of(256, 8192), 30, 4 * 256, num_steps=4) == [7680, 0, 7680, 0]
    assert tokens_of_steps(scheduler_of(1024, 16384), 24, 4 * 1024, num_steps=4)[1] < 16384


def test_what_users_give_goes_before_the_defaults():
    given = {"max_num_seqs": 7, "enforce_eager": False, "max_num_batched_tokens": 64}
    assert gpu_defaults(CARDS["H100"], given) == {}
    assert gpu_defaults(CARDS["H100"], {"max_num_batched_tokens": 16384})["max_num_seqs"] == 4096
    # vLLM refuses more prompts than a step has tokens.
    assert gpu_defaults(CARDS["H100"], {"max_num_batched_tokens": 64})["max_num_seqs"] == 64
    # Without chunked prefill a step must hold the longest prompt, which vLLM knows.
    assert "max_num_batched_tokens" not in gpu_defaults(CARDS["H100"], {"enable_chunked_prefill": False})


def test_models_are_not_compiled_unless_users_ask_for_it():
    assert gpu_defaults(CARDS["H100"], {})["enforce_eager"] is True
    assert "enforce_eager" not in gpu_defaults(CARDS["H100"], {"enforce_eager": False})


@pytest.mark.parametrize(
    ("card", "gib"), [("16 GiB", 1.6), ("24 GiB", 2.4), ("A100 40", 3.95), ("H100", 8), ("H200", 8)]
)
def test_buffers_take_a_share_of_the_card(card, gib):
    assert observe_memory_of(CARDS[card]) / GIB == pytest.approx(gib, rel=1e-6)


def test_buffers_take_one_gibibyte_beside_a_cpu():
    assert device.device_memory() is None
    assert observe_memory_of(None) == GIB


@pytest.mark.engine
def test_a_session_fills_in_the_devices_default(models, open_session):
    from tests.engine.support import tiny_options

    assert open_session(models(), options=tiny_options()).measurement.memory_bytes == GIB
    assert Measurement(observe_memory=0.5).memory_bytes == GIB // 2


def test_engine_arguments_of_a_gpu_reach_vllm(monkeypatch):
    """The arguments alone: vLLM is asked for no configuration, which needs the GPU."""
    from vllm.engine import arg_utils
    from vllm.platforms import current_platform

    seen: dict[str, Any] = {}

    class Arguments:
        def __init__(self, **arguments: Any) -> None:
            seen.update(arguments)

        def create_engine_config(self, usage: Any) -> Any:
            return SimpleNamespace()

    monkeypatch.setattr(arg_utils, "EngineArgs", Arguments)
    monkeypatch.setattr(vllm_config, "device_memory", lambda: CARDS["H100"])
    monkeypatch.setattr(type(current_platform), "is_cpu", lambda self: False)
    vllm_config.engine_config("model", EngineOptions(max_num_seqs=100))
    chosen = {name: seen[name] for name in ("max_num_seqs", "max_num_batched_tokens", "enforce_eager")}
    assert chosen == {"max_num_seqs": 100, "max_num_batched_tokens": 8192, "enforce_eager": True}


def test_small_cards_take_smaller_steps():
    chosen = {card: gpu_defaults(memory, {})["max_num_batched_tokens"] for card, memory in CARDS.items()}
    assert chosen == {"16 GiB": 4096, "24 GiB": 4096, "A100 40": 8192, "H100": 8192, "H200": 8192}
