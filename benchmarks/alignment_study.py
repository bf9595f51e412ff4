"""Does alignment make neurons all-shared, and answers right? A small model, before and after, with two controls.

    python benchmarks/alignment_study.py FOLDER             # trains and measures what is not there yet, then reports
    python benchmarks/alignment_study.py FOLDER --report    # reports alone

The model is the demo's, SmolLM2-135M-Instruct; the texts are the demo's facts. It is trained on facts of two relations
(languages, currencies) in English, German and French, and measured on facts of two others (capitals, countries) in
these and in Spanish. For each seed there are three adapters, trained for as many steps: `aligned`, on translations of
facts; `shuffled`, on the same texts paired at random; `english`, on English facts alone. Answers are judged here, by
Transformers and PEFT: the log-probability of the right answer, and whether greedy decoding would write it.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

LANGUAGES, TRAINED = ("en", "de", "fr", "es"), ("en", "de", "fr")
TRAIN_RELATIONS = ("language", "currency")
CONDITIONS = ("aligned", "shuffled", "english")
SEEDS = (0, 1, 2)
STEPS = 24
TRAINING = (
    "--lora-rank", "8", "--learning-rate", "1e-3", "--warmup-steps", "4", "--per-device-train-batch-size", "6",
    "--dtype", "float32", "--logging-steps", "5", "--eval-steps", "1000", "--validation-share", "0.02",
)  # fmt: skip
OF_CONDITION: dict[str, tuple[str, ...]] = {
    "aligned": ("--objective", "translate", "--languages", ",".join(TRAINED)),
    "shuffled": ("--objective", "translate", "--break-links", "--languages", ",".join(TRAINED)),
    "english": ("--objective", "answers", "--languages", "en"),
}


def main() -> None:
    """Train, measure and report, as asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--report", action="store_true", help="report what is there, and train nothing")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, each with one thread")
    parser.add_argument("--judge", nargs=2, metavar=("ADAPTER", "OUT"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.judge:
        judge(asked.folder / "held-out.jsonl", Path(asked.judge[0]), Path(asked.judge[1]))
        return
    if not asked.report:
        asked.folder.mkdir(parents=True, exist_ok=True)
        write_facts(asked.folder)
        names = ["before", *(f"{condition}-{seed}" for seed in SEEDS for condition in CONDITIONS)]
        with ThreadPoolExecutor(asked.jobs) as pool:
            list(pool.map(lambda name: one_model(asked.folder, name, asked.steps), names))
    report(asked.folder)


def model() -> str:
    """Return the demo's model, made if it is not there."""
    from fastneurons.data.demo.model import demo_model

    return str(demo_model())


def write_facts(folder: Path) -> None:
    """Write the facts to train on and those to measure, apart by relation."""
    from fastneurons.data.demo.facts import facts

    parts: dict[str, list[str]] = {"train": [], "held-out": []}
    for fact in facts(LANGUAGES):
        part = "train" if fact.id.split("/")[0] in TRAIN_RELATIONS else "held-out"
        row = {"id": fact.id, "prompts": fact.prompts, "answers": fact.answers}
        parts[part].append(json.dumps(row, ensure_ascii=False))
    for part, lines in parts.items():
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
        print(f"{part}: {len(lines)} facts", flush=True)


def one_model(folder: Path, name: str, steps: int) -> None:
    """Train a model, measure it and judge its answers, unless that was done before."""
    began = time.monotonic()
    adapter, store, judged = folder / name, folder / f"{name}.zarr", folder / f"{name}.npz"
    lora: tuple[str, ...] = ()
    if name != "before":
        condition, _, seed = name.rpartition("-")
        lora = ("--lora", str(adapter))
        command("align", model(), "--data", str(folder / "train.jsonl"), "--out", str(adapter), "--seed", seed,
                "--max-steps", str(steps), "--resume", *TRAINING, *OF_CONDITION[condition])  # fmt: skip
    command("run", model(), "--data", str(folder / "held-out.jsonl"), "--languages", ",".join(LANGUAGES), "--out",
            str(store), "--resume", "--max-model-len", "256", *lora)  # fmt: skip
    if not judged.exists():
        run([sys.executable, __file__, str(folder), "--judge", str(adapter if lora else ""), str(judged)])
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


def command(*arguments: str) -> None:
    """Run a command of fastneurons."""
    run([sys.executable, "-m", "fastneurons", *arguments])


def run(words: Sequence[str]) -> None:
    """Run a program with one thread, as several run at once."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}:\n{done.stderr[-2000:]}")


# -- answers --------------------------------------------------------------------------------------------------------


def judge(data: Path, adapter: Path, out: Path) -> None:
    """Write log-probabilities per token and correctness of the right answers, [E, L] each, and the examples' ids."""
    import torch
    import transformers

    from fastneurons.data.template import gap

    rows = [json.loads(line) for line in data.read_text().splitlines()]
    tokenizer = transformers.AutoTokenizer.from_pretrained(model())
    judged = transformers.AutoModelForCausalLM.from_pretrained(model(), dtype=torch.float32).eval()
    if adapter.name:
        import peft

        judged = peft.PeftModel.from_pretrained(judged, adapter)
    logs = np.full((len(rows), len(LANGUAGES)), np.nan)
    correct = np.full_like(logs, np.nan)
    prompts = []
    for place in np.ndindex(logs.shape):
        row, code = rows[place[0]], LANGUAGES[place[1]]
        before = row["prompts"][code] + gap(code, row["prompts"][code])
        found = tokenizer(before + row["answers"][code], return_offsets_mapping=True)
        first = next(n for n, (_, end) in enumerate(found["offset_mapping"]) if end > len(before))
        prompts.append((place, found["input_ids"], first))
    # Of one length at a time, so that nothing is padded.
    for length in sorted({len(ids) for _, ids, _ in prompts}):
        batch = [each for each in prompts if len(each[1]) == length]
        with torch.no_grad():
            logits = judged(torch.tensor([ids for _, ids, _ in batch])).logits
        for (place, ids, first), of_one in zip(batch, logits, strict=True):
            of_answer, answer = of_one[first - 1 : -1].log_softmax(-1), torch.tensor(ids[first:])
            logs[place] = float(of_answer.gather(1, answer[:, None]).mean())
            correct[place] = float((of_answer.argmax(-1) == answer).all())
    np.savez(out, log_probability=logs, correct=correct, examples=[row["id"] for row in rows])


# -- the report -----------------------------------------------------------------------------------------------------


def report(folder: Path) -> None:
    """Print a table for each seed that is there, and their means; write `results.json` and a figure for each seed."""
    from fastneurons.analysis.align_report import Judged, align_report
    from fastneurons.report.align_figure import draw_align_report
    from fastneurons.store import open_store

    def judged(name: str) -> Judged:
        found = np.load(folder / f"{name}.npz")
        return Judged(found["log_probability"], found["correct"], [str(each) for each in found["examples"]])

    rows: list[dict[str, Any]] = []
    for seed in SEEDS:
        names = ["before", *(f"{condition}-{seed}" for condition in CONDITIONS)]
        if not all((folder / f"{name}.npz").exists() for name in names):
            print(f"seed {seed}: not complete")
            continue
        stores = [open_store(str(folder / f"{name}.zarr")) for name in names]
        found = align_report(*stores[:2], stores[2:], judged=[judged(name) for name in names])
        draw_align_report(found, folder / f"seed-{seed}.png")
        losses = [json.loads((folder / name / "alignment.json").read_text()) for name in names[1:]]
        for k, comparison in enumerate(found["comparison"].values):
            row: dict[str, Any] = {"seed": seed, "comparison": named(str(comparison))}
            for c, category in enumerate(found["category"].values):
                row[str(category)] = interval(found, "overall_change", comparison=k, category=c)
            for g, group in enumerate(found["group"].values):
                for score in ("accuracy", "log_probability"):
                    row[f"{score} {group}"] = interval(found, f"group_{score}_change", comparison=k, group=g)
            if k < len(CONDITIONS):
                row["training loss"] = [each["loss"] for each in losses[k]["losses"]]
                row["held-out loss"] = [losses[k]["held_out_loss_before"], losses[k]["held_out_loss"]]
                row["pairs"] = dict(
                    zip(found["outcome"].values.tolist(), found["pairs"][k].values.tolist(), strict=True)
                )
                for c, category in enumerate(found["category"].values):
                    for what in ("growth_gained", "growth_log_probability", "growth_accuracy"):
                        row[f"{what} {category}"] = interval(found, what, with_before=k, category=c)
            rows.append(row)
        rows.append({
            "seed": seed,
            "levels": {
                name: {"accuracy": found["accuracy"][k].values.tolist(),
                       "log_probability": found["log_probability"][k].values.tolist(),
                       "share": found["overall_share"][k].values.tolist()}
                for k, name in enumerate(("before", *CONDITIONS))
            },
        })  # fmt: skip
    (folder / "results.json").write_text(json.dumps(rows, indent=1))
    show(rows)


def named(comparison: str) -> str:
    """`after - control 1` as `aligned - shuffled`."""
    for name, condition in (("after", "aligned"), ("control 1", "shuffled"), ("control 2", "english")):
        comparison = comparison.replace(name, condition)
    return comparison


def interval(found: Any, name: str, **at: int) -> list[float]:
    """Return a number with the ends of its interval."""
    return [float(found[f"{name}{end}"].isel(at)) for end in ("", "_low", "_high")]


def show(rows: list[dict[str, Any]]) -> None:
    """Print the changes, a line for each comparison and seed."""
    columns = {
        "all-shared": 100, "partial-shared": 100, "specific": 100, "accuracy all": 100, "accuracy untrained": 100,
        "log_probability all": 1, "log_probability untrained": 1,
    }  # fmt: skip
    changes = [row for row in rows if "comparison" in row]
    print(f"{'':34}" + "".join(f"{name:>27}" for name in columns))
    for row in sorted(changes, key=lambda each: (each["comparison"], each["seed"])):
        cells = []
        for name, scale in columns.items():
            mean, low, high = (scale * each for each in row[name])
            cells.append(f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]")
        print(f"{row['comparison']:24} seed {row['seed']:<4}" + "".join(f"{cell:>27}" for cell in cells))


if __name__ == "__main__":
    main()
