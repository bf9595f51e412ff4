"""What does the device do during 20 steps of a reading pass, and for how long is it idle?

    python benchmarks/profile_steps.py MODEL [--position last] [--prompt-length 32] [--trace FILE.json.gz]

PyTorch's profiler records steps of a pass that is well under way: the kernels, the copies, and the host beside them.
The trace opens in https://ui.perfetto.dev. The script prints the device's share of time without a kernel and the
kernels that took longest. On a CPU there is no device, and it prints the host's operators alone.
"""

import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

# Steps before the profiler starts: compiled code, and both asynchronous steps in flight.
_WARM = 6
_SHOWN = 20
_LANGUAGES = ("en", "de", "zh", "sw", "fr", "th", "ar", "ru", "es", "ja")


def main(
    model: Annotated[str, typer.Argument(help="A model folder, or a name on the Hub.")],
    position: Annotated[str, typer.Option(help="last, any or corpus.")] = "last",
    attribution: Annotated[bool, typer.Option("--attribution", help="With attribution.")] = False,
    prompt_length: Annotated[int, typer.Option(min=2, help="Tokens of a prompt.")] = 32,
    steps: Annotated[int, typer.Option(min=1, help="Steps to record, at least.")] = 20,
    engine_arg: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE by vLLM's names, e.g. enforce_eager=true.")
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="Write the trace here: .json or .json.gz.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Record and print."""
    from fastneurons.config import EngineOptions, Measurement, parse_engine_args
    from fastneurons.engine.quiet import quiet
    from fastneurons.engine.session import Session

    named = EngineOptions.__dataclass_fields__
    given = {"max_model_len": 1024, "enable_prefix_caching": False, **parse_engine_args(engine_arg or [])}
    options = EngineOptions(
        **{name: value for name, value in given.items() if name in named},
        engine_args={name: value for name, value in given.items() if name not in named},
    )
    what = Measurement(position=position, attribution=attribution)
    with quiet(), Session(model, _LANGUAGES, what, options) as session:
        profile, recorded, seconds = _recorded(session, prompt_length, steps)
    figures = _figures(profile, recorded, seconds)
    for name in ("steps", "seconds", "device_idle_share"):
        print(f"{name}: {figures[name]}")
    sort_by = "self_device_time_total" if figures["device_idle_share"] is not None else "self_cpu_time_total"
    print(profile.key_averages().table(sort_by=sort_by, row_limit=_SHOWN, max_name_column_width=70))
    if trace is not None:
        profile.export_chrome_trace(str(trace))
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1) + "\n")


def _recorded(session: Any, prompt_length: int, steps: int) -> tuple[Any, int, float]:
    """A profile of at least so many steps, how many they were, and their seconds."""
    import torch
    from torch.profiler import ProfilerActivity

    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    profile = torch.profiler.profile(activities=activities)
    stop = threading.Event()
    before, began, taken = None, 0.0, 0.0
    # Groups come at collections: what is recorded begins and ends with one.
    for _ in session.measure(_rows(prompt_length), stop=stop):
        done = session.totals.steps
        if before is None and done >= _WARM:
            before, began = done, time.perf_counter()
            profile.start()
        elif before is not None and done >= before + steps and not stop.is_set():
            taken = time.perf_counter() - began
            profile.stop()
            recorded = done - before
            stop.set()
    return profile, recorded, taken


def _rows(prompt_length: int) -> Iterator[Any]:
    """Examples without end; no two prompts have the same tokens."""
    from fastneurons.data.example import Example
    from fastneurons.engine.encode import Tokenised

    for number in itertools.count():
        first = number * len(_LANGUAGES)
        prompts: list[list[int] | None] = [
            [3 + (first + k) // 200**place % 200 for place in range(4)][:prompt_length]
            + [3 + (k + token) % 200 for token in range(prompt_length - 4)]
            for k in range(len(_LANGUAGES))
        ]
        yield Tokenised(Example(str(number), {}, {}, "", "bench"), prompts, [5] * len(_LANGUAGES))


def _figures(profile: Any, steps: int, seconds: float) -> dict[str, Any]:
    """Seconds, and on a GPU the share without a kernel and the kernels by time."""
    from torch.autograd import DeviceType

    spans, by_name = [], {}
    for event in profile.events():
        if event.device_type != DeviceType.CUDA or event.name.startswith(("Memcpy", "Memset")):
            continue
        if getattr(event, "is_user_annotation", False):
            continue
        spans.append((event.time_range.start, event.time_range.end))
        count, total = by_name.get(event.name, (0, 0.0))
        by_name[event.name] = count + 1, total + event.time_range.end - event.time_range.start
    kernels = sorted(by_name.items(), key=lambda each: -each[1][1])
    return {
        "steps": steps,
        "seconds": round(seconds, 4),
        "device_idle_share": _idle_share(spans),
        "kernels": [
            {"name": name, "calls": calls, "ms": round(us / 1000, 3)} for name, (calls, us) in kernels[:50]
        ],
    }


def _idle_share(spans: list[tuple[float, float]]) -> float | None:
    """Share of the time from the first kernel to the last in which none runs; None where there are none."""
    if not spans:
        return None
    busy, reached = 0.0, min(spans)[0]
    for start, end in sorted(spans):
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return round(1 - busy / (reached - min(spans)[0]), 4)


if __name__ == "__main__":
    sys.exit(typer.run(main))
