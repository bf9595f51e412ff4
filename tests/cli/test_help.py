"""Help in sections, lists of commands that fit a terminal, and completion of words."""

import os
import re
import subprocess
import sys

import pytest

from fastneurons.cli import main
from fastneurons.data.tasks import TASKS


def shown(capsys, *arguments, status=0):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == status
    captured = capsys.readouterr()
    return captured.err if status else captured.out


def test_every_command_has_its_line_whole(capsys):
    for arguments in (["--help"], ["data", "--help"]):
        text = shown(capsys, *arguments)
        lines = [line for line in text[text.index("Commands:") :].splitlines() if line[:1] == " "]
        assert lines and all(line.endswith(".") and not line.endswith("...") for line in lines), text


def test_run_has_sections_with_everyday_options_first(capsys):
    text = shown(capsys, "run", "--help")
    assert max(map(len, text.splitlines())) <= 80
    sections = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert sections == [
        "Arguments",
        "Options",
        "Data",
        "Measurement",
        "Output",
        "Engine (vLLM's own options)",
        "Many engines",
    ]
    everyday = text[text.index("Options:") : text.index("\nData:")]
    assert set(re.findall(r"--[a-z]+", everyday)) >= {"--out", "--data", "--languages", "--tasks", "--limit"}
    assert "<" not in re.sub(r"length\(en\) < 200", "", text)  # no `<list[float]>`


def test_without_a_command_the_first_run_is_told(capsys):
    assert shown(capsys, status=2).endswith("fastneurons run MODEL --data FILE.jsonl\n")
    assert "check" in shown(capsys, "data", status=2)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("fastneurons su", ["summary"]),
        ("fastneurons run m --position ", ["last", "any", "answer", "corpus"]),
        ("fastneurons run m --tasks xnli,mg", ["xnli,mgsm", "xnli,mgsm-cot"]),
        ("fastneurons tasks x", [name for name in TASKS if name.startswith("x")]),
        ("fastneurons bench --contenders list", ["list"]),
    ],
)
def test_a_shell_is_given_words(words, completed):
    asked = {
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "_FASTNEURONS_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [sys.executable, "-m", "fastneurons"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == completed, done.stderr
