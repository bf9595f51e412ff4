"""Everything the page shows of one run, from its store: the only module of the page that reads stores.

A `RunPage` is a set of blocks. `core` is decoded when the page opens; the others (a layer's neurons, some examples'
prompts) when a view first needs them. With a budget, parts that do not fit become coarser or shorter, and `core` says
how; without one (`--folder`), everything is there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis import Shares, TokenShares
from fastneurons.analysis.categories import categories
from fastneurons.analysis.contributions import contributions
from fastneurons.analysis.repeating import repeating
from fastneurons.analysis.selection import Chosen, Selection
from fastneurons.languages import language, short_code
from fastneurons.model_name import short_name
from fastneurons.report.cells import signal_name, where_read
from fastneurons.report.deactivation import compute_deactivation, deactivation_sentences
from fastneurons.report.edit_sentences import generation_sentences, perplexity_sentences
from fastneurons.report.findings import Findings, Overview, compute_findings
from fastneurons.report.generation import compute_generation
from fastneurons.report.page.blocks import Block
from fastneurons.report.page.deactivation import deactivation_arrays, deactivation_meta
from fastneurons.report.page.examples import example_pages
from fastneurons.report.page.generation import generation_arrays, generation_meta, text_pages
from fastneurons.report.page.neurons import listed_block, listed_neurons, neuron_counts, patterns_block
from fastneurons.report.page.overlaps import overlap_arrays
from fastneurons.report.page.perplexity import perplexity_arrays, perplexity_meta
from fastneurons.report.page.reproduce import command, facts
from fastneurons.report.page.strips import NeuronCounts, Strips, strips
from fastneurons.report.perplexity import compute_perplexities
from fastneurons.report.sentences import Sentence, sentences
from fastneurons.store import CATEGORIES, Store
from fastneurons.visible import visible

if TYPE_CHECKING:
    import xarray

# Of a page's budget, the most that examples may take; strips get what is left.
_EXAMPLES_SHARE = 0.3
_LONGEST_TEXT = 2000
_LONGEST_CONDITION = 80
# ISO 15924, of the scripts that languages are written in today.
_RIGHT_TO_LEFT = {"Adlm", "Arab", "Aran", "Hebr", "Nkoo", "Rohg", "Syrc", "Thaa"}
_CONTRIBUTIONS = (
    "contribution_share", "sum_share", "contribution_mean", "contribution_sum", "contribution_max", "effective_mean",
)  # fmt: skip


@dataclass(frozen=True)
class RunPage:
    """The blocks of one run.

    Args:
        core: Small arrays and all texts that views need at once.
        blocks: The others by name.
    """

    core: Block
    blocks: Mapping[str, Block]


def run_page(
    store: Store, threshold: float | None = None, budget: int | None = None, found: Findings | None = None
) -> RunPage:
    """Read a store and prepare the page of its run.

    Args:
        store: A store, complete or not.
        threshold: One of its thresholds; None takes the first. Without meaning for texts and perplexities.
        budget: Bytes that the run's data may take in the page; None for no limit.
        found: Its findings at that threshold, if they were computed already.
    Raises:
        InputError: the store has no such threshold.
        StoreError: an array is damaged.
    """
    kind = store.header.kind
    if kind == "deactivate":
        return _deactivation_page(store, threshold)
    if kind == "generate":
        return _generation_page(store, budget)
    if kind == "perplexity":
        return _perplexity_page(store)
    found = found or compute_findings(store, threshold)
    meta = _description(found, found.threshold)
    arrays: dict[str, NDArray[Any]] = {}
    blocks: dict[str, Block] = {}
    sharing: xarray.Dataset | None = None
    contributed: xarray.Dataset | None = None
    kept: xarray.Dataset | None = None
    if found.num_measured and found.sharing is not None:
        groups = _groups(store, found)
        arrays |= _share_arrays([found.sharing, *found.by_task.values()])
        arrays["spread"] = _spread(groups[0], len(groups))
        pages = example_pages(groups[0], None if budget is None else int(_EXAMPLES_SHARE * budget))
        blocks |= pages.blocks
        meta["examples"] = pages.meta
        if store.has_bits and (overlaps := overlap_arrays(groups)) is not None:
            arrays |= overlaps[0]
            sharing = overlaps[1]
        kept = repeating(groups[0], (1.0,), replicates=0, top=1)
        counts = neuron_counts(groups)
        listed = listed_neurons(counts)
        blocks["listed"] = listed_block(counts, listed)
        patterns = patterns_block(groups[0], listed.index, budget is not None, pages.meta["shown"])
        if patterns is not None:
            blocks["patterns"] = patterns
        if found.attribution is not None and groups[0].threshold_index == 0:
            contributed = contributions(groups[0])
            arrays |= _contribution_arrays(contributed)
        if budget is not None:
            used = sum(len(block.text) for block in (*blocks.values(), Block(meta, arrays)))
            budget = max(0, budget - used)
        fitted = strips(counts, budget)
        if fitted is not None:
            blocks |= {f"layer/{n}": block for n, block in enumerate(fitted.blocks)}
        meta["strips"] = _strip_meta(fitted)
    if found.num_measured and found.corpus is not None:
        arrays |= _corpus_arrays(found.corpus)
        counts = _corpus_counts(store, found)
        fitted = strips(counts, budget)
        if fitted is not None:
            blocks |= {f"layer/{n}": block for n, block in enumerate(fitted.blocks)}
        meta["strips"] = _strip_meta(fitted)
    meta["sentences"] = [_sentence(each) for each in sentences(found, sharing, contributed, kept)]
    return RunPage(Block(meta, arrays), blocks)


def _deactivation_page(store: Store, threshold: float | None) -> RunPage:
    """The page of a deactivation: few numbers, whatever its size."""
    found = compute_deactivation(store, threshold)
    meta = _description(found, found.threshold)
    meta["deactivation"] = deactivation_meta(found)
    meta["sentences"] = [_sentence(each) for each in deactivation_sentences(found)]
    return RunPage(Block(meta, deactivation_arrays(found)), {})


def _generation_page(store: Store, budget: int | None) -> RunPage:
    """The page of generated texts: their numbers, and as many of the texts as fit."""
    found = compute_generation(store)
    meta = _description(found) | _conditions(found)
    meta["generation"] = generation_meta(found, whole=budget is None)
    meta["sentences"] = [_sentence(each) for each in generation_sentences(found)]
    arrays = generation_arrays(found)
    blocks: Mapping[str, Block] = {}
    if found.num_measured:
        if budget is not None:
            budget = max(0, budget - len(Block(meta, arrays).text))
        pages = text_pages(store, budget)
        blocks, meta["examples"] = pages.blocks, pages.meta
    return RunPage(Block(meta, arrays), blocks)


def _perplexity_page(store: Store) -> RunPage:
    """The page of perplexities: few numbers, whatever the size of the store."""
    found = compute_perplexities(store)
    meta = _description(found) | _conditions(found)
    meta["perplexity"] = perplexity_meta(found)
    meta["sentences"] = [_sentence(each) for each in perplexity_sentences(found)]
    return RunPage(Block(meta, perplexity_arrays(found)), {})


def _conditions(found: Overview) -> dict[str, list[str]]:
    """Names of the conditions of a store that has texts intact and under edits; the first is the intact model."""
    return {"conditions": [visible(name, limit=_LONGEST_CONDITION) for name in found.header.conditions]}


def _groups(store: Store, found: Findings) -> list[Chosen]:
    """All examples measured, then those of each task if there are several."""
    threshold = found.threshold
    names: list[tuple[str, ...]] = [(), *((task,) for task in found.by_task)]
    return [Selection(tasks=tasks, threshold=threshold, at_least=1).of(store) for tasks in names]


# -- description ------------------------------------------------------------------------------------------


def _description(found: Overview, threshold: float | None = None) -> dict[str, Any]:
    """What the page says of a store of any kind; `threshold` is that of activations, if the store has any."""
    header = found.header
    tasks = [_text(name) for name in header.tasks]
    return {
        "store": _text(found.store),
        "model": _text(short_name(header.model)),
        "complete": found.is_complete,
        "examples_committed": found.num_examples,
        "examples_measured": found.num_measured,
        "skipped": {
            "count": found.num_skipped,
            "reasons": [
                {
                    "reason": _text(reason.reason),
                    "count": reason.count,
                    "first": [[_text(row.where), _text(row.id or "")] for row in reason.first],
                }
                for reason in found.skip_reasons
            ],
        },
        "languages": [_language(code) for code in header.languages],
        "layers": list(header.layers),
        "neurons": header.neurons,
        "tasks": tasks,
        "groups": ["all tasks", *tasks] if len(tasks) > 1 else [_text(header.task)],
        "threshold": threshold,
        "signal": signal_name(header),
        "where": where_read(header),
        "corpus": header.is_corpus,
        "top_k": header.top_k,
        "categories": list(CATEGORIES),
        "warnings": [_text(line) for line in header.warnings],
        "command": command(header),
        "facts": facts(header),
    }


def _language(code: str) -> dict[str, str]:
    """A language's code and name; `tag` and `dir` are what the page's attributes of texts take."""
    if short_code(code) is None:
        shown = visible(code, limit=60)
        return {"code": shown, "name": shown, "tag": "", "dir": "auto"}
    known = language(code)
    direction = "rtl" if known.script in _RIGHT_TO_LEFT else "ltr"
    return {"code": code, "name": known.name, "tag": code, "dir": direction}


def _text(text: str) -> str:
    return visible(text, limit=_LONGEST_TEXT)


def _sentence(sentence: Sentence) -> dict[str, Any]:
    return {"parts": list(sentence.parts), "figure": sentence.figure, "select": dict(sentence.selection)}


# -- arrays -----------------------------------------------------------------------------------------------


def _share_arrays(groups: Sequence[Shares]) -> dict[str, NDArray[np.float32]]:
    """Shares by group: `category` [G, 3, N, 4] and `category_overall` [G, 3, 4] (mean, low, high), `activated`
    [G, L, N], `activated_overall` [G, 3, L]."""
    return {
        "category": _stacked(group.category for group in groups),
        "category_overall": _stacked(group.category_overall for group in groups),
        "activated": np.stack([group.activated for group in groups]).astype(np.float32),
        "activated_overall": _stacked(group.activated_overall for group in groups),
        "group_examples": np.array([group.num_examples for group in groups], np.int32),
    }


def _stacked(estimates: Any) -> NDArray[np.float32]:
    return np.stack([np.stack([e.mean, e.low, e.high]) for e in estimates]).astype(np.float32)


def _spread(everything: Chosen, num_groups: int) -> NDArray[np.float32]:
    """How much examples differ, [G, 4, N, 4]: 5th and 95th percentile, least and most."""
    found = categories(everything, replicates=0)
    bands = np.stack([found[name].values for name in ("p5", "p95", "least", "most")], 1)  # [task, 4, N, 4]
    # All tasks together come last there and first here.
    return np.roll(bands, 1, 0).astype(np.float32) if num_groups > 1 else bands[:1].astype(np.float32)


def _contribution_arrays(found: "xarray.Dataset") -> dict[str, NDArray[np.float32]]:
    """Means by category under the names of `_CONTRIBUTIONS`: [3, 4] (mean, low, high), `_by_layer` [3, N, 4],
    `_by_language` [3, L, 4], `_by_language_and_layer` [L, N, 4]."""
    arrays: dict[str, NDArray[np.float32]] = {}
    for name in _CONTRIBUTIONS:
        for place in ("", "_by_layer", "_by_language"):
            ends = [found[f"{name}{place}{end}"].values for end in ("", "_low", "_high")]
            arrays[f"{name}{place}"] = np.stack(ends).astype(np.float32)
        together = f"{name}_by_language_and_layer"
        arrays[together] = found[together].values.astype(np.float32)
    return arrays


def _corpus_arrays(corpus: TokenShares) -> dict[str, NDArray[np.float32]]:
    """`activated` and `activated_overall` as of other runs, without intervals: tokens are not drawn independently."""
    overall = np.full((1, 3, len(corpus.languages)), np.nan, np.float32)
    overall[0, 0] = corpus.activated_overall
    return {"activated": corpus.activated[None].astype(np.float32), "activated_overall": overall}


def _corpus_counts(store: Store, found: Findings) -> NeuronCounts:
    """Tokens of each language that activate each neuron."""
    t = store.threshold_index(found.threshold)
    tokens = store["corpus_tokens"][...]
    return NeuronCounts(
        category=None,
        language=store["activation_count"][t][None],
        examples=np.array([tokens.sum()]),
        present=tokens[None].astype(np.int64),
    )


def _strip_meta(fitted: Strips | None) -> dict[str, Any] | None:
    if fitted is None:
        return None
    return {
        "scale": fitted.scale,
        "exact": fitted.exact,
        "groups": fitted.groups,
        "languages": fitted.has_languages,
    }
