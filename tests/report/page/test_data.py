"""The page's data, decoded without the page's own code, is what numpy computes from the simulated bits."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from fastneurons.report.page import report_page, write_report
from fastneurons.report.page.blocks import Block
from fastneurons.report.page.data import run_page
from fastneurons.report.page.document import code_bytes
from fastneurons.report.page.strips import NeuronCounts, strips
from fastneurons.store import open_store
from tests.report.page import decode
from tests.report.page.simulated import simulate
from tests.store.runs import draw


def bits_of(run):
    """bool [E, L, N, I] of the measured examples, and their task."""
    rows = np.arange(run.num_examples)
    measured = run.measured(rows)
    return run.bits(0, run.num_examples)[measured, 0], run.task(rows)[measured]


def test_a_block_comes_back_as_it_was():
    arrays = {
        "small": np.arange(7, dtype=np.uint8),
        "middle": np.arange(6, dtype=np.uint16).reshape(2, 3),
        "whole": np.array([-5, 2**31 - 1], np.int32),
        "real": np.array([[np.nan, 0.5]], np.float32),
    }
    block = Block({"text": "日本 </script>"}, arrays)
    meta, found = decode.block(block.compressed)
    assert meta == block.meta
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    with pytest.raises(TypeError, match="float64"):
        _ = Block(arrays={"a": np.zeros(2)}).compressed


def test_small_arrays_are_those_of_the_bits(run, page_file):
    [(meta, arrays)] = [
        each for name, each in decode.blocks(page_file.read_text()).items() if name == "run0/core"
    ]
    bits, task = bits_of(run)
    number = bits.sum(1)  # [E, N, I]
    L = bits.shape[1]
    for g, rows in enumerate([np.ones(len(task), bool), task == 0, task == 1]):
        shares = np.stack([(number == 0), (number == 1), (number > 1) & (number < L), number == L], -1).mean(
            2
        )[rows]
        np.testing.assert_allclose(arrays["category"][g, 0], shares.mean(0), atol=1e-6)
        p5, p95 = np.percentile(shares, [5, 95], axis=0)
        np.testing.assert_allclose(arrays["spread"][g], [p5, p95, shares.min(0), shares.max(0)], atol=1e-6)
        np.testing.assert_allclose(arrays["activated"][g], bits[rows].mean((0, 3)), atol=1e-6)
        _assert_overlaps(arrays, g, bits[rows])
    assert meta["groups"] == ["all tasks", "capitals", "currencies"]


def _assert_overlaps(arrays, g, bits):
    L, N = bits.shape[1:3]
    flat = bits.transpose(2, 1, 0, 3).reshape(N, L, -1)  # [N, L, E * I]
    for place, chosen in enumerate([*flat, flat.transpose(1, 0, 2).reshape(L, -1)]):
        pairs = [
            (chosen[a] & chosen[b]).sum() / (chosen[a] | chosen[b]).sum()
            for a in range(L)
            for b in range(a + 1, L)
        ]
        np.testing.assert_allclose(arrays["jaccard"][g, place], pairs, rtol=1e-6)
        for members, share in zip(arrays["set_members"], arrays["set_share"][g, place], strict=True):
            expected = (chosen == members[:, None].astype(bool)).all(0).mean()
            assert share in (pytest.approx(expected, abs=1e-6), 0)
        assert sorted(arrays["leaves"][g, place]) == list(range(L))


def test_strips_hold_every_neuron_of_every_group(run, page_file):
    found = decode.blocks(page_file.read_text())
    meta = found["run0/core"][0]["strips"]
    bits, task = bits_of(run)
    L = bits.shape[1]
    assert meta["exact"]
    for n in range(len(run.header.layers)):
        planes = decode.planes(found[f"run0/layer/{n}"][1]["planes"], 3, 3 + L)
        for g, rows in enumerate([np.ones(len(task), bool), task == 0, task == 1]):
            of_layer = bits[rows][:, :, n]
            number = of_layer.sum(1)
            expected = [
                (number == 1).sum(0),
                ((number > 1) & (number < L)).sum(0),
                (number == L).sum(0),
                *of_layer.sum(0),
            ]
            np.testing.assert_array_equal(planes[g * (3 + L) :][: 3 + L], expected)
            assert meta["scale"][g] == [rows.sum()] * (3 + L)


def test_listed_neurons_and_where_they_are_activated(run, page_file):
    found = decode.blocks(page_file.read_text())
    arrays, bits, (_, _) = found["run0/listed"][1], bits_of(run)[0], bits_of(run)
    layer, neuron = arrays["layer"], arrays["neuron"]
    np.testing.assert_array_equal(arrays["language"][0], bits[:, :, layer, neuron].sum(0))
    number = bits[:, :, layer, neuron].sum(1)
    expected = [(number == k).sum(0) for k in (0, 1)] + [(number == bits.shape[1]).sum(0)]
    np.testing.assert_array_equal(arrays["category"][0][:, [0, 1, 3]], np.stack(expected, -1))
    patterns = found["run0/patterns"][1]["bits"]
    unpacked = np.unpackbits(patterns, axis=-1, bitorder="little", count=len(bits))  # [M, L, E]
    np.testing.assert_array_equal(unpacked, bits[:, :, layer, neuron].transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("budget", "exact", "languages"), [(None, True, True), (60_000, False, True), (9_000, False, False)]
)
def test_strips_that_do_not_fit_become_coarser(budget, exact, languages):
    rng = np.random.default_rng(0)
    E, G, L, N, I = 1000, 2, 4, 3, 5000  # noqa: E741
    category = rng.multinomial(E // 2, [0.4, 0.1, 0.3, 0.2], (G - 1, N, I)).astype(np.int32)
    language = rng.integers(0, E // 2, (G - 1, L, N, I)).astype(np.int32)
    counts = NeuronCounts(
        np.concatenate([2 * category, category]),
        np.concatenate([2 * language, language]),
        np.array([E, E // 2]),
        np.array([[E] * L, [E // 2] * L]),
    )
    made = strips(counts, budget)
    assert made is not None
    assert (made.exact, made.has_languages) == (exact, languages)
    assert budget is None or made.text_bytes <= budget
    per_group = len(made.scale[0])
    for n in range(N):
        planes = decode.planes(decode.block(made.blocks[n].compressed)[1]["planes"], 3, per_group)
        found = planes[:3] / np.array(made.scale[0][:3])[:, None]
        step = 0 if exact else 0.5 / made.scale[0][0]
        np.testing.assert_allclose(found, counts.category[0, n, :, 1:].T / E, atol=step + 1e-9)
    assert strips(counts, 100) is None


def test_a_page_keeps_to_its_budget_and_says_what_it_lacks(store, run):
    page = run_page(open_store(store), budget=25_000)
    assert sum(len(block.text) for block in (page.core, *page.blocks.values())) < 60_000
    whole = run_page(open_store(store))
    assert sum(len(b.text) for b in page.blocks.values()) < sum(len(b.text) for b in whole.blocks.values())
    measured = int(run.measured(np.arange(run.num_examples)).sum())
    assert page.core.meta["examples"]["measured"] == whole.core.meta["examples"]["shown"] == measured


def test_the_file_is_small_and_needs_nothing_else(page_file):
    html = page_file.read_text()
    assert code_bytes() < 300_000
    assert "default-src 'none'" in html
    outside = set(
        re.findall(r"""(?:https?:)?//[\w.-]+\.\w+""", re.sub(r"<script type=.*?</script>", "", html))
    )
    assert outside <= {"http://www.w3.org"}  # the name of SVG
    assert not re.findall(r"<(?:link|img|iframe|script [^>]*src)\b", html)


def test_text_from_data_is_no_markup(page_file):
    html = page_file.read_text()
    for text in ("window.hacked", "alert(1)"):
        assert text not in html  # inside compressed blocks alone


def test_a_title_is_escaped(tmp_path):
    run = simulate(8, model="org/<b>&co", languages=["en", "de"], layers=[0, 1])
    page = report_page([open_store(run.write(tmp_path / "run.zarr"))])
    assert "<title>org/&lt;b&gt;&amp;co – fastneurons</title>" in page.html
    index = re.search(r'id="index">(.*?)</script>', page.html)
    assert index is not None
    assert "<" not in index[1]
    assert json.loads(index[1])["runs"][0]["title"] == "org/<b>&co"


def test_the_same_store_gives_the_same_page(store, page_file):
    assert report_page([open_store(store)]).html == page_file.read_text()


def test_a_folder_has_the_large_blocks_in_files(store, tmp_path):
    write_report([open_store(store)], tmp_path / "out", folder=True)
    html = (tmp_path / "out" / "index.html").read_text()
    inside = decode.blocks(html)
    assert list(inside) == ["run0/core"]
    files = sorted(path.name for path in (tmp_path / "out" / "data").iterdir())
    assert {"run0-layer-0.js", "run0-examples-0.js", "run0-listed.js"} <= set(files)
    script = (tmp_path / "out" / "data" / "run0-layer-0.js").read_text()
    assert re.fullmatch(r'fastneuronsBlock\("run0/layer/0","[A-Za-z0-9+/=]+"\);\n', script)


def test_two_runs_are_compared_and_others_say_why_not(tmp_path):
    runs = [simulate(24), simulate(24, shift=40), simulate(24, languages=["en", "de"])]
    stores = [open_store(run.write(tmp_path / f"{n}.zarr")) for n, run in enumerate(runs)]
    found = decode.blocks(report_page(stores).html)
    meta, arrays = found["compare/0-1"]
    first, second = (found[f"run{n}/core"][1]["category"][0, 0] for n in (0, 1))
    np.testing.assert_allclose(arrays["difference"][0], second - first, atol=1e-6)
    assert meta["examples"] == 22
    assert (arrays["difference"][0, 3:, 3] > 0).all()
    assert "en" in found["compare/0-2"][0]["reason"]


def test_runs_that_lack_something_still_have_a_page(tmp_path):
    run = simulate(40)
    partial = run_page(open_store(run.write(tmp_path / "partial.zarr", only=32)))
    assert not partial.core.meta["complete"]
    assert partial.core.meta["examples_committed"] == 32
    begun = run_page(open_store(run.write(tmp_path / "begun.zarr", only=0)))
    assert begun.core.meta["sentences"] == []
    assert not begun.blocks
    counts = run_page(open_store(run.write(tmp_path / "counts.zarr", keep_bits=False)))
    assert "jaccard" not in counts.core.arrays
    assert counts.core.meta["strips"]["languages"] is False
    corpus = draw(24, position="corpus")
    corpus.write(tmp_path / "corpus.zarr")
    page = run_page(open_store(str(tmp_path / "corpus.zarr")))
    planes = decode.planes(decode.block(page.blocks["layer/1"].compressed)[1]["planes"], 0, 3)
    np.testing.assert_array_equal(planes, corpus.arrays()["activation_count"][0, :, 1])


def test_the_wheel_has_the_assets():
    import tomllib

    root = Path(__file__).parents[3]
    tool = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "fastneurons.report.page" in tool["packages"]
    assert tool["package-data"]["fastneurons.report.page"] == ["assets/*"]
