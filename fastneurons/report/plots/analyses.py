"""Compute what a figure shows: from its name and a store, the dataset of the analysis of that name."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastneurons.analysis.alignment import alignment
from fastneurons.analysis.bootstrap import REPLICATES
from fastneurons.analysis.categories import categories, side_by_side
from fastneurons.analysis.compare import compare, matched
from fastneurons.analysis.contributions import contributions
from fastneurons.analysis.distributions import distributions
from fastneurons.analysis.find_language_neurons import language_neurons
from fastneurons.analysis.inactive import inactive, inactive_in_corpus
from fastneurons.analysis.language_sharing import language_sharing
from fastneurons.analysis.neuron_lists import neuron_list
from fastneurons.analysis.recategorise import by_number_of_languages
from fastneurons.analysis.repeating import repeating
from fastneurons.analysis.selection import Chosen, Selection
from fastneurons.analysis.thresholds import thresholds
from fastneurons.errors import InputError
from fastneurons.store import Store

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class Request:
    """What figures are wanted of.

    Args:
        stores: One store; for `compare` two, and for `categories` any number.
        selection: Tasks, languages, threshold and examples.
        resamples: Bootstrap samples for intervals; 0 for none.
        seed: Of whatever is drawn at random.
        reference: For `alignment`: the language to align with; None for the first.
        category: For `neurons`: the category to list; None lists by how language-specific neurons are.
        language: For `neurons`: count only examples in which this language activates the neuron.
    """

    stores: Sequence[Store]
    selection: Selection = field(default_factory=Selection)
    resamples: int = REPLICATES
    seed: int | None = None
    reference: str | None = None
    category: str | None = None
    language: str | None = None


def analyse(name: str, request: Request) -> "xarray.Dataset":
    """Compute the dataset for a figure.

    Args:
        name: One of `fastneurons.report.plots.FIGURES`.
    Raises:
        InputError: the store lacks what the analysis needs, or there are too many or too few stores.
        StoreError: an array is damaged.
    """
    stores, selection = request.stores, request.selection
    resamples, seed = request.resamples, request.seed
    if name == "compare":
        if len(stores) != 2:
            raise InputError(f"compare needs two stores, and has {len(stores)}: plot A.zarr compare B.zarr")
        return compare(*matched(stores[0], stores[1], selection), resamples, seed)
    if name == "categories" and len(stores) > 1:
        return side_by_side([categories(selection.of(store), resamples, seed) for store in stores])
    if len(stores) > 1:
        raise InputError(f"{name} is of one store; categories and compare take more")
    [store] = stores
    if store.header.is_corpus and name == "inactive":
        return inactive_in_corpus(store, selection.languages, selection.threshold)
    if name == "lape":
        # With intervals or without: their number is that of the command.
        replicates = None if resamples else 0
        return language_neurons(
            store, "lape", selection.languages, selection.threshold, resamples=replicates, seed=seed
        )
    if name == "distributions":
        return distributions(store, selection.languages)
    return _OF_ONE[name](selection.of(store), request)


def analyses(names: Sequence[str], request: Request) -> Iterator[tuple[str, "xarray.Dataset | InputError"]]:
    """Compute the datasets for several figures of a store.

    Yields:
        Each name with its dataset, or with the reason why the store has none.
    Raises:
        InputError: the store lacks what was selected.
    """
    for store in request.stores:
        if not store.header.is_corpus:
            request.selection.of(store)
    for name in names:
        try:
            yield name, analyse(name, request)
        except InputError as error:
            yield name, error


def _sharing(chosen: Chosen, request: Request) -> "xarray.Dataset":
    return language_sharing(chosen, permutations=0, resamples=request.resamples, seed=request.seed)


def _neurons(chosen: Chosen, request: Request) -> "xarray.Dataset":
    return neuron_list(
        chosen, request.category, request.language, resamples=request.resamples, seed=request.seed
    )


_OF_ONE: "dict[str, Callable[[Chosen, Request], xarray.Dataset]]" = {
    "categories": lambda chosen, of: categories(chosen, of.resamples, of.seed),
    "repeating": lambda chosen, of: repeating(chosen, replicates=of.resamples, seed=of.seed),
    "thresholds": lambda chosen, of: thresholds(chosen, of.resamples, of.seed),
    "inactive": lambda chosen, of: inactive(chosen, of.resamples, of.seed),
    "sharing": _sharing,
    "recategorise": lambda chosen, of: by_number_of_languages(chosen, of.resamples, of.seed),
    "alignment": lambda chosen, of: alignment(chosen, of.reference, resamples=of.resamples, seed=of.seed),
    "neurons": _neurons,
    "contribution": lambda chosen, of: contributions(chosen, of.resamples, of.seed),
}
