"""The jobs of docs/slurm: bash, with options that there are; the array job makes one store of its shares."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from fastneurons.cli.app import app
from fastneurons.store import open_store
from tests.store.runs import assert_holds, draw
from tests.store.shares import shard

FOLDER = Path(__file__).parents[1] / "docs" / "slurm"
JOBS = sorted(FOLDER.glob("*.sbatch"))
RUN = draw(43)

# What stands in for Slurm: each does what the real one would, on this machine.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SBATCH = """#!/bin/bash
# The script once for each number of its array, with what Slurm sets.
job=4711
while [[ $1 == --* ]]; do shift; done
array=$(sed -n 's/^#SBATCH --array=1-\\([0-9]*\\).*/\\1/p' "$1")
for ((number = 1; number <= ${array:-1}; number++)); do
    SLURM_ARRAY_TASK_ID=$number SLURM_ARRAY_TASK_COUNT=${array:-1} bash "$1" >&2 || exit 1
done
echo $job
"""


def of_fastneurons(text: str) -> list[list[str]]:
    """The calls of fastneurons in a script, without their variables' values."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    calls = [line.partition("fastneurons ")[2] for line in lines if re.match(r"(srun )?fastneurons ", line)]
    return [shlex.split(re.sub(r"\$\(\(.*?\)\)", "2", call).rstrip(" &")) for call in calls]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_job_is_bash_and_names_options_that_there_are(job):
    subprocess.run(["bash", "-n", str(job)], check=True)
    calls = of_fastneurons(job.read_text())
    assert len(calls) == 1
    command = typer.main.get_command(app).commands[calls[0][0]]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in calls[0] if word.startswith("--")} <= known


def test_the_array_job_and_the_merge_make_one_store(tmp_path):
    """Its shares are measured by a stand-in, which writes what `run --shard` writes; the merge is the real one."""
    stand_in = f"""#!{sys.executable}
import sys
sys.path[:0] = [{str(FOLDER.parents[1])!r}]
if sys.argv[1] == "run":
    from tests.test_slurm import stand_in
    stand_in(sys.argv[2:])
else:
    from fastneurons.cli import main
    main()
"""
    for name, text in {"srun": SRUN, "sbatch": SBATCH, "fastneurons": stand_in}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "MODEL": RUN.header.model,
        "OUT": str(tmp_path / "out"),
    }
    script = (FOLDER / "array.sbatch").read_text()
    [first, second] = [
        line.removeprefix("#     ") for line in script.splitlines() if line.startswith("#     ")
    ]
    done = subprocess.run(
        ["bash", "-ec", f"{first}\n{second}"], cwd=FOLDER.parents[1], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_holds(tmp_path / "out" / "run.zarr", RUN)
    assert open_store(str(tmp_path / "out" / "run.zarr")).header.shard is None


def stand_in(arguments: list[str]) -> None:
    """`fastneurons run`, of which the store is drawn."""
    given = dict(zip(arguments[1::2], arguments[2::2], strict=False))
    assert arguments[0] == RUN.header.model and "--resume" in arguments
    number, count = map(int, given["--shard"].split("/"))
    shard(given["--out"], RUN, number, count)
