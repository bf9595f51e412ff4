"""The published folder: a card that the Hub can read, with the findings, and files that open; uploads are checked up
to the call of huggingface_hub."""

import re
import sys
from typing import ClassVar

import huggingface_hub
import numpy as np
import pandas
import pytest
import yaml
from safetensors.numpy import load_file

import fastneurons
from fastneurons.errors import InputError, OutputError
from fastneurons.report.publish import Wanted, check_push, publish, push
from fastneurons.report.publish.card import CAPTIONS
from fastneurons.store import open_store
from tests.report.page.simulated import simulate
from tests.store.runs import draw

HOSTILE = "<img src=x onerror=alert(1)> | [a](javascript:x) `b` *c* 日本"
RUN = simulate(
    24,
    top_k=4,
    languages=["en", "no", "zh_Hant", "my-own"],
    task=HOSTILE,
    tasks=[HOSTILE],
    layers=[0, 1],
    neurons=21,
)


@pytest.fixture(scope="module", autouse=True)
def few_figures():
    """Each figure is tested elsewhere, and takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        kept = ("summary", "sharing", "contribution")
        patch.setattr(
            sys.modules["fastneurons.report.publish"], "CAPTIONS", {name: CAPTIONS[name] for name in kept}
        )
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return RUN.write(tmp_path_factory.mktemp("publish") / "run.zarr")


@pytest.fixture(scope="module")
def folder(path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "out"
    publish(open_store(path), folder, Wanted(resamples=20, seed=0, licence="cc-by-4.0", store=True))
    return folder


def test_the_card_begins_with_what_the_hub_reads(folder):
    text = (folder / "README.md").read_text("utf-8")
    assert text.startswith("---\n")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "cc-by-4.0"
    assert front["language"] == ["en", "no", "zh"]  # `no` is no truth value, and own names are no languages
    assert [config["config_name"] for config in front["configs"] if config.get("default")] == [
        "category_counts"
    ]
    for config in front["configs"]:
        assert (folder / config["data_files"]).is_file()
    card = huggingface_hub.DatasetCard(text)
    assert card.data.license == "cc-by-4.0"


def test_the_card_says_what_was_found_and_run(folder):
    text = (folder / "README.md").read_text("utf-8")
    measured = RUN.measured(np.arange(24))
    shared = RUN.bits(0, 24)[measured, 0].all(1).mean()
    assert f"{100 * shared:.1f} % of neurons are activated in all 4 languages" in text
    assert "All-shared neurons are" in text
    assert "fastneurons run org/Simulated-1B" in text
    assert "[org/Simulated-1B](https://huggingface.co/org/Simulated-1B)" in text
    assert "<img" not in text.split("```sh")[0]
    assert "| [a]" not in text.split("```sh")[0]


def test_every_file_of_the_card_is_there_and_opens(folder):
    text = (folder / "README.md").read_text("utf-8")
    named = [*re.findall(r"\]\((figures/[^)]+)\)", text), *re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)]
    assert "figures/sharing.png" in named
    assert "report.html" in named
    for name in named:
        assert (folder / name).exists(), name
    assert "prompt" not in pandas.read_parquet(folder / "tables" / "prompts.parquet").columns
    assert load_file(folder / "arrays.safetensors")["occupancy"].shape == (1, 1, 2, 21, 4)
    assert fastneurons.open(str(folder / "run.zarr")).num_examples == 24


def test_a_folder_may_be_written_again_but_no_other(path, folder, tmp_path):
    (folder / "figures" / "old.png").write_bytes(b"")
    publish(open_store(path), folder, Wanted(report=False, resamples=0))
    assert not (folder / "figures" / "old.png").exists()
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is a folder with other files"):
        publish(open_store(path), tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]


def test_a_corpus_and_an_unfinished_run(tmp_path):
    draw(14, position="corpus", languages=["en", "de", "th"], signal="product").write(
        tmp_path / "corpus.zarr"
    )
    publish(open_store(str(tmp_path / "corpus.zarr")), tmp_path / "a", Wanted(report=False, resamples=0))
    text = (tmp_path / "a" / "README.md").read_text()
    assert "how many tokens of each language" in text
    assert "figures/summary.png" in text
    assert "not complete" not in text
    simulate(40, window=16).write(tmp_path / "part.zarr", only=16)
    publish(open_store(str(tmp_path / "part.zarr")), tmp_path / "b", Wanted(report=False, resamples=0))
    assert "The run was not complete" in (tmp_path / "b" / "README.md").read_text()


# -- upload -----------------------------------------------------------------------------------------------


class Api:
    calls: ClassVar[list[tuple[str, dict]]] = []
    error: ClassVar[Exception | None] = None

    def create_repo(self, repo_id, **options):
        self.calls.append((repo_id, options))
        return huggingface_hub.RepoUrl(f"https://huggingface.co/datasets/{repo_id}")

    def upload_folder(self, **options):
        if self.error:
            raise self.error
        self.calls.append(("upload_folder", options))


def test_uploads_are_data_sets(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(Api, "calls", [])
    assert push(tmp_path, "me/neurons", private=True) == "https://huggingface.co/datasets/me/neurons"
    (name, created), (_, uploaded) = Api.calls
    assert name == "me/neurons"
    assert created == {"repo_type": "dataset", "private": True, "exist_ok": True}
    assert uploaded["repo_id"] == "me/neurons"
    assert uploaded["folder_path"] == str(tmp_path)
    assert uploaded["repo_type"] == "dataset"


def test_arguments_are_those_of_huggingface_hub(monkeypatch, tmp_path):
    """The real functions take what is passed."""
    from inspect import signature

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(Api, "calls", [])
    push(tmp_path, "me/neurons")
    (name, created), (_, uploaded) = Api.calls
    monkeypatch.undo()
    signature(huggingface_hub.HfApi.create_repo).bind(None, name, **created)
    signature(huggingface_hub.HfApi.upload_folder).bind(None, **uploaded)


def test_a_failed_upload_says_that_the_folder_is_complete(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(Api, "error", ConnectionError("Cannot reach the Hub\nmore"))
    with pytest.raises(
        OutputError, match=r"is complete, but was not uploaded to me/neurons: Cannot reach the Hub$"
    ):
        push(tmp_path, "me/neurons")
    monkeypatch.setattr(Api, "error", TypeError("a mistake of ours"))
    with pytest.raises(TypeError):
        push(tmp_path, "me/neurons")


def test_what_cannot_be_uploaded_is_said_before_the_folder_is_made(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(InputError, match=r"not logged in .* run: hf auth login"):
        check_push("me/neurons")
    with pytest.raises(InputError, match="is not a name of a repository"):
        check_push("me/neurons/too/deep")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    check_push("me/neurons")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        check_push("me/neurons")
