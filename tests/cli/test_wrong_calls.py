"""Every command with arguments that cannot be: status 1 or 2, one line, no traceback, and nothing heavy loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from fastneurons.cli import main
from tests.store import runs

HEAVY = ("torch", "vllm", "transformers", "triton", "numba")
RUN = "run no-model --data {data} --languages en,de --out {tmp}/o.zarr"
CALLS = [
    "nope",
    "--nope",
    "summary",
    "summary {tmp}/missing",
    "summary {data}",
    "summary {folder}",
    "summary {store} --threshold 9",
    "summary {store} --threshold x",
    "summary {store} --threshold",
    "summary {store} {store}",
    "summary nosuchscheme://x",
    "merge",
    "merge {store}",
    "merge {store} -o {store}",
    "merge {store} {store} -o {tmp}/m.zarr",
    "merge {tmp}/missing -o {tmp}/m.zarr",
    "merge {data} -o {tmp}/m.zarr",
    "merge {store} -o {data}",
    "merge {store} -o nosuchscheme://x",
    "plan",
    "plan {tmp}/missing --examples 1 --languages 2 --tokens 3",
    "plan {data} --examples 1 --languages 2 --tokens 3",
    "plan {data} --examples x --languages 2 --tokens 3",
    RUN + " --shard 0/2",
    RUN + " --shard x",
    "plot",
    "plot {tmp}/missing",
    "plot {store} -o {folder}",
    "plot {store} -o {tmp}/x.unknown",
    "plot {store} -o {tmp}/missing/x.png",
    "plot {store} -o /proc/x.png",
    "plot {data}",
    "sharing",
    "sharing {tmp}/missing",
    "sharing {store} --languages en",
    "sharing {store} --permutations -1",
    "sharing {store} --similarity {folder}",
    "sharing {store} --similarity {empty}",
    "sharing {store} --csv {tmp}/missing/x.csv",
    "alignment {store} --reference nope",
    "alignment {store} --sample 1",
    "neurons {store} --category nope",
    "neurons {store} --by nope",
    "neurons {store} --top 0",
    "neurons {store} --min-share 2",
    "neurons {store} --neuron x",
    "neurons {store} --neuron 0:99",
    "neurons {store} --neuron 0:1 --save {tmp}/x",
    "neurons {store} --save {folder}",
    "neurons {store} --save {tmp}/missing/x",
    "sets nope",
    "sets show",
    "sets show {tmp}/missing",
    "sets show {store}",
    "sets show {empty}",
    "sets show {data}",
    "sets combine {empty} {data} --save {tmp}/x",
    "sets combine {empty} --save {tmp}/x",
    "sets combine {empty} {data} --by nope --save {tmp}/x",
    "sets random {data}",
    "sets random {data} --save {folder}",
    "sets random {data} --seed x --save {tmp}/x",
    "contribution {store}",
    "distributions {store}",
    "distributions {store} --top -1",
    "distributions {store} --mean-of en",
    "distributions {store} --save-edit {folder}",
    "tasks nope",
    "tasks xnli xnli",
    "data nope",
    "data check {tmp}/missing",
    "data check {folder}",
    "data check {empty}",
    "data check {store}",
    "data check nope={data}",
    "data check {data} --languages en",
    "data check {data} --languages en,nope",
    "data check {data} --num-fewshot -1",
    "data check {data} --template {folder}",
    "data check {data} --template {empty}.toml",
    "data check {data} --apply-chat-template",
    "data check {data} --show x",
    "bench --contenders nope",
    "bench --rounds 0",
    "bench --rounds x",
    "bench --prompt-lengths x",
    "bench --prompt-lengths 1",
    "bench --num-languages 1",
    "bench --json {folder}",
    "bench --json {tmp}/missing/x.json",
    "bench --plot x.unknown",
    "bench --plot {tmp}/missing/x.png",
    "bench --engine-arg x",
    "info nope",
    "demo --languages nope",
    "demo --limit 0",
    "demo --window 0",
    "demo --position nope",
    "demo --position corpus",
    "demo --threshold nan",
    "demo --output {empty}",
    "demo --output /proc/x",
    "run",
    f"{RUN} --nope",
    f"{RUN} --window 0",
    f"{RUN} --window 1.5",
    f"{RUN} --limit 0",
    f"{RUN} --skip -1",
    f"{RUN} --position nope",
    f"{RUN} --signal nope",
    f"{RUN} --threshold nan",
    f"{RUN} --threshold",
    f"{RUN} --top-k 0 --attribution",
    f"{RUN} --block-size 0",
    f"{RUN} --histogram 64",
    f"{RUN} --position corpus --histogram 8",
    f"{RUN} --position corpus --histogram 257",
    f"{RUN} --tokens-per-language 9",
    f"{RUN} --position corpus --tokens-per-language 0",
    f"{RUN} --observe-memory -1",
    f"{RUN} --lora {{tmp}}/missing",
    "generate no-model --data {data} --languages en --out {tmp}/o.zarr --lora {tmp}/missing",
    "perplexity no-model --data {data} --languages en --out {tmp}/o.zarr --lora {folder}",
    "lm-eval run --model_args pretrained=no-model --tasks t --lora {data}",
    f"{RUN} --engine-arg x",
    f"{RUN} --engine-arg model=x",
    f"{RUN} -tp 0",
    f"{RUN} --engines 0",
    f"{RUN} --engines nope",
    f"{RUN} --engines 2 --num-engines 2",
    f"{RUN} --num-engines 2",
    f"{RUN} --engines 2 --window-timeout 0",
    f"{RUN} --gpu-memory-utilization 7",
    f"{RUN} --max-model-len 0",
    f"{RUN} --resume --overwrite",
    f"{RUN} --select (",
    f"{RUN} --tasks nope",
    f"{RUN} --out {{folder}}",
    f"{RUN} --out {{data}}",
    f"{RUN} --out /proc/x.zarr",
    "run {folder} --data {data} --languages en,de --out {tmp}/o.zarr",
    "run {empty} --data {data} --languages en,de --out {tmp}/o.zarr",
    "run no-model --data {tmp}/missing --languages en,de",
]


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> dict[str, Path]:
    tmp = tmp_path_factory.mktemp("wrong")
    runs.draw(7).write(tmp / "s.zarr")
    (tmp / "d.jsonl").write_text('{"id": "a", "prompts": {"en": "one", "de": "two"}}\n')
    (tmp / "empty").touch()
    (tmp / "folder").mkdir()
    (tmp / "folder" / "file").touch()
    return {
        "tmp": tmp,
        "store": tmp / "s.zarr",
        "data": tmp / "d.jsonl",
        "empty": tmp / "empty",
        "folder": tmp / "folder",
    }


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_call_is_answered_in_one_line(call, names, capsys, monkeypatch):
    monkeypatch.chdir(names["tmp"])
    with pytest.raises(SystemExit) as end:
        main(call.format(**names).split())
    captured = capsys.readouterr()
    said = [line for line in captured.err.splitlines() if not line.startswith("loading ")]
    assert end.value.code in {1, 2}, captured.err
    assert captured.out == "" and len(said) == 1, captured.err
    assert said[0].startswith("fastneurons") and "Traceback" not in said[0]


@pytest.mark.parametrize(
    "call",
    [
        "--help",
        "--version",
        "run --help",
        "tasks",
        "summary {tmp}/missing",
        "plot {tmp}/missing",
        "plot {store} -o x.unknown",
        "data check {tmp}/missing",
        f"{RUN} --window 0",
        f"{RUN} --position nope",
        "demo --limit 0",
        "bench --rounds 0",
    ],
)
def test_what_needs_no_model_loads_nothing_heavy(call, names):
    """Importing any of these takes longer than an answer may."""
    code = (
        "import sys\nfrom fastneurons.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        f"print('loaded:', *[name for name in {HEAVY} if name in sys.modules], file=sys.__stderr__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *call.format(**names).split()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "loaded:"
