"""Edits: what can be one, and which models have its neurons."""

import numpy as np
import pytest

from fastneurons.errors import InputError
from fastneurons.neuron_sets import Edit, ModelNeurons, NeuronSet

AMONG = ModelNeurons("org/model", "f1", (1, 2), (7, 16))
SET = NeuronSet.from_pairs(AMONG, [(1, 0), (2, 15)])


def model(**changed) -> ModelNeurons:
    given = {"model": "org/model", "model_fingerprint": "f1", "layers": (0, 1, 2), "widths": (7, 7, 16)}
    return ModelNeurons(**(given | changed))


def test_values_are_kept_as_float32():
    value = np.arange(32).reshape(2, 16)
    edit = Edit(SET, scale=1, value=value)
    assert edit.value is not None and edit.value.dtype == np.float32
    value[:] = 0
    np.testing.assert_array_equal(edit.value, np.arange(32).reshape(2, 16))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"neurons": NeuronSet.from_pairs(AMONG, [])}, "the set of neurons is empty: there is nothing to edit"),
        ({"scale": float("inf")}, "scale inf: must be a finite number in float32"),
        ({"scale": -1e300}, r"scale -1e\+300: must be a finite number in float32"),
        ({"site": "down"}, "site 'down': must be one of product, gate"),
        ({"scope": ""}, "scope '': must be one of prompt, generation, both"),
        ({"value": np.zeros((2, 15))}, r"value is float64 \[2, 15\]: must be float32 \[2, 16\], layers by neurons"),
        ({"value": np.zeros((2, 16), complex)}, r"value is complex128 .*"),
        ({"value": np.full((2, 16), 1e39)}, r"value of neuron 1:0 is 1e\+39: must be finite in float32"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_what_cannot_be_an_edit_is_said(changed, said):
    with pytest.raises(InputError, match=f"^{said}$"):
        Edit(**({"neurons": SET} | changed))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"model": "/elsewhere"},
        {"model_fingerprint": None},
        {"layers": (1, 2), "widths": (7, 16)},
        {"layers": (1, 2, 9), "widths": (7, 16, 1)},
    ],
)
def test_models_that_have_its_neurons(changed):
    Edit(SET).check(model(**changed))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"layers": (0, 1, 3)}, "it has layer 2, and org/model has layers 0-1, 3"),
        ({"widths": (7, 7, 17)}, "its layer 2 has 16 neurons, that of org/model 17"),
        ({"model_fingerprint": "f2"}, "it was made for org/model, whose fingerprint differs from that of org/model"),
    ],
)  # fmt: skip
def test_models_that_have_not(changed, said):
    with pytest.raises(InputError) as error:
        Edit(SET).check(model(**changed), "e.safetensors")
    assert str(error.value) == f"e.safetensors: is for another model: {said}"


def test_edits_are_equal_if_they_do_the_same():
    ones = np.ones((2, 16))
    assert Edit(SET, value=ones) == Edit(SET, value=ones) and hash(Edit(SET)) == hash(Edit(SET))
    different = [Edit(SET), Edit(SET, scale=1), Edit(SET, site="gate"), Edit(SET, scope="prompt"),
                 Edit(SET, value=ones), Edit(SET, value=2 * ones), Edit(SET.complement())]  # fmt: skip
    for at, one in enumerate(different):
        assert [one == other for other in different] == [k == at for k in range(len(different))]
