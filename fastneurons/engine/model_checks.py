"""Refuse models before they are loaded, by their configuration and by the headers of their weights.

These checks take milliseconds where loading takes minutes, or does not end. They are made to miss rather than to
refuse a model that is sound: `engine/loading.py` looks at what was really loaded, layer by layer.
"""

import contextlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fastneurons.engine.model_files import CONFIG, TensorHeader, read_config, read_headers, weight_files
from fastneurons.errors import InputError
from fastneurons.model_name import is_path

# No model comes near; vLLM would build them one by one.
_MOST_LAYERS = 10_000

# Only names that mean the width of a dense MLP wherever they stand.
_WIDTHS = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
_NUM_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
# num_experts, num_local_experts, n_routed_experts, moe_num_experts, ...; not num_experts_per_tok.
_NUM_EXPERTS = re.compile(r"(^|_)(num|n)_(\w+_)?experts$")
_SHARED_EXPERTS = re.compile(r"shared|zero|redundant|group")
_OTHER_PARTS = re.compile(r"vis(ion|ual)|audio|image|mtp|speech|talker|code2wav|draft", re.IGNORECASE)
_LAYER = re.compile(
    r"(?P<prefix>(?:^|.*?\.)(?:layers|h|blocks|block|layer)\.)(?P<index>\d+)\.(?P<suffix>.+)$"
)
_EMBEDDING = re.compile(r"emb|wte", re.IGNORECASE)
_OTHER_EMBEDDINGS = re.compile(r"pos|wpe|norm|type|per_layer|patch|rotary|lm_head|embed_out", re.IGNORECASE)
# Buffers that old checkpoints keep in some layers and nobody reads, and tensors that only quantised ones have.
_OPTIONAL = re.compile(
    r"inv_freq$|masked_bias$|(^|\.)(attn|attention)\.bias$|_scale(_inv)?$|zero_point$|g_idx$"
)
# Parts of a layer that are useless without each other.
_TOGETHER = (("gate_proj", "up_proj", "down_proj"), ("up_proj", "down_proj"))


def local_folder(model: str, revision: str | None, cache: str | None = None) -> Path | None:
    """Find a model's files on this machine; None if they have still to be downloaded.

    Raises:
        InputError: a path that is not a folder.
    """
    path = Path(model).expanduser() if is_path(model) else Path(model)
    if path.is_dir():
        return path
    if path.is_file():
        raise InputError(f"{model} is a file; a model is a folder with config.json and its weights")
    if path.exists():
        raise InputError(f"{model} is not a folder; a model is a folder with config.json and its weights")
    if is_path(model):
        raise InputError(f"{model}: no such folder")
    with contextlib.suppress(Exception):  # not there, no valid name, or no huggingface_hub: vLLM will say
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(model, revision=revision, cache_dir=cache, local_files_only=True))
    return None


def folder_at_hand(model: str, revision: str | None, cache: str | None = None) -> Path | None:
    """Find a model's folder as `local_folder` does; None also if it holds only some of a Hub model's files."""
    folder = local_folder(model, revision, cache)
    if folder is None or (str(folder) != model and not is_path(model) and not is_downloaded(folder)):
        return None
    return folder


def is_downloaded(folder: Path) -> bool:
    """Whether all files of a Hub model that vLLM would read are there."""
    if not (folder / CONFIG).exists():
        return False
    try:
        return bool(weight_files(folder))
    except InputError:
        return False


def check_files(folder: Path) -> tuple[dict[str, Any], list[TensorHeader]]:
    """A model's configuration and tensors, if a decoder model can have them.

    Raises:
        InputError: they cannot; the message names the tensor, the file or the entry.
    """
    config = read_config(folder)
    try:
        check_config(config)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    files = weight_files(folder)
    if not files:
        return config, []
    tensors = read_headers(files)
    try:
        check_tensors(config, tensors)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error
    return config, tensors


def check_config(config: dict[str, Any]) -> None:
    """Refuse models that cannot be measured, by the configuration as written or with its defaults filled in.

    Raises:
        InputError: an encoder-decoder, a mixture of experts, or a number of layers that cannot be.
    """
    if not config:
        raise InputError("config.json holds nothing: it has neither architectures nor model_type")
    if config.get("is_encoder_decoder") is True:
        raise InputError(f"{_kind(config)} is an encoder-decoder; only decoder models are read")
    number = num_experts(config)
    if number:
        name, count = number
        raise InputError(
            f"{_kind(config)} is a mixture of experts ({name} {count}); its neurons run inside a fused kernel and "
            "cannot be measured: choose a dense model"
        )
    layers = _num_layers(config)
    if layers is not None and not 0 < layers <= _MOST_LAYERS:
        raise InputError(f"config.json says {layers:,} layers; 1 to {_MOST_LAYERS:,} can be read")


def decoder_shape(config: dict[str, Any]) -> tuple[int, int] | None:
    """Numbers of decoder layers and of neurons in each by the configuration; None if it does not say so plainly."""
    text = _text_config(config)
    layers = _num_layers(config)
    widths = {text[name] for name in _WIDTHS if text.get(name) is not None}
    # One width, for all layers: some models have a list, or a doubled one.
    if layers is None or len(widths) != 1 or "block_configs" in text or text.get("use_double_wide_mlp"):
        return None
    [width] = widths
    return (layers, width) if isinstance(width, int) and width > 0 and layers > 0 else None


def num_experts(config: dict[str, Any]) -> tuple[str, int] | None:
    """The entry that says how many experts a layer has, and that number; None for a dense model.

    One expert is a dense layer in some families and a mixture in others: the loaded model tells them apart.
    """
    for part in _parts(config):
        if _all_layers_dense(part):
            continue
        for name, value in part.items():
            if not isinstance(name, str) or not _NUM_EXPERTS.search(name) or _SHARED_EXPERTS.search(name):
                continue
            counts = value if isinstance(value, list) else [value]
            numbers = [n for n in counts if isinstance(n, int) and not isinstance(n, bool)]
            if max(numbers, default=0) > 1:
                return name, max(numbers)
    return None


def check_tensors(config: dict[str, Any], tensors: Sequence[TensorHeader]) -> None:
    """Compare the names and shapes of a checkpoint with its configuration and with each other.

    Raises:
        InputError: a tensor is missing, or has another shape than its like.
    """
    text = _text_config(config)
    layers = _decoder_layers(tensors)
    expected = _num_layers(config)
    if layers and expected is not None and "block_configs" not in text and len(layers) < expected:
        missing = next(i for i in range(expected) if i not in layers)
        raise InputError(
            f"config.json says {expected:,} layers, the weights have {len(layers):,}: layer {missing} is missing"
        )
    quantised = "quantization_config" in config or "quantization_config" in text
    if layers:
        _check_layers(text, layers, quantised)
    _check_embedding(text, tensors, quantised)


def _check_layers(
    config: dict[str, Any], layers: dict[int, dict[str, TensorHeader]], quantised: bool
) -> None:
    by_kind: dict[str, list[int]] = defaultdict(list)
    for index in sorted(layers):
        by_kind[_kind_of_layer(config, index)].append(index)
    for indices in by_kind.values():
        _check_alike({index: layers[index] for index in indices}, quantised)
    if quantised:
        return
    for tensors in layers.values():
        _check_together(tensors)


def _check_alike(layers: dict[int, dict[str, TensorHeader]], quantised: bool) -> None:
    """Check that layers of a kind have the same tensors, of the same shapes.

    A layer is refused if it lacks what three in four layers have or more and has nothing of its own:
    models that mix kinds of layers without saying so differ in more of them, or in both directions.
    """
    names = {
        index: {_unit(s, quantised) for s in ts if not _OPTIONAL.search(s)} for index, ts in layers.items()
    }
    counts = Counter(name for own in names.values() for name in own)
    usual = {name for name, count in counts.items() if count < len(layers) and 4 * count >= 3 * len(layers)}
    if len(layers) == 3:
        usual = {name for name, count in counts.items() if count == 2}
    for index, own in names.items():
        lacking = sorted(usual - own)
        if lacking and any(own < other for other in names.values()):
            sample = next(ts for i, ts in layers.items() if lacking[0] in names[i])
            name = next(t.name for s, t in sorted(sample.items()) if _unit(s, quantised) == lacking[0])
            raise InputError(
                f"the weights are not whole: {_renumbered(name, index)} is missing, which other layers have"
            )
    if quantised:
        return
    for suffix in counts:
        shapes = {i: ts[suffix].shape for i, ts in layers.items() if suffix in ts}
        common, count = Counter(shapes.values()).most_common(1)[0]
        for index, shape in shapes.items():
            if shape != common and 4 * count >= 3 * len(shapes):
                raise InputError(
                    f"{layers[index][suffix].name} is {_by(shape)}, where other layers have {_by(common)}"
                )


def _check_together(tensors: dict[str, TensorHeader]) -> None:
    """Check that the projections of an MLP are all there and fit each other."""
    for suffix in tensors:
        match = re.fullmatch(r"(.*\bmlp\.)(gate_proj|up_proj)\.weight", suffix)
        if match is None or ".experts." in suffix:
            continue
        stem = match[1]
        parts = _TOGETHER[0] if match[2] == "gate_proj" else _TOGETHER[1]
        found = {part: tensors.get(f"{stem}{part}.weight") for part in parts}
        for part, tensor in found.items():
            if tensor is None:
                there = tensors[suffix].name
                wanted = there.removesuffix(f"{match[2]}.weight") + f"{part}.weight"
                raise InputError(f"the weights are not whole: {wanted} is missing, while {there} is there")
        shapes = [t.shape if p != "down_proj" else t.shape[::-1] for p, t in found.items() if t is not None]
        if len(set(shapes)) > 1 and all(len(shape) == 2 for shape in shapes):
            shown = ", ".join(f"{p} {_by(t.shape)}" for p, t in found.items() if t is not None)
            prefix = tensors[suffix].name.removesuffix(f"{match[2]}.weight").rstrip(".")
            raise InputError(f"the projections of {prefix} do not fit each other: {shown}")


def _check_embedding(config: dict[str, Any], tensors: Sequence[TensorHeader], quantised: bool) -> None:
    outside = [t for t in tensors if not _LAYER.match(t.name) and not _OTHER_PARTS.search(t.name)]
    found = [t for t in outside if _EMBEDDING.search(t.name) and not _OTHER_EMBEDDINGS.search(t.name)]
    if not found:
        raise InputError(
            "the weights are not whole: there is no embedding of tokens (such as embed_tokens.weight)"
        )
    rows = config.get("vocab_size")
    plain = [t for t in found if t.name.endswith(".weight") and len(t.shape) == 2]
    if quantised or not isinstance(rows, int) or len(plain) != 1:
        return
    if plain[0].shape[0] != rows:
        raise InputError(
            f"config.json says vocab_size {rows:,}, but {plain[0].name} has {plain[0].shape[0]:,} rows"
        )


def _decoder_layers(tensors: Iterable[TensorHeader]) -> dict[int, dict[str, TensorHeader]]:
    """The tensors of each decoder layer, by their names within it; of the text model, if there are others."""
    stacks: dict[str, dict[int, dict[str, TensorHeader]]] = defaultdict(lambda: defaultdict(dict))
    for tensor in tensors:
        match = _LAYER.match(tensor.name)
        if match and not _OTHER_PARTS.search(match["prefix"]):
            stacks[match["prefix"]][int(match["index"])][match["suffix"]] = tensor
    return dict(stacks[max(stacks, key=lambda prefix: len(stacks[prefix]))]) if stacks else {}


def place_in_layer(name: str) -> tuple[int, str] | None:
    """Layer and name within it of a decoder layer's tensor; None for others."""
    match = _LAYER.match(name)
    if match is None or _OTHER_PARTS.search(match["prefix"]):
        return None
    return int(match["index"]), match["suffix"]


def _kind_of_layer(config: dict[str, Any], index: int) -> str:
    """Entries of the configuration that concern single layers: with an item for each, or a list of layers."""
    layers = _num_layers(config) or 0
    kind: list[Any] = []
    for name, value in config.items():
        of_each = isinstance(value, list) or (isinstance(value, str) and "pattern" in name)
        if of_each and len(value) == layers > 0:
            kind.append(value[index] if index < layers else None)
        elif isinstance(value, list) and re.search(r"layer|idx|indices", name) and _are_indices(value):
            kind.append(index in value)
    shared = config.get("num_kv_shared_layers")
    if isinstance(shared, int):
        kind.append(index >= layers - shared)
    every = config.get("cla_share_factor")
    if config.get("use_cla") and isinstance(every, int) and every > 0:
        kind.append(index % every == 0)
    return json.dumps(kind, sort_keys=True, default=str)


def _are_indices(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(item, int) for item in value)


def _all_layers_dense(config: dict[str, Any]) -> bool:
    """Whether a configuration of a family with experts uses none: its ways of choosing dense layers choose all."""
    layers = _num_layers(config)
    if layers is None:
        return False
    dense = config.get("mlp_only_layers")
    if isinstance(dense, list) and set(range(layers)) <= {i for i in dense if isinstance(i, int)}:
        return True
    first = config.get("first_k_dense_replace")
    if isinstance(first, int) and first >= layers:
        return True
    step = config.get("decoder_sparse_step")
    if isinstance(step, int) and (step < 1 or step > layers):
        return True
    kinds = config.get("mlp_layer_types")
    if isinstance(kinds, list) and len(kinds) == layers and set(kinds) == {"dense"}:
        return True
    kinds = config.get("layers_block_type") or config.get("hybrid_override_pattern")
    if (
        isinstance(kinds, list | str)
        and kinds
        and not {"moe", "E"} & set(kinds)
        and "num_experts" not in config
    ):
        return True
    switches = [config.get(name) for name in ("enable_moe_block", "is_moe", "moe_layers")]
    return any(switch is False or switch == [] for switch in switches)


def _parts(config: dict[str, Any], depth: int = 3) -> Iterator[dict[str, Any]]:
    """A configuration and those inside it, except for vision and audio."""
    yield config
    if depth:
        for name, value in config.items():
            if (
                isinstance(value, dict)
                and not _OTHER_PARTS.search(str(name))
                and name != "quantization_config"
            ):
                yield from _parts(value, depth - 1)


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    for name in ("text_config", "llm_config", "language_config", "thinker_config"):
        inner = config.get(name)
        if isinstance(inner, dict) and inner:
            return _text_config(inner)
    return config


def _num_layers(config: dict[str, Any]) -> int | None:
    text = _text_config(config)
    found = [text[name] for name in _NUM_LAYERS if isinstance(text.get(name), int)]
    return found[0] if found else None


def _kind(config: dict[str, Any]) -> str:
    names = config.get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    return str(config.get("model_type") or "the model")


def _unit(suffix: str, quantised: bool) -> str:
    """Names that must be there: each tensor; of a quantised layer, which may hold several, the layer."""
    return suffix.rpartition(".")[0] if quantised else suffix


def _renumbered(name: str, index: int) -> str:
    match = _LAYER.match(name)
    assert match is not None
    return f"{match['prefix']}{index}.{match['suffix']}"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
