"""The README's commands, as they stand there, on a tiny model and the README's own example of data."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastneurons
from tests.command import fastneurons_command
from tests.engine import tiny

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MODEL, DATA = "Qwen/Qwen3-8B", "facts.jsonl"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a reader has who follows the README, with a tiny model in the place of the one named there."""
    folder = tmp_path_factory.mktemp("readme")
    tiny.make("Qwen3", folder / "model", max_position_embeddings=4096)
    (folder / "texts").mkdir()
    for code, text in {"en": "Bees live in colonies.", "de": "Ein Fluss fließt zum Meer."}.items():
        (folder / "texts" / f"{code}.txt").write_text(f"{text}\n" * 3)
    [line] = blocks("json")
    (folder / DATA).write_text(line)
    return folder


@pytest.fixture(scope="module")
def followed(folder):
    """The two blocks of `fastneurons` commands, run one after another."""
    [measuring] = [block for block in blocks("sh") if block.startswith("fastneurons data")]
    [breaking] = [block for block in blocks("sh") if block.startswith("fastneurons deactivate")]
    for command in [*measuring.splitlines(), *breaking.splitlines()]:
        words = [word.replace(MODEL, str(folder / "model")) for word in shlex.split(command, comments=True)]
        assert words[0] == "fastneurons"
        done = fastneurons_command(*words[1:], cwd=folder)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    return folder


def test_the_commands_work(followed):
    store = fastneurons.open(followed / "run.zarr")
    assert store.is_complete
    assert store.num_examples == 1
    assert (followed / "run.png").read_bytes().startswith(b"\x89PNG")
    assert fastneurons.open(followed / "attribution.zarr")["effective_mean"].shape[:2] == (1, 3)
    assert (fastneurons.open(followed / "corpus.zarr")["corpus_tokens"][:] == [81, 66]).all()
    deactivated = fastneurons.open(followed / "deactivated.zarr")
    assert deactivated.header.conditions[:2] == ["intact", "all-shared"]
    assert np.isfinite(deactivated["log_probability"][:]).all()
    assert (followed / "masks" / "masks.pt").exists()


def test_make_runs_what_is_said():
    """`make demo` and `make test` are run by CI; other targets that are named exist."""
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", "".join(blocks("sh"))):
        assert f"\n{target}:" in makefile
    ci = (ROOT / ".ci" / "run").read_text()
    assert "make demo" in ci
    assert "make test" in ci


def test_options_that_are_named_exist():
    help_text = "".join(
        subprocess.run(
            [sys.executable, "-m", "fastneurons", command, "--help"],
            capture_output=True, text=True, check=True, env={"COLUMNS": "200"},
        ).stdout
        for command in ("run", "summary", "plot", "bench", "deactivate", "lape", "perplexity")
    )  # fmt: skip
    named = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", README))
    assert {option for option in named if option not in help_text} == set()


def test_pages_and_pictures_that_are_linked_exist():
    for link in re.findall(r"\]\(([^)#]+)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link


def test_the_line_of_data_is_one_example():
    [line] = blocks("json")
    assert json.loads(line).keys() >= {"id", "prompts"}
