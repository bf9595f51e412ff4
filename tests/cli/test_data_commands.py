"""`tasks` and `data check`, and what `run` says of data before it loads a model."""

import json

import pytest

from fastneurons.data.tasks import TASKS
from tests.command import fastneurons_command
from tests.data.tasks import files


def said(*arguments: object) -> str:
    done = fastneurons_command(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def refused(*arguments: object) -> str:
    done = fastneurons_command(*arguments)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()[-1]


def test_all_tasks_are_listed():
    shown = said("tasks")
    for name, task in TASKS.items():
        assert f"\n {name} " in shown, name
        assert task.about.split()[0] in shown
    assert [one["task"] for one in json.loads(said("tasks", "--json"))] == list(TASKS)


def test_a_task_is_shown_with_its_templates_and_prompts():
    shown = said("tasks", "xnli")
    assert "en, ar, bg, de" in shown
    assert "facebook/xnli" in shown
    assert "aligned by  pairID" in shown
    assert "scored by   choice" in shown
    assert "  premise     the statement" in shown
    assert "template in de\n  Aussage: {premise}" in shown
    assert "a prompt in de\n  Aussage: Der Laden schließt um sechs.\n  Behauptung:" in shown
    one = json.loads(said("tasks", "ke-xx2en", "--json"))
    assert one["examples"]["zh"]["prompt"].startswith("新事实：")
    assert one["examples"]["zh"]["answer"] == "Schiller"


def test_an_unknown_task_is_guessed():
    assert "unknown task 'xnly'; did you mean xnli?" in refused("tasks", "xnly")


def test_data_is_checked_without_a_model(tmp_path):
    files.pawsx(tmp_path / "x-final")
    files.mgsm(tmp_path / "mgsm")
    places = (f"pawsx={tmp_path}/x-final", f"mgsm={tmp_path}/mgsm")
    shown = said("data", "check", *places, "--languages", "en,de")
    assert "2 examples can be measured, 2 with answers" in shown
    assert "1 left out: rows that the data set marks as unusable" in shown
    assert f"{tmp_path}/x-final/de/test_2k.tsv:3 de no translation (NS)" in shown
    assert "nothing suspicious" in shown
    reports = json.loads(said("data", "check", *places, "--languages", "en,de", "--json"))
    assert [one["task"] for one in reports] == ["pawsx", "mgsm"]
    assert reports[0]["counts"]["skipped"] == 1


def test_tokens_are_counted_by_a_models_tokenizer(tmp_path):
    from tests.engine import tiny

    model = tiny.make("Llama", tmp_path / "model")
    data = files.lines(tmp_path / "data.jsonl", [{"id": 1, "prompts": {"en": "abc", "de": "äb"}}])
    [report] = json.loads(said("data", "check", data, "--tokenizer", model, "--json"))
    # The tiny models' tokenizer reads bytes.
    assert report["languages"]["de"]["tokens"]["max"] - report["languages"]["de"]["characters"]["max"] >= 1
    assert report["languages"]["en"]["tokens"]["total"] >= 3
    assert "has no chat template" in refused(
        "data", "check", data, "--tokenizer", model, "--apply-chat-template"
    )
    assert "cannot be loaded" in refused("data", "check", data, "--tokenizer", tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tasks", "xnli"], "xnli needs --data"),
        (["--tasks", "xnly", "--data", "x"], "did you mean xnli"),
        (["--tasks", "mgsm", "--data", "MGSM", "--languages", "en,sw"], "has no sw; there are de, en, th"),
        (["--tasks", "mgsm,xnli", "--data", "MGSM"], "which of the tasks mgsm, xnli is it for"),
        (
            ["--tasks", "mgsm", "--data", "MGSM", "--select", "lenght(en) < 3"],
            "there is no function 'lenght'",
        ),
        (
            ["--tasks", "mgsm", "--data", "MGSM", "--template", "none.toml"],
            "--template none.toml cannot be read",
        ),
        (["--tasks", "mgsm", "--data", "MGSM", "--num-fewshot", "3"], "--num-fewshot 3: mgsm has 2 examples"),
        (["--tasks", "mgsm", "--data", "MGSM", "--limit", "0"], "--limit 0"),
        (["--tasks", "corpus", "--data", "MGSM"], "corpus has each language's texts by themselves"),
        (["--tasks", "mgsm", "--data", "MGSM", "--split", "train"], "--split train"),
        (["--tasks", "mgsm", "--data", "MGSM", "--system-instruction", "x"], "needs --apply-chat-template"),
        ([], "nothing to measure"),
    ],
)
def test_what_is_wrong_with_data_is_said_before_a_model_is_loaded(tmp_path, options, message):
    place = files.mgsm(tmp_path / "mgsm")
    options = [str(place) if option == "MGSM" else option for option in options]
    assert message in refused("run", "no-model", "--out", tmp_path / "out.zarr", *options)
    assert not (tmp_path / "out.zarr").exists()
