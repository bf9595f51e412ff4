"""Mistakes of users: one line that says what, where, and what would be right; status 2; no traceback."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import fastneurons_command
from tests.engine import tiny

GOOD = {"id": "a", "prompts": {"en": "one", "de": "eins"}}


def refused(*arguments: str) -> str:
    """Run a command that must be refused; what it said, which must be one line."""
    done = fastneurons_command(*arguments)
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()[-1]


def run_on(
    data: Path | str, tmp_path: Path, *more: str, model: str = "no-model", languages: str = "en,de"
) -> str:
    return refused(
        "run",
        model,
        "--data",
        str(data),
        "--languages",
        languages,
        "--out",
        str(tmp_path / "out.zarr"),
        *more,
    )


def jsonl(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines) + b"\n")
    return path


def test_a_missing_file_is_named(tmp_path):
    assert "missing.jsonl" in run_on(tmp_path / "missing.jsonl", tmp_path)


def test_an_empty_file_is_named(tmp_path):
    path = tmp_path / "empty.jsonl"
    path.touch()
    assert "empty.jsonl" in run_on(path, tmp_path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"not json", "JSON"),
        ({"prompts": GOOD["prompts"]}, "id"),
        ({"id": "a"}, "prompts"),
        ({"id": "a", "prompts": {"en": "one", "de": "  "}}, "empty"),
        (b'{"id": "a", "prompts": {"en": "one", "de": "\xff\xfe"}}', "UTF-8"),
    ],
    ids=["not JSON", "no id", "no prompts", "empty prompt", "invalid UTF-8"],
)
def test_a_file_without_a_usable_line_is_refused_with_the_line(line, said, tmp_path):
    message = run_on(jsonl(tmp_path, line), tmp_path)
    assert said in message
    assert "data.jsonl:1" in message


def test_a_truncated_gzip_file_is_named(tmp_path):
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode() * 1000)[:40])
    assert "data.jsonl.gz" in run_on(path, tmp_path)


@pytest.mark.parametrize(
    ("languages", "said"),
    [("en,xx", "xx"), ("en,en", "en"), ("en", "two"), ("en,fr", "fr"), ("", "two")],
)
def test_languages_that_cannot_be(languages, said, tmp_path):
    message = run_on(jsonl(tmp_path, GOOD), tmp_path, languages=languages)
    assert said in message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--position middle", "must be one of last, any, answer, corpus"),
        ("--signal up", "must be one of gate, product"),
        ("--attribution --position any", "attribution reads the last prompt token; use --position last"),
        ("--top-k 5", "needs --attribution"),
        ("--attribution --top-k 0", "at least 1"),
        ("--keep-coefficients", "needs --attribution"),
        ("--block-size 64", "needs --position corpus"),
        ("--position corpus --block-size 0", "at least 1"),
        ("--observe-memory 0", "above 0"),
        ("--observe-memory nan", "above 0"),
        ("--threshold inf", "finite"),
        ("--position any --engine-arg enable_prefix_caching=true", "would not be read"),
    ],
)
def test_what_is_to_be_measured_must_make_sense(options, said, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert said in run_on(jsonl(tmp_path, GOOD), tmp_path, *options.split(), model=str(tmp_path / "model"))


def test_texts_that_are_not_parallel_are_counted_not_compared(tmp_path):
    for code in ("en", "de"):
        (tmp_path / f"{code}.txt").write_text("one\n")
    message = run_on(tmp_path, tmp_path, "--tasks", "corpus")
    assert "--position corpus counts over them" in message


def test_an_output_that_exists_is_not_overwritten(tmp_path):
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "thesis.txt").write_text("years of work")
    assert "out.zarr" in run_on(jsonl(tmp_path, GOOD), tmp_path)
    assert "out.zarr" in run_on(jsonl(tmp_path, GOOD), tmp_path, "--overwrite")
    assert (tmp_path / "out.zarr" / "thesis.txt").read_text() == "years of work"


def test_a_model_that_is_no_model(tmp_path):
    data = jsonl(tmp_path, GOOD)
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "no config.json" in run_on(data, tmp_path, model=str(folder))
    assert "no such folder" in run_on(data, tmp_path, model=str(tmp_path / "nowhere"))
    assert "is a file" in run_on(data, tmp_path, model=str(data))
    (folder / "config.json").write_text('{"model_type": "something"}')
    assert str(folder) in run_on(data, tmp_path, model=str(folder))
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.engine
def test_a_hub_name_without_a_network(tmp_path):
    message = run_on(jsonl(tmp_path, GOOD), tmp_path, model="some-org/some-model")
    assert "some-org/some-model" in message


def test_a_truncated_weights_file(tmp_path):
    model = tiny.make("Llama", tmp_path / "model")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    message = run_on(jsonl(tmp_path, GOOD), tmp_path, model=str(model))
    assert str(model) in message
    assert "is cut short" in message
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.engine
def test_a_model_that_does_not_load_names_the_cause_and_the_log(tmp_path):
    model = tiny.make("Llama", tmp_path / "model")
    (model / "tokenizer.json").write_bytes(bytes(range(256)))
    message = run_on(jsonl(tmp_path, GOOD), tmp_path, model=str(model))
    assert f"{model}: vLLM cannot load it: " in message
    told, _, log = message.partition("; vLLM's log: ")
    assert "root cause" not in told
    assert Path(log).is_file()
    Path(log).unlink()


@pytest.mark.engine
def test_bad_lines_among_good_ones_are_skipped_counted_and_named(tmp_path):
    model = tiny.make("Llama", tmp_path / "model")
    data = jsonl(
        tmp_path,
        GOOD,
        b"not json",
        GOOD,
        {"id": "b", "prompts": {"en": "two"}},
        {"id": "long", "prompts": {"en": "x" * 500, "de": "y"}},
        {"id": "c", "prompts": {"en": "three", "de": "drei"}},
    )
    out = tmp_path / "out.zarr"
    done = fastneurons_command(
        "run", str(model), "--data", str(data), "--languages", "en,de", "--out", str(out),
        "--max-model-len", "256", "--dtype", "float32",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    skipped = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert [s["index"] for s in skipped] == [1, 2, 3, 4]
    assert [s["where"].rpartition("/")[2] for s in skipped] == [f"data.jsonl:{n}" for n in (2, 3, 4, 5)]
    assert "500 tokens" in skipped[3]["reason"]
    summary = json.loads(fastneurons_command("summary", str(out), "--json").stdout)
    assert summary["measured"] == 2
    assert summary["skipped"] == 4
    shown = fastneurons_command("summary", str(out)).stdout
    assert "data.jsonl:2" in shown


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--limit", "0"], "--limit"),
        (["--window", "0"], "--window"),
        (["--window", str(10**30)], "at most 1,048,576"),
        (["--limit", str(10**30)], "at most"),
        (["--skip", str(10**30)], "at most"),
        (["--block-size", str(10**30), "--position", "corpus"], "at most"),
        (["--max-model-len", str(10**30)], "at most"),
        (["--seed", "-1"], "--seed"),
        (["--seed", str(10**30)], "--seed"),
        (["--observe-memory", "1e300"], "at most"),
        (["-tp", str(10**30)], "devices"),
        (["--engine-arg", "enable_lora=true"], "as --lora"),
        (["--engine-arg", 'lora_modules=["a"]'], "as --lora"),
        (["--threshold", "nan"], "--threshold"),
        (["--threshold", "0", "--threshold", "0"], "twice"),
        (["--resume", "--overwrite"], "cannot be combined"),
        (["--engine-arg", "block_size"], "KEY=VALUE"),
        (["--engine-arg", "dtype=half"], "--dtype"),
        (["--engine-arg", "worker_cls=x"], "worker_cls"),
        (["--gpu-memory-utilization", "2"], "--gpu-memory-utilization"),
        (["--no-such-option"], "--no-such-option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be(option, said, tmp_path):
    assert said in run_on(jsonl(tmp_path, GOOD), tmp_path, *option)


def test_wrong_calls_are_answered_before_anything_large_is_imported(tmp_path):
    script = (
        "import sys\nfrom fastneurons.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n"
        "    print(end.code, *sorted({'torch', 'vllm', 'transformers', 'zarr', 'numba'} & set(sys.modules)))"
    )
    data = jsonl(tmp_path, GOOD)
    (tmp_path / "empty").mkdir()
    for wrong in (
        ["no-model", "--window", "0"],
        ["no-model", "--top-k", "5"],
        ["no-model", "--position", "any", "--engine-arg", "enable_prefix_caching=true"],
        ["no-model", "--engine-arg", "enable_lora=true"],
        [str(tmp_path / "nowhere")],
        [str(tmp_path / "empty")],
        [str(data)],
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, "run", *wrong, "--data", str(data), "--languages", "en,de"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout == "2\n", (wrong, done.stdout, done.stderr)
        assert done.stderr.count("\n") == 1


def test_a_store_that_is_none(tmp_path):
    assert "nowhere.zarr" in (done := fastneurons_command("summary", str(tmp_path / "nowhere.zarr"))).stderr
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    (tmp_path / "folder").mkdir()
    done = fastneurons_command("plot", str(tmp_path / "folder"))
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
