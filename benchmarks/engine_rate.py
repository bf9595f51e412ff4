"""What does measuring cost? Tokens per second of one engine, patched and unpatched by turns.

    python benchmarks/engine_rate.py [MODEL] [--examples 200] [--rounds 5]

One engine, started once, eager. A round puts the original activation modules back and drives the
engine with a plain loop, then puts the patch in again and measures the same prompts, with all that
belongs to it: targets, bits, categories, collection. Tokenisation is in both. The order alternates.
Before anything is timed, the bits of one round are compared with those of the session's first.
Prints a table, the ratio of medians with the 20th and 80th percentile of the rounds' own ratios, and
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

from fastneurons.config import EngineOptions
from fastneurons.data.example import Example
from fastneurons.data.facts import DEFAULT_LANGUAGES, facts
from fastneurons.engine.quiet import quiet


def main(
    model: Annotated[
        str | None, typer.Argument(help="A model folder; the demo's model if none is given.")
    ] = None,
    examples: Annotated[int, typer.Option(help="Examples of ten languages each in a round.")] = 60,
    rounds: Annotated[int, typer.Option(help="Rounds, each patched and unpatched once.")] = 5,
    dtype: Annotated[str, typer.Option(help="As vLLM's.")] = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here, too.")] = None,
) -> None:
    """Measure and print."""
    from fastneurons.data.demo_model import demo_model
    from fastneurons.engine.session import Session

    name = model or str(demo_model())
    rows = list(islice(facts(DEFAULT_LANGUAGES), examples))
    with quiet() as hushed, Session(name, DEFAULT_LANGUAGES, options=EngineOptions(dtype=dtype)) as session:
        tokens = patched(session, rows)[1]
        check(session, rows)
        rates: dict[str, list[float]] = {"patched": [], "unpatched": []}
        for number in range(rounds):
            order = ["patched", "unpatched"] if number % 2 else ["unpatched", "patched"]
            for which in order:
                seconds = (patched if which == "patched" else unpatched)(session, rows)[0]
                rates[which].append(tokens / seconds)
                print(
                    f"round {number + 1}: {which:<10} {rates[which][-1]:8,.0f} tokens/s", file=hushed.terminal
                )
        facts_of_model = session.facts
    ratios = np.array(rates["patched"]) / np.array(rates["unpatched"])
    result = {
        "model": Path(name).name,
        "dtype": facts_of_model.dtype,
        "prompts": examples * len(DEFAULT_LANGUAGES),
        "tokens": tokens,
        "rounds": rounds,
        "tokens_per_s": {which: percentiles(values) for which, values in rates.items()},
        "ratio": percentiles(ratios),
        "machine": f"{platform.machine()}, {facts_of_model.threads_per_worker} threads, {facts_of_model.device}",
    }
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"{result['model']} {result['dtype']}, {result['prompts']} prompts, {tokens:,} tokens, {result['machine']}"
    )
    print(f"{'':<12}{'median':>10}{'p20':>10}{'p80':>10}")
    for which, p in result["tokens_per_s"].items():
        print(f"{which:<12}{p['median']:>10,.0f}{p['p20']:>10,.0f}{p['p80']:>10,.0f}  tokens/s")
    p = result["ratio"]
    print(f"{'ratio':<12}{p['median']:>10.3f}{p['p20']:>10.3f}{p['p80']:>10.3f}")


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
    """The bits are the same before and after the patch was taken out and put in again."""

    def bits() -> list[bytes]:
        return [part.activated.tobytes() for part in session.measure(rows[:8])]

    before = bits()
    unpatched(session, rows[:8])
    assert bits() == before, "the bits differ: nothing is timed"


def percentiles(values: Any) -> dict[str, float]:
    """Median, 20th and 80th percentile."""
    p20, median, p80 = np.percentile(values, [20, 50, 80])
    return {"median": float(median), "p20": float(p20), "p80": float(p80)}


if __name__ == "__main__":
    typer.run(main)
