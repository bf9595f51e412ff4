"""The Python of docs/sets.md runs as it stands there, on a store like the one that it speaks of."""

import re
from pathlib import Path

import fastneurons
from fastneurons.neuron_sets import load_edit, load_set
from fastneurons.store import StoreWriter, Window
from tests.store.runs import draw

PAGE = Path(__file__).parents[2] / "docs" / "sets.md"


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = draw(4, layers=list(range(21)), neurons=16, top_k=3, model_fingerprint="f1")
    run.activation[:, :, :, 5] = 1  # a neuron that is always all-shared
    arrays = run.arrays()
    arrays["example_id"][0] = "france"
    with StoreWriter.create("run.zarr", run.header, keep_prompts=False, constants=run.constants()) as writer:
        writer.commit(Window(0, arrays, run.skipped()))
        writer.finish()
    names: dict = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), names)
    assert fastneurons.open("run.zarr").header.languages == ["en", "de", "zh"]
    middle = load_set("middle.safetensors")
    assert middle == names["middle"] and {layer for layer, _ in middle} == set(range(10, 21))
    assert (10, 5) in middle and (9, 5) not in middle
    assert len(names["strongest"]) > 0 and names["control"].sizes == middle.sizes
    assert load_edit("amplified.safetensors").scale == 1.5 and names["edit"].neurons == middle
