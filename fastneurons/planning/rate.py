"""The rate of an engine: from data sheets and what one H100 was measured to reach of them, or from a benchmark."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastneurons.errors import InputError
from fastneurons.planning.gpus import Gpu
from fastneurons.planning.memory import Engine, Reading
from fastneurons.planning.shapes import BF16_BYTES, Model, layers_s, model_shapes

# Share of the data sheet's rates that an engine reaches: 42,698 tokens a second, with the store, of an 8B model at 30
# tokens on one H100 (benchmarks/results/h100.md).
_EFFICIENCY = 0.637
# What a session and vLLM do for each prompt on the host, one after another (benchmarks/results/host_budget.md).
_HOST_S = 170e-6
# What reading adds to a step, on paper (benchmarks/results/roofline.md); `any` as measured on one H100.
_ADDED = {"last": 0.0, "any": 0.005, "answer": 0.005, "corpus": 0.005}
_ADDED_BY_THRESHOLD = {"last": 0.0, "any": 0.015, "answer": 0.015, "corpus": 0.015}
_ADDED_BY_ATTRIBUTION = 0.04
_BENCH_BYTES = 2**26


@dataclass(frozen=True)
class Rate:
    """Tokens a second of one engine.

    Args:
        basis: "estimated" from data sheets, "scaled" from a benchmark of another model or prompt length, or
            "measured" by a benchmark of this one.
        limit: What sets it: "device" or "host".
        about: Where it comes from, in one line.
    """

    tokens_per_s: float
    basis: str
    limit: str
    about: str


def estimated_rate(gpu: Gpu, model: Model, engine: Engine, reading: Reading) -> Rate:
    """The rate on paper."""
    ranks, tokens = engine.tensor_parallel_size, engine.max_num_batched_tokens
    step = layers_s(gpu, model, tokens, ranks) / engine.pipeline_parallel_size
    layers = model.num_layers / engine.pipeline_parallel_size
    step += layers * BF16_BYTES * tokens * (2 + model.gated) * model.intermediate_size / ranks / gpu.bandwidth
    # Each token with those before it: QK and PV, causal.
    heads = model.num_heads / ranks * model.head_dim
    step += layers * tokens * 4 * heads * reading.tokens / 2 / gpu.bf16_flops
    step /= _EFFICIENCY
    if ranks > 1:  # two all-reduces a layer, in a ring
        moved = 2 * layers * tokens * model.hidden_size * BF16_BYTES * 2 * (ranks - 1) / ranks
        step += moved / gpu.link_bandwidth
    step *= 1 + _added(reading)
    device, host = tokens / step, reading.tokens / _HOST_S
    about = f"{_EFFICIENCY:.0%} of the data sheet's rates, as an 8B model reached on one H100"
    if host < device:
        return Rate(host, "estimated", "host", f"{1e6 * _HOST_S:.0f} microseconds of the host a prompt")
    return Rate(device, "estimated", "device", about)


def _added(reading: Reading) -> float:
    added = _ADDED[reading.position] + _ADDED_BY_THRESHOLD[reading.position] * (reading.thresholds - 1)
    return added + (_ADDED_BY_ATTRIBUTION if reading.attribution else 0.0)


def benched_rate(file: str, model: Model, reading: Reading) -> Rate:
    """The rate that `fastneurons bench --json` measured on the machine, scaled by operations a token for another model.

    Raises:
        InputError: the file is no such report, or has no result to go by.
    """
    report = _report(file)
    name = "attribution" if reading.attribution else reading.position
    wanted = {"answer": "any"}.get(name, name)
    timed: list[dict[str, Any]] = []
    for contender in (f"{wanted}+store", wanted):  # with the store where that was measured
        timed = timed or [
            result
            for result in report["results"]
            if isinstance(result, dict)
            and result.get("contender") == contender
            and result.get("tokens_per_s")
        ]
    if not timed:
        raise InputError(f"--bench {file} has no rate of {wanted!r}; measure it with fastneurons bench")
    nearest = min(timed, key=lambda result: abs((result.get("prompt_length") or 0) - reading.tokens))
    rate = float(nearest["tokens_per_s"]["median"])
    shapes = _benched_model(report)
    length = nearest.get("prompt_length")
    about = f"{rate:,.0f} tokens/s of {report['model']} at {length} tokens, {file}"
    if shapes is None or _operations(shapes) == _operations(model):
        basis = "measured" if length == reading.tokens else "scaled"
        return Rate(rate, basis, "device", about)
    rate *= _operations(shapes) / _operations(model)
    return Rate(rate, "scaled", "device", f"{about}, scaled by operations a token")


def _report(file: str) -> dict[str, Any]:
    try:
        path = Path(file)
        if path.stat().st_size > _BENCH_BYTES:
            raise InputError(f"--bench {file} is too large for a report of fastneurons bench")
        report = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"--bench {file}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"--bench {file} is not JSON: {error}") from error
    if not isinstance(report, dict) or not isinstance(report.get("results"), list) or "model" not in report:
        raise InputError(f"--bench {file} is not a report of fastneurons bench --json")
    return report


def _benched_model(report: dict[str, Any]) -> Model | None:
    """The shapes of the model that was measured, if its configuration is here."""
    try:
        return model_shapes(str(report["model"]))
    except InputError:
        return None


def _operations(model: Model) -> int:
    return model.num_layers * model.layer_parameters
