"""What a selection comes to in a store, and its bits block by block, against numpy on whole arrays."""

import numpy as np
import pytest

from fastneurons.analysis import bits as streaming
from fastneurons.analysis.bits import bit_blocks, category_count_blocks, occupancy
from fastneurons.analysis.selection import Selection
from fastneurons.analysis.words import to_bits
from fastneurons.errors import InputError, StoreError
from fastneurons.store import StoreWriter, open_store
from tests.analysis.test_words import slow_categories
from tests.store.runs import draw

RUN = draw(60, seed=3, window=16, neurons=31, tasks=["capitals", "currencies"])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("selection") / "run.zarr"
    RUN.write(path)
    return open_store(str(path))


def test_all_measured_examples_by_default(store):
    chosen = Selection().of(store)
    np.testing.assert_array_equal(chosen.examples, np.flatnonzero(RUN.measured))
    np.testing.assert_array_equal(chosen.task, RUN.task[RUN.measured])
    assert chosen.languages == ("en", "de", "zh") and chosen.has_stored_occupancy and chosen.is_complete
    assert chosen.attributes()["examples"] == len(chosen) == RUN.measured.sum()


def test_tasks_languages_threshold_and_ranges(store):
    selection = Selection(["currencies"], ["zho_Hans", "en"], 0.5, examples=[(3, 20), (30, 31)])
    chosen = selection.of(store)
    rows = RUN.measured & (RUN.task == 1)
    rows &= np.isin(np.arange(60), [*range(3, 20), 30])
    np.testing.assert_array_equal(chosen.examples, np.flatnonzero(rows))
    assert (chosen.languages, chosen.threshold, chosen.tasks) == (("zh", "en"), 0.5, ("currencies",))
    assert not chosen.has_stored_occupancy and not chosen.has_all_languages


def test_examples_that_lack_languages(tmp_path):
    run = draw(4, thresholds=[0.0], languages=["en", "de", "zh"])
    window = run.window(0, 4)
    window.arrays["present"][0, 1] = False
    with StoreWriter.create(str(tmp_path / "run.zarr"), run.header) as writer:
        writer.commit(window)
    store = open_store(str(tmp_path / "run.zarr"))
    chosen = Selection().of(store)
    assert chosen.examples.tolist() == [0, 2, 3] and not chosen.is_complete
    assert chosen.attributes()["incomplete_examples"] == 1
    assert Selection(languages=["en", "de"]).of(store).examples.tolist() == [2, 3]
    assert Selection(languages=["en", "de"], at_least=1).of(store).examples.tolist() == [0, 2, 3]


class Judged:
    """A store of which answers were judged: wrong in German in every third example."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def __contains__(self, name):
        return name == "correct" or name in self._store

    def windows(self, *names):
        for first, block in self._store.windows(*(name for name in names if name != "correct")):
            correct = np.ones(block["present"].shape, np.bool_)
            correct[:, 1] = (first + np.arange(len(correct))) % 3 > 0
            yield first, block | {"correct": correct}


def test_right_answers_alone(store):
    number = np.arange(60)
    chosen = Selection(correct_only=True).of(Judged(store))
    np.testing.assert_array_equal(chosen.examples, np.flatnonzero(RUN.measured & (number % 3 > 0)))
    assert not chosen.has_stored_occupancy
    without_german = Selection(languages=["en", "zh"], correct_only=True).of(Judged(store))
    np.testing.assert_array_equal(without_german.examples, np.flatnonzero(RUN.measured))


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(tasks=["riddles"]), r"has no task riddles; it has capitals, currencies"),
        (Selection(languages=["en", "th"]), r"has no language th; it has en, de, zh"),
        (Selection(languages=["en", "klingonese"]), r"klingonese"),
        (Selection(languages=["de", "deu"]), r"de and deu are the same language"),
        (Selection(languages=["de"]), r"1 language is too few"),
        (Selection(threshold=0.25), r"has no threshold 0.25; it has 0, 0.5"),
        (Selection(correct_only=True), r"does not say which answers are right"),
        (Selection(examples=[(50, 61)]), r"examples 50 to 60: .* has 60 examples"),
    ],
)
def test_what_a_store_does_not_have_is_said(store, selection, message):
    with pytest.raises(InputError, match=message):
        selection.of(store)


def test_a_corpus_has_no_categories(tmp_path):
    draw(5, position="corpus").write(tmp_path / "run.zarr")
    with pytest.raises(InputError, match="counts tokens"):
        Selection().of(open_store(str(tmp_path / "run.zarr")))


@pytest.mark.parametrize("block_bytes", [700, 2**25])
@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(threshold=0.5, languages=["zh", "de"]),
        Selection(tasks=["currencies"], examples=[(1, 2), (20, 59)]),
        Selection(examples=[(1, 2)]),  # which was skipped
    ],
    ids=["all", "languages", "ranges", "none"],
)
def test_blocks_are_the_bits_of_the_chosen_examples(store, selection, block_bytes):
    chosen = selection.of(store)
    languages, threshold = list(chosen.language_index), chosen.threshold_index
    expected = RUN.bits[chosen.examples, threshold][:, languages]
    at, found = 0, [np.zeros((0, *expected.shape[1:]), np.bool_)]
    for block in bit_blocks(chosen, "the test needs it", block_bytes):
        assert block.rows == slice(at, at + len(block))
        found.append(to_bits(block.words, 31))
        at += len(block)
    np.testing.assert_array_equal(np.concatenate(found), expected)


@pytest.mark.parametrize("languages", [[], ["de", "en"]], ids=["stored", "from the bits"])
def test_categories_and_occupancy(store, languages, monkeypatch):
    monkeypatch.setattr(streaming, "_COUNT_EXAMPLES", 16)
    for selection in (Selection(languages=languages), Selection(["capitals"], languages, 0.5)):
        chosen = selection.of(store)
        bits = RUN.bits[chosen.examples, chosen.threshold_index][:, list(chosen.language_index)]
        categories = slow_categories(bits, chosen.present)
        found = np.concatenate([counts for _, counts in category_count_blocks(chosen)])
        np.testing.assert_array_equal(found, categories.sum(2))
        np.testing.assert_array_equal(occupancy(chosen), categories.sum(0))
    chosen = Selection(languages=languages, examples=[(0, 9), (30, 44)]).of(store)
    bits = RUN.bits[chosen.examples, 0][:, list(chosen.language_index)]
    np.testing.assert_array_equal(occupancy(chosen), slow_categories(bits, chosen.present).sum(0))


def test_a_store_without_bits_says_what_needs_them(tmp_path):
    RUN.write(tmp_path / "run.zarr", keep_bits=False)
    store = open_store(str(tmp_path / "run.zarr"))
    assert sum(len(counts) for _, counts in category_count_blocks(Selection().of(store))) == 48
    with pytest.raises(InputError, match=r"--no-keep-bits.*choosing some of its languages needs it"):
        next(category_count_blocks(Selection(languages=["en", "de"]).of(store)))


def test_damaged_bits_are_an_error(tmp_path):
    RUN.write(tmp_path / "run.zarr")
    objects = sorted((tmp_path / "run.zarr" / "activated").glob("c.*"))
    data = bytearray(objects[1].read_bytes())
    data[len(data) // 2] ^= 1
    objects[1].write_bytes(data)
    store = open_store(str(tmp_path / "run.zarr"))
    with pytest.raises(StoreError, match="activated is damaged"):
        occupancy(Selection(languages=["en", "de"]).of(store))


def test_a_partial_store_gives_what_is_there(tmp_path):
    with StoreWriter.create(str(tmp_path / "run.zarr"), RUN.header) as writer:
        for window in list(RUN.windows())[:2]:
            writer.commit(window)
    store = open_store(str(tmp_path / "run.zarr"))
    chosen = Selection().of(store)
    assert chosen.attributes()["complete"] == 0
    bits = RUN.bits[:32, 0][RUN.measured[:32]]
    np.testing.assert_array_equal(occupancy(chosen), slow_categories(bits, chosen.present).sum(0))
    chosen = Selection(languages=["en", "zh"]).of(store)
    np.testing.assert_array_equal(occupancy(chosen), slow_categories(bits[:, [0, 2]], chosen.present).sum(0))
