"""What breaks in SmolLM2-135M-Instruct without each category's neurons: the tables of docs/findings.md.

    python deactivate_facts.py FOLDER [EXAMPLES]

FOLDER receives the store; started again, an interrupted run goes on. The guard at the end matters: with several
workers, vLLM starts them by importing this file again.
"""

import sys
from pathlib import Path

import xarray

import fastneurons
from fastneurons.analysis.deactivation import deactivation
from fastneurons.data.demo.facts import facts
from fastneurons.data.demo.model import demo_model

LANGUAGES = ["en", "de", "fr", "ru", "zh"]


def main(folder: Path, examples: int) -> None:
    """Answer each fact under every condition, and print both scores: the answers' log-probability, and accuracy."""
    store = fastneurons.deactivate(
        demo_model(),
        facts(LANGUAGES),
        LANGUAGES,
        folder / "facts.zarr",
        limit=examples,
        controls=3,
        window=4,
        max_model_len=256,
        resume=True,
    )
    found = deactivation(store)
    print(f"{found.attrs['examples']} facts")
    print_score(found, "log_probability", "log-probability of the answer", 1, 2)
    # Greedy match: an answer is right if each of its tokens is the likeliest one.
    print_score(found, "accuracy", "accuracy in per cent", 100, 1)


def print_score(found: xarray.Dataset, score: str, title: str, scale: float, digits: int) -> None:
    """Print a score's changes without each category, over all languages and then the effect by language."""
    intact = scale * found[f"overall_{score}"].sel(condition="intact").item()
    print(f"\n{title}: {intact:.{digits}f} for the intact model\n")
    print("| category | neurons | of them in a control | off - intact | random - intact | off - random |")
    print("|---|---|---|---|---|---|")
    for category in found["category"].values:
        at = found.sel(category=category)
        cells = [f"{at['neurons'].sum().item():,.0f}", f"{100 * at['overlap'].item():.0f} %"]
        for difference in ("from_intact", "control_from_intact", "from_control"):
            name = f"overall_{score}_{difference}"
            mean, low, high = (scale * at[f"{name}{end}"].item() for end in ("", "_low", "_high"))
            cells.append(f"{mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})")
        print(f"| {category} | {' | '.join(cells)} |")
    print(f"\n| language | intact | {' | '.join(map(str, found['category'].values))} |")
    print("|---|---|" + "---|" * found.sizes["category"])
    for language in LANGUAGES:
        at = found.sel(language=language)
        cells = [f"{scale * at[score].sel(condition='intact').item():.{digits}f}"]
        cells += [f"{scale * beyond:+.{digits}f}" for beyond in at[f"{score}_from_control"].values]
        print(f"| {language} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 40)
