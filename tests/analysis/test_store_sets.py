"""Sets from stores whose bits are known, against numpy on the unpacked bits and against the lists of `neurons`."""

import itertools

import numpy as np
import pytest

from fastneurons.analysis.neuron_lists import neuron_list
from fastneurons.analysis.selection import Selection
from fastneurons.analysis.store_sets import (
    contribution_scores,
    model_neurons,
    set_of_categories,
    set_of_example,
    set_of_list,
)
from fastneurons.errors import InputError
from fastneurons.neuron_sets import NeuronSet, load_set, save
from fastneurons.store import CATEGORIES, StoreWriter, Window, open_store
from tests.analysis import slow
from tests.store.runs import Run, draw


@pytest.fixture(scope="module")
def run() -> Run:
    """Drawn activations; layers 4 and 9 of a model, so that layer numbers are no indices."""
    run = draw(60, seed=3, window=16, neurons=31, tasks=["capitals", "currencies"], top_k=3, layers=[4, 9],
               model_fingerprint="f1")  # fmt: skip
    run.activation[:, :, 1, 7] = 1
    run.activation[:, :2, 1, 3:7] = -1
    run.activation[:, 2, 1, 3:7] = np.where(np.arange(60)[:, None] % 3, 1, -1)
    return run


@pytest.fixture(scope="module")
def store(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "run.zarr"
    run.write(path)
    return open_store(str(path))


def category_of(run: Run, threshold: int = 0, languages=(0, 1, 2)) -> np.ndarray:
    return slow.categories(run.bits[run.measured, threshold][:, list(languages)])  # [E, N, I]


def expected(member: np.ndarray) -> list[tuple[int, int]]:
    return [((4, 9)[n], int(i)) for n, i in np.argwhere(member)]


SOME = [names for k in (1, 2) for names in itertools.combinations(CATEGORIES, k)]


@pytest.mark.parametrize("categories", SOME, ids="+".join)
@pytest.mark.parametrize("min_share", [0.25, 0.5, 1.0])
def test_sets_of_categories_are_counted_over_examples(run, store, categories, min_share):
    codes = [CATEGORIES.index(name) for name in categories]
    for selection, category in [
        (Selection(), category_of(run)),  # from the store's sums
        (Selection(languages=("zh", "en"), threshold=0.5), category_of(run, 1, (2, 0))),  # from the bits
    ]:
        found = set_of_categories(selection.of(store), categories, min_share)
        member = np.isin(category, codes).mean(0) >= min_share - 1e-12
        assert list(found) == expected(member)


def test_a_share_is_met_exactly(run, store):
    category = category_of(run)  # of 48 examples
    count = int(np.sort((category == 3).sum(0).ravel())[-5])
    found = set_of_categories(Selection().of(store), "all-shared", count / 48)
    assert list(found) == expected((category == 3).sum(0) >= count) and len(found) >= 5


def test_tasks_are_chosen(run, store):
    found = set_of_categories(Selection(tasks=("currencies",)).of(store), ["specific"], 0.5)
    task = run.task[run.measured]
    assert list(found) == expected((category_of(run)[task == 1] == 1).mean(0) >= 0.5)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_sets_of_an_example_are_its_categories(run, store, threshold):
    chosen = Selection(threshold=threshold).of(store)
    category = category_of(run, int(threshold > 0))
    for row, index in list(enumerate(np.flatnonzero(run.measured)))[::7]:
        sets = [set_of_example(chosen, f"é{index}", [name]) for name in CATEGORIES]
        for code, found in enumerate(sets):
            assert list(found) == expected(category[row] == code)
        assert sum(map(len, sets)) == 62 and len(sets[0] | sets[1] | sets[2] | sets[3]) == 62
        assert set_of_example(chosen, int(index), ["specific", "all-shared"]) == sets[1] | sets[3]


LISTS = [
    {"category": "specific"},
    {"category": "specific", "language": "zh", "min_share": 0.3},
    {"category": "all-shared", "by": "contribution"},
    {"by": "contribution", "language": "en"},
    {"by": "specificity"},
    {"language": "zh"},
]


@pytest.mark.parametrize("options", LISTS, ids=str)
@pytest.mark.parametrize("top", [1, 3, None])
def test_sets_of_lists_are_what_is_listed(store, options, top):
    chosen = Selection().of(store)
    listed = neuron_list(chosen, **options, top=top or 62, resamples=0)
    pairs = zip(listed["layer"].values.tolist(), listed["neuron"].values.tolist(), strict=True)
    found = set_of_list(chosen, **options, top=top)
    assert set(found) == set(pairs) and len(found) > 0


def test_the_highest_contributions_of_a_set(run, store):
    chosen = Selection().of(store)
    scores = (abs(run.coefficient) * run.value_norm)[run.measured].astype(np.float64)  # [E, L, N, I]
    np.testing.assert_allclose(contribution_scores(chosen), scores.mean((0, 1)))
    np.testing.assert_allclose(contribution_scores(chosen, "zh"), scores[:, 2].mean(0))
    found = NeuronSet.from_layers(model_neurons(store)).highest(
        0.2, contribution_scores(chosen), "contribution"
    )
    for n, layer in enumerate((4, 9)):
        first = np.argsort(-scores.mean((0, 1))[n])[:6]
        assert {i for at, i in found if at == layer} == set(first.tolist())
    with pytest.raises(InputError, match="language fr is not among the chosen ones: en, de, zh"):
        contribution_scores(chosen, "fr")


def test_the_history_and_the_model_come_from_the_store(store, tmp_path):
    found = set_of_categories(Selection(tasks=("capitals",)).of(store), ["all-shared"], 0.9)
    save(found, tmp_path / "s")
    read = load_set(tmp_path / "s")
    assert (read.among.model, read.among.model_fingerprint) == ("Qwen/Qwen3-8B", "f1")
    assert (read.among.layers, read.among.widths) == ((4, 9), (31, 31))
    (step,) = read.history
    assert step.kind == "categories"
    assert step.details == {
        "categories": ["all-shared"], "min_share": 0.9, "store": store.path, "position": "last", "signal": "gate",
        "threshold": 0.0, "languages": ["en", "de", "zh"], "tasks": ["capitals"], "examples": 24,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda c: set_of_categories(c, ["shared"]),
            "no category shared; the categories are non-activated, ",
        ),
        (lambda c: set_of_categories(c, []), "no category is named"),
        (lambda c: set_of_categories(c, ["specific"], 0), "min_share 0: is a share of the examples"),
        (lambda c: set_of_categories(c, ["specific"], 1.5), "min_share 1.5: is a share"),
        (lambda c: set_of_example(c, "nope", ["specific"]), "none of the chosen examples has the id nope"),
        (lambda c: set_of_example(c, 1, ["specific"]), "no example 1 is measured and among those chosen"),
        (lambda c: set_of_example(c, 99, ["specific"]), "no example 99 is measured"),
        (lambda c: set_of_list(c, "specific", top=0), "top 0: lists at least one neuron"),
        (
            lambda c: set_of_categories(c.subset(c.examples < 0), ["specific"]),
            "has no example that was chosen",
        ),
    ],
)
def test_what_the_store_has_not_is_said(store, make, said):
    with pytest.raises(InputError, match=said):
        make(Selection().of(store))


def test_an_id_that_two_examples_have_needs_a_task(tmp_path):
    run = draw(12, tasks=["capitals", "currencies"], window=12)
    arrays = run.arrays()
    arrays["example_id"][6:] = arrays["example_id"][:6]
    with StoreWriter.create(str(tmp_path / "run.zarr"), run.header, keep_prompts=False) as writer:
        writer.commit(Window(0, arrays, run.skipped()))
        writer.finish()
    store = open_store(str(tmp_path / "run.zarr"))
    with pytest.raises(InputError, match="2 of the chosen examples have the id é2: choose a task"):
        set_of_example(Selection().of(store), "é2", ["specific"])
    found = set_of_example(Selection(tasks=("currencies",)).of(store), "é2", ["specific"])
    bits = run.bits[8, 0]
    assert [i for layer, i in found if layer == 1] == np.flatnonzero(bits[:, 1].sum(0) == 1).tolist()


def test_bits_are_needed_for_an_example_and_not_for_whole_tasks(tmp_path):
    run = draw(12, window=4)
    run.write(tmp_path / "run.zarr", keep_bits=False)
    chosen = Selection().of(open_store(str(tmp_path / "run.zarr")))
    category = slow.categories(run.bits[run.measured, 0])
    found = set_of_categories(chosen, ["specific"], 0.5)
    assert list(found) == [(int(n), int(i)) for n, i in np.argwhere((category == 1).mean(0) >= 0.5)]
    with pytest.raises(InputError, match=r"--no-keep-bits.*the categories of an example need it"):
        set_of_example(chosen, 0, ["specific"])
