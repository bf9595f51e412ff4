"""Several tasks in one run: kept apart in the store, resumed, and asked as their options say."""

import threading

import numpy as np
import pytest

import fastneurons
from fastneurons.api import engine_options, run
from fastneurons.data.digest import digest_of_example
from fastneurons.data.example import Example
from fastneurons.data.options import DataOptions
from fastneurons.errors import StoreError
from fastneurons.experiments.resume import KnownExamples, remaining_examples
from fastneurons.progress import Silent
from fastneurons.store import CommittedExample
from tests.command import fastneurons_command
from tests.data.tasks import files
from tests.engine import tiny
from tests.engine.agreement import unpack

TINY = {"dtype": "float32", "max_model_len": 512, "max_num_batched_tokens": 256, "max_num_seqs": 16}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.make("Llama", tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Eleven sentences, four facts of which one lacks a language, and two problems."""
    root = tmp_path_factory.mktemp("data")
    for code, word in {"en": "number", "ru": "число", "ja": "数"}.items():
        files.write(root / "text" / f"{code}.txt", "".join(f"{word} {n}\n" for n in range(11)))
    files.mpararel(root / "facts")
    rows = [{"id": str(n), "prompts": {"en": f"x{n}", "ru": f"х{n}", "ja": f"ん{n}"}} for n in range(5)]
    files.lines(root / "own.jsonl", [*rows[:2], {"id": "bad"}, *rows[2:]])
    return {"parallel": root / "text", "fact": root / "facts", "jsonl": root / "own.jsonl"}


@pytest.fixture(scope="module")
def together(model, places, tmp_path_factory):
    out = tmp_path_factory.mktemp("together") / "run.zarr"
    names = "parallel,jsonl,fact"
    return run(model, places, ["en", "ru", "ja"], out, tasks=names, window=4, progress=False, **TINY)


@pytest.mark.engine
def test_tasks_are_kept_apart(together):
    assert together.header.tasks == ["parallel", "jsonl", "fact"]
    assert together["task"][:].tolist() == [0] * 11 + [1] * 6 + [2] * 2
    assert together["outcome"][:].tolist() == [1] * 13 + [2] + [1] * 5
    assert together["example_id"][13] == "bad"
    bits = unpack(together["activated"][:, 0], tiny.NEURONS)  # [E, L, N, I]
    languages = bits.sum(1)
    masks = np.stack([languages == 0, languages == 1, languages == 2, languages == 3], -1)
    for task in range(3):
        rows = (together["task"][:] == task) & together.measured
        np.testing.assert_array_equal(together["occupancy"][task, 0], masks[rows].sum(0))
        assert together["occupancy"][task, 0].sum() == rows.sum() * 3 * tiny.NEURONS


@pytest.mark.engine
def test_a_task_alone_gives_the_same_as_among_others(together, model, places, tmp_path):
    command = [
        "run", str(model), "--tasks", "fact", "--data", str(places["fact"]),
        "--languages", "en,ru,ja", "--window", "4", "--dtype", "float32", "--max-model-len", "512",
        "--max-num-batched-tokens", "256", "--max-num-seqs", "16",
    ]  # fmt: skip
    done = fastneurons_command(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fact: 2 of 4 examples lack a language (missing: ja 2)" in done.stderr
    alone = fastneurons.open(tmp_path / "llama-fact.zarr")
    for name in ("example_id", "token_count", "category_count", "activated"):
        np.testing.assert_array_equal(alone[name][:], together[name][17:], err_msg=name)
    np.testing.assert_array_equal(alone["occupancy"][0], together["occupancy"][2])
    assert alone.header.source == f"fact={places['fact']}"


@pytest.mark.engine
def test_examples_of_ones_own_may_change_their_task_at_every_row(model, tmp_path):
    from fastneurons.experiments.measure import measure_into_store
    from fastneurons.experiments.source import Source

    rows = [Example(f"e{n}", {"en": f"x{n}", "de": f"y{n}"}, task="ab"[n % 2]) for n in range(9)]
    source = Source(("a", "b"), "rows", rows)
    store = measure_into_store(
        str(model), source, ("en", "de"), str(tmp_path / "run.zarr"), progress=False,
        engine=engine_options(**TINY),
    )  # fmt: skip
    assert store["task"][:].tolist() == [0, 1] * 4 + [0]
    assert store["occupancy"][:, 0].sum((1, 2, 3)).tolist() == [5 * 3 * tiny.NEURONS, 4 * 3 * tiny.NEURONS]


@pytest.mark.engine
def test_options_reach_the_engine(model, places, tmp_path):
    options = DataOptions(num_fewshot=1, shuffle=3, answer_prefix=" =", allow_missing=True)
    store = run(
        model, places["fact"], ["en", "ru", "ja"], tmp_path / "run.zarr", tasks=["fact"], limit=2,
        data_options=options, progress=False, **TINY,
    )  # fmt: skip
    assert store.num_examples == 2
    assert store["present"][:].sum() in (5, 4)
    assert store["token_count"][:].max() > 60  # bytes, of two facts
    assert store.header.config["data"] == {
        "allow-missing": True, "shuffle": 3, "limit": 2, "num-fewshot": 1, "answer-prefix": " =",
    }  # fmt: skip
    assert "--num-fewshot 1" in store.header.source
    with pytest.raises(StoreError, match=r"has source .*--allow-missing --shuffle 3.*, this run has"):
        run(
            model, places["fact"], ["en", "ru", "ja"], tmp_path / "run.zarr", tasks=["fact"], limit=2,
            progress=False, resume=True, **TINY,
        )  # fmt: skip


@pytest.mark.engine
def test_a_resumed_run_refuses_data_that_has_changed(model, tmp_path):
    rows = [{"id": n, "prompts": {"en": f"x{n}", "de": f"y{n}"}} for n in range(12)]
    data = files.lines(tmp_path / "data.jsonl", rows)
    out = tmp_path / "run.zarr"

    def again(**more):
        return run(model, data, "en,de", out, window=4, progress=False, **TINY, **more)

    class StopError(Exception):
        pass

    class Stopping(Silent):
        def advance(self, examples, prompts, tokens):
            raise StopError

    with pytest.raises(StopError):
        run(model, data, "en,de", out, window=4, progress=Stopping(), **TINY)
    assert 0 < fastneurons.open(out).num_examples < 12
    changed = [rows[1], rows[0], *rows[2:]]
    files.lines(data, changed)
    with pytest.raises(
        StoreError, match=r"example 0 of the store is '0', but the source has '1' there \(.*data\.jsonl:1\)"
    ):
        again(resume=True)
    files.lines(data, rows)
    store = again(resume=True)
    assert store.is_complete
    assert store["example_id"][:].tolist() == [str(n) for n in range(12)]


def test_the_rows_of_the_store_are_passed_over_if_they_are_the_same():
    rows = [Example(str(n), {}) for n in range(5)]
    stop = threading.Event()

    def rest(number: int) -> tuple[list[str], int]:
        known = KnownExamples(
            CommittedExample(str(n), digest_of_example(Example(str(n), {})), 0) for n in range(number)
        )
        return [row.id for row in remaining_examples(rows, known, stop)], known.passed

    assert rest(2) == (["2", "3", "4"], 2)
    assert rest(0) == (list("01234"), 0)
    assert rest(5) == ([], 5)
    assert rest(6) == ([], 5)  # the source has fewer
    stop.set()
    assert rest(5) == ([], 0)
