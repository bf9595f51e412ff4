"""The process around an engine: caches without a home, and nothing of the working folder is run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastneurons.engine import environment
from fastneurons.engine.environment import cache_places, engine_environment


def test_caches_move_where_no_home_can_be_written(monkeypatch):
    for name in ("XDG_CACHE_HOME", "VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(environment, "_private_folder", None)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("HF_HOME", "/mine")
    moved = cache_places()
    assert {"VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"} <= moved.keys()
    assert "HF_HOME" not in moved
    parents = {Path(place).parent for place in moved.values()}
    assert len(parents) == 1
    assert parents.pop().is_dir()


def test_caches_stay_in_a_home_that_can_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_places() == {}
    assert list(tmp_path.iterdir()) == []


def test_children_of_an_engine_do_not_look_in_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("struct.py").write_text("print('run')")
    for number in (1, 2):
        with engine_environment(number, verbose=False):
            assert os.environ["PYTHONSAFEPATH"] == "1"
            done = subprocess.run(
                [sys.executable, "-c", "import struct"], capture_output=True, text=True, check=True
            )
            assert done.stdout == ""
    assert "PYTHONSAFEPATH" not in os.environ


def test_a_command_runs_nothing_of_the_working_folder(tmp_path):
    for name in ("vllm", "torch", "numpy", "json", "triton", "zarr", "msgspec", "typer"):
        (tmp_path / f"{name}.py").write_text(f"open('{name}-was-run', 'w'); raise ImportError")
    done = subprocess.run(
        [sys.executable, "-m", "fastneurons", "summary", "nowhere.zarr"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "nowhere.zarr" in done.stderr
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith("-was-run")]


SPY = """
import os
from fastneurons import cli
cli.main = lambda: print(os.environ.get("PYTHONSAFEPATH"))
cli.console()
"""


def test_the_command_line_tells_all_its_children():
    env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run([sys.executable, "-c", SPY], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "1\n"


def test_onednn_keeps_few_compiled_products_unless_the_user_says_otherwise(monkeypatch):
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.delenv(name, raising=False)
    with engine_environment(1, verbose=False):
        assert int(os.environ[name]) <= 128
    assert int(os.environ[name]) <= 128  # it may be read later
    monkeypatch.setenv(name, "512")
    with engine_environment(1, verbose=False):
        assert os.environ[name] == "512"


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [("VLLM_USE_RAY_V2_EXECUTOR_BACKEND", "0", "1"), ("VLLM_ENABLE_STARTUP_PLAN", "1", "0")],
)
def test_defaults_of_vllms_that_a_session_relies_on_are_kept(name, given, kept, monkeypatch):
    monkeypatch.delenv(name, raising=False)
    with engine_environment(2, verbose=False):
        assert name not in os.environ  # another release might warn of it
    monkeypatch.setenv(name, given)
    with engine_environment(2, verbose=False):
        assert os.environ[name] == kept
    assert os.environ[name] == given
