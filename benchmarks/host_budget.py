"""How long does a GPU wait for its host? Measured without one.

A stand-in takes a GPU's place (`stand_in.py`): forward passes take the time that one is expected to take, and keep its
order; everything else is real: vLLM's scheduler with two steps in flight, requests, buffers of full size, collecting,
the processes of a tensor-parallel engine, merging, and the store. What broke the order of what is shared would end the
run, and every result is checked to be its own prompt's.

    python benchmarks/host_budget.py run 8B --tokens 30                one case: a line of JSON
    python benchmarks/host_budget.py run 8B --tokens 30 -tp 2          two workers, in processes of their own
    python benchmarks/host_budget.py cases 8B:30:1200 1B:30:1200       several; benchmarks/results/host_budget.md

`PYTHONPATH=/path/to/an/older/checkout` in front measures that one. The device's times are on paper: 550 TFLOP/s a GPU.
"""

import itertools
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

LANGUAGES = ("ar", "bn", "de", "en", "es", "fr", "ja", "ru", "th", "zh")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Shape:
    """A model's shape, and prompts of 30 tokens a second that its GPUs are expected to read."""

    layers: int
    hidden: int
    neurons: int
    heads: int
    kv_heads: int
    gpus: int
    prompts_per_s: float


SHAPES = {
    "1B": Shape(16, 2048, 8192, 32, 8, 1, 8_600),
    "8B": Shape(32, 4096, 14336, 32, 8, 1, 1_350),
    "70B": Shape(80, 8192, 28672, 64, 8, 4, 584),
}


@app.command()
def cases(
    which: Annotated[list[str], typer.Argument(help="As 8B:30:1000, a shape, tokens and examples.")],
    workers: Annotated[int, typer.Option("-tp", help="Tensor-parallel workers.")] = 1,
) -> None:
    """Measure several cases, one after another; a line of JSON each."""
    for case in which:
        shape, tokens, examples = case.split(":")
        group = 51 if shape == "70B" else 102
        found = measured(
            SHAPES[shape], int(tokens), int(examples), workers, group, 16_384, 2_048, 40.0, False
        )
        print(json.dumps({"shape": shape, **found}), flush=True)


@app.command()
def run(
    shape: Annotated[str, typer.Argument(help="1B, 8B or 70B.")],
    tokens: Annotated[int, typer.Option(help="Of each prompt.")] = 30,
    examples: Annotated[int, typer.Option(help="In ten languages each.")] = 1_000,
    workers: Annotated[int, typer.Option("-tp", help="Tensor-parallel workers.")] = 1,
    group: Annotated[int, typer.Option(help="Examples of a collection.")] = 102,
    batch: Annotated[int, typer.Option(help="Tokens of a step.")] = 16_384,
    seqs: Annotated[int, typer.Option(help="Prompts in two steps.")] = 2_048,
    runner_us: Annotated[float, typer.Option(help="Of vLLM's model runner, a prompt.")] = 40.0,
    store: Annotated[bool, typer.Option(help="Write a store; else results are checked and dropped.")] = False,
) -> None:
    """Measure one case."""
    print(
        json.dumps(measured(SHAPES[shape], tokens, examples, workers, group, batch, seqs, runner_us, store))
    )


def measured(
    shape: Shape, tokens: int, examples: int, workers: int, group: int, batch: int, seqs: int,
    runner_us: float, store: bool,
) -> dict[str, Any]:  # fmt: skip
    """Microseconds of the host a prompt by what they are spent on, and the share of time that the device is idle."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    sys.path.insert(0, str(Path(__file__).parent))
    s_per_token = 1 / (30 * shape.prompts_per_s)
    os.environ |= {
        "FASTNEURONS_STAND_IN": json.dumps({"s_per_token": s_per_token, "runner_us": runner_us}),
        "HF_HUB_OFFLINE": "1",
    }
    from fastneurons.config import EngineOptions, Measurement
    from fastneurons.engine import engine as engines
    from fastneurons.engine.session import Session

    spent: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        model = _model(Path(folder) / "model", shape)
        _use_stand_in(engines)
        row_bytes = shape.layers * shape.neurons // 8
        rows = 4 * max(group * len(LANGUAGES), batch // tokens)  # four collections, and four steps
        memory = int(rows * row_bytes * 1.35 + 2**24)
        options = EngineOptions(
            tensor_parallel_size=workers, max_model_len=512, max_num_batched_tokens=batch,
            max_num_seqs=seqs,
            engine_args={
                "block_size": 16, "kv_cache_memory_bytes": 40 << 30, "enable_prefix_caching": False,
            },
        )  # fmt: skip
        what = Measurement(observe_memory=memory / 2**30)
        with Session(str(model), LANGUAGES, what, options) as session:
            restore = _time_host(session, spent, calls, in_process=workers == 1)
            began = time.perf_counter()
            write_s = _read(session, examples, tokens, Path(folder) / "run.zarr" if store else None, spent)
            whole = time.perf_counter() - began
            restore()
            slots = session.facts.slots
            reports = session.core.ask("fastneurons_report")
    for report in reports:
        if report["failure"]:
            raise SystemExit(report["failure"])
    prompts = examples * len(LANGUAGES)
    return {
        "tokens": tokens, "workers": workers, "prompts": prompts, "slots": slots, "seconds": round(whole, 2),
        "idle": round(max(_idle(report["busy"]) for report in reports), 4),
        "gaps_ms": [round(1e3 * (b[0] - a[1])) for a, b in itertools.pairwise(reports[0]["busy"])],
        "us_a_prompt": {name: round(1e6 * s / prompts, 1) for name, s in sorted(spent.items())},
        "write_us_a_prompt": round(1e6 * write_s / prompts, 1),
        "collections": calls["merge"],
    }  # fmt: skip


def _idle(busy: list[list[float]]) -> float:
    """Share of the time in which no forward pass ran, without the first third and the last two.

    A run's first window comes by itself, and the first results are checked; the last steps are not full.
    """
    some = busy[len(busy) // 3 : -2]
    whole = some[-1][1] - some[0][0]
    return 1 - sum(last - first for first, last in some) / whole


def _use_stand_in(engines: Any) -> None:
    """Have engines of fastneurons run the stand-in's worker, with steps scheduled as for a GPU."""
    starting = engines  # of versions before the engine's start had a module of its own, which are compared
    if not hasattr(engines, "engine_config"):
        from fastneurons.engine import starting
    if starting.engine_config.__name__ == "configured":
        return
    configure = starting.engine_config

    def configured(*args: Any, **kwargs: Any) -> Any:
        os.environ.pop("VLLM_USE_V2_MODEL_RUNNER", None)
        config = configure(*args, **kwargs)
        config.parallel_config.worker_cls = "stand_in_worker.StandInWorker"
        config.scheduler_config.async_scheduling = True
        if config.parallel_config.world_size == 1:
            # Only now, and in this process alone: while a configuration is made, it is refused without Triton.
            os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "1"
        return config

    starting.engine_config = configured
    engines.PatchedEngine._find_files = lambda self: None


def _time_host(
    session: Any, spent: dict[str, float], calls: dict[str, int], in_process: bool
) -> Callable[[], None]:
    """Take the time of what the host does, until what it returns is called."""
    before: list[tuple[Any, str, Any]] = []

    def timed(place: Any, method: str, name: str) -> None:
        whole: Callable[..., Any] = getattr(place, method)

        def run(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return whole(*args, **kwargs)
            finally:
                spent[name] += time.thread_time() - began
                calls[name] += 1

        before.append((place, method, whole))
        setattr(place, method, run)

    from fastneurons.engine import engine as engines
    from fastneurons.engine import reading

    timed(session.core, "send", "send")
    timed(engines, "merge", "merge")
    timed(reading.ReadingPass, "_send", "send, whole")
    for name in ("begin", "fetch", "collect"):
        if hasattr(session._collector, name):
            timed(session._collector, name, name)
    if in_process:
        scheduler = session.core.in_process.scheduler
        timed(scheduler, "schedule", "schedule")
        timed(scheduler, "update_from_output", "update")
        timed(session.core.worker.observer, "arm", "arm")
        timed(session.core.worker, "execute_model", "worker")

    def restore() -> None:
        for place, method, whole in before:
            setattr(place, method, whole)

    return restore


def _read(session: Any, examples: int, tokens: int, out: Path | None, spent: dict[str, float]) -> float:
    """Read all prompts and check each one's bits; the seconds that writing took in its thread."""
    from fastneurons.data.example import Example
    from fastneurons.engine.encode import Tokenised
    from fastneurons.experiments import measure

    L = len(LANGUAGES)

    class Rows:
        """Prompts that are numbered by their first tokens."""

        def __init__(self) -> None:
            self._taken = 0

        def take(self, wait: bool) -> tuple[Tokenised, int]:
            if self._taken == examples:
                raise StopIteration
            prompts = [[1 + self._taken * L + language] + [5] * (tokens - 1) for language in range(L)]
            self._taken += 1
            example = Example(str(self._taken), {}, {}, "", "task")
            return Tokenised(example, prompts, [None] * L), self._taken

    def results() -> Iterator[Any]:
        first = 0
        for measured in session.read(Rows(), window=256):
            stamps = np.ascontiguousarray(measured["activated"][:, 0, :, 0, :4]).view(np.int32)[..., 0]
            expected = 1 + np.arange(first * L, (first + len(measured.examples)) * L).reshape(-1, L)
            if not (stamps == expected).all():
                raise SystemExit(f"the bits of rows from {first} on are not theirs")
            first += len(measured.examples)
            yield measured

    if out is None:
        for _ in results():
            pass
        return 0.0
    from fastneurons.config import EngineOptions, RunOptions

    class Source:
        tasks, name, limit, options, total = ("task",), "stand-in", None, {}, examples

    header = measure._header(session, Source(), RunOptions(), EngineOptions(), {})
    with measure._writer(str(out), header, session.measurement, RunOptions()) as writer:
        window: list[Any] = []
        for measured in results():
            window.append(measured)
            if (measured.first + len(measured.examples)) % 256 == 0:
                began = time.perf_counter()
                measure._commit(writer, window, ("task",))
                spent["wait for the writer"] += time.perf_counter() - began
                window = []
        if window:
            measure._commit(writer, window, ("task",))
        writer.wait()
        writer.finish()
        return float(writer.write_s)


def _model(folder: Path, shape: Shape) -> Path:
    """A model's folder without weights."""
    import shutil

    from fastneurons.data.demo.model import demo_model

    folder.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": shape.hidden, "intermediate_size": shape.neurons, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "vocab_size": 128_256,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16", "bos_token_id": 1,
        "eos_token_id": 2, "tie_word_embeddings": False,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(demo_model() / file, folder)
    return folder


if __name__ == "__main__":
    app()
