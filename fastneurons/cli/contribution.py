"""The command `contribution`: how much each category contributes, next to its share of all neurons."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastneurons.cli.analysis_options import (
    DEFAULT_RESAMPLES,
    AsJson,
    CorrectOnly,
    Csv,
    Resamples,
    ResultTable,
    Seed,
    StoreArgument,
    StoreLanguages,
    Task,
    opened,
    selection,
    show,
)
from fastneurons.cli.result_cells import percent, scope

if TYPE_CHECKING:
    import xarray

_SCORES = ("contribution_mean", "contribution_sum", "contribution_max", "effective_mean", "effective_max")


def contribution(
    store: StoreArgument,
    task: Task = None,
    languages: StoreLanguages = None,
    correct_only: CorrectOnly = False,
    resamples: Resamples = DEFAULT_RESAMPLES,
    seed: Seed = None,
    as_json: AsJson = False,
    csv: Csv = None,
) -> None:
    """Share of each category in contributions and neurons.

    Needs a store of run --attribution. Prints each category's share of all neurons, of the most contributing neurons
    (--top-k of the run) and of the summed contribution scores; the latter by language and by layer; and mean, sum
    and maximum of contribution and effective scores.

    Categories are those over all languages of the run. --languages chooses the prompts whose contributions count.
    """
    found_store = opened(store)
    from fastneurons.analysis.contributions import contributions

    chosen = selection(task, languages, None, correct_only).of(found_store)
    found = contributions(chosen, resamples, seed)
    names = ("neuron_share", "contribution_share", "sum_share", "top_gain", "sum_gain", *_SCORES)
    variables = [f"{name}_by_layer{end}" for name in names for end in ("", "_low", "_high")]
    show(found, _tables, as_json, csv, variables)


def _tables(found: "xarray.Dataset") -> Iterator[ResultTable]:
    top = f"of the\ntop {found.attrs['top_k']:,}"
    categories = [str(name) for name in found["category"].values]
    yield ResultTable(
        ("category", "of all\nneurons", top, "of summed\nscores", "sum less\nneurons"),
        [
            (
                name,
                *(
                    percent(found, each, category=name)
                    for each in ("neuron_share", "contribution_share", "sum_share", "sum_gain")
                ),
            )
            for name in categories
        ],
        left=1,
        title=f"contribution: {scope(found, found.attrs['examples'])}",
        notes=(headline(found), "±: half a 95 % bootstrap interval over examples."),
    )
    headings = [name.replace("-", "-\n") for name in categories]
    for dim, title in (("language", "by language"), ("layer", "by layer")):
        yield ResultTable(
            (dim, *headings),
            [
                (
                    str(each),
                    *(
                        percent(found, f"sum_share_by_{dim}", category=name, **{dim: each})
                        for name in categories
                    ),
                )
                for each in found[dim].values
            ],
            left=1,
            title=f"share of summed contribution scores {title}, per cent",
        )
    yield ResultTable(
        ("category", *(name.replace("_", "\n") for name in _SCORES)),
        [(name, *(_score(found, each, name) for each in _SCORES)) for name in categories],
        left=1,
        title="scores: means over prompts and layers",
        notes=(
            "contribution: abs(m) times the norm of v; effective: m times (v . e). See docs/concepts.md.",
        ),
    )


def headline(found: "xarray.Dataset") -> str:
    """One sentence: which share of neurons the all-shared ones are, and which share of contribution is theirs."""

    def of(name: str) -> str:
        picked = [float(found[f"{name}{end}"].sel(category="all-shared")) for end in ("", "_low", "_high")]
        if picked[0] != picked[0]:
            return "no value"
        interval = f" ({100 * picked[1]:.1f} to {100 * picked[2]:.1f})" if picked[1] == picked[1] else ""
        return f"{100 * picked[0]:.1f} %{interval}"

    return (
        f"All-shared neurons are {of('neuron_share')} of all neurons and make\n"
        f"{of('sum_share')} of the summed contribution scores."
    )


def _score(found: "xarray.Dataset", name: str, category: str) -> str:
    value = float(found[name].sel(category=category))
    return f"{value:.4g}" if value == value else "-"
