"""Standard streams that are closed, full or gone: one line and a status, and measuring goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.store import runs

EACH = {
    "summary": "summary {store}",
    "summary --json": "summary --json {store}",
    "plot": "plot {store} -o {tmp}/p.svg",
    "tasks": "tasks",
    "tasks xnli": "tasks xnli",
    "data check": "data check {data} --languages en,de",
    "data check --json": "data check {data} --languages en,de --json",
    "--help": "--help",
    "--version": "--version",
    "run --help": "run --help",
}


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> dict[str, Path]:
    tmp = tmp_path_factory.mktemp("streams")
    runs.draw(7).write(tmp / "s.zarr")
    (tmp / "d.jsonl").write_text('{"id": "a", "prompts": {"en": "one", "de": "two"}}\n')
    return {"store": tmp / "s.zarr", "data": tmp / "d.jsonl", "tmp": tmp}


def shell(call: str, names: dict[str, Path], redirected: str) -> subprocess.CompletedProcess[str]:
    command = f"set -o pipefail; '{sys.executable}' -m fastneurons {call.format(**names)} {redirected}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("redirected", "said"),
    [
        (">&-", "standard output cannot be written: it is closed"),
        (">/dev/full", "standard output cannot be written: No space left on device"),
    ],
)
@pytest.mark.parametrize("call", EACH)
def test_a_result_that_cannot_be_printed_is_a_failure_in_one_line(call, redirected, said, names):
    done = shell(EACH[call], names, redirected)
    assert (done.returncode, done.stderr) == (1, f"fastneurons: {said}\n")


@pytest.mark.parametrize("call", ["summary --json", "tasks", "run --help"])
def test_a_reader_that_has_seen_enough_is_no_failure(call, names):
    # `true` reads nothing and is gone by then; sleeping first makes sure of it.
    slow = (
        "import runpy, sys, time; time.sleep(0.3); sys.argv[0] = 'fastneurons'; "
        "runpy.run_module('fastneurons', run_name='__main__')"
    )
    command = f'set -o pipefail; "{sys.executable}" -c "{slow}" {EACH[call].format(**names)} | true'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("redirected", ["2>&-", "2>/dev/full", "<&-", "<&- 2>&-"])
def test_other_streams_are_not_needed(redirected, names):
    done = shell("summary {store}", names, redirected)
    assert done.returncode == 0 and "layer" in done.stdout and done.stderr == ""
    assert shell("summary {tmp}/missing", names, redirected).returncode == 1


@pytest.mark.parametrize("redirected", [">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_with_no_stream_left_the_status_is_right(redirected, names):
    assert shell("summary {store}", names, redirected).returncode == 1
    assert shell("summary {tmp}/missing", names, redirected).returncode == 1
    assert shell("tasks nope", names, redirected).returncode == 2


def test_what_a_command_writes_does_not_take_a_closed_streams_number(names):
    # Otherwise the next file opened is number 1, and whatever is printed goes into it.
    code = (
        "from fastneurons.streams import standard_streams\n"
        "import os, sys\n"
        "with standard_streams():\n"
        "    with open(sys.argv[1], 'w') as file: number = file.fileno()\n"
        "    os._exit(0 if number > 2 else number + 1)"
    )
    command = f"'{sys.executable}' -c \"{code}\" '{names['tmp']}/file' <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], check=False).returncode == 0


@pytest.mark.engine
@pytest.mark.parametrize("redirected", ["<&- >&- 2>&-"])
def test_a_run_prints_nothing_and_needs_no_stream(redirected, names, models, tmp_path):
    names = names | {"model": models("Llama"), "out": tmp_path / "o.zarr"}
    done = shell("run {model} --data {data} --languages en,de --dtype float32 --out {out}", names, redirected)
    assert done.returncode == 0
    from fastneurons.store import open_store

    store = open_store(str(tmp_path / "o.zarr"))
    assert store.is_complete and store.measured.all()
    assert [path.name for path in tmp_path.iterdir()] == ["o.zarr"]
