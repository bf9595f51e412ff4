"""Everything the page shows of one run, from its store: the only module of the page that reads stores.

A `RunPage` is a set of blocks. `core` is decoded when the page opens; the others (a layer's neurons, some examples'
prompts) when a view first needs them. With a budget, parts that do not fit become coarser or shorter, and `core` says
how; without one (`--folder`), everything is there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastneurons.analysis import Estimate, Shares
from fastneurons.languages import language, short_code
from fastneurons.model_name import short_name
from fastneurons.report.cells import signal_name, where_read
from fastneurons.report.findings import Findings, compute_findings
from fastneurons.report.page.blocks import Block, text_bytes
from fastneurons.report.page.examples import ExamplePages, example_pages
from fastneurons.report.page.measures import FromBits, from_bits
from fastneurons.report.page.reproduce import command, facts
from fastneurons.report.page.strips import NeuronCounts, Strips, strips
from fastneurons.report.sentences import Sentence, sentences
from fastneurons.store import CATEGORIES, Store
from fastneurons.visible import visible

# Of a page's budget, the most that examples may take; strips get what is left.
_EXAMPLES_SHARE = 0.4
_PATTERNS_BYTES = 400_000  # before compression
_LISTED = 60  # neurons of each category and language
_LONGEST_TEXT = 2000


@dataclass(frozen=True)
class RunPage:
    """The blocks of one run.

    Args:
        core: Small arrays and all texts that views need at once.
        blocks: The others by name.
    """

    core: Block
    blocks: Mapping[str, Block]


def run_page(store: Store, threshold: float | None = None, budget: int | None = None) -> RunPage:
    """Read a store and prepare the page of its run.

    Args:
        store: A store, complete or not.
        threshold: One of its thresholds; None takes the first.
        budget: Bytes that the run's data may take in the page; None for no limit.
    Raises:
        InputError: the store has no such threshold.
        StoreError: an array is damaged.
    """
    found = compute_findings(store, threshold)
    t = store.threshold_index(threshold)
    meta = _description(store, found)
    arrays: dict[str, NDArray[Any]] = {}
    blocks: dict[str, Block] = {}
    if found.num_measured and found.sharing is not None:
        groups = [found.sharing, *found.by_task.values()]
        arrays |= _share_arrays(groups)
        pages = example_pages(store, t, None if budget is None else int(_EXAMPLES_SHARE * budget))
        blocks |= pages.blocks
        meta["examples"] = pages.meta
        arrays["spread"] = _spread(store, t)
        bits = from_bits(store, t) if store.has_bits else None
        if bits is not None:
            arrays |= _overlap_arrays(bits)
        counts = _neuron_counts(store, t, bits)
        listed = _listed(counts)
        blocks["listed"] = Block(arrays=_listed_arrays(counts, listed))
        patterns = _patterns(store, t, listed)
        if patterns is not None:
            blocks["patterns"] = patterns
        if found.attribution is not None:
            arrays |= _attribution_arrays(found)
        if budget is not None:
            used = sum(len(block.text) for block in (*blocks.values(), Block(meta, arrays)))
            budget = max(0, budget - used)
        fitted = strips(counts, budget)
        if fitted is not None:
            blocks |= {f"layer/{n}": block for n, block in enumerate(fitted.blocks)}
        meta["strips"] = _strip_meta(fitted)
    meta["sentences"] = [_sentence(each) for each in sentences(found)]
    return RunPage(Block(meta, arrays), blocks)


# -- description ------------------------------------------------------------------------------------------


def _description(store: Store, found: Findings) -> dict[str, Any]:
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
        "threshold": found.threshold,
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
    """A language's code and name; `tag` is what the page's `lang` attribute takes."""
    if short_code(code) is None:
        shown = visible(code, limit=60)
        return {"code": shown, "name": shown, "tag": ""}
    return {"code": code, "name": language(code).name, "tag": code}


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


def _spread(store: Store, t: int) -> NDArray[np.float32]:
    """temporary [G, 4, N, 4]: 5th, 95th percentile, least and most over examples."""
    measured = store.measured
    counts = store["category_count"][:, t][measured] / store.header.neurons
    task = store["task"][:][measured]
    K = len(store.header.tasks)
    rows = [np.ones(len(task), bool)] + ([task == k for k in range(K)] if K > 1 else [])
    out = []
    for r in rows:
        c = counts[r]
        if len(c) == 0:
            out.append(np.full((4, *counts.shape[1:]), np.nan))
        else:
            out.append(np.concatenate([np.percentile(c, [5, 95], axis=0), [c.min(0), c.max(0)]]))
    return np.stack(out).astype(np.float32)


def _overlap_arrays(bits: FromBits) -> dict[str, NDArray[Any]]:
    """temporary: `both` -> jaccard [G, N + 1, L, L], last: all layers."""
    both = np.concatenate([bits.both, bits.both.sum(1, keepdims=True)], 1).astype(float)
    own = np.diagonal(both, axis1=2, axis2=3)
    union = own[..., :, None] + own[..., None, :] - both
    with np.errstate(invalid="ignore", divide="ignore"):
        jaccard = both / union
    sets = np.concatenate([bits.set_count, bits.set_count.sum(1, keepdims=True)], 1)
    return {
        "jaccard": jaccard.astype(np.float32),
        "set_members": bits.members,
        "set_count": sets.astype(np.float32),
    }


def _attribution_arrays(found: Findings) -> dict[str, NDArray[np.float32]]:
    attributed = found.attribution
    assert attributed is not None
    names = ("contribution_share", "contribution_sum", "contribution_mean", "contribution_max", "effective_mean")
    arrays = {}
    for name in names:
        if name in attributed.overall:
            arrays[f"{name}_overall"] = _stacked([attributed.overall[name]])[0]
            arrays[f"{name}_by_layer"] = _stacked([attributed.by_layer[name]])[0]
            arrays[f"{name}_by_language"] = _stacked([attributed.by_language[name]])[0]
            arrays[f"{name}_by_language_and_layer"] = attributed.by_language_and_layer[name].astype(np.float32)
    return arrays


# -- neurons ----------------------------------------------------------------------------------------------


def _neuron_counts(store: Store, t: int, bits: FromBits | None) -> NeuronCounts:
    header = store.header
    occupancy = store["occupancy"][:, t]  # [K, N, I, 4]
    measured = store.measured
    task, present = store["task"][:][measured], store["present"][:][measured]
    K = len(header.tasks)
    rows = [np.ones(len(task), np.bool_), *([task == k for k in range(K)] if K > 1 else [])]
    category = np.concatenate([occupancy.sum(0, keepdims=True), occupancy]) if K > 1 else occupancy
    return NeuronCounts(
        category=category.astype(np.int32),
        language=None if bits is None else bits.language,
        examples=np.array([row.sum() for row in rows]),
        present=np.stack([present[row].sum(0) for row in rows]),
    )


def _listed(counts: NeuronCounts) -> NDArray[np.int64]:
    """temporary: flat indices [M] of neurons that stand out."""
    category = counts.category[0].reshape(-1, 4)
    chosen = [np.argsort(-category[:, c], kind="stable")[:_LISTED] for c in (1, 2, 3)]
    if counts.language is not None:
        share = counts.language[0].reshape(counts.language.shape[1], -1) / np.maximum(counts.present[0], 1)[:, None]
        for k in range(len(share)):
            others = np.delete(share, k, 0).max(0, initial=0)
            chosen.append(np.argsort(-(share[k] - others), kind="stable")[:_LISTED // 2])
    return np.unique(np.concatenate(chosen))


def _listed_arrays(counts: NeuronCounts, listed: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    G = len(counts.category)
    I = counts.category.shape[2]
    arrays: dict[str, NDArray[Any]] = {
        "layer": (listed // I).astype(np.int32),
        "neuron": (listed % I).astype(np.int32),
        "category": counts.category.reshape(G, -1, 4)[:, listed].astype(np.int32),
        "examples": counts.examples.astype(np.int32),
        "present": counts.present.astype(np.int32),
    }
    if counts.language is not None:
        L = counts.language.shape[1]
        arrays["language"] = counts.language.reshape(G, L, -1)[:, :, listed].astype(np.int32)
    return arrays


def _patterns(store: Store, t: int, listed: NDArray[np.int64]) -> Block | None:
    """Where the listed neurons are activated: `bits` [M, L, ceil(E / 8)] over the measured examples."""
    if not store.has_bits:
        return None
    header = store.header
    E, L, I = int(store.measured.sum()), len(header.languages), header.neurons
    if len(listed) * L * -(-E // 8) > _PATTERNS_BYTES:
        return None
    rows = []
    for _, window in store.windows("activated", "outcome"):
        packed = window["activated"][window["outcome"] == 1][:, t]  # [e, L, N, B]
        layer, neuron = listed // I, listed % I
        byte = packed[:, :, layer, neuron // 8]
        rows.append(byte >> (neuron % 8).astype(np.uint8) & 1)  # [e, L, M]
    bits = np.concatenate(rows).transpose(2, 1, 0)  # [M, L, E]
    return Block(arrays={"bits": np.packbits(bits, axis=-1, bitorder="little")})


def _strip_meta(fitted: Strips | None) -> dict[str, Any] | None:
    if fitted is None:
        return None
    return {
        "scale": fitted.scale,
        "exact": fitted.exact,
        "groups": fitted.groups,
        "languages": fitted.has_languages,
    }
