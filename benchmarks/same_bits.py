"""Do eager and compiled runs, both of vLLM's model runners, and several devices read the same bits?

    python benchmarks/same_bits.py [--model FOLDER] [--ways eager,first-runner,compiled,tp2,pp2] [--json FILE]

A small model with random weights is measured in each way on the same prompts, each in a process of its own. The bits
are compared with those of the first way, and all with a plain forward pass of Transformers. Compiling rounds at other
places, and so does splitting a sum over devices: then activations within rounding of the threshold may fall on its
other side. Exit status 1 if more than that differs.
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

# Way: environment variables, engine arguments, and the share of bits that may differ from the first way's.
_ROUNDING = 0.01
WAYS: dict[str, tuple[dict[str, str], dict[str, Any], float]] = {
    "eager": ({}, {"enforce_eager": True}, 0.0),
    # The two runners order a step's prompts in their own ways: matrix products may round differently.
    "first-runner": ({"VLLM_USE_V2_MODEL_RUNNER": "0"}, {"enforce_eager": True}, _ROUNDING),
    "compiled": ({}, {"enforce_eager": False}, _ROUNDING),
    "tp2": ({}, {"enforce_eager": True, "tensor_parallel_size": 2}, _ROUNDING),
    "pp2": ({}, {"enforce_eager": True, "pipeline_parallel_size": 2}, _ROUNDING),
}
_LANGUAGES = ("en", "de", "zh", "th")
_LENGTH = 48


@dataclass(frozen=True)
class Compared:
    """One way, and the bits in which it differs.

    Args:
        runner: vLLM's model runner that it ran on; None where it is in another process.
        bits: How many there are.
        different: Bits that differ from those of the first way.
        from_transformers: Bits that differ from a plain forward pass.
        why_not: The reason if it did not run.
    """

    way: str
    ok: bool
    seconds: float = 0.0
    runner: str | None = None
    dtype: str = ""
    device: str = ""
    bits: int = 0
    different: int = 0
    from_transformers: int | None = None
    why_not: str | None = None


def main(
    model: Annotated[str | None, typer.Option(help="A model folder. [default: a small random one]")] = None,
    ways: Annotated[str, typer.Option(help=f"Some of {','.join(WAYS)}.")] = "eager,first-runner,compiled",
    examples: Annotated[int, typer.Option(min=1, help="Of four prompts each.")] = 64,
    position: Annotated[str, typer.Option(help="last or any.")] = "any",
    dtype: Annotated[str, typer.Option(help="As vLLM's.")] = "auto",
    engine_arg: Annotated[list[str] | None, typer.Option(help="KEY=VALUE by vLLM's names.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure, compare, print."""
    from random_model import write_shape

    from fastneurons.config import parse_engine_args

    names = ways.split(",")
    if unknown := set(names) - set(WAYS):
        raise SystemExit(f"--ways {', '.join(unknown)}: must be some of {', '.join(WAYS)}")
    arguments = {"max_model_len": 1024, **parse_engine_args(engine_arg or [])}
    with tempfile.TemporaryDirectory() as folder:
        model = model or str(write_shape("smallest", Path(folder, "smallest")))
        found = compared(model, names, examples, position, dtype, arguments)
    for each in found:
        print(_line(each))
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")
    sys.exit(0 if all(each.ok for each in found) else 1)


def compared(
    model: str, ways: list[str], examples: int, position: str, dtype: str, arguments: dict[str, Any]
) -> list[Compared]:
    """Measure in each way and compare."""
    from fastneurons.bench.child import ChildError, in_a_process
    from fastneurons.bench.contender import Setting, Work

    drawn = np.random.default_rng(0).integers(3, 259, (examples, len(_LANGUAGES), _LENGTH))
    work = Work(drawn.tolist(), [[5] * len(_LANGUAGES)] * examples)
    expected = None
    if arguments.get("load_format") != "dummy":
        expected = in_a_process(_of_transformers, Setting(model, _LANGUAGES, dtype), work, position)
    found: list[Compared] = []
    first = None
    for way in ways:
        environment, own, may_differ = WAYS[way]
        os.environ.update(environment)
        began = time.perf_counter()
        try:
            bits, facts = in_a_process(_measured, model, work, position, dtype, arguments | own)
        except ChildError as error:
            found.append(Compared(way, False, why_not=str(error)))
            continue
        finally:
            for name in environment:
                del os.environ[name]
        first = bits if first is None else first
        size = bits.shape[-1] * int(np.prod(bits.shape[:-1]))
        different = int((bits != first).sum())
        apart = None if expected is None else int((bits != expected).sum())
        ok = different <= may_differ * size and (apart or 0) <= 2 * _ROUNDING * size
        seconds = round(time.perf_counter() - began, 1)
        found.append(
            Compared(way, ok, seconds, **facts, bits=size, different=different, from_transformers=apart)
        )
    return found


def _measured(
    model: str, work: Any, position: str, dtype: str, arguments: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The bits, bool [E, L, N, I], and facts about the engine that read them."""
    from fastneurons.config import EngineOptions, Measurement
    from fastneurons.data.example import Example
    from fastneurons.engine.encode import Tokenised
    from fastneurons.engine.session import Session

    named = EngineOptions.__dataclass_fields__
    options = EngineOptions(
        dtype=dtype,
        **{name: value for name, value in arguments.items() if name in named},
        engine_args={name: value for name, value in arguments.items() if name not in named},
    )
    rows = [
        Tokenised(Example(str(number), {}, {}, "", "bench"), list(prompts), list(answers))
        for number, (prompts, answers) in enumerate(zip(work.prompts, work.answers, strict=True))
    ]
    with Session(model, _LANGUAGES, Measurement(position=position), options) as session:
        packed = np.concatenate([part["activated"] for part in session.measure(rows)])[:, 0]
        facts = session.facts
        runner = None
        if facts.workers == 1:
            runner = type(session.core.worker.model_runner).__module__.removeprefix("vllm.v1.worker.")
        bits = np.unpackbits(packed, axis=-1, count=facts.neurons, bitorder="little").astype(bool)
        return bits, {"runner": runner, "dtype": facts.dtype, "device": facts.device}


def _of_transformers(setting: Any, work: Any, position: str) -> Any:
    """Bits of plain forward passes, bool [E, L, N, I]."""
    from fastneurons.bench.reference import reference

    found = reference(setting, work)
    return (found.last if position == "last" else found.largest) > 0


def _line(found: Compared) -> str:
    if found.why_not is not None:
        return f"{found.way}: DID NOT RUN: {found.why_not}"
    where = f"{found.device}, {found.dtype}" + (f", {found.runner}" if found.runner else "")
    text = f"{found.way} ({where}; {found.seconds:.0f} s): {found.different:,} of {found.bits:,} bits differ"
    if found.from_transformers is not None:
        text += f"; {found.from_transformers:,} from Transformers"
    return text + ("" if found.ok else ": TOO MANY")


if __name__ == "__main__":
    typer.run(main)
