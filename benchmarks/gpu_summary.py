"""What does each result of `gpu.sh` mean? Read from its folder, printed as sentences.

    python benchmarks/gpu_summary.py FOLDER

Exit status 1 if a stage failed.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Idle time that a device may have before the summary calls it a fault.
_MOST_IDLE = 0.05
# Rate to that of vLLM alone that is called as good as the same: rounds differ by as much.
_LEAST_RATIO = 0.97


def main(folder: Path) -> int:
    """Print the summary; the exit status."""
    print("\nWhat this means")
    failed = []
    for stage, explain in _STAGES.items():
        status = folder / f"{stage}.status"
        if not status.exists():
            continue
        code, seconds = map(int, status.read_text().split())
        if code:
            failed.append(stage)
            print(f"{stage} ({seconds} s): FAILED with exit status {code}; {folder / stage}.log says why")
        try:
            lines = list(explain(folder))
        except (OSError, ValueError, KeyError, TypeError) as error:
            lines = [] if code else [f"its results cannot be read: {type(error).__name__}: {error}"]
        for line in lines:
            print(f"{stage} ({seconds} s): {line}")
    print(f"\nresults: {folder}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _machine(folder: Path) -> Iterator[str]:
    yield "versions and devices, for whoever reads the rest"


def _kernels(folder: Path) -> Iterator[str]:
    text = (folder / "kernels.txt").read_text()
    if "agree with the reference" in text:
        yield "each kernel gives the reference's results on this device, bit for bit where they are integers"
    if (folder / "kernels.json").exists():
        rows = json.loads((folder / "kernels.json").read_text())["rows"]
        compared = [row for row in rows if row["to_vllm"] is not None]
        if not compared:
            yield "vLLM's own kernel is not there to compare the rates with"
            return
        worst = max(compared, key=lambda row: row["to_vllm"])
        last = [row["to_vllm"] for row in rows if row["kernel"] == "activation, last"]
        yield (
            f"reading the last token takes {min(last):.2f} to {max(last):.2f} times as long as vLLM's own activation "
            f"kernel; at most {worst['to_vllm']:.2f} times ({worst['kernel']}, {worst['rows']:,} rows). The "
            "kernel is a few per cent of a step, so 1.3 here costs about 1 % of the rate"
        )


def _bits(folder: Path, file: str = "bits.json") -> Iterator[str]:
    for way in json.loads((folder / file).read_text()):
        if way["why_not"] is not None:
            yield f"{way['way']} did not run, so nothing is known of it: {way['why_not']}"
            continue
        share = way["different"] / way["bits"]
        text = f"{way['way']}: {way['different']:,} of {way['bits']:,} bits ({share:.3%}) differ from the first way"
        if way["from_transformers"] is not None:
            text += f", {way['from_transformers'] / way['bits']:.3%} from a plain forward pass"
        if not way["ok"]:
            meaning = "MORE THAN ROUNDING DOES: rows may be read at wrong places"
        elif way["different"]:
            meaning = "activations within rounding of the threshold, as expected of other kernels"
        else:
            meaning = "the same"
        yield f"{text}: {meaning}"


def _agreement(folder: Path) -> Iterator[str]:
    lines = (folder / "agreement.txt").read_text().strip().splitlines()
    yield f"a real model against Transformers, in float32 and bfloat16: {lines[-1].strip('= ')}"


def _profile(folder: Path) -> Iterator[str]:
    found = json.loads((folder / "profile.json").read_text())
    idle = found["device_idle_share"]
    took = f"{found['steps']} steps took {found['seconds']:.2f} s under the profiler"
    if idle is None:
        yield f"{took}; there was no device to look at"
        return
    meaning = (
        "the host keeps up"
        if idle <= _MOST_IDLE
        else "the device waits for the host: the trace shows for what"
    )
    yield f"{took}, and no kernel ran during {idle:.1%} of them: {meaning} (open trace.json.gz in ui.perfetto.dev)"


def _bench_of(*names: str) -> Callable[[Path], Iterator[str]]:
    def explain(folder: Path) -> Iterator[str]:
        for name in names:
            if (folder / f"{name}.json").exists():
                yield from _bench(json.loads((folder / f"{name}.json").read_text()))

    return explain


def _bench(report: dict[str, Any]) -> Iterator[str]:
    """A line for each contender: its rate, and what its ratio to vLLM alone means."""
    if not report.get("checked", True):
        yield "the weights are made up: rates are those of a real model, and no result was compared with a reference"
    by_name: dict[str, list[dict[str, Any]]] = {}
    for result in report["results"]:
        by_name.setdefault(result["contender"], []).append(result)
    for name, results in by_name.items():
        timed = [result for result in results if result["tokens_per_s"] is not None]
        if not timed:
            yield f"{name}: not timed: {results[0]['why_not']}"
            continue
        rates = [result["tokens_per_s"]["median"] for result in timed]
        lengths = ", ".join(str(result["prompt_length"]) for result in timed)
        text = f"{name}: {min(rates):,.0f} to {max(rates):,.0f} tokens/s (prompts of {lengths} tokens)"
        ratios = [result["ratio"]["median"] for result in timed if result["ratio"] is not None]
        if ratios:
            text += f", {min(ratios):.3f} to {max(ratios):.3f} of {timed[0]['compared_with']}"
            text += ": as fast as vLLM alone" if min(ratios) >= _LEAST_RATIO else ""
        yield text


def _parallel(folder: Path) -> Iterator[str]:
    if not (folder / "parallel-bits.json").exists():
        yield "not run: there is one GPU"
        return
    yield from _bits(folder, "parallel-bits.json")
    yield from _bench_of("parallel-tensor", "parallel-pipeline")(folder)


def _growth(folder: Path) -> Iterator[str]:
    yield "growth.json has rate and memory over examples, languages, neurons and thresholds: memory should be level"


def _roofline(folder: Path) -> Iterator[str]:
    yield "what the data sheets predict; hold the rates of the kernels and of bench against it"


_STAGES: dict[str, Callable[[Path], Iterator[str]]] = {
    "machine": _machine,
    "kernels": _kernels,
    "bits": _bits,
    "agreement": _agreement,
    "profile": _profile,
    "bench": _bench_of("bench"),
    "compiled": _bench_of("compiled"),
    "attribution": _bench_of("attribution"),
    "others": _bench_of("others"),
    "languages": _bench_of("languages"),
    "parallel": _parallel,
    "growth": _growth,
    "roofline": _roofline,
}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python benchmarks/gpu_summary.py FOLDER")
    sys.exit(main(Path(sys.argv[1])))
