"""Every command with stores and data whose every text holds escape sequences: nothing of it acts on a terminal."""

import io
import json
import os
import pty
import subprocess
import sys
import threading
import unicodedata
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import typer

from fastneurons.bench.figure import draw as draw_race
from fastneurons.bench.report import print_report
from fastneurons.cli import main
from fastneurons.cli.app import app
from fastneurons.progress import progress_for
from fastneurons.report import plot, print_summary
from fastneurons.store import open_store
from tests.bench.test_figure import report
from tests.store import runs

# A title, a colour, a cleared screen, a second line, C1's CSI, an override of direction, markup and emoji codes of
# rich, mathtext that cannot be parsed, and a byte that is not UTF-8.
EVIL = "\x1b]0;pwned\x07\x1b[31m\x1b[2J\r\nFORGED\b\x7f\x9b1m\u202e[bold red]x[blink] :smile: $x_{ b$\x00"
SHOWN = r"\x1b]0;pwned\x07\x1b[31m\x1b[2J\r\nFORGED\x08\x7f\x9b1m\u202e[bold red]x[blink] :smile: $x_{ b$\x00"
BYTE = "\udcff"


def acting(text: str, colours: bool = False) -> set[str]:
    """Characters that act on a terminal, or hide something; `colours` allows those that rich sets itself."""
    if colours:
        for sequence in ("\x1b[1m", "\x1b[2m", "\x1b[0m", "\x1b[1;33m", "\r\n"):
            text = text.replace(sequence, "")
    found = {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs"}} - {"\n"}
    assert not any(line.startswith("FORGED") for line in text.splitlines())
    return found


def called(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> tuple[str, str]:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert end.value.code == status, captured.err
    for text in captured:
        assert not acting(text), text
        assert "Traceback" not in text
    return captured.out, captured.err


class Run(runs.Run):
    """A run whose skipped rows say something else."""

    says: dict[str, str]

    def skipped(self):
        return [row | self.says for row in super().skipped()]


def run_of(header: runs.Header, says: dict[str, str]) -> Run:
    shape = (12, len(header.languages), len(header.layers), header.neurons)
    run = Run(header, np.random.default_rng(0).normal(size=shape))
    object.__setattr__(run, "says", says)
    return run


KINDS = {
    "sharing": {},
    "attribution": {"top_k": 3},
    "many languages": {"languages": [f"l{k}{EVIL}" for k in range(8)]},
    "corpus": {"position": "corpus"},
    "several tasks": {"tasks": [f"one{EVIL}", f"two{EVIL}"]},
}


@pytest.fixture(scope="module", params=KINDS, ids=str)
def evil_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was damaged or made to deceive: every text in it is evil."""
    path = tmp_path_factory.mktemp("evil") / f"s{EVIL.replace('/', '')}{BYTE}.zarr".replace("\x00", "")
    given = {"languages": [f"l{k}{EVIL}" for k in range(3)], "tasks": [f"t{EVIL}"]} | KINDS[request.param]
    header = runs.header(model=f"./m{EVIL}", task=f"t{EVIL}", source=f"s{EVIL}", dtype=f"d{EVIL}", **given)
    evil = {"id": f"i{EVIL}", "where": f"w{EVIL}", "reason": f"r{EVIL}"}
    run_of(header, evil).write(path)
    return path


def test_summary(evil_store, capsys):
    shown, _ = called(capsys, "summary", evil_store)
    shown = " ".join(shown.split())  # as it was before it was wrapped
    for letter in "mtdriw":
        assert f"{letter}{SHOWN}" in shown, letter


def test_summary_on_a_terminal(evil_store):
    ours, theirs = pty.openpty()
    received: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(ours, 65536):
                received.append(piece)
        except OSError:
            pass  # the terminal is gone

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(theirs, "w") as terminal:
        print_summary(open_store(str(evil_store)), terminal)
    reader.join()
    text = b"".join(received).decode()
    assert "\x1b[1m" in text  # it is one
    assert not acting(text, colours=True)
    assert f"i{SHOWN}" in text.replace("\r\n", "")


def test_merge_and_its_refusals(evil_store, capsys, tmp_path):
    out = f"{tmp_path}/{evil_store.name}"
    called(capsys, "merge", evil_store, "-o", out)
    called(capsys, "merge", evil_store, "-o", out, status=2)  # it exists
    _, told = called(capsys, "merge", evil_store, out, "-o", f"{out}2", status=1)  # ids are there twice
    assert "the parts overlap" in told
    header = runs.header(model=f"./n{EVIL}", task=f"t{EVIL}", source=f"s{EVIL}")
    run_of(header, {}).write(tmp_path / "other.zarr")
    _, told = called(capsys, "merge", evil_store, tmp_path / "other.zarr", "-o", f"{out}2", status=1)
    assert r"its model is ./n\x1b]0;pwned\x07" in told


def test_summary_as_json(evil_store, capsys):
    shown, _ = called(capsys, "summary", "--json", evil_store)
    shown.encode()
    found = json.loads(shown)
    assert found["model"] == f"./m{EVIL}"
    assert found["skip_reasons"][0]["first"][0]["id"] == f"i{EVIL}"
    assert found["store"].endswith("\\xff.zarr")


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_plot(evil_store, capsys, tmp_path, ending):
    picture = tmp_path / f"p.{ending}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown, said = called(capsys, "plot", evil_store, "-o", picture)
    assert shown == f"{picture}\n" and said == ""
    if ending == "svg":
        drawn = ["".join(e.itertext()) for e in ET.parse(picture).iter() if e.tag.endswith("text")]
        assert sum(f"m{SHOWN}" in text for text in drawn) == 1
        assert sum(f"t{SHOWN}" in text for text in drawn) == 1
        assert any(text.startswith(f"l1{SHOWN[:12]}") for text in drawn)
        assert not any(acting(text) for text in drawn)


@pytest.mark.parametrize(
    "name", ["a $x_{ b$", r"\$a$ \frac", "$", r"\alpha_1^2 & <b>", "日本語 ไทย 👩\u200d💻"]
)
def test_names_are_drawn_as_they_are(tmp_path, name):
    runs.draw(7, model=f"./{name}", tasks=[name], task=name, languages=["en", name]).write(tmp_path / "s")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for ending in ("svg", "pdf" if name == "$" else "png"):
            plot(open_store(str(tmp_path / "s")), tmp_path / f"p.{ending}")
    drawn = ["".join(e.itertext()) for e in ET.parse(tmp_path / "p.svg").iter() if e.tag.endswith("text")]
    assert drawn.count(name) == 2  # model and tick
    assert sum(text.startswith(f"{name} · ") for text in drawn) == 1


def test_bench(tmp_path):
    from dataclasses import replace

    evil = replace(report(), model=f"./m{EVIL}")
    evil.results[-1] = replace(evil.results[-1], why_not=f"w{EVIL}")
    stream = io.StringIO()
    print_report(evil, stream)
    assert not acting(stream.getvalue())
    assert f"m{SHOWN}" in stream.getvalue() and f"w{SHOWN}" in stream.getvalue()
    draw_race(evil, tmp_path / "p.svg")
    drawn = ["".join(e.itertext()) for e in ET.parse(tmp_path / "p.svg").iter() if e.tag.endswith("text")]
    assert sum(f"m{SHOWN}" in text for text in drawn) == 1


NAME = EVIL.replace("/", "").replace("\x00", "")


@pytest.fixture(scope="module")
def evil_folder(tmp_path_factory):
    """Data whose texts and file names are evil, in part not UTF-8; some of it cannot be used."""
    folder = tmp_path_factory.mktemp("evil") / "d"
    folder.mkdir()
    good = {"id": f"a{EVIL[:-1]}", "prompts": {"en": f"one{EVIL[:-1]}", "de": "eins"}}
    lines = [{"id": 1.5}, good, good, {"id": f"b{NAME}", "prompts": {"en": 5}}, {NAME: 1}]
    text = "\n".join(map(json.dumps, lines)) + "\n" + NAME.replace("\n", "") + "\n"
    (folder / f"{NAME}{BYTE}.jsonl").write_text(text)
    return folder


def test_data_check(evil_folder, capsys):
    shown, _ = called(capsys, "data", "check", evil_folder, "--languages", "en,de")
    assert r"\xff.jsonl:1" in shown and r"\x1b" in shown
    shown, _ = called(capsys, "data", "check", evil_folder, "--languages", "en,de", "--json")
    shown.encode()
    assert json.loads(shown)[0]["examples"] >= 1


FINDINGS = (
    "categories", "thresholds", "repeating", "inactive", "recategorise", "sharing", "alignment", "neurons",
    "contribution",
)  # fmt: skip
# Files of others, and what is made of a corpus.
OTHERS = ("import-counts", "export-counts", "import-masks", "export-masks")


PLANNED = ["--examples", "1", "--languages", "2", "--tokens", "3"]


@pytest.mark.parametrize("name", [NAME, NAME + BYTE])
def test_what_users_name_in_a_call(name, capsys, tmp_path):
    there = tmp_path / name
    there.touch()
    data = tmp_path / "data.jsonl"
    data.write_text('{"id": "a", "prompts": {"en": "one", "de": "two"}}\n')
    calls = [
        ["summary", there],
        ["summary", tmp_path / f"{name}missing"],
        ["plot", there, "-o", tmp_path / "a.png"],
        ["plot", there, "-o", f"{there}.png"],
        ["verify", there],
        ["tasks", name],
        [name],
        [f"--{name}"],
        ["bench", "--contenders", name],
        ["bench", "--rounds", name],
        ["data", "check", there],
        ["data", "check", f"{name}={data}"],
        ["data", "check", data, "--languages", name],
        ["data", "check", data, "--template", there],
        ["demo", "--languages", name],
        ["demo", "--engine-arg", name],
        ["run", name, "--data", data, "--languages", "en,de", "--out", tmp_path / "o.zarr"],
        ["run", "m", "--data", data, "--select", name],
        ["run", "m", "--data", data, "--position", name],
        ["generate", name, "--data", data, "--out", tmp_path / "o.zarr"],
        ["generate", "m", "--data", data, "--edit", there],
        ["generate", "m", "--data", data, "--measure", name],
        ["lm-eval", "run", "--edit", there],
        ["lm-eval", "write-task", "--data", data, "--out", tmp_path / "t", "--name", name],
        ["perplexity", name, "--data", data, "--out", tmp_path / "o.zarr"],
        ["perplexity", "m", "--data", data, "--edit", there],
        ["deactivate", name, "--data", data, "--languages", "en,de", "--out", tmp_path / "o.zarr"],
        ["deactivate", "m", "--data", data, "--category", name],
        ["deactivate", "m", "--data", data, "--operation", name],
        ["deactivate", "m", "--data", data, "--min-share", "0.5", "--from", there],
        ["info", name],
        *([command, there] for command in FINDINGS),
        *([command, tmp_path / f"{name}missing"] for command in FINDINGS),
        *([command, there, "--task", name] for command in FINDINGS),
        ["distributions", there],
        ["distributions", tmp_path / f"{name}missing"],
        ["distributions", there, "--languages", name],
        ["distributions", there, "--save-edit", tmp_path / "a", "--neurons", there],
        ["compare", there, there],
        ["compare", there, tmp_path / f"{name}missing"],
        ["align-report", there, tmp_path / f"{name}missing"],
        ["align", "m", "--data", data, "--out", tmp_path / "a", "--objective", name],
        ["align", "m", "--data", data, "--out", tmp_path / "a", "--neurons", there],
        ["align", "m", "--data", data, "--out", there],
        ["run", "m", "--data", data, "--lora", there],
        ["report", there, "-o", tmp_path / "a.html"],
        ["report", tmp_path / f"{name}missing"],
        ["export", there, "-o", tmp_path / "a"],
        ["export", there, "--format", name],
        ["publish", there, "--to", tmp_path / "a"],
        ["merge", there, "-o", tmp_path / "a"],
        ["merge", tmp_path / f"{name}missing", there, "-o", there],
        ["plan", there, *PLANNED],
        ["plan", tmp_path / f"{name}missing", *PLANNED],
        ["plan", data, *PLANNED, "--gpu", name],
        ["run", "m", "--data", data, "--shard", name],
        ["plot", there, name],
        ["lape", there],
        ["lape", tmp_path / f"{name}missing"],
        ["lape", there, "--method", name],
        ["lape", there, "--languages", name],
        *([command, there, "-o", tmp_path / "a"] for command in OTHERS),
        *([command, tmp_path / f"{name}missing", "-o", tmp_path / "a"] for command in OTHERS),
        ["import-masks", there, "-o", tmp_path / "a", "--width", 4],
        ["import-masks", there, "-o", tmp_path / "a", "--like", there],
        ["sets", "show", there],
        ["sets", name],
        ["sets", "combine", there, tmp_path / f"{name}missing", "--by", "union", "--save", tmp_path / "a"],
    ]
    commands = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert commands <= {call[0] for call in calls}
    for call in calls:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in call])
        captured = capsys.readouterr()
        assert end.value.code in {1, 2}, call
        assert captured.out == "" and not acting(captured.err), (call, captured)
        said = [
            line for line in captured.err.splitlines() if not line.startswith(("loading ", "each prompt is "))
        ]
        assert len(said) == 1, (call, captured.err)
        assert "Traceback" not in captured.err


def test_info_and_progress(capsys, monkeypatch):
    monkeypatch.setattr("platform.platform", lambda *_, **__: f"p{EVIL}")
    monkeypatch.setattr("fastneurons.machine.this_machine", lambda: report().machine)
    called(capsys, "info")
    for terminal in (False, True):
        stream = io.StringIO()
        stream.isatty = lambda terminal=terminal: terminal  # type: ignore[method-assign]
        progress_for(stream).message(f"n{EVIL}")
        assert stream.getvalue() == f"n{SHOWN}\n"


def test_a_text_of_a_megabyte_is_shortened(tmp_path, capsys):
    long = "x" * 1_000_000
    says = {"id": long, "reason": f"the id '{long}' is long", "where": long}
    run_of(runs.header(), says).write(tmp_path / "s")
    shown, _ = called(capsys, "summary", tmp_path / "s")
    assert len(shown) < 10_000 and "characters ...]" in shown
    data = tmp_path / "data.jsonl"
    rows = [{"id": long, "prompts": {"en": ""}}, {"id": "a", "prompts": {"en": "one", "de": long}}]
    data.write_text("\n".join(map(json.dumps, rows * 2)))
    shown, _ = called(capsys, "data", "check", data, "--languages", "en,de")
    assert len(shown) < 20_000
    _, said = called(capsys, "tasks", long, status=2)
    assert len(said) < 3000


def test_a_bugs_traceback_is_made_visible():
    code = (
        "from fastneurons.streams import say_traceback as hook; import sys; sys.excepthook = hook; "
        f"raise ValueError({EVIL!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and not acting(done.stderr.replace("FORGED", ""))
    assert r"\x1b]0;pwned" in done.stderr


ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "strict": {"PYTHONIOENCODING": "utf-8:strict"},
    "latin": {"PYTHONIOENCODING": "latin-1:strict"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "POSIX": {"LANG": "POSIX", "LC_ALL": ""},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_any_encoding_of_the_streams(encoding, evil_folder, tmp_path):
    runs.draw(7, languages=["en", "de", "日本語"], task=f"日本語{EVIL}").write(tmp_path / "s")
    calls = [
        ["data", "check", os.fsencode(evil_folder), "--languages", "en,de"],
        ["data", "check", os.fsencode(evil_folder), "--languages", "en,de", "--json"],
        ["summary", str(tmp_path / "s")],
        ["tasks", "xnli"],
    ]
    code = (
        "import sys, os; from fastneurons.cli import main\n"
        "for call in eval(sys.stdin.read()):\n"
        "    try: main([os.fsdecode(a) for a in call])\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=repr(calls).encode(),
        capture_output=True,
        env=os.environ | ENCODINGS[encoding],
        check=False,
    )
    assert done.returncode == 0 and done.stderr == b"", done.stderr.decode(errors="replace")
    assert not {c for c in done.stdout if c < 0x20} - {0x0A}
