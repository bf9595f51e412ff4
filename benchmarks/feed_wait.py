"""Does the engine wait for its prompts, while many short ones are templated and tokenised next to it?

    python benchmarks/feed_wait.py [MODEL] [--prompts 20000]

Writes short sums in ten languages as MGSM's files, streams them through the task's alignment and templates and
through a session, as `fastneurons run --tasks mgsm` does, and prints where the time of the loop that drives the
engine went: in the engine's steps, fetching results, sending prompts, and waiting for rows with the engine idle.
The last one is the answer; the wait for the very first rows is reported separately. Without MODEL, a random model of
3 small layers: the fastest engine there can be, so the hardest case for what feeds it.
"""

import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer
from random_model import random_model

from fastneurons.config import EngineOptions
from fastneurons.engine.quiet import quiet
from fastneurons.experiments.source import task_source

_SUMS = {
    "en": "What is {} plus {}?", "de": "Was ist {} plus {}?", "es": "¿Cuánto es {} más {}?",
    "fr": "Combien font {} plus {} ?", "ru": "Сколько будет {} плюс {}?", "zh": "{}加{}等于多少?",
    "ja": "{}たす{}はいくつですか。", "th": "{} บวก {} เท่ากับเท่าไร", "sw": "{} jumlisha {} ni ngapi?",
    "bn": "{} আর {} যোগ করলে কত হয়?",
}  # fmt: skip


def main(
    model: Annotated[
        str | None, typer.Argument(help="A model folder; a tiny random one if none is given.")
    ] = None,
    prompts: Annotated[int, typer.Option(help="Prompts in all languages together.")] = 20_000,
) -> None:
    """Measure and print."""
    from fastneurons.engine.session import Session

    with tempfile.TemporaryDirectory() as folder:
        for code, text in _SUMS.items():
            with (Path(folder) / f"mgsm_{code}.tsv").open("w", encoding="utf-8") as file:
                for number in range(-(-prompts // len(_SUMS))):
                    a, b = number * 7919 % 1000, number * 104729 % 1000
                    file.write(f"{text.format(a, b)}\t{a + b}\n")
        name = model or str(random_model(Path(folder) / "model"))
        options = EngineOptions(dtype="float32" if model is None else "auto", max_model_len=256)
        with quiet(), Session(name, tuple(_SUMS), options=options) as session:
            spent: dict[str, float] = defaultdict(float)
            for method in ("step", "send"):
                _timed(session.engine, method, spent)
            source, _ = task_source(name, ["mgsm"], {"mgsm": folder}, tuple(_SUMS))
            began = time.perf_counter()
            first = 0.0
            for _ in session.measure(source.examples):
                first = first or session.totals.waited_s
            whole = time.perf_counter() - began
            totals = session.totals
    others = whole - spent["step"] - spent["send"] - totals.waited_s
    print(f"{totals.prompts:,} prompts, {totals.tokens:,} tokens in {whole:.1f} s, {totals.steps} steps")
    print(f"engine steps       {spent['step'] / whole:7.2%}")
    print(f"sending prompts    {spent['send'] / whole:7.2%}")
    print(f"fetching results   {others / whole:7.2%}")
    print(f"waiting for rows   {totals.waited_s / whole:7.2%}   ({first:.3f} s of it for the first ones)")


def _timed(engine: Any, method: str, spent: dict[str, float]) -> None:
    """Add up the seconds that an engine spends in one of its methods."""
    whole = getattr(engine, method)

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return whole(*args, **kwargs)
        finally:
            spent[method] += time.perf_counter() - began

    setattr(engine, method, timed)


if __name__ == "__main__":
    typer.run(main)
