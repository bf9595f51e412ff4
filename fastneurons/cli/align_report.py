"""`align-report`: a model before and after alignment, next to controls."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastneurons.cli.analysis_options import (
    DEFAULT_RESAMPLES,
    AsJson,
    Csv,
    Resamples,
    ResultTable,
    Seed,
    StoreLanguages,
    Task,
    Threshold,
    opened,
    selection,
    show,
)
from fastneurons.cli.paths import check_picture
from fastneurons.visible import visible

if TYPE_CHECKING:
    import xarray


def align_report(
    before: Annotated[
        str, typer.Argument(metavar="BEFORE", help="A store of the model as it was.", show_default=False)
    ],
    after: Annotated[
        str,
        typer.Argument(
            metavar="AFTER", help="A store of the aligned model, over the same examples.", show_default=False
        ),
    ],
    control: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STORE",
            help="A store of a model that was trained as long, with broken links or in one language; repeatable.",
            show_default=False,
        ),
    ] = None,
    task: Task = None,
    languages: StoreLanguages = None,
    threshold: Threshold = None,
    resamples: Resamples = DEFAULT_RESAMPLES,
    seed: Seed = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure", metavar="FILE", help="Also draw it: .png, .svg or .pdf.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    csv: Csv = None,
) -> None:
    """Changes of neurons and answers after alignment.

    Also says whether the two go together. Every difference is within an example.
    Accuracy and log-probabilities come from stores of fastneurons run --score.
    Changes that a control shows, too, come from training as such, not from the parallel link.
    """
    if figure is not None:
        check_picture(figure)
    stores = [opened(store, csv) for store in (before, after, *(control or []))]
    from fastneurons.analysis.align_report import align_report as analysis

    wanted = selection(task, languages, threshold)
    found = analysis(stores[0], stores[1], stores[2:], wanted, resamples, seed)
    if figure is not None:
        from fastneurons.report.align_figure import draw_align_report

        draw_align_report(found, figure)
    show(found, _tables, as_json, csv, ("change", "change_low", "change_high"))


def _tables(found: "xarray.Dataset") -> Iterator[ResultTable]:
    from fastneurons.report.cells import CATEGORY_HEADINGS, LONGEST_LIST, count

    of = found.attrs
    categories = range(found.sizes["category"])
    names = "\n".join(
        f"{name}: {visible(path)}" for name, path in zip(found["run"].values, of["stores"], strict=True)
    )
    trained = (
        f"\naligned in: {visible(', '.join(of['trained']), limit=LONGEST_LIST)}"
        + (f"; not in: {visible(', '.join(of['untrained']), limit=LONGEST_LIST)}" if of["untrained"] else "")
        if of["trained"]
        else ""
    )
    rows = [
        [str(name), *(_points(found.isel(comparison=k, category=c), "overall_change") for c in categories)]
        for k, name in enumerate(found["comparison"].values)
    ]
    yield ResultTable(
        ("change", *CATEGORY_HEADINGS),
        rows,
        1,
        f"{names}\n{count(of['examples'], 'example')} in all of them, above {of['threshold']:g}\n"
        f"languages: {visible(', '.join(of['languages']), limit=LONGEST_LIST)}{trained}",
        ("In percentage points of all layers' neurons; ±: half a 95 % bootstrap interval over examples.",),
    )
    if found.sizes["task"] > 1:
        yield ResultTable(
            ("task", *CATEGORY_HEADINGS),
            [
                [
                    visible(str(task)),
                    *(
                        _points(found.isel(comparison=0, task=k, category=c), "task_change")
                        for c in categories
                    ),
                ]
                for k, task in enumerate(found["task"].values)
            ],
            1,
            "after - before, by task",
        )
    yield ResultTable(
        ("layer", *CATEGORY_HEADINGS),
        [
            [
                str(int(layer)),
                *(_points(found.isel(comparison=0, layer=n, category=c), "change") for c in categories),
            ]
            for n, layer in enumerate(found["layer"].values)
        ],
        0,
        "after - before, by layer",
    )
    yield from _answers(found)
    if of["has_scores"]:
        yield from _growth(found)


def _answers(found: "xarray.Dataset") -> Iterator[ResultTable]:
    """Answers, and the neurons that each language activates, by language and by group of languages."""
    from fastneurons.report.cells import CATEGORY_HEADINGS

    groups = [k for k in range(found.sizes["group"]) if found.attrs["trained"] or k == 0]
    for k, name in enumerate(found["comparison"].values):
        of = found.isel(comparison=k)
        places = [({"language": n}, "") for n in range(found.sizes["language"])]
        places += [({"group": g}, "group_") for g in groups]
        labels = [*map(str, found["language"].values), *(str(found["group"].values[g]) for g in groups)]
        if found.attrs["has_scores"]:
            yield ResultTable(
                ("language", "accuracy", "log-probability"),
                [
                    [
                        visible(label),
                        _points(of.isel(at), f"{prefix}accuracy_change"),
                        _points(of.isel(at), f"{prefix}log_probability_change", scale=1, digits=3),
                    ]
                    for label, (at, prefix) in zip(labels, places, strict=True)
                ],
                1,
                f"{name}: answers, by language",
                (
                    "accuracy: in points; log-probability: of the right answer, in nats per token.",
                    "all, trained, untrained: means over languages.",
                )
                if k == 0
                else (),
            )
        yield ResultTable(
            ("language", *CATEGORY_HEADINGS[1:]),
            [
                [
                    visible(label),
                    *(
                        _points(of.isel(at | {"of_language": c}), f"{prefix}language_change")
                        for c in range(3)
                    ),
                ]
                for label, (at, prefix) in zip(labels, places, strict=True)
            ],
            1,
            f"{name}: of the neurons that each language activates",
            ("In points; all, trained, untrained: means over languages.",) if k == 0 else (),
        )


def _growth(found: "xarray.Dataset") -> Iterator[ResultTable]:
    """Whether categories grew where answers became right."""
    for k, name in enumerate(found["with_before"].values):
        of = found.isel(with_before=k)
        rows = [
            [
                str(category),
                _points(of.isel(category=c), "growth_gained", digits=3),
                _points(of.isel(category=c), "growth_lost", digits=3),
                _points(of.isel(category=c), "growth_accuracy", scale=1),
                _points(of.isel(category=c), "growth_log_probability", scale=1),
            ]
            for c, category in enumerate(found["category"].values)
        ]
        pairs = [f"{int(of['pairs'][n]):,} {outcome}" for n, outcome in enumerate(found["outcome"].values)]
        columns = ("category", "became right\n- stayed wrong", "became wrong\n- stayed right", "r, accuracy",
                   "r, log-\nprobability")  # fmt: skip
        yield ResultTable(
            columns,
            rows,
            1,
            f"{name}: growth of each category, by what became of the answers",
            (
                f"Pairs of example and language: {', '.join(pairs)}.",
                "Left: difference in the category's growth, in points of all layers' neurons. r: correlation over",
                "examples between its growth and the gain of the example's answers. Intervals as above.",
            ),
        )


def _points(of: "xarray.Dataset", name: str, scale: float = 100, digits: int = 2) -> str:
    """A number with its interval: `+1.23 ±0.45`; `-` where there is none."""
    mean, low, high = (scale * float(of[f"{name}{end}"]) for end in ("", "_low", "_high"))
    if mean != mean:
        return "-"
    half = (high - low) / 2
    return f"{mean:+.{digits}f}" + (f" ±{half:.{digits}f}" if half == half else "")
