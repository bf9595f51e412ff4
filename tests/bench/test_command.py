"""`fastneurons bench` as a user runs it, on a tiny model."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.command import fastneurons_command

README = (Path(__file__).parents[2] / "README.md").read_text()


def bench(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return fastneurons_command("bench", *arguments, cwd=folder)


@pytest.mark.engine
def test_modes_are_timed_beside_the_unpatched_engine(models, tmp_path):
    """The README's command, on a tiny model."""
    figures, data = tmp_path / "bench.json", tmp_path / "facts.jsonl"
    rows = [{"id": f"e{k}", "prompts": {"en": f"one {k}", "de": f"eins {k}"}} for k in range(20)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    [line] = [line for line in README.splitlines() if line.startswith("fastneurons bench")]
    words = [{"Qwen/Qwen3-8B": str(models())}.get(word, word) for word in shlex.split(line)[2:]]
    names = ["unpatched", "last+store", "notebook"]
    assert words[words.index("--contenders") + 1] == ",".join(names)
    done = bench(*words, "--tokens", "100", "--rounds", "1", "--max-model-len", "256", folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "last+store (2 of 3): the last token of each prompt, into a store" in done.stderr
    assert "prompts as they are, 2 languages" in done.stdout
    found = json.loads(figures.read_text())
    assert [r["contender"] for r in found["results"]] == names
    assert found["machine"]["engine"].startswith("vllm")
    for result in found["results"]:
        assert result["why_not"] is None
        assert result["tokens_per_s"]["median"] > 0
        assert result["share_of_limit"] == pytest.approx(
            result["tokens_per_s"]["median"] / found["limit_tokens_per_s"]
        )
        assert (result["ratio"] is None) == (result["contender"] == "unpatched")
    assert found["results"][1]["store_s"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--contenders", "fast"], "--contenders fast: must be some of unpatched, "),
        (["--prompt-lengths", "8,long"], "--prompt-lengths 8,long: must be numbers separated by commas"),
        (["--num-languages", "1"], "--num-languages 1: must be at least 2"),
        (["--rounds", "0"], "--rounds 0: must be at least 1"),
        (["--plot", "bench.bmp"], "bench.bmp: the ending must be one of .png, .svg, .pdf"),
        (["--json", "/none/bench.json"], "/none/bench.json: the folder /none does not exist"),
        (["no-such-model/"], "no-such-model/: its tokenizer cannot be loaded"),
    ],
)
def test_mistakes_are_named(arguments, message):
    done = bench(*([] if arguments[0].startswith("no-such") else ["some-model"]), *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
