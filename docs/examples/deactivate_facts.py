"""What breaks in SmolLM2-135M-Instruct without each category's neurons: the tables of docs/findings.md.

    python deactivate_facts.py FOLDER [EXAMPLES]

FOLDER receives the store; started again, an interrupted run goes on. The guard at the end matters: with several
workers, vLLM starts them by importing this file again.
"""

import sys
from pathlib import Path

import fastneurons
from fastneurons.analysis.deactivation import deactivation
from fastneurons.data.demo.facts import facts
from fastneurons.data.demo.model import demo_model

LANGUAGES = ["en", "de", "fr", "ru", "zh"]


def main(folder: Path, examples: int) -> None:
    """Answer each fact under every condition, and print a row for each category."""
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
    intact = float(found["overall_log_probability"].sel(condition="intact"))
    print(f"{found.attrs['examples']} facts, log-probability of the answer {intact:.2f}")
    print("| category | neurons | of them in a control | off - intact | random - intact | off - random |")
    print("|---|---|---|---|---|---|")
    for category in found["category"].values:
        at = found.sel(category=category)
        cells = [f"{float(at['neurons'].sum()):,.0f}", f"{100 * float(at['overlap']):.0f} %"]
        for difference in ("from_intact", "control_from_intact", "from_control"):
            name = f"overall_log_probability_{difference}"
            mean, low, high = (float(at[f"{name}{end}"]) for end in ("", "_low", "_high"))
            cells.append(f"{mean:+.2f} ({low:+.2f} to {high:+.2f})")
        print(f"| {category} | {' | '.join(cells)} |")
    for language in LANGUAGES:
        beyond = [
            f"{float(found['log_probability_from_control'].sel(language=language, category=category)):+.2f}"
            for category in found["category"].values
        ]
        print(f"| {language} | {' | '.join(beyond)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 40)
