"""Find the neurons of each language, and check that they are not there by chance and that the language needs them.

    python language_neurons.py MODEL [FOLDER]

The texts are facts of Unicode's CLDR in three languages; FOLDER (by default, the current one) receives them, the
stores, the masks and their controls. docs/language-neurons.md goes through it step by step. The guard at the end
matters: with several workers, vLLM starts them by importing this file again.
"""

import sys
from itertools import islice
from pathlib import Path

import fastneurons
from fastneurons.analysis.find_language_neurons import language_neurons, sets_of
from fastneurons.analysis.perplexity import perplexity
from fastneurons.data.demo.facts import facts
from fastneurons.exchange.masks import save_sets
from fastneurons.neuron_sets import load_set, save
from fastneurons.store import Store

LANGUAGES = ("en", "de", "ru")
TEXTS = {"texts": 32, "held-out": 4}  # in each language
FACTS = 4  # in each text


def main(model: str, folder: Path) -> None:
    """Texts to counts, counts to neurons, neurons to a causal check with its control."""
    write_texts(folder)
    store = fastneurons.run(
        model,
        {"corpus": folder / "texts"},
        LANGUAGES,
        folder / "counts.zarr",
        position="corpus",
        window=12,
        max_model_len=512,
        overwrite=True,
    )
    find(store, folder / "masks")
    draw_controls(folder / "masks", folder / "controls")
    check(model, folder)


def write_texts(folder: Path) -> None:
    """Write a file for each language, one text a line, into the folders `texts` and `held-out`."""
    rows = facts(LANGUAGES)
    for name, number in TEXTS.items():
        lines: dict[str, list[str]] = {code: [] for code in LANGUAGES}
        for _ in range(number):
            text = list(islice(rows, FACTS))
            for code in LANGUAGES:
                lines[code].append(" ".join(f"{fact.prompts[code]} {fact.answers[code]}." for fact in text))
        (folder / name).mkdir(exist_ok=True)
        for code, own in lines.items():
            (folder / name / f"{code}.txt").write_text("\n".join(own) + "\n", encoding="utf-8")


def find(store: Store, masks: Path) -> None:
    """Find the neurons of each language, say how certain they are, and save them."""
    found = language_neurons(store, resamples=50, seed=0)
    for code in LANGUAGES:
        of = found.sel(set=code)
        print(
            f"{code}: {int(of['count'])} neurons; halves of the corpus agree in {100 * float(of.agreement):.0f} %, "
            f"by chance in {100 * float(of.agreement_chance):.1f} %"
        )
    chosen, by_chance = found.attrs["chosen"], found.attrs["chosen_by_chance"]
    print(f"selected: {chosen} neurons; of these, at most {100 * by_chance / chosen:.1f} % by chance")
    save_sets(sets_of(store, found), masks)


def draw_controls(masks: Path, controls: Path) -> None:
    """Draw a control for each language's neurons: as many random neurons in each layer."""
    controls.mkdir(exist_ok=True)
    for code in LANGUAGES:
        own = load_set(masks / f"{code}.safetensors")
        save(own.random_like(seed=0), controls / f"random-{code}.safetensors")


def check(model: str, folder: Path) -> None:
    """Switch off the neurons of each language, then its control, and print by how much perplexity rises."""
    masks = [folder / "masks" / f"{code}.safetensors" for code in LANGUAGES]
    controls = [folder / "controls" / f"random-{code}.safetensors" for code in LANGUAGES]
    store = fastneurons.perplexity(
        model,
        {"corpus": folder / "held-out"},
        LANGUAGES,
        folder / "perplexity.zarr",
        edits=[*masks, *controls],
        max_model_len=512,
        overwrite=True,
    )
    values = perplexity(store, replicates=0)["perplexity"]  # by language and condition
    for edit in (path.stem for path in [*masks, *controls]):
        ratios = values.sel(condition=edit) / values.sel(condition="intact")
        rises = (f"{of} {100 * (float(ratios.sel(language=of)) - 1):+.1f} %" for of in LANGUAGES)
        print(f"perplexity without the neurons of {edit}: {', '.join(rises)}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "."))
