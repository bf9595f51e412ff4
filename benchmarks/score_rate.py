"""How fast are texts scored, compared with vLLM's `prompt_logprobs` in the same engine?

    python benchmarks/score_rate.py MODEL [--rounds 5]

Three workloads of random tokens: four choices behind one long question, an answer behind a short question, and windows
of which all tokens are judged. Rounds of the two alternate. A workload is timed only once both have given the same
log-probabilities. Texts differ from round to round, so that no round finds its prefixes cached by an earlier one.
"""

import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from fastneurons.config import EngineOptions
from fastneurons.engine.quiet import quiet
from fastneurons.engine.scoring import ToScore, score, scoring_engine

Values = list[NDArray[np.float32]]


def choices(rng: np.random.Generator, vocabulary: int, number: int) -> list[ToScore]:
    """Four choices of 6 tokens each behind a question of 120."""
    made = []
    for _ in range(number // 4):
        question = rng.integers(100, vocabulary, 120).tolist()
        made += [ToScore([*question, *rng.integers(100, vocabulary, 6).tolist()], 120) for _ in range(4)]
    return made


def answers(rng: np.random.Generator, vocabulary: int, number: int) -> list[ToScore]:
    """An answer of 4 tokens behind a question of 36."""
    return [ToScore(rng.integers(100, vocabulary, 40).tolist(), 36) for _ in range(number)]


def windows(rng: np.random.Generator, vocabulary: int, number: int) -> list[ToScore]:
    """Windows of 512 tokens, all judged but for the first."""
    return [ToScore(rng.integers(100, vocabulary, 512).tolist(), 1) for _ in range(number // 8)]


def by_score_path(engine: Any, texts: list[ToScore]) -> Values:
    """The path that is asked about."""
    return list(score(engine, texts))


def by_prompt_logprobs(engine: Any, texts: list[ToScore]) -> Values:
    """vLLM's own: the log-probability of each token of a prompt, without alternatives."""
    from vllm.sampling_params import SamplingParams

    asked = SamplingParams(max_tokens=1, temperature=0.0, detokenize=False, prompt_logprobs=0)
    found: dict[str, Any] = {}
    for number, text in enumerate(texts):
        engine.send(f"own-{number}", list(text.token_ids), {}, asked)
    unfinished = len(texts)
    while unfinished:
        for output in engine.step():
            if output.new_prompt_logprobs_tensors is not None:
                found[output.request_id] = output.new_prompt_logprobs_tensors.logprobs[:, 0]
            unfinished -= output.finished
    return [found[f"own-{number}"][text.first - 1 :].numpy() for number, text in enumerate(texts)]


def main(
    model: Annotated[str, typer.Argument(help="A model folder, or a name on the Hub.")],
    rounds: Annotated[int, typer.Option(help="Rounds of each workload.")] = 5,
    texts: Annotated[int, typer.Option(help="Texts of a round; an eighth as many windows.")] = 256,
    dtype: Annotated[str, typer.Option(help="As for vLLM.")] = "auto",
) -> None:
    """Measure and print."""
    workloads: dict[str, Callable[[np.random.Generator, int, int], list[ToScore]]] = {
        "choices": choices, "answers": answers, "windows": windows,
    }  # fmt: skip
    options = EngineOptions(dtype=dtype, max_model_len=1024)
    with quiet() as hushed, scoring_engine(model, options) as engine:
        rng = np.random.default_rng(0)
        print(f"{model}, {engine.facts.dtype}, {engine.facts.device}", file=hushed.terminal)
        print("workload   texts/s  prompt_logprobs  ratio (p20, p80)", file=hushed.terminal)
        for name, draw in workloads.items():
            check(engine, draw(rng, engine.facts.vocabulary, 16), engine.facts.dtype)
            spent: dict[Any, list[float]] = {by_score_path: [], by_prompt_logprobs: []}
            for _ in range(rounds):
                for path, times in spent.items():
                    drawn = draw(rng, engine.facts.vocabulary, texts)
                    began = time.perf_counter()
                    path(engine, drawn)
                    times.append((time.perf_counter() - began) / len(drawn))
            ours, own = spent.values()
            low, ratio, high = np.quantile(np.array(own) / np.array(ours), [0.2, 0.5, 0.8])
            line = f"{name:9} {1 / statistics.median(ours):8.1f} {1 / statistics.median(own):16.1f}"
            print(f"{line}  {ratio:5.2f} ({low:.2f}, {high:.2f})", file=hushed.terminal, flush=True)


def check(engine: Any, texts: list[ToScore], dtype: str) -> None:
    """Refuse to time what differs."""
    ours, own = (np.concatenate(path(engine, texts)) for path in (by_score_path, by_prompt_logprobs))
    # Steps of other sizes round differently in 16 bits; logits are up to 30 here.
    within = 1e-3 if dtype == "float32" else 0.5
    assert np.abs(ours - own).max() <= within, np.abs(ours - own).max()


if __name__ == "__main__":
    typer.run(main)
