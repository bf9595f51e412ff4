"""What a resumed run is compared with, and how a complete store is continued."""

import msgspec
import numpy as np
import pytest

from fastneurons.errors import StoreError
from fastneurons.store import Header, StoreWriter, committed, open_store, writer
from tests.store.runs import Run, assert_holds, draw

LONG = draw(11, tasks=["capitals", "currencies"])
RUNS = {
    "sharing": LONG,
    "attribution": draw(11, top_k=3, thresholds=[0.0], keep_coefficients=True),
    "corpus": draw(11, position="corpus"),
    "histogram": draw(11, position="corpus", bins=16, counts_signs=True, languages=["en", "de"]),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("number", [4, 6])  # a window, and one and a half
def test_a_complete_store_is_continued_to_the_arrays_of_one_run(run, number, tmp_path):
    path = tmp_path / "run.zarr"
    shorter = Run(run.header, run.activation[:number], run.keep_coefficients)
    shorter.write(path)
    assert_holds(path, shorter)
    run.write(path, resume=True)
    assert_holds(path, run)


def test_readers_see_a_running_store_once_it_is_reopened(tmp_path):
    path = tmp_path / "run.zarr"
    shorter = Run(LONG.header, LONG.activation[:6])
    shorter.write(path)
    with StoreWriter.resume(str(path), LONG.header) as out:
        assert open_store(str(path)).is_complete
        out.reopen()
        store = open_store(str(path))
        assert not store.is_complete
        for name, expected in shorter.arrays().items():
            np.testing.assert_array_equal(store[name][...], expected, err_msg=name)
        out.commit(LONG.window(6, 8))
        assert out.committed == 8
        np.testing.assert_array_equal(
            open_store(str(path))["occupancy"][...], LONG.arrays(slice(0, 8))["occupancy"]
        )


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_committed_rows_are_those_that_were_written(run, monkeypatch, tmp_path):
    monkeypatch.setattr(committed, "_EXAMPLES_AT_ONCE", 5)  # two windows of four
    path = tmp_path / "run.zarr"
    run.write(path)
    expected = run.arrays()
    with StoreWriter.resume(str(path), run.header, keep_coefficients=run.keep_coefficients) as out:
        examples = list(out.committed_examples())
    assert [example.id for example in examples] == expected["example_id"].tolist()
    assert [example.digest for example in examples] == expected["digest"].tolist()
    assert [example.tokens for example in examples] == expected["token_count"].sum(1).tolist()


def test_a_store_without_digests_is_read_and_continued_without_them(monkeypatch, tmp_path):
    path = tmp_path / "run.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_kept", lambda *_: ["activated", "last_token"])  # as the version before wrote
        with StoreWriter.create(str(path), LONG.header) as out:
            out.commit(LONG.window(0, 4))
    with StoreWriter.resume(str(path), LONG.header) as out:
        examples = list(out.committed_examples())
        assert [(example.id, example.digest) for example in examples] == [(f"é{k}", None) for k in range(4)]
        for window in LONG.windows(4):
            out.commit(window)
        out.finish()
    store = open_store(str(path))
    assert store.is_complete
    assert "digest" not in store
    for name, expected in LONG.arrays().items():
        if name != "digest":
            np.testing.assert_array_equal(store[name][...], expected, err_msg=name)


def with_limit(limit: int | None, **changed: object) -> Header:
    config = {"limit": limit, "data": {} if limit is None else {"limit": limit}, "engine": {"seed": 1}}
    return msgspec.structs.replace(LONG.header, config=config, **changed)


def test_the_header_has_the_limit_of_the_run_that_came_last(tmp_path):
    path = str(tmp_path / "run.zarr")
    for limit, number in ((6, 6), (8, 8), (None, 11)):
        Run(with_limit(limit), LONG.activation[:number]).write(path, resume=True)
        assert open_store(path).header.config == with_limit(limit).config
    assert_holds(path, LONG)


def test_with_several_tasks_another_limit_is_refused(tmp_path):
    path = str(tmp_path / "run.zarr")
    source = "a=a.jsonl; b=b.jsonl --limit {}"
    Run(with_limit(4, source=source.format(4)), LONG.activation).write(path)
    for limit, name, problem in (
        (
            6,
            "b",
            "has the first 4 of each task, this run the first 6, and .*; pass --limit 4, or another --out",
        ),
        (
            None,
            "b",
            "has the first 4 of each task, this run all examples, and .*; pass --limit 4, or another",
        ),
        (None, "c", "has source a=a.jsonl; b=b.jsonl --limit 4, this run has a=a.jsonl; b=c.jsonl; pass"),
    ):
        other = f"a=a.jsonl; b={name}.jsonl" + (f" --limit {limit}" if limit else "")
        with pytest.raises(StoreError, match=problem):
            StoreWriter.resume(path, with_limit(limit, source=other))


def fingerprinted(of_model: str | None, of_tokenizer: str | None, **changed: object) -> Header:
    return msgspec.structs.replace(
        LONG.header, model_fingerprint=of_model, tokenizer_fingerprint=of_tokenizer, **changed
    )


@pytest.mark.parametrize(
    ("stored", "given", "message"),
    [
        (("m", "t"), ("m", "t"), None),
        ((None, None), ("m", "t"), None),
        (("m", "t"), (None, None), None),
        (("m", "t"), ("n", "t"), r"holds Qwen/Qwen3-8B, and the model's files have changed since the run began: its "
                                 r"configuration, .*; pass another --out, or --overwrite instead of --resume"),
        (("m", "t"), ("m", "u"), r"and the tokenizer's files have changed since the run began; pass another --out"),
    ],
)  # fmt: skip
def test_files_of_the_model_that_have_changed_are_noticed(stored, given, message, tmp_path):
    path = str(tmp_path / "run.zarr")
    with StoreWriter.create(path, fingerprinted(*stored)) as out:
        out.commit(LONG.window(0, 4))
    if message is None:
        StoreWriter.resume(path, fingerprinted(*given)).close()
        return
    with pytest.raises(StoreError, match=message):
        StoreWriter.resume(path, fingerprinted(*given))


def test_a_model_that_was_moved_can_be_linked_to_where_it_was(tmp_path):
    old, new, path = tmp_path / "old", tmp_path / "new", str(tmp_path / "run.zarr")
    new.mkdir()
    with StoreWriter.create(path, fingerprinted("m", "t", model=str(old))) as out:
        out.commit(LONG.window(0, 4))
    moved = fingerprinted("m", "t", model=str(new))
    with pytest.raises(
        StoreError, match=r"this run is .*new; if the folder was moved, make a link"
    ) as raised:
        StoreWriter.resume(path, moved)
    command = str(raised.value).partition("(")[2].partition(")")[0]
    assert command == f"ln -s {new} {old}"
    other = fingerprinted("another", "t", model=str(new))
    with pytest.raises(StoreError, match=r"this run is .*new; pass another --out"):
        StoreWriter.resume(path, other)
    old.symlink_to(new)
    StoreWriter.resume(path, moved).close()
    with pytest.raises(StoreError, match="the model's files have changed"):
        StoreWriter.resume(path, other)


def test_long_values_are_shown_where_they_differ(tmp_path):
    path = str(tmp_path / "run.zarr")
    long = "folder/" * 30
    with StoreWriter.create(path, msgspec.structs.replace(LONG.header, source=f"{long}a --skip 1")) as out:
        out.commit(LONG.window(0, 4))
    with pytest.raises(
        StoreError, match=r"has source \.\.\./folder/.*r/a --skip 1, this run has \.\.\./f"
    ) as raised:
        StoreWriter.resume(path, msgspec.structs.replace(LONG.header, source=f"{long}b --skip 1"))
    assert "b --skip 1; pass" in str(raised.value)


def test_another_adapter_is_refused_and_a_moved_one_is_not(tmp_path):
    def header(**changes):
        return msgspec.structs.replace(LONG.header, **changes)

    none, one = header(), header(lora="/a/one", lora_fingerprint="1")
    changed, other = (
        header(lora="/a/one", lora_fingerprint="2"),
        header(lora="/b/other", lora_fingerprint="3"),
    )
    for k, (stored, given, message) in enumerate(
        [
            (
                none,
                one,
                "was measured without an adapter, this run has --lora /a/one; drop --lora, or pass another",
            ),
            (one, none, "with the adapter /a/one, this run has none; pass --lora /a/one, or pass another"),
            (
                one,
                changed,
                "with the adapter /a/one, whose files have changed since the run began; pass another",
            ),
            (
                one,
                other,
                "with the adapter /a/one, this run has /b/other, which is another; pass --lora /a/one, or",
            ),
        ]
    ):
        path = str(tmp_path / f"{k}.zarr")
        StoreWriter.create(path, stored).close()
        with pytest.raises(StoreError) as refused:
            StoreWriter.resume(path, given)
        assert message in str(refused.value)
    moved = msgspec.structs.replace(one, lora="/somewhere/else")
    StoreWriter.resume(str(tmp_path / "1.zarr"), moved).close()
