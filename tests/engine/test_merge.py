"""Slices of ranks put together equal the whole, cut up by hand."""

import numpy as np
import pytest

from fastneurons.engine.merge import Slice, concatenate_bits, merge

E, S, L, N, I = 2, 2, 3, 4, 27  # noqa: E741


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
    }


@pytest.mark.parametrize("split", [[16, 27], [10, 27], [8, 16, 27], [1, 2, 27], [27]], ids=str)
@pytest.mark.parametrize("stages", [[4], [1, 4], [2, 3, 4]], ids=str)
def test_slices_of_neurons_and_layers_make_the_whole(split, stages):
    slices, arrays = [], []
    for start, end in zip([0, *stages[:-1]], stages, strict=True):
        for first, last in zip([0, *split[:-1]], split, strict=True):
            slices.append(Slice(tuple(range(start, end)), first, last - first))
            arrays.append(cut(slice(start, end), slice(first, last)))
    order = np.random.default_rng(1).permutation(len(slices))
    merged = merge([slices[i] for i in order], [arrays[i] for i in order])
    for name, expected in cut(slice(None), slice(None)).items():
        np.testing.assert_array_equal(merged[name], expected, err_msg=name)
        assert merged[name].dtype == expected.dtype


def test_replicated_layers_count_once():
    part = cut(slice(None), slice(None))
    same = Slice((0, 1, 2, 3), 0, I)
    merged = merge([same, same], [part, part])
    np.testing.assert_array_equal(merged["activated_count"], part["activated_count"])


def test_bits_that_end_inside_a_byte_move_up():
    ones = np.packbits(np.ones(3, bool), bitorder="little")
    joined = concatenate_bits([ones, ones], [3, 3])
    assert joined.tolist() == [0b00111111]
