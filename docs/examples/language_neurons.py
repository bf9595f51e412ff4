"""Find the neurons of each language, and check that they are not there by chance.

    python language_neurons.py MODEL [FOLDER]

The texts are facts of Unicode's CLDR in five languages; FOLDER (by default, the current one) receives them, the store
of counts, and the masks. docs/language-neurons.md goes through it step by step.
"""

import sys
from itertools import islice
from pathlib import Path

import fastneurons
from fastneurons.analysis.find_language_neurons import language_neurons, sets_of
from fastneurons.data.demo.facts import facts
from fastneurons.exchange.masks import save_sets

LANGUAGES = ("en", "de", "ru", "zh", "th")
TEXTS = 80  # in each language, of four facts each


def write_texts(folder: Path) -> None:
    """Write a file of texts for each language, one text a line: the odd ones to `texts`, the even ones to `held-out`."""
    sentences = [
        {code: f"{fact.prompts[code]} {fact.answers[code]}." for code in LANGUAGES}
        for fact in islice(facts(LANGUAGES), 4 * TEXTS)
    ]
    for number, name in enumerate(("texts", "held-out")):
        (folder / name).mkdir(exist_ok=True)
        chosen = [sentences[first : first + 4] for first in range(4 * number, len(sentences), 8)]
        for code in LANGUAGES:
            lines = (" ".join(each[code] for each in text) + "\n" for text in chosen)
            (folder / name / f"{code}.txt").write_text("".join(lines), encoding="utf-8")


def main(model: str, folder: Path) -> None:
    """Write the texts, count activations, find the neurons, save them."""
    write_texts(folder)
    store = fastneurons.run(
        model,
        {"corpus": folder / "texts"},
        LANGUAGES,
        folder / "counts.zarr",
        position="corpus",
        window=16,
        max_model_len=512,
        overwrite=True,
    )
    found = language_neurons(store, resamples=50, seed=0)
    for code in LANGUAGES:
        of = found.sel(set=code)
        print(
            f"{code}: {int(of['count'])} neurons; halves of the corpus agree in {100 * float(of.agreement):.0f} %, "
            f"by chance in {100 * float(of.agreement_chance):.1f} %"
        )
    chosen, by_chance = found.attrs["chosen"], found.attrs["chosen_by_chance"]
    print(f"selected: {chosen} neurons; of these, at most {100 * by_chance / chosen:.1f} % by chance")
    save_sets(sets_of(store, found), folder / "masks")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "."))
