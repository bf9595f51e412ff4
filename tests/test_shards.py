"""Shards measured by an engine, merged, hold what one run of it holds."""

import pytest

from fastneurons.config import Measurement
from fastneurons.data.example import Example, Skipped
from fastneurons.engine.session import Session
from fastneurons.errors import StoreError
from fastneurons.shards import Shard
from fastneurons.store import merge_stores, open_store
from tests.engine.support import LANGUAGES, examples, tiny_options
from tests.store.buckets import bucket
from tests.test_resume import assert_same, broken_after, write

pytestmark = pytest.mark.engine

ROWS: list[Example | Skipped] = list(examples(45, seed=9))
ROWS[2] = Skipped("e2", "data.jsonl:3", "no JSON")
ROWS[17] = Example("e17", {"en": "x" * 600, "de": "y", "th": "z"})  # longer than the model takes


@pytest.fixture(scope="module")
def session(models):
    with Session(str(models()), LANGUAGES, Measurement(attribution=True), tiny_options()) as opened:
        yield opened


def test_merged_shards_hold_what_one_run_holds(session, tmp_path):
    whole, _ = write(session, ROWS, tmp_path / "whole.zarr")
    with bucket():
        parts = [f"s3://bucket/{number}.zarr" for number in (1, 2, 3, 4)]
        for number, part in enumerate(parts, 1):
            if number == 2:  # interrupted in its second window, and continued
                with pytest.raises(Exception, match="the disk is gone"):
                    write(session, broken_after(43, ROWS), part, shard=Shard(number, 4))
            _, told = write(session, ROWS, part, shard=Shard(number, 4), resume=True)
            assert told.total is None
        assert [open_store(part).num_examples for part in parts] == [16, 13, 8, 8]
        merged = merge_stores(parts, str(tmp_path / "merged.zarr"))
        merge_stores(parts[::-1], "s3://bucket/merged.zarr")
        assert_same_but_for_sums(open_store("s3://bucket/merged.zarr"), whole)
        with pytest.raises(
            StoreError, match=r"has shard 1/4, this run has shard 2/4; pass --shard 1/4, or another"
        ):
            write(session, ROWS, parts[0], shard=Shard(2, 4), resume=True)
        with pytest.raises(
            StoreError, match=r"has shard 1/4, this run has no shard; pass --shard 1/4, or another"
        ):
            write(session, ROWS, parts[0], resume=True)
    assert_same_but_for_sums(merged, whole)
    more = [*ROWS, *(Example(f"f{k}", row.prompts) for k, row in enumerate(examples(9, seed=10)))]
    continued, _ = write(session, more, tmp_path / "merged.zarr", resume=True)
    assert continued.num_examples == 54


def assert_same_but_for_sums(found, wanted) -> None:
    """As `assert_same`; float64 sums of the same numbers in another order may differ in their last digit."""
    import numpy as np

    assert set(found) == set(wanted)
    for name in wanted:
        if name == "neuron_contribution":
            np.testing.assert_allclose(found[name][...], wanted[name][...], rtol=1e-14)
        else:
            np.testing.assert_array_equal(found[name][...], wanted[name][...], err_msg=name)
    assert found.skipped() == wanted.skipped() and found.is_complete


@pytest.mark.parametrize("block_size", [24, None])
def test_shards_of_a_corpus_have_the_blocks_of_one_run(corpus, block_size, tmp_path):
    rows = [Example(f"{row.id}", row.prompts) for row in examples(40, seed=3)]
    rows[5] = Skipped("e5", "data.jsonl:6", "no JSON")
    whole, _ = write(corpus, rows, tmp_path / "whole.zarr", block_size=block_size)
    parts = [tmp_path / f"{number}.zarr" for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        write(corpus, rows, part, shard=Shard(number, 3), block_size=block_size)
    assert_same(merge_stores([str(part) for part in parts], str(tmp_path / "merged.zarr")), whole)


@pytest.fixture(scope="module")
def corpus(models):
    with Session(str(models()), LANGUAGES, Measurement(position="corpus"), tiny_options()) as opened:
        yield opened
