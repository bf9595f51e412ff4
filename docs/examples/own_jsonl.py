"""Measure your own parallel prompts: write JSONL, run a model over it, look at the result.

    python own_jsonl.py MODEL [FOLDER]

MODEL is a Hugging Face model folder or a name on the Hub; FOLDER (by default, the current one) receives the data and
the store. The guard at the end matters: with several workers, vLLM starts them by importing this file again.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import fastneurons
from fastneurons.analysis import shares

CAPITALS = {
    "fr": {"en": ("France", "Paris"), "de": ("Frankreich", "Paris"), "es": ("Francia", "París")},
    "it": {"en": ("Italy", "Rome"), "de": ("Italien", "Rom"), "es": ("Italia", "Roma")},
    "jp": {"en": ("Japan", "Tokyo"), "de": ("Japan", "Tokio"), "es": ("Japón", "Tokio")},
}
QUESTIONS = {
    "en": "The capital of {} is",
    "de": "Die Hauptstadt von {} ist",
    "es": "La capital de {} es",
}


def lines() -> Iterator[str]:
    """One example a line: an id, and a prompt and an answer in each language."""
    for country, names in CAPITALS.items():
        prompts = {code: QUESTIONS[code].format(name) for code, (name, _) in names.items()}
        answers = {code: capital for code, (_, capital) in names.items()}
        example = {"id": f"capital-{country}", "prompts": prompts, "answers": answers}
        yield json.dumps(example, ensure_ascii=False) + "\n"


def main(model: str, folder: Path) -> None:
    """Write the data, measure it, and print the share of all-shared neurons in each layer."""
    data = folder / "facts.jsonl"
    data.write_text("".join(lines()), encoding="utf-8")
    store = fastneurons.run(model, data, "en,de,es", folder / "facts.zarr", overwrite=True)

    found = shares(store)
    for layer, share in zip(found.layers, found.category.mean, strict=True):
        print(f"layer {layer:2}: {share[3]:6.1%} of the neurons are active in all three languages")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "."))
