"""Stores in a bucket of a real S3 server: written, interrupted, continued, merged and read, in few requests."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest

from fastneurons.cli import main
from fastneurons.errors import InputError, StoreError
from fastneurons.store import StoreWriter, check_output, merge_stores, open_store, remote, verify_store
from tests.store.buckets import bucket
from tests.store.runs import assert_holds, draw
from tests.store.shares import shard

RUN = draw(23, keep_prompts=True)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server():
    with bucket() as started:
        yield started


@pytest.fixture
def url(server, request):
    server.forget()
    return f"s3://bucket/{request.node.name}/run.zarr"


def assert_few_requests(server) -> None:
    requests = server.requests
    assert requests.count("PUT") > 50
    assert len(requests) <= 3 * requests.count("PUT")


def test_a_run_takes_few_requests_and_holds_what_it_measured(server, url):
    RUN.write(url)
    assert_few_requests(server)
    server.forget()
    with StoreWriter.create(f"{url}2", RUN.header) as writer:
        begun = len(server.requests)
        for window in RUN.windows():
            writer.commit(window)
            writer.wait()
    windows = -(-len(RUN.activation) // RUN.header.window)
    # Eleven arrays, a sum for each task, the manifest and the root object; twice, the root object is read.
    assert len(server.requests) - begun <= 18 * windows
    assert_holds(url, RUN)


def test_a_run_that_was_killed_is_continued_in_few_requests(server, url):
    code = (
        "import os, sys; from tests.store.test_object_storage import RUN; from fastneurons.store import StoreWriter\n"
        "writer = StoreWriter.create(sys.argv[1], RUN.header, keep_prompts=True)\n"
        "for number, window in enumerate(RUN.windows()):\n"
        "    writer.commit(window)\n"
        "    if number == 4: os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, url], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == 9, done.stderr
    store = open_store(url)
    assert store.num_examples in (16, 20) and not store.is_complete
    RUN.write(url, resume=True)
    assert_few_requests(server)
    assert_holds(url, RUN)


def test_a_server_that_goes_away_for_a_while_is_waited_for(server, url, monkeypatch):
    monkeypatch.setattr(remote, "_PAUSES_S", (0.5,) * 20)
    windows = list(RUN.windows())
    with StoreWriter.create(url, RUN.header, keep_prompts=True) as writer:
        for number, window in enumerate(windows):
            if number == 4:
                writer.wait()
                server.stop()
                threading.Thread(target=lambda: (time.sleep(1.5), server.start())).start()
            writer.commit(window)
        writer.finish()
    assert_holds(url, RUN)


def test_a_server_that_stays_away_ends_the_run_and_loses_nothing(server, url, monkeypatch):
    monkeypatch.setattr(remote, "_PAUSES_S", (0.1, 0.1))
    windows = list(RUN.windows())
    writer = StoreWriter.create(url, RUN.header, keep_prompts=True)
    writer.commit(windows[0])
    writer.wait()
    server.stop()
    try:
        writer.commit(windows[1])
        with pytest.raises(
            StoreError, match=rf"^{url} cannot be written: .*; 4 examples are safe; continue with --resume$"
        ):
            writer.wait()
    finally:
        server.start()
    assert open_store(url).num_examples == 4
    RUN.write(url, resume=True)
    assert_holds(url, RUN)


def test_shards_in_a_bucket_are_merged_in_few_requests(server, url):
    parts = [shard(f"{url}{k}", RUN, k, 3) for k in (1, 2, 3)]
    server.forget()
    merge_stores(parts, url)
    assert_few_requests(server)
    assert_holds(url, RUN)


def test_every_reader_reads_from_a_bucket(server, url, tmp_path, capsys):
    RUN.write(url)
    RUN.write(tmp_path / "local.zarr")
    assert verify_store(open_store(url, check=True)).is_whole
    data = open_store(url).to_xarray()
    np.testing.assert_array_equal(data["activated"].values, RUN.arrays()["activated"])
    for command in (["summary"], ["sharing"]):
        shown = []
        for path in (url, str(tmp_path / "local.zarr")):
            with pytest.raises(SystemExit) as end:
                main([command[0], path, *command[1:]])
            assert end.value.code == 0
            shown.append(capsys.readouterr().out.replace(path, "STORE"))
        assert shown[0] == shown[1]


def test_what_is_wrong_with_a_bucket_is_said_in_one_line(server, url):
    with pytest.raises(
        StoreError, match=r"^s3://nobucket/run.zarr cannot be written: .*bucket does not exist"
    ):
        check_output("s3://nobucket/run.zarr")
    with pytest.raises(StoreError, match=rf"^{url}: does not exist$"):
        open_store(url)


def test_the_extra_with_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    for name in ("s3", "s3a"):
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, name, raising=False)
    with pytest.raises(InputError, match=r"^s3://bucket/run.zarr: .*; pip install 'fastneurons\[s3\]'$"):
        open_store("s3://bucket/run.zarr")


def test_credentials_come_from_the_environment_alone(server, url, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_") and "ENDPOINT" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    fsspec.filesystem("s3").clear_instance_cache()
    try:
        with pytest.raises(StoreError, match=rf"^{url} cannot be written: Unable to locate credentials"):
            check_output(url)
    finally:
        fsspec.filesystem("s3").clear_instance_cache()
