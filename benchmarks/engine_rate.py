"""What does measuring cost? Tokens per second of one engine, patched and unpatched by turns.

    python benchmarks/engine_rate.py [MODEL] [--examples 60] [--rounds 5] [--mode any --mode corpus]

For each mode of measuring, one engine, started once, eager. A round puts the original activation modules
back and drives the engine with a plain loop, then puts the patch in again and measures the same prompts,
with all that belongs to it: targets, bits or counts, categories, attribution, collection. Tokenisation is in
both. The order alternates. Before anything is timed, what one round measured is compared with the session's
first. Prints tokens per second of both, the median of the rounds' own ratios with 20th and 80th percentile, and
the machine; `--json FILE` keeps it.
"""

import json
import platform
import time
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fastneurons.config import EngineOptions, Measurement
from fastneurons.data.example import Example
from fastneurons.data.facts import DEFAULT_LANGUAGES, facts
from fastneurons.engine.quiet import quiet

MODES = {
    "last": Measurement(),
    "last, 6 thresholds": Measurement((0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
    "last, product": Measurement(signal="product"),
    "last, attribution": Measurement(attribution=True),
    "any": Measurement(position="any"),
    "any, 6 thresholds": Measurement((0.0, 0.1, 0.2, 0.3, 0.4, 0.5), "any"),
    "any, product": Measurement(position="any", signal="product"),
    "corpus": Measurement(position="corpus"),
}


def main(
    model: Annotated[
        str | None, typer.Argument(help="A model folder; the demo's model if none is given.")
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(MODES)}; repeatable. [default: all]", show_default=False),
    ] = None,
    examples: Annotated[int, typer.Option(help="Examples of ten languages each in a round.")] = 60,
    rounds: Annotated[int, typer.Option(help="Rounds, each patched and unpatched once.")] = 5,
    dtype: Annotated[str, typer.Option(help="As vLLM's.")] = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here, too.")] = None,
) -> None:
    """Measure and print."""
    from fastneurons.data.demo_model import demo_model

    name = model or str(demo_model())
    rows = list(islice(facts(DEFAULT_LANGUAGES), examples))
    results = []
    for chosen in mode or MODES:
        with quiet() as hushed:
            print(f"{chosen} ...", file=hushed.terminal, flush=True)
            results.append({"mode": chosen} | rates(name, MODES[chosen], rows, rounds, dtype))
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=2) + "\n")
    first = results[0]
    print(
        f"{Path(name).name} {first['dtype']}, {first['prompts']} prompts, {first['tokens']:,} tokens, {rounds} rounds, "
        f"{first['machine']}; medians, in brackets 20th and 80th percentile"
    )
    print(f"{'':<20}{'tokens/s':>10}{'unpatched':>12}{'ratio':>8}")
    for result in results:
        ratio = result["ratio"]
        print(
            f"{result['mode']:<20}{result['patched']['median']:>10,.0f}{result['unpatched']['median']:>12,.0f}"
            f"{ratio['median']:>8.3f}  ({ratio['p20']:.3f} to {ratio['p80']:.3f})"
        )


def rates(model: str, what: Measurement, rows: list[Example], rounds: int, dtype: str) -> dict[str, Any]:
    """Tokens per second of one mode and of the same engine without the patch."""
    from fastneurons.engine.session import Session

    with Session(model, DEFAULT_LANGUAGES, what, EngineOptions(dtype=dtype)) as session:
        tokens = patched(session, rows)[1]
        check(session, rows)
        found: dict[str, list[float]] = {"patched": [], "unpatched": []}
        for number in range(rounds):
            order = ["patched", "unpatched"] if number % 2 else ["unpatched", "patched"]
            for which in order:
                seconds = (patched if which == "patched" else unpatched)(session, rows)[0]
                found[which].append(tokens / seconds)
        known = session.facts
    return {
        "model": Path(model).name,
        "dtype": known.dtype,
        "prompts": len(rows) * len(DEFAULT_LANGUAGES),
        "tokens": tokens,
        "rounds": rounds,
        **{which: percentiles(values) for which, values in found.items()},
        "ratio": percentiles(np.array(found["patched"]) / np.array(found["unpatched"])),
        "machine": f"{platform.machine()}, {known.threads_per_worker} threads, {known.device}",
    }


def patched(session: Any, rows: list[Example]) -> tuple[float, int]:
    """Seconds and tokens of measuring all rows."""
    began = time.perf_counter()
    tokens = sum(int(part.token_count.sum()) for part in session.measure(rows))
    return time.perf_counter() - began, tokens


def unpatched(session: Any, rows: list[Example]) -> tuple[float, int]:
    """Seconds and tokens of the same prompts through the same engine, as vLLM runs by itself."""
    from vllm.inputs import tokens_input
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    engine = session._engine
    worker = engine.engine_core.engine_core.model_executor.driver_worker.worker
    observer, runner = worker.observer, worker.model_runner
    modules = [getattr(layer.site.parent, layer.site.name) for layer in observer.layers]
    watched = runner.__dict__.pop("_model_forward")
    worker.observer = None
    for layer in observer.layers:
        setattr(layer.site.parent, layer.site.name, layer.original)
    try:
        began, tokens = time.perf_counter(), 0
        parameters = SamplingParams(
            max_tokens=1, temperature=0.0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )
        prompts = [prompt for row in rows for prompt in row.prompts.values()]
        for number, ids in enumerate(session._tokenizer(prompts)["input_ids"]):
            engine.add_request(f"plain-{number}", tokens_input(ids), parameters)
            tokens += len(ids)
        while engine.has_unfinished_requests():
            engine.step()
        return time.perf_counter() - began, tokens
    finally:
        for layer, module in zip(observer.layers, modules, strict=True):
            setattr(layer.site.parent, layer.site.name, module)
        runner._model_forward = watched
        worker.observer = observer


def check(session: Any, rows: list[Example]) -> None:
    """What is read is the same before and after the patch was taken out and put in again."""

    def read() -> list[bytes]:
        parts = session.measure(rows[:8])
        return [
            (part.activation_count if part.activated is None else part.activated).tobytes() for part in parts
        ]

    before = read()
    unpatched(session, rows[:8])
    assert read() == before, "what was read differs: nothing is timed"


def percentiles(values: Any) -> dict[str, float]:
    """Median, 20th and 80th percentile."""
    p20, median, p80 = np.percentile(values, [20, 50, 80])
    return {"median": float(median), "p20": float(p20), "p80": float(p80)}


if __name__ == "__main__":
    typer.run(main)
