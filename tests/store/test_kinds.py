"""Stores of every kind are written, read, resumed, verified and labelled; analyses of one kind refuse the others."""

import warnings

import msgspec
import numpy as np
import pytest
import xarray

from fastneurons.analysis import attribution, shares, token_shares
from fastneurons.analysis.compare import matched
from fastneurons.analysis.inactive import inactive_in_corpus
from fastneurons.analysis.selection import Selection
from fastneurons.arrays import KINDS, Answer
from fastneurons.errors import InputError, StoreError
from fastneurons.report.findings import compute_findings
from fastneurons.store import StoreWriter, open_store, verify_store
from fastneurons.store.root import decode
from tests.store.edited import DEACTIVATE, draw_edited
from tests.store.runs import assert_holds, draw

EDITED = KINDS[1:]


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> dict[str, str]:
    """A store of each kind by its kind."""
    folder = tmp_path_factory.mktemp("kinds")
    for kind in EDITED:
        draw_edited(kind, keep_prompts=kind == "generate").write(folder / f"{kind}.zarr")
    return {kind: str(folder / f"{kind}.zarr") for kind in EDITED}


@pytest.mark.parametrize("kind", EDITED)
def test_it_holds_what_was_written_and_is_intact(kind, stores):
    path, run = stores[kind], draw_edited(kind, keep_prompts=kind == "generate")
    assert_holds(path, run)
    store = open_store(path, check=True)
    assert store.header.kind == kind
    assert f"of kind {kind}" in repr(store)
    for name, expected in run.arrays().items():
        np.testing.assert_array_equal(store[name][...], expected, err_msg=name)
    found = verify_store(store)
    assert found.is_whole
    assert found.arrays.keys() == run.arrays().keys()


@pytest.mark.parametrize("kind", EDITED)
def test_xarray_labels_the_conditions(kind, stores):
    path, run = stores[kind], draw_edited(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = xarray.open_zarr(path)
    assert data.identical(open_store(path).to_xarray())
    assert data.condition.values.tolist() == run.header.conditions
    name = "text" if kind == "generate" else "log_probability"
    assert data[name].dims == ("example", "language", "condition")
    expected = run.arrays()[name][:, 2, run.header.conditions.index("intact")]
    np.testing.assert_array_equal(data[name].sel(language="zh", condition="intact"), expected)


@pytest.mark.parametrize("committed", [0, 1, 2])
@pytest.mark.parametrize("kind", EDITED)
def test_an_interrupted_run_goes_on_and_ends_the_same(kind, committed, tmp_path):
    path, run = str(tmp_path / "s.zarr"), draw_edited(kind)
    with StoreWriter.create(path, run.header) as writer:
        for window in list(run.windows())[:committed]:
            writer.commit(window)
    store = open_store(path)
    assert (store.num_examples, store.is_complete) == (4 * committed, False)
    run.write(path, resume=True)
    assert_holds(path, run)
    longer = draw_edited(kind, 19)
    longer.write(path, resume=True)
    assert_holds(path, longer)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"edits": {"category": "all-shared,specific", "controls": 2, "operation": "scale=2"}},
         r"was begun with --operation zero, this run has --operation scale=2; pass --operation zero, or another"),
        ({"edits": {"category": "all-shared,specific", "controls": 2, "operation": "zero", "min_share": 0.9}},
         r"was begun with no --min-share, this run has --min-share 0.9; pass no --min-share, or another --out"),
        ({"conditions": DEACTIVATE[:3]}, r"has conditions .*all-shared:0.*, this run has intact,all-shared,spec"),
        ({"measures": {"capitals": "exact"}}, r"has measures"),
        ({"kind": "generate"}, r"was begun by fastneurons deactivate, not by generate; pass another --out"),
        ({"kind": "measure", "conditions": []}, r"was begun by fastneurons deactivate, not by run; pass another"),
    ],
    ids=["operation", "min-share", "conditions", "measures", "kind", "measure"],
)  # fmt: skip
def test_a_run_that_would_make_other_arrays_is_refused(changed, said, tmp_path):
    path, run = str(tmp_path / "s.zarr"), draw_edited("deactivate")
    with StoreWriter.create(path, run.header) as writer:
        writer.commit(run.window(0, 4))
    with pytest.raises(StoreError, match=said):
        StoreWriter.resume(path, msgspec.structs.replace(run.header, **changed))


@pytest.mark.parametrize("name", ["log_probability", "correct", "neuron_count", "overlap"])
def test_damage_is_named(name, tmp_path):
    path = tmp_path / "s.zarr"
    draw_edited("deactivate").write(path)
    file = next(each for each in (path / name).iterdir() if each.name.startswith("c.1"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    found = verify_store(open_store(str(path)))
    assert [each.array for each in found.damaged] == [name]
    assert (found.damaged[0].first, found.damaged[0].end) == (4, 8)
    with pytest.raises(StoreError, match=f"array {name} is damaged"):
        open_store(str(path))[name][...]


@pytest.mark.parametrize("kind", EDITED)
@pytest.mark.parametrize(
    "analysis",
    [
        shares, attribution, token_shares, compute_findings, Selection().of, inactive_in_corpus,
        lambda store: matched(store, store, Selection()), lambda store: store.activated_bits(slice(0, 1)),
    ],
    ids=["shares", "attribution", "corpus", "findings", "selection", "inactive", "compare", "bits"],
)  # fmt: skip
def test_analyses_of_activations_refuse_it_in_one_line(analysis, kind, stores):
    with pytest.raises(
        InputError, match=rf"is of kind {kind}: it holds .*; fastneurons summary .* reads it$"
    ):
        analysis(open_store(stores[kind]))


def test_a_measuring_store_is_refused_by_analyses_of_the_others(tmp_path):
    draw(4).write(tmp_path / "s.zarr")
    with pytest.raises(
        InputError, match=r"is of kind measure: .*; fastneurons deactivate makes a store of them$"
    ):
        open_store(str(tmp_path / "s.zarr")).needs_kind("deactivate")


def test_a_measuring_store_may_have_scores_without_a_condition_axis(tmp_path):
    run = draw(7, measures={"capitals": "choice"})
    E, L = run.present.shape
    scores = {
        "log_probability": np.where(run.present, -1.5, np.nan).astype(np.float32),
        "judged_count": run.present.astype(np.int32),
        "correct": np.full((E, L), Answer.RIGHT, np.uint8),
    }
    scores["correct"][2, 1] = Answer.WRONG
    scores["correct"][4, 1] = Answer.NOT_JUDGED
    path = str(tmp_path / "s.zarr")
    with StoreWriter.create(path, run.header) as writer:
        for window in run.windows():
            rows = slice(window.first, window.first + len(window))
            window.arrays.update({name: array[rows] for name, array in scores.items()})
            writer.commit(window)
        writer.finish()
    store = open_store(path, check=True)
    assert store["log_probability"].dims == ("example", "language")
    np.testing.assert_array_equal(store["log_probability"][...], scores["log_probability"])
    assert "condition" not in store.to_xarray().coords
    # What is not judged is not right; rows 1 and 6 were skipped.
    assert Selection(correct_only=True).of(store).examples.tolist() == [0, 3, 5]
    assert verify_store(store).is_whole


def test_a_kind_of_a_later_version_says_to_upgrade(tmp_path):
    draw_edited("deactivate", 4).write(tmp_path / "s.zarr")
    data = (tmp_path / "s.zarr" / "zarr.json").read_bytes().replace(b'"deactivate"', b'"dream"')
    with pytest.raises(StoreError, match=r"s is of kind dream, written by .*: upgrade fastneurons"):
        decode(data, "s")
