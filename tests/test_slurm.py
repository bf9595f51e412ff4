"""The jobs of docs/slurm: bash, with options that there are; they do with stand-ins for Slurm what they say."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
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
# A step gets one core unless it asks for more.
: "${SRUN_CPUS_PER_TASK:?}"
echo "srun $*" >> "${RECORD:-/dev/null}"
while [[ $1 == --* ]]; do shift; done
# When it is ended, so is all that the step has started.
set -m
"$@" &
trap 'kill -- -$!' TERM
wait $!
"""
SBATCH = """#!/bin/bash
# The script once for each number of its array, with what Slurm sets.
job=4711
while [[ $1 == --* ]]; do shift; done
array=$(sed -n 's/^#SBATCH --array=1-\\([0-9]*\\).*/\\1/p' "$1")
export SLURM_CPUS_PER_TASK=$(sed -n 's/^#SBATCH --cpus-per-task=\\([0-9]*\\).*/\\1/p' "$1")
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
    environment = with_programs(tmp_path, srun=SRUN, sbatch=SBATCH, fastneurons=stand_in)
    environment |= {"MODEL": RUN.header.model, "OUT": str(tmp_path / "out")}
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


# Of a Ray cluster on two nodes: what is started there runs until it is killed, and nodes count once both are up.
SCONTROL = """#!/bin/bash
[[ "$*" == "show hostnames node[1-2]" ]] && printf "node1\\nnode2\\n"
"""
RAY = """#!/bin/bash
echo "pid $$" >> "$RECORD"
echo "ray $*" >> "$RECORD"
exec sleep 60
"""
PYTHON = """#!/bin/bash
echo "python ${*: -2}" >> "$RECORD"
until (($(grep -c "^ray start" "$RECORD") == 2)); do sleep 0.02; done
"""
FASTNEURONS = """#!/bin/bash
trap 'echo interrupted >> "$RECORD"; exit 130' TERM
echo "fastneurons $*" >> "$RECORD"
[[ $OUT == endless ]] || exit 0
while :; do sleep 0.02; done
"""


@pytest.mark.parametrize(("out", "status"), [("run.zarr", 0), ("endless", 130)])
def test_the_ray_job_starts_a_cluster_for_one_run_and_ends_it(out, status, tmp_path):
    """With stand-ins for Slurm, Ray and the run; a run that does not end is interrupted as a time limit does it."""
    record = tmp_path / "record"
    environment = with_programs(
        tmp_path, srun=SRUN, scontrol=SCONTROL, ray=RAY, python=PYTHON, fastneurons=FASTNEURONS
    )
    environment |= {
        "RECORD": str(record), "OUT": out, "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_CPUS_PER_TASK": "64",
    }  # fmt: skip
    job = subprocess.Popen(["bash", str(FOLDER / "ray.sbatch")], env=environment, cwd=tmp_path)
    try:
        if out == "endless":
            while job.poll() is None and not (record.exists() and "fastneurons" in record.read_text()):
                time.sleep(0.1)
            time.sleep(0.5)  # the script sets its trap after it has started the run
            job.send_signal(signal.SIGTERM)
        assert job.wait(60) == status
        done = record.read_text().splitlines()
        cluster = [int(line.removeprefix("pid ")) for line in done if line.startswith("pid ")]
        deadline = time.monotonic() + 30
        while any(map(alive, cluster)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(cluster) == 2 and not any(map(alive, cluster)), "the cluster outlives the job"
        assert "ray start --head --node-ip-address=node1 --port=6379 --num-gpus=8 --block" in done
        assert "ray start --address=node1:6379 --num-gpus=8 --block" in done
        steps = [
            line.partition(" ray ")[0].partition(" bash ")[0] for line in done if line.startswith("srun")
        ]
        assert sorted(steps) == [
            "srun --overlap --nodes=1 --ntasks=1 --exclude=node1",
            "srun --overlap --nodes=1 --ntasks=1 --nodelist=node1",
        ]
        assert "python node1:6379 2" in done
        [run] = [line for line in done if line.startswith("fastneurons")]
        assert "--engines ray:node1:6379 --num-engines 4 --tensor-parallel-size 4" in run
        assert run.endswith(f"--out {out} --resume")
        assert ("interrupted" in done) == (out == "endless")
    finally:
        job.kill()


def alive(pid: int) -> bool:
    """Whether a process lives; one that nobody reaps has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def with_programs(folder: Path, **programs: str) -> dict[str, str]:
    """An environment in which these scripts are the programs of their names."""
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def stand_in(arguments: list[str]) -> None:
    """`fastneurons run`, of which the store is drawn."""
    given = dict(zip(arguments[1::2], arguments[2::2], strict=False))
    assert arguments[0] == RUN.header.model and "--resume" in arguments
    number, count = map(int, given["--shard"].split("/"))
    shard(given["--out"], RUN, number, count)
