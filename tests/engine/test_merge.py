"""Slices of ranks put together equal the whole, cut up by hand."""

import numpy as np
import pytest
import torch
from fastneurons_kernels.attribution_cpu import contributions_cpu
from fastneurons_kernels.top import top_count_cpu

from fastneurons.arrays import ATTRIBUTION
from fastneurons.engine.merge import Slice, concatenate_bits, merge

E, S, L, N, I = 2, 2, 3, 4, 27  # noqa: E741
TOP_K = 7
SPLITS = [[16, 27], [10, 27], [8, 16, 27], [1, 2, 27], [27]]


def whole() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    bits = rng.random((E, S, L, N, I)) < 0.5
    occupancy = rng.integers(0, E, (S, N, I, 4), dtype=np.int32)
    return {"bits": bits, "occupancy": occupancy}


def cut(layers: slice, neurons: slice) -> dict[str, np.ndarray]:
    w = whole()
    bits = w["bits"][:, :, :, layers, neurons]
    return {
        "activated": np.packbits(bits, axis=-1, bitorder="little"),
        "activated_count": bits.sum(-1, dtype=np.int32),
        "near_threshold_count": (~bits).sum(-1, dtype=np.int32),
        "category_count": np.stack([bits[:, :, k % L].sum(-1, dtype=np.int32) for k in range(4)], -1),
        "occupancy": w["occupancy"][:, layers, neurons],
        "activation_count": bits.sum(0, dtype=np.int64) + 2**32,
        "coefficient": bits[:, 0].astype(np.float16),
        "value_norm": w["occupancy"][0, layers, neurons, 0].astype(np.float32) / 3,
        "neuron_contribution": bits[0, 0].astype(np.float64) / 3,
    }


def ranks(split, stages, make):
    """The slices of a grid of ranks and what `make` gives for each, in no order."""
    slices, arrays = [], []
    for start, end in zip([0, *stages[:-1]], stages, strict=True):
        for first, last in zip([0, *split[:-1]], split, strict=True):
            slices.append(Slice(tuple(range(start, end)), first, last - first))
            arrays.append(make(slice(start, end), slice(first, last)))
    order = np.random.default_rng(1).permutation(len(slices))
    return [slices[i] for i in order], [arrays[i] for i in order]


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("stages", [[4], [1, 4], [2, 3, 4]], ids=str)
def test_slices_of_neurons_and_layers_make_the_whole(split, stages):
    merged = merge(*ranks(split, stages, cut))
    expected = cut(slice(None), slice(None))
    assert merged.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(merged[name], array, err_msg=name)
        assert merged[name].dtype == array.dtype


def test_replicated_layers_count_once():
    part = cut(slice(None), slice(None))
    same = Slice((0, 1, 2, 3), 0, I)
    merged = merge([same, same], [part, part])
    np.testing.assert_array_equal(merged["activated_count"], part["activated_count"])


def test_bits_that_end_inside_a_byte_move_up():
    ones = np.packbits(np.ones(3, bool), bitorder="little")
    joined = concatenate_bits([ones, ones], [3, 3])
    assert joined.tolist() == [0b00111111]


# -- scores -------------------------------------------------------------------------------------------


def scored(special: bool = False) -> dict[str, np.ndarray]:
    """A model's rows: coefficients of few distinct values, so that scores tie, within ranks and across."""
    rng = np.random.default_rng(3)
    m = rng.integers(-4, 5, (E, L, N, I)).astype(np.float32) / 2
    if special:
        m[rng.random(m.shape) < 0.04] = np.nan
        m[rng.random(m.shape) < 0.04] = np.inf
    category = rng.choice([0, 1, 3], (E, N, I))  # nowhere partial-shared
    category[0, 0, :2] = 2  # but in one layer, on one rank
    present = np.ones((E, L), bool)
    present[1, 2] = False
    answer = np.array([[0, 1, -1], [2, 0, -1]], np.int32)
    return {
        "m": m,
        "category": category,
        "present": present,
        "answer": answer,
        "norm": rng.integers(1, 3, (N, I)).astype(np.float32),
        "projection": rng.standard_normal((3, N, I), np.float32),
    }


def observed(layers: slice, neurons: slice, special: bool = False) -> dict[str, np.ndarray]:
    """What a rank's observer gives, by the kernel."""
    w = scored(special)
    m = torch.from_numpy(w["m"][:, :, layers, neurons].copy())
    category = w["category"][:, layers, neurons]
    in_category = np.stack([category == c for c in range(4)], -2)  # [E, N, 4, I]
    packed = np.packbits(in_category, axis=-1, bitorder="little")
    missing = -packed.shape[-1] % 4
    planes = np.pad(packed, [(0, 0)] * 3 + [(0, missing)]).view(np.int32)
    rows = np.where(w["present"], np.arange(E * L).reshape(E, L), -1).astype(np.int32)
    found = contributions_cpu(
        m.flatten(0, 1),
        torch.from_numpy(rows),
        torch.from_numpy(planes),
        torch.from_numpy(w["norm"][layers, neurons].copy()),
        torch.from_numpy(w["projection"][:, layers, neurons].copy()),
        torch.from_numpy(w["answer"]),
        TOP_K,
    )
    count = in_category.sum(-1, dtype=np.int32)
    return {
        **{name: getattr(found, name).numpy() for name in found._fields},
        "category_count": np.stack([count, np.full_like(count, -1)], 1),  # the first threshold's are meant
        "present": w["present"],
        "answered": w["answer"] >= 0,
    }


def gather(slices, arrays):
    """What the ranks of a stage do with their candidates: put them side by side, and count the largest."""
    for layers in {part.layers for part in slices}:
        stage = [index for index, part in enumerate(slices) if part.layers == layers]
        stage.sort(key=lambda index: slices[index].first_neuron)
        candidates = [
            torch.from_numpy(np.concatenate([arrays[index].pop(name) for index in stage], -1))
            for name in ("top_score", "top_category")
        ]
        for index in stage:
            arrays[index]["top_count"] = top_count_cpu(*candidates, TOP_K).numpy()


def expected_attribution(special: bool) -> dict[str, np.ndarray]:
    """The definitions of docs/store.md in numpy, on the whole model."""
    w = scored(special)
    out = {name: np.full((E, L, N, 4), np.nan) for name in ATTRIBUTION}
    with np.errstate(invalid="ignore"):
        contribution = (np.abs(w["m"]) * w["norm"]).astype(np.float64)
        for e, language, n in np.ndindex(E, L, N):
            if not w["present"][e, language]:
                continue
            score, category = contribution[e, language, n], w["category"][e, n]
            answer = w["answer"][e, language]
            # NaN before infinity before all others, and the lowest neuron first.
            order = sorted(range(I), key=lambda i: (~np.isnan(score[i]), -np.nan_to_num(score[i]), i))
            effective = (w["m"][e, language, n] * w["projection"][answer, n]).astype(np.float64)
            for c in range(4):
                mine, place = category == c, (e, language, n, c)
                out["contribution_share"][place] = mine[order[:TOP_K]].mean()
                if not mine.any():
                    continue
                for name in ("max", "mean", "min", "sum"):
                    out[f"contribution_{name}"][place] = getattr(score[mine], name)()
                    if name != "sum" and answer >= 0:
                        out[f"effective_{name}"][place] = getattr(effective[mine], name)()
    return out


@pytest.mark.parametrize("special", [False, True], ids=["finite", "NaN and infinity"])
@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("stages", [[4], [1, 4]], ids=str)
def test_scores_of_slices_are_those_of_the_whole(split, stages, special):
    slices, arrays = ranks(split, stages, lambda *part: observed(*part, special))
    gather(slices, arrays)
    merged = merge(slices, arrays)
    assert merged.keys() == {"category_count", *ATTRIBUTION}
    for name, expected in expected_attribution(special).items():
        assert merged[name].dtype == np.float32
        np.testing.assert_allclose(merged[name], expected, rtol=1e-6, atol=1e-6, err_msg=name)
    alone = [Slice(tuple(range(N)), 0, I)], [observed(slice(None), slice(None), special)]
    gather(*alone)
    alone = merge(*alone)
    for name in ATTRIBUTION:
        if not name.endswith(("_sum", "_mean")):
            np.testing.assert_array_equal(merged[name], alone[name], err_msg=name)
