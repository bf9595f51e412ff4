"""Counts of LAPE's published code and its descendants: read, written, and refused in one line."""

import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fastneurons.analysis import token_shares
from fastneurons.analysis.find_language_neurons import language_neurons
from fastneurons.analysis.inactive import inactive_in_corpus
from fastneurons.analysis.lape import Rates
from fastneurons.errors import InputError
from fastneurons.exchange.counts import import_counts, language_of, read_average, read_counts, write_counts
from fastneurons.report import compute_findings, print_findings
from fastneurons.store import open_store, verify_store
from tests.analysis.slow_lape import slow_lape
from tests.store.runs import draw


def published(folder: Path, code: str, tokens: int, count: np.ndarray) -> Path:
    """Write a file as activation.py of LAPE's repository does: a number and an int32 tensor."""
    path = folder / f"activation.{code}.train.llama-7b"
    torch.save({"n": tokens, "over_zero": torch.tensor(count, dtype=torch.int32)}, path)
    return path


@pytest.fixture
def files(tmp_path) -> tuple[list[Path], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    tokens = np.array([90, 100, 61])
    count = rng.binomial(tokens[:, None, None], rng.beta(0.3, 0.9, (3, 3, 11)))
    return (
        [
            published(tmp_path, c, int(t), own)
            for c, t, own in zip(("en", "zh", "th"), tokens, count, strict=True)
        ],
        tokens,
        count,
    )


def test_published_files_make_a_store_that_gives_the_published_result(files, tmp_path):
    paths, tokens, count = files
    store = import_counts(paths, str(tmp_path / "c.zarr"), model="llama-7b")
    assert store.header.languages == ["en", "zh", "th"] and store.header.model == "llama-7b"
    assert store["corpus_tokens"][...].tolist() == tokens.tolist()
    assert np.array_equal(store["activation_count"][0], count)
    rates = Rates(0.3, 0.5, 0.6)
    found = language_neurons(store, rates=rates)
    member, _ = slow_lape(count, tokens, 0.3, 0.5, 0.6)
    assert np.array_equal(found["member"].values, member)
    assert "no counts by parts" in found.attrs["no_stability"]


def test_every_analysis_of_a_corpus_takes_the_store(files, tmp_path, capsys):
    paths, tokens, count = files
    store = import_counts(paths, str(tmp_path / "c.zarr"))
    assert verify_store(store).is_whole
    assert token_shares(store).activated == pytest.approx((count / tokens[:, None, None]).mean(-1))
    assert inactive_in_corpus(store)["inactive_count"].values.tolist() == (count.sum(0) == 0).sum(1).tolist()
    print_findings(compute_findings(store), sys.stdout)
    assert "unknown" in capsys.readouterr().out
    assert store.to_xarray()["activation_count"].sel(language="zh").values.tolist() == count[1:2].tolist()
    assert "fold_tokens" not in store


@pytest.mark.parametrize(
    "keys", [("n", "over_zero"), ("total_tokens", "over_zero"), ("num_tokens", "activated_neuron_counts")]
)
@pytest.mark.parametrize("number", [torch.tensor(2**40), 2**40, float(2**40)], ids=["tensor", "int", "float"])
def test_descendants_name_and_type_their_numbers_otherwise(keys, number, tmp_path):
    count = torch.tensor([[0, 2**40 - 1], [2**40, 3]])
    torch.save({keys[0]: number, keys[1]: count, "average_activations": torch.ones(2, 2).half(), "model_type": "llama"},
               tmp_path / "en.pt")  # fmt: skip
    found = read_counts(tmp_path / "en.pt")
    assert found.tokens == 2**40 and found.over_zero.tolist() == count.tolist()
    assert read_average(tmp_path / "en.pt").tolist() == [[1, 1], [1, 1]]
    torch.save({keys[0]: number, keys[1]: count}, tmp_path / "de.pt")
    store = import_counts([tmp_path / "en.pt", tmp_path / "de.pt"], str(tmp_path / "c.zarr"))
    assert store["corpus_tokens"][...].tolist() == [2**40, 2**40]
    assert store["activation_count"][0, 0].tolist() == count.tolist()


def test_what_is_written_is_the_published_format_and_comes_back(tmp_path):
    run = draw(11, position="corpus", languages=["en", "de", "zh"], model="org/a b")
    run.write(tmp_path / "run.zarr")
    store = open_store(str(tmp_path / "run.zarr"))
    written = write_counts(store, tmp_path / "counts", 0.5)
    assert [path.name for path in written] == [f"activation.{code}.train.a-b" for code in ("en", "de", "zh")]
    for k, path in enumerate(written):
        found = torch.load(path, weights_only=True)
        assert found.keys() == {"n", "over_zero"}
        assert found["n"] == run.token_count.sum(0)[k]
        assert np.array_equal(found["over_zero"].numpy(), run.counts().sum(0)[1, k])
    back = import_counts(written, str(tmp_path / "back.zarr"))
    assert np.array_equal(back["activation_count"][0], store["activation_count"][1])


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("activation.en.train.llama-7b", "en"), ("activation.zh.train.qwen.language", "zh"), ("en.pt", "en"),
        ("activation.zho_Hans.train.llama", "zh"), ("de-activations.pt", "de"),
        ("llama3_activation_counts_sw.pt", "sw"), ("activation.is.val.de-model", "is"), ("activation.pt.train.m", "pt"),
    ],
)  # fmt: skip
def test_a_files_name_says_its_language(name, code):
    assert language_of(Path(name)) == code


@pytest.mark.parametrize("name", ["activation.pt", "counts", "en-de.pt"])
def test_a_name_that_says_none_or_two_asks_for_languages(name, tmp_path):
    published(tmp_path, "en", 3, np.ones((1, 2))).rename(tmp_path / name)
    with pytest.raises(InputError, match="give --languages, one for each file in their order"):
        import_counts([tmp_path / name], str(tmp_path / "c.zarr"))
    store = import_counts([tmp_path / name], str(tmp_path / "c.zarr"), languages=["fra"])
    assert store.header.languages == ["fr"]


class Runs:
    def __reduce__(self):
        return Path.touch, (Path("was-run"),)


COUNT = torch.ones(2, 3, dtype=torch.int32)
MALFORMED = {
    "no dictionary": ([1, 2], "holds a list: must be a dictionary with n and over_zero"),
    "no number": ({"over_zero": COUNT}, "has no n or total_tokens or num_tokens; it has over_zero"),
    "no counts": ({"n": 3, 5: 6}, "has no over_zero; it has n, 5"),
    "empty": ({}, "has no n or total_tokens or num_tokens; it has nothing"),
    "number is text": ({"n": "3", "over_zero": COUNT}, "n is a str: must be a whole number"),
    "number is true": ({"n": True, "over_zero": COUNT}, "n is a bool: must be a whole number"),
    "number is broken": ({"n": 2.5, "over_zero": COUNT}, "n is a float: must be a whole number"),
    "number is negative": ({"n": -1, "over_zero": COUNT}, "n is -1: must be 0 or greater"),
    "counts are a list": ({"n": 3, "over_zero": [[1]]}, "over_zero is a list: must be a tensor of whole numbers in 2"),
    "counts are floats": ({"n": 3, "over_zero": COUNT / 2}, r"over_zero is float32 \[2, 3\]: must be"),
    "counts are bools": ({"n": 3, "over_zero": COUNT > 0}, r"over_zero is bool \[2, 3\]"),
    "counts are complex": ({"n": 3, "over_zero": COUNT * 1j}, r"over_zero is complex64 \[2, 3\]"),
    "counts are sparse": ({"n": 3, "over_zero": COUNT.to_sparse()}, "sparse, quantized or empty of data"),
    "counts are flat": ({"n": 3, "over_zero": COUNT[0]}, r"over_zero is int32 \[3\]: must be .* in 2 dimensions"),
    "counts are none": ({"n": 3, "over_zero": COUNT[:0]}, r"over_zero is \[0, 3\]: must be layers by neurons"),
    "counts are negative": ({"n": 3, "over_zero": -COUNT}, "has a count of -1: must be 0 or greater"),
    "counts exceed": ({"n": 0, "over_zero": COUNT}, "1 tokens activate neuron 0:0, and n is 0"),
    "counts are expanded": ({"n": 3, "over_zero": torch.ones(1, dtype=torch.int32).expand(10**7, 10**7)},
                            "with fewer numbers in the file than its shape has"),
    "an object": ({"n": 3, "over_zero": Runs()}, "which could run code: it is not loaded"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_one_clear_line(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, match = MALFORMED[case]
    torch.save(content, "activation.en.train.m")
    with pytest.raises(InputError, match=match) as caught:
        import_counts(["activation.en.train.m"], "c.zarr")
    assert str(caught.value).startswith("activation.en.train.m: ") and "\n" not in str(caught.value)
    assert not Path("was-run").exists() and not Path("c.zarr").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 100, b"no file of torch", pickle.dumps({"n": 1}), b"PK\x03\x04" + b"\x00" * 30],
    ids=str,
)
def test_what_is_no_file_of_torch_is_one_clear_line(content, tmp_path):
    (tmp_path / "en.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"en\.pt: ") as caught:
        read_counts(tmp_path / "en.pt")
    assert "\n" not in str(caught.value)


def test_a_cut_off_file_and_one_that_unpacks_to_too_much(tmp_path, monkeypatch):
    path = published(tmp_path, "en", 3, np.ones((4, 100)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged"):
        read_counts(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", b"\x00" * 10**7)
    monkeypatch.setattr("fastneurons.exchange.pt_files._MOST_BYTES", 10**6)
    with pytest.raises(InputError, match="holds 10,000,000 bytes"):
        read_counts(path)


def test_files_that_do_not_fit_together(tmp_path):
    one = published(tmp_path, "en", 3, np.ones((2, 3)))
    other = published(tmp_path, "de", 3, np.ones((2, 4)))
    out = str(tmp_path / "c.zarr")
    with pytest.raises(
        InputError, match=r"has 2 layers of 4 neurons, and .* 2 of 3: they are of different models"
    ):
        import_counts([one, other], out)
    with pytest.raises(InputError, match="are both of en"):
        import_counts([one, one], out)
    with pytest.raises(InputError, match="--languages names 1, and there are 2 files"):
        import_counts([one, other], out, languages=["en"])
    with pytest.raises(InputError, match="does not exist"):
        import_counts([tmp_path / "activation.th.train.m"], out)
    with pytest.raises(InputError, match="is not a regular file"):
        import_counts([tmp_path], out, languages=["en"])


def test_means_are_written_if_the_store_has_sums_of_the_signal(tmp_path):
    run = draw(11, position="corpus", bins=16, counts_signs=True)
    run.write(tmp_path / "run.zarr")
    written = write_counts(open_store(str(tmp_path / "run.zarr")), tmp_path / "counts")
    tokens, sums = run.token_count.sum(0), run.arrays()["signal_sum"]
    for k, path in enumerate(written):
        assert np.array_equal(read_average(path), (sums[k] / tokens[k]).astype(np.float32))
