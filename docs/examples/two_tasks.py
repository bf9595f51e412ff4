"""Compare two tasks on the same model: one run, one store, a mean and an interval for each task.

    python two_tasks.py MODEL [FOLDER]

The data here is a few lines written on the spot, in the layouts in which the data sets are published: MGSM's
`mgsm_en.tsv`, `mgsm_de.tsv`, ..., and a table of parallel sentences. Point `data` at the real ones instead.
"""

import sys
from pathlib import Path

import fastneurons
from fastneurons.analysis import shares_by_task
from fastneurons.store import CATEGORIES

PROBLEMS = {
    "en": [
        "Anna has 2 apples and buys 3 more. How many does she have?\t5",
        "A box holds 6 pens. How many do 4 boxes hold?\t24",
    ],
    "de": [
        "Anna hat 2 Äpfel und kauft 3 dazu. Wie viele hat sie?\t5",
        "In eine Schachtel passen 6 Stifte. Wie viele in 4?\t24",
    ],
}
SENTENCES = [
    "en\tde",
    "The river flows into the sea.\tDer Fluss fließt ins Meer.",
    "Bees live in colonies.\tBienen leben in Völkern.",
    "The train was late this morning.\tDer Zug kam heute Morgen zu spät.",
]


def main(model: str, folder: Path) -> None:
    """Write the data, measure both tasks, and print the share of each category with its 95 % interval."""
    (folder / "mgsm").mkdir(exist_ok=True)
    for language, lines in PROBLEMS.items():
        (folder / "mgsm" / f"mgsm_{language}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "sentences.tsv").write_text("\n".join(SENTENCES) + "\n", encoding="utf-8")

    data = {"mgsm": folder / "mgsm", "parallel": folder / "sentences.tsv"}
    store = fastneurons.run(
        model, data, "en,de", folder / "tasks.zarr", tasks=["mgsm", "parallel"], overwrite=True
    )

    for task, found in shares_by_task(store).items():
        overall = found.category_overall
        for name, mean, low, high in zip(CATEGORIES, overall.mean, overall.low, overall.high, strict=True):
            print(f"{task:9} {name:15} {mean:6.1%}  ({low:.1%} to {high:.1%})")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "."))
