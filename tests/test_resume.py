"""Resumed runs against an engine: what they are held against, and complete stores that go on."""

import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fastneurons.config import EngineOptions, Measurement, RunOptions
from fastneurons.data.example import Example, Skipped
from fastneurons.engine.session import Session
from fastneurons.errors import InputError, StoreError
from fastneurons.experiments.measure import write_measurements
from fastneurons.experiments.source import example_source
from fastneurons.store import Store, open_store
from tests.engine.support import LANGUAGES, examples, tiny_options

pytestmark = pytest.mark.engine

EXAMPLES: list[Example | Skipped] = [
    Example(example.id, example.prompts, {"en": "yes"}, f"data.jsonl:{k + 1}")
    for k, example in enumerate(examples(30, seed=5))
]
EXAMPLES[2] = Skipped("e2", "data.jsonl:3", "no JSON")
EXAMPLES[4] = Example(
    "e4", {"en": "x" * 600, "de": "y", "th": "z"}, where="data.jsonl:5"
)  # longer than the model takes


class Told:
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def start(self, total: int | None, done: int) -> None:
        self.total = total

    def advance(self, examples: int, prompts: int, tokens: int) -> None:
        pass

    def stop(self) -> None:
        pass


@pytest.fixture(scope="module")
def session(models):
    with Session(str(models()), LANGUAGES, Measurement(), tiny_options()) as opened:
        yield opened


@pytest.fixture(scope="module")
def corpus(models):
    with Session(str(models()), LANGUAGES, Measurement(position="corpus"), tiny_options()) as opened:
        yield opened


def write(
    session: Session, examples: list[Example | Skipped], out: Path, limit: int | None = None, **options
) -> tuple[Store, Told]:
    told = Told()
    source = example_source("own", "data.jsonl", examples, limit)
    options = RunOptions(window=8, **options)
    write_measurements(session, source, str(out), options, EngineOptions(), told, threading.Event())
    return open_store(str(out)), told


def broken_after(number: int, examples: list[Example | Skipped]):
    yield from examples[:number]
    raise InputError("the disk is gone")


def assert_same(found: Store, wanted: Store) -> None:
    assert set(found) == set(wanted)
    for name in wanted:
        np.testing.assert_array_equal(found[name][...], wanted[name][...], err_msg=name)
    assert found.skipped() == wanted.skipped()
    assert found.is_complete


@pytest.fixture(scope="module")
def whole(session, tmp_path_factory):
    return write(session, EXAMPLES, tmp_path_factory.mktemp("whole") / "run.zarr")[0]


@pytest.fixture
def begun(session, tmp_path):
    """The store of a run that broke after 20 examples."""
    out = tmp_path / "run.zarr"
    with pytest.raises(InputError, match="the disk is gone"):
        write(session, broken_after(20, EXAMPLES), out)
    assert open_store(str(out)).num_examples == 20
    return out


def test_prompts_are_kept_as_they_were_sent(whole):
    texts = [
        [example.prompts.get(code, "") if isinstance(example, Example) else "" for code in LANGUAGES]
        for example in EXAMPLES
    ]
    stored = whole["prompt"][...]
    # An example that was skipped only by its length lost its texts, as those that could not be read have none.
    texts[4] = ["", "", ""]
    assert stored.tolist() == texts


def test_a_store_without_prompts_goes_on_without_them_and_one_with_them_does_not(session, begun, tmp_path):
    out = tmp_path / "without.zarr"
    store, _ = write(session, EXAMPLES[:3], out, keep_prompts=False)
    assert "prompt" not in store
    store, _ = write(session, EXAMPLES, out, resume=True)
    assert "prompt" not in store and store.num_examples == len(EXAMPLES)
    with pytest.raises(StoreError, match="has texts of its prompts, unlike this run; pass --keep-prompts"):
        write(session, EXAMPLES, begun, resume=True, keep_prompts=False)


EDITS = {
    "a prompt": (
        1,
        {"prompts": EXAMPLES[1].prompts | {"de": "A wholly other sentence"}},
        "whose text is another now",
    ),
    "an answer": (19, {"answers": {"en": "no"}}, "whose text is another now"),
    "a prompt too long": (
        4,
        {"prompts": {"en": "x" * 601, "de": "y", "th": "z"}},
        "whose text is another now",
    ),
    "a language": (7, {"prompts": {"en": EXAMPLES[7].prompts["en"], "de": "y"}}, "whose text is another now"),
    "an id": (7, {"id": "e99"}, "but the source has 'e99' there"),
}


@pytest.mark.parametrize(("index", "changed", "problem"), EDITS.values(), ids=EDITS)
def test_rows_that_were_edited_since_the_run_began_are_refused(index, changed, problem, session, begun):
    examples = list(EXAMPLES)
    examples[index] = msgspec.structs.replace(EXAMPLES[index], **changed)
    with pytest.raises(StoreError) as raised:
        write(session, examples, begun, resume=True)
    assert f"example {index} of the store is 'e{index}', {problem}" in str(raised.value)
    assert f"(data.jsonl:{index + 1})" in str(raised.value)
    assert "the data has changed since the run began; pass another --out, or --overwrite" in str(raised.value)
    assert open_store(str(begun)).num_examples == 20


def test_a_row_that_was_mended_since_it_was_skipped_is_refused(session, begun):
    examples = list(EXAMPLES)
    examples[2] = Example("e2", {"en": "a", "de": "b", "th": "c"}, where="data.jsonl:3")
    with pytest.raises(
        StoreError, match=r"example 2 .* was skipped then and can be read now \(data.jsonl:3\)"
    ):
        write(session, examples, begun, resume=True)


def test_rows_after_those_in_the_store_may_change(session, begun, whole):
    examples = list(EXAMPLES)
    examples[20] = msgspec.structs.replace(examples[20], prompts={"en": "new", "de": "neu", "th": "x"})
    found, _ = write(session, examples, begun, resume=True)
    assert found.num_examples == 30
    np.testing.assert_array_equal(found["digest"][:20], whole["digest"][:20])
    assert found["digest"][20] != whole["digest"][20]


def test_a_run_whose_examples_were_all_skipped_says_so(session, tmp_path):
    long = [
        Example(f"e{k}", {"en": "x" * 600, "de": "y", "th": "z"}, where=f"data.jsonl:{k}") for k in range(9)
    ]
    store, told = write(session, long, tmp_path / "run.zarr")
    assert (store.num_examples, len(store.skipped())) == (9, 9)
    reason = store.skipped()[0].reason
    said = "all 9 examples of this run were skipped, so nothing was measured; the first was 'e0': "
    assert told.messages[-1] == said + reason
    _, told = write(session, [*long[:8], EXAMPLES[0]], tmp_path / "other.zarr")
    assert not any("were skipped" in message for message in told.messages)


@pytest.mark.parametrize("grown", ["limit", "data"])
def test_a_complete_store_goes_on_with_more_rows(grown, session, whole, tmp_path):
    out = tmp_path / "run.zarr"
    for number in (5, 16, 21):  # within a window, and at the end of one
        examples, limit = (EXAMPLES, number) if grown == "limit" else (EXAMPLES[:number], None)
        store, told = write(session, examples, out, limit, resume=True)
        assert store.is_complete
        assert (store.num_examples, store.header.config["limit"]) == (number, limit)
        assert not any("complete already" in message for message in told.messages)
    for examples, limit in ((EXAMPLES, 21), (EXAMPLES, 3)) if grown == "limit" else ((EXAMPLES[:21], None),):
        store, told = write(session, examples, out, limit, resume=True)
        assert told.messages[1:] == ["the store is complete already; nothing to do"]
        assert store.num_examples == 21
    store, told = write(session, EXAMPLES, out, resume=True)
    assert told.messages[1:] == ["continuing after 21 examples: there are more by now"]
    assert_same(store, whole)
    assert store.header.config["limit"] is None


def test_a_complete_store_is_held_against_its_data_too(session, tmp_path):
    out = tmp_path / "run.zarr"
    write(session, EXAMPLES, out, 9)
    edited = [
        *EXAMPLES[:8],
        msgspec.structs.replace(EXAMPLES[8], prompts={"en": "a", "de": "b"}),
        *EXAMPLES[9:],
    ]
    with pytest.raises(StoreError, match="example 8 of the store is 'e8', whose text is another now"):
        write(session, edited, out, resume=True)
    with pytest.raises(
        StoreError, match=r"holds 9 examples, and data\.jsonl ends after 7: the data has changed"
    ):
        write(session, EXAMPLES[:7], out, resume=True)
    assert open_store(str(out)).is_complete


def test_a_limit_below_what_a_broken_run_has_is_refused(session, begun):
    with pytest.raises(
        StoreError, match="holds 20 examples already, and --limit 6 gives 6; pass a larger one"
    ):
        write(session, EXAMPLES, begun, 6, resume=True)
    found, _ = write(session, EXAMPLES, begun, 20, resume=True)
    assert found.is_complete
    assert found.num_examples == 20


TEXTS: list[Example | Skipped] = [
    Example(f"t{k}", {language: example.prompts[language]}, where=f"texts.jsonl:{k + 1}")
    for k, example in enumerate(examples(30, seed=6))
    for language in LANGUAGES[k % 3 :][:1]
]


def test_a_complete_corpus_of_documents_goes_on(corpus, tmp_path):
    whole, _ = write(corpus, TEXTS, tmp_path / "whole.zarr")
    out = tmp_path / "run.zarr"
    write(corpus, TEXTS, out, 11)
    _, told = write(corpus, TEXTS, out, 11, resume=True)
    assert told.messages[1:] == ["the store is complete already; nothing to do"]
    store, _ = write(corpus, TEXTS, out, resume=True)
    assert_same(store, whole)
    edited = [msgspec.structs.replace(TEXTS[0], prompts={"en": "another"}), *TEXTS[1:]]
    with pytest.raises(
        StoreError, match=r"block 0 of the store is 't0', whose text is another now \(texts.jsonl:1\)"
    ):
        write(corpus, edited, out, resume=True)


def test_blocks_that_were_cut_short_are_not_continued(corpus, tmp_path):
    out = tmp_path / "run.zarr"
    store, _ = write(corpus, TEXTS, out, 11, block_size=32)
    assert (store["token_count"][:].sum(1)[-3:] < 32).any()
    _, told = write(corpus, TEXTS, out, 11, block_size=32, resume=True)
    assert told.messages[1:] == ["the store is complete already; nothing to do"]
    with pytest.raises(
        StoreError, match="shorter than --block-size 32, as the texts of its language ended there"
    ):
        write(corpus, TEXTS, out, block_size=32, resume=True)
    assert open_store(str(out)).is_complete
    edited = [msgspec.structs.replace(example, prompts={code: f"!{text}" for code, text in example.prompts.items()})
              for example in TEXTS]  # fmt: skip
    with pytest.raises(
        StoreError,
        match=r"block 0 of the store is '\w\w:0', whose text is another now .* has changed since the run",
    ):
        write(corpus, edited, out, 11, block_size=32, resume=True)


def test_blocks_of_a_broken_run_are_continued(corpus, tmp_path):
    whole, _ = write(corpus, TEXTS, tmp_path / "whole.zarr", block_size=16)
    out = tmp_path / "run.zarr"
    with pytest.raises(InputError, match="the disk is gone"):
        write(corpus, broken_after(25, TEXTS), out, block_size=16)
    begun = open_store(str(out))
    assert 0 < begun.num_examples < whole.num_examples
    store, _ = write(corpus, TEXTS, out, block_size=16, resume=True)
    assert_same(store, whole)


@pytest.mark.parametrize("block_size", [None, 16])
def test_a_number_of_tokens_of_each_language_is_kept_to_by_a_resumed_run(block_size, corpus, tmp_path):
    few = min(sum(len(example.prompts.get(code, "").encode()) for example in TEXTS) for code in LANGUAGES)
    number = few + 5  # more than one language has
    asked = {"tokens_per_language": number, "block_size": block_size}
    whole, told = write(corpus, TEXTS, tmp_path / "whole.zarr", **asked)
    tokens = dict(zip(LANGUAGES, whole["corpus_tokens"][:].tolist(), strict=True))
    assert min(tokens.values()) == few and sorted(tokens.values())[1:] == [number, number]
    [fewer] = [line for line in told.messages if line.startswith("--tokens-per-language")]
    assert fewer.endswith(f"some languages have fewer: {min(tokens, key=tokens.get)} {few:,}")
    assert whole["token_count"][:].sum(0).tolist() == list(tokens.values())
    out = tmp_path / "run.zarr"
    with pytest.raises(InputError, match="the disk is gone"):
        write(corpus, broken_after(18, TEXTS), out, **asked)
    assert 0 < open_store(str(out)).num_examples < whole.num_examples
    store, told = write(corpus, TEXTS, out, resume=True, **asked)
    assert_same(store, whole)
    assert fewer in told.messages
    _, told = write(corpus, TEXTS, out, resume=True, **asked)
    assert told.messages[-1] == "the store is complete already; nothing to do"
    with pytest.raises(StoreError, match=f"has tokens per language {number}, this run has {number + 1}; pass "
                                         f"--tokens-per-language {number}, or"):  # fmt: skip
        write(corpus, TEXTS, out, resume=True, **(asked | {"tokens_per_language": number + 1}))


def test_a_source_is_read_no_further_than_its_tokens_are_wanted(corpus, tmp_path):
    store, told = write(corpus, broken_after(29, TEXTS * 9), tmp_path / "run.zarr", tokens_per_language=10)
    assert store["corpus_tokens"][:].tolist() == [10, 10, 10]
    assert store.is_complete and not any("fewer" in line for line in told.messages)
