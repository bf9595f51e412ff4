"""Does the engine wait for its prompts? Rendering and tokenising beside it, over many short prompts.

    python benchmarks/feed_wait.py [MODEL] [--prompts 20000]

Writes a JSONL file of short sums in ten languages, streams it through a session as `fastneurons run` does,
and prints where the time of the loop that drives the engine went: in the engine's steps, fetching results, taking
rows that are ready, and waiting for rows with the engine idle. The last one is the answer; the first wait, for
the first rows, is told apart. Without MODEL, a random model of 3 small layers: the fastest engine there
can be, so the hardest case for what feeds it.
"""

import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fastneurons.config import EngineOptions
from fastneurons.data.jsonl import open_jsonl
from fastneurons.engine.quiet import quiet

_TEMPLATES = {
    "en": "What is {} plus {}? It is", "de": "Was ist {} plus {}? Es ist", "fr": "Combien font {} plus {} ? Cela fait",
    "es": "¿Cuánto es {} más {}? Es", "tr": "{} artı {} kaç eder? Sonuç", "ru": "Сколько будет {} плюс {}? Это",
    "zh": "{}加{}等于多少?等于", "ja": "{}たす{}はいくつですか。答えは", "ar": "كم يساوي {} زائد {}؟ يساوي",
    "hi": "{} और {} का योग कितना है? योग है",
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
        data = Path(folder) / "sums.jsonl"
        with data.open("w", encoding="utf-8") as file:
            for number in range(-(-prompts // len(_TEMPLATES))):
                a, b = number * 7919 % 1000, number * 104729 % 1000
                row = {
                    "id": number,
                    "prompts": {code: text.format(a, b) for code, text in _TEMPLATES.items()},
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        name = model or str(_tiny_model(Path(folder) / "model"))
        options = EngineOptions(dtype="float32" if model is None else "auto", max_model_len=256)
        with quiet(), Session(name, tuple(_TEMPLATES), options=options) as session:
            spent: dict[str, float] = defaultdict(float)
            for method in ("_step", "_collect", "_send"):
                _timed(session, method, spent)
            began = time.perf_counter()
            first = 0.0
            for _ in session.measure(open_jsonl(data, tuple(_TEMPLATES))):
                first = first or session.totals.waited_s
            whole = time.perf_counter() - began
            totals = session.totals
    print(f"{totals.prompts:,} prompts, {totals.tokens:,} tokens in {whole:.1f} s, {totals.steps} steps")
    print(f"engine steps       {spent['_step'] / whole:7.2%}")
    print(f"fetching results   {spent['_collect'] / whole:7.2%}")
    print(f"sending prompts    {spent['_send'] / whole:7.2%}")
    print(f"waiting for rows   {totals.waited_s / whole:7.2%}   ({first:.3f} s of it for the first ones)")


def _timed(session: Any, method: str, spent: dict[str, float]) -> None:
    whole = getattr(session, method)

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return whole(*args, **kwargs)
        finally:
            spent[method] += time.perf_counter() - began

    setattr(session, method, timed)


def _tiny_model(folder: Path) -> Path:
    """A Llama of 3 layers with the tokenizer of the demo's model."""
    import shutil

    from transformers import LlamaConfig, LlamaForCausalLM

    from fastneurons.data.demo_model import demo_model

    demo = demo_model()
    config = LlamaConfig(
        vocab_size=json.loads((demo / "config.json").read_text())["vocab_size"], hidden_size=64,
        intermediate_size=128, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(demo / file, folder)
    return folder


if __name__ == "__main__":
    typer.run(main)
