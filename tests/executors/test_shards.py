"""Shards that many engines measure, merged."""

from fastneurons.shards import Shard
from fastneurons.store import merge_stores
from tests.executors.stand_in import StandInJob
from tests.executors.threads import ThreadEngines
from tests.executors.writing import assert_same, write


def test_shards_of_several_engines_are_merged_to_the_store_of_one_run(tmp_path):
    whole, _ = write(ThreadEngines(StandInJob(), 2), tmp_path / "whole.zarr")
    parts = [tmp_path / f"{number}.zarr" for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        _, told = write(ThreadEngines(StandInJob(), 2), part, shard=Shard(number, 3))
        assert told.examples == Shard(number, 3).size(50, 4)
    assert_same(merge_stores([str(part) for part in parts], str(tmp_path / "merged.zarr")), whole)
