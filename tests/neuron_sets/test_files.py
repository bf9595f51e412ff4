"""Files of sets and edits: round trips, what lies in them, and files that are none or are damaged."""

import json
import os

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import safe_open

from fastneurons.errors import InputError, OutputError
from fastneurons.neuron_sets import Edit, ModelNeurons, NeuronSet, load, load_edit, load_set, save

AMONG = ModelNeurons("org/modèle\x1b", "f1", (1, 2, 5), (7, 16, 17))
SET = NeuronSet.from_pairs(AMONG, [(1, 0), (2, 15), (5, 16)])
METADATA = {
    "format": "fastneurons-neuron-set-1",
    "model": "m",
    "model_fingerprint": "f1",
    "layers": "[1, 2, 5]",
    "widths": "[7, 16, 17]",
    "history": '[{"kind": "list"}]',
}
EDIT = {"site": "gate", "scale": "1.5", "scope": "prompt"}
MASK = SET.mask


@settings(max_examples=40)
@given(
    bits=arrays.arrays(np.bool_, (3, 17)),
    fingerprint=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    name=st.text(st.characters(exclude_categories=["Cs"])),
    details=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-9, 9) | st.text("aß")),
    seed=st.integers(0, 5),
)  # fmt: skip
def test_a_set_comes_back_as_it_was(tmp_path_factory, bits, fingerprint, name, details, seed):
    among = ModelNeurons(name, fingerprint, AMONG.layers, AMONG.widths)
    found = NeuronSet.from_bits(among, bits & among.exists, "drawn", details)
    found = found | found.random_like(seed)
    path = tmp_path_factory.mktemp("sets") / "s.safetensors"
    save(found, path)
    for read in (load_set(path), load(path)):
        assert isinstance(read, NeuronSet)
        assert read == found and read.among == found.among and read.history == found.history
        np.testing.assert_array_equal(read.mask, found.mask)


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=40)
@given(
    site=st.sampled_from(["product", "gate"]),
    scope=st.sampled_from(["prompt", "generation", "both"]),
    scale=st.floats(-1e30, 1e30),
    value=st.none() | arrays.arrays(np.float32, (3, 17), elements=FLOATS),
)
def test_an_edit_comes_back_as_it_was(tmp_path_factory, site, scope, scale, value):
    edit = Edit(SET, site=site, scope=scope, scale=scale, value=value)
    path = tmp_path_factory.mktemp("edits") / "e.safetensors"
    save(edit, str(path))
    for read in (load_edit(path), load(path)):
        assert isinstance(read, Edit) and read == edit
        assert (read.site, read.scope, read.scale) == (site, scope, scale)
        assert (read.value is None) == (value is None)
        if value is not None:
            assert read.value.dtype == np.float32 and read.value.tobytes() == value.tobytes()
    assert load_set(path) == SET


@pytest.mark.parametrize(
    "lay", [np.asfortranarray, lambda v: np.repeat(v, 2, 1)[:, ::2], lambda v: v.astype(">f8")]
)
def test_values_in_any_memory_layout_are_written_as_they_are(tmp_path, lay):
    value = np.arange(51, dtype=np.float32).reshape(3, 17)
    save(Edit(SET, value=lay(value)), tmp_path / "e")
    np.testing.assert_array_equal(load_edit(tmp_path / "e").value, value)


def test_a_bare_set_as_an_edit_is_zero(tmp_path):
    save(SET, tmp_path / "s")
    edit = load_edit(tmp_path / "s")
    assert (edit.site, edit.scale, edit.scope, edit.value) == ("product", 0.0, "both", None)
    assert edit.neurons == SET


def test_what_lies_in_a_file(tmp_path):
    save(Edit(SET, scale=0.5, value=np.ones((3, 17))), tmp_path / "e")
    with safe_open(tmp_path / "e", framework="np") as file:
        metadata = file.metadata()
        assert set(file.keys()) == {"mask", "value"}
        np.testing.assert_array_equal(
            np.unpackbits(file.get_tensor("mask"), axis=1, bitorder="little").nonzero(), [[0, 1, 2], [0, 15, 16]]
        )  # fmt: skip
    assert json.loads(metadata.pop("history")) == [{"kind": "list", "of": [], "details": {}}]
    assert {key: json.loads(metadata.pop(key)) for key in ("layers", "widths", "scale")} == {
        "layers": [1, 2, 5], "widths": [7, 16, 17], "scale": 0.5
    }  # fmt: skip
    assert metadata == {
        "format": "fastneurons-neuron-set-1",
        "model": "org/modèle\x1b",
        "model_fingerprint": "f1",
        "site": "product",
        "scope": "both",
    }


def test_files_written_by_others_are_read(tmp_path):
    safetensors.numpy.save_file({"mask": MASK}, tmp_path / "s", METADATA | {"note": "by hand"})
    assert list(load_set(tmp_path / "s")) == [(1, 0), (2, 15), (5, 16)]
    safetensors.numpy.save_file({"mask": MASK}, tmp_path / "e", METADATA | EDIT)
    edit = load_edit(tmp_path / "e")
    assert (edit.site, edit.scale, edit.scope) == ("gate", 1.5, "prompt")


def without(*keys):
    return {key: text for key, text in (METADATA | EDIT).items() if key not in keys}


VALUE = np.zeros((3, 17), np.float32)
WRONG = {
    "no metadata": ({"mask": MASK}, None, "neither a set of neurons nor an edit"),
    "weights": ({"w": MASK}, {"format": "pt"}, "neither a set of neurons nor an edit"),
    "later": ({"mask": MASK}, METADATA | {"format": "fastneurons-neuron-set-2"}, "written by a later fastneurons"),
    **{
        f"without {key}": ({"mask": MASK}, without(key), f"its metadata has no {key}")
        for key in ("model", "layers", "widths", "history", "site", "scale", "scope")
    },
    "no mask": ({"maks": MASK}, METADATA, "unexpected tensor 'maks'"),
    "nothing": ({}, METADATA, "has no tensor 'mask'"),
    "value of a set": ({"mask": MASK, "value": VALUE}, METADATA, "unexpected tensor 'value'"),
    "misspelt": ({"mask": MASK, "values": VALUE}, METADATA | EDIT, "unexpected tensor 'values'"),
    "mask dtype": ({"mask": MASK.astype(np.int8)}, METADATA, r"mask is I8 \[3, 3\]: must be U8 \[3, 3\]"),
    "mask rows": ({"mask": MASK[:2]}, METADATA, r"mask is U8 \[2, 3\]: must be U8 \[3, 3\]"),
    "mask bytes": ({"mask": np.ascontiguousarray(MASK[:, :2])}, METADATA, r"mask is U8 \[3, 2\]"),
    "mask dims": ({"mask": MASK.ravel()}, METADATA, r"mask is U8 \[9\]"),
    "beyond": ({"mask": MASK | 0x80}, METADATA, "past the 7 that layer 1 has"),
    "value dtype": ({"mask": MASK, "value": VALUE.astype(np.float64)}, METADATA | EDIT, r"value is F64 .*must be F32"),
    "value shape": ({"mask": MASK, "value": VALUE.T.copy()}, METADATA | EDIT, r"value is F32 \[17, 3\]"),
    "value nan": ({"mask": MASK, "value": VALUE * np.nan}, METADATA | EDIT, "value of neuron 1:0 is nan"),
    "layers text": ({"mask": MASK}, METADATA | {"layers": "1-5"}, "layers in its metadata: must be a list"),
    "layers float": ({"mask": MASK}, METADATA | {"layers": "[1, 2, 5.5]"}, "layers in its metadata"),
    "layers deep": ({"mask": MASK}, METADATA | {"layers": "[" * 100_000}, "layers in its metadata"),
    "layers order": ({"mask": MASK}, METADATA | {"layers": "[2, 1, 5]"}, "layers 2, 1, 5: must be ascending"),
    "no layers": ({"mask": MASK}, METADATA | {"layers": "[]", "widths": "[]"}, "layers is empty"),
    "huge width": ({"mask": MASK}, METADATA | {"widths": "[7, 16, 1000000000000000000]"}, "must be U8"),
    "width 0": ({"mask": MASK}, METADATA | {"widths": "[0, 16, 17]"}, "at least one neuron"),
    "history": ({"mask": MASK}, METADATA | {"history": "{}"}, "history: "),
    "no history": ({"mask": MASK}, METADATA | {"history": "[]"}, "history: is empty"),
    "circle": ({"mask": MASK}, METADATA | {"history": '[{"kind": "x", "of": [0]}]'}, "history: .* not before it"),
    "deep history": (
        {"mask": MASK},
        METADATA | {"history": '[{"kind": "x", "details": {"a": ' + "[" * 100_000},
        "history: ",
    ),
    "scale text": ({"mask": MASK}, METADATA | EDIT | {"scale": "half"}, "scale 'half': is not a number"),
    "scale nan": ({"mask": MASK}, METADATA | EDIT | {"scale": "nan"}, "scale nan: must be a finite number"),
    "scale inf": ({"mask": MASK}, METADATA | EDIT | {"scale": "1e39"}, r"scale 1e\+39: must be a finite number"),
    "site": ({"mask": MASK}, METADATA | EDIT | {"site": "up"}, "site 'up': must be one of product, gate"),
    "scope": ({"mask": MASK}, METADATA | EDIT | {"scope": "all"}, "scope 'all': must be one of prompt"),
    "empty edit": ({"mask": MASK & 0}, METADATA | EDIT, "the set of neurons is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_file_is_said_in_a_line(case, tmp_path):
    tensors, metadata, said = WRONG[case]
    path = tmp_path / "f.safetensors"
    safetensors.numpy.save_file(tensors, path, metadata)
    with pytest.raises(InputError, match=said) as error:
        load_edit(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_an_empty_set_is_a_set_but_no_edit(tmp_path):
    save(NeuronSet.from_pairs(AMONG, []), tmp_path / "s")
    assert not len(load_set(tmp_path / "s"))
    with pytest.raises(InputError, match="the set of neurons is empty"):
        load_edit(tmp_path / "s")


def refused(path) -> str:
    with pytest.raises(InputError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.timeout(60)
def test_what_is_no_file_is_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "missing")
    assert "director" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refused(tmp_path / "pipe")  # and not waited for
    assert "is not a regular file" in refused("/dev/zero")
    (tmp_path / "empty").touch()
    assert "is no safetensors file" in refused(tmp_path / "empty")
    (tmp_path / "text").write_text("a line of text that is no such file")
    assert "is no safetensors file" in refused(tmp_path / "text")


def test_a_header_that_says_it_is_huge_is_not_read(tmp_path):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.write((99_000_000).to_bytes(8, "little"))
        file.truncate(100_000_000)
    assert "its header would be too long" in refused(path)


def test_a_file_that_is_cut_or_changed_is_refused_or_says_the_same(tmp_path):
    path = tmp_path / "s"
    save(Edit(SET, scale=0.5), path)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        refused(path)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            load(path)  # a name or a mask may be another one; nothing but InputError may be raised
        except InputError as error:
            assert str(error).startswith(f"{path}: ")


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path, monkeypatch):
    path = tmp_path / "s"
    save(SET, path)
    before = path.read_bytes()

    def full(self, data):
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="cannot be written: No space left"):
        patch.setattr(type(path), "write_bytes", full)
        save(SET.complement(), path)
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["s"]
    save(SET.complement(), path)
    assert load_set(path) == SET.complement()


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "s")
    save(SET, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and load_set(tmp_path / "s") == SET


def test_where_no_file_can_be_is_said(tmp_path):
    with pytest.raises(InputError, match=r"the folder .* does not exist"):
        save(SET, tmp_path / "missing" / "s")
    for path in (tmp_path, "/dev/null"):
        with pytest.raises(InputError, match="is not a file"):
            save(SET, path)
