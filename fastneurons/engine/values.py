"""Get value vectors and unembedding rows of a loaded model, whatever form its backend keeps the weights in.

A neuron's value vector is its column of the down projection. CPU backends repack that weight and drop
the original, quantised checkpoints hold codes: so unit rows are pushed through the projection itself,
which gives what it computes with. They are minus one: oneDNN adds 128 to 8-bit codes, and on CPUs without VNNI,
which add two products in 16 bits, 255 and 128 times the largest weights overflow, where 1 and 128 do not.

A projection whose input has a static scale rounds a one to the nearest multiple of it that its 8 bits hold, or to the
largest: so it is given that scale, times a power of two, instead of one.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from fastneurons_kernels.projection import projection
from torch import Tensor, nn

from fastneurons.engine.discovery import NoSiteError, Site
from fastneurons.engine.unembedding import find_head

# Unit rows pushed through a projection at once: a few MB.
_ROWS_AT_ONCE = 512


class ValueVectors:
    """The value vectors of this rank's neurons, once per model.

    Args:
        sites: This rank's layers; N of I neurons.
        dtype: What the model computes in.
        device: Where it is.
    """

    def __init__(self, sites: Sequence[Site], dtype: torch.dtype, device: torch.device) -> None:
        norms, self._vectors = [], []
        for site in sites:
            vectors = value_vectors(site, dtype, device)
            norms.append(vectors.float().norm(dim=1))
            self._vectors.append(vectors)
        self.norms = torch.stack(norms)  # float32 [N, I]

    @property
    def bytes(self) -> int:
        """Device memory held in addition to the model."""
        own = [self.norms, *(v for v in self._vectors if v._base is None)]
        return sum(t.numel() * t.element_size() for t in own)

    def of_layer(self, index: int) -> Tensor:
        """[I, H] of this rank's neurons in its layer with that index."""
        return self._vectors[index]

    def projections(self, rows: Tensor) -> Tensor:
        """v . e for rows e [A, H] of the unembedding: float32 [A, N, I] for this rank's N layers and I neurons."""
        out = self.norms.new_empty((len(rows), *self.norms.shape))
        if len(rows) == 0:
            return out
        rows = rows.to(self.norms.device)
        for layer, vectors in enumerate(self._vectors):
            projection(rows, vectors, out[:, layer])
        return out


class AdaptedValueVectors:
    """The value vectors under a LoRA adapter: those of the model plus B A, column by column.

    Args:
        base: Those of the model.
        factors: A [r, I] and B [H, r] of each layer's down projection, B scaled as the adapter is; None for a layer
            whose down projection the adapter leaves alone.
    """

    def __init__(self, base: ValueVectors, factors: Sequence[tuple[Tensor, Tensor] | None]) -> None:
        self._base, self._factors = base, factors
        norms = base.norms.clone()
        for layer, pair in enumerate(factors):
            if pair is not None:
                a, b = pair
                norms[layer] = (base.of_layer(layer).float() + a.float().T @ b.float().T).norm(dim=1)
        self.norms = norms  # float32 [N, I]

    def projections(self, rows: Tensor) -> Tensor:
        """v . e, as of `ValueVectors`."""
        out = self._base.projections(rows)
        rows = rows.to(out.device)
        for layer, pair in enumerate(self._factors):
            if pair is not None and len(rows):
                a, b = pair
                out[:, layer] += (rows @ b.float()) @ a.float()
        return out


def value_vectors(site: Site, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[I, H] of a layer, in the dtype that it computes in; a view of its weight where that is as it was loaded."""
    down: Any = site.down
    weight = getattr(down, "weight", None)
    if (
        isinstance(weight, Tensor)
        and weight.is_floating_point()
        and weight.element_size() >= 2
        and tuple(weight.shape) == (down.output_size, site.neurons)
    ):
        return weight.detach().T
    if hasattr(down, "input_global_scale") or hasattr(down, "input_global_scale_inv"):
        raise NoSiteError(
            f"{site.path}: attribution needs the value vectors, and those of a down projection with 4-bit inputs "
            "(NVFP4) cannot be read exactly; measure without --attribution, or a checkpoint in another format"
        )
    parts, pushed = [], pushed_value(getattr(down, "input_scale", None))
    with torch.inference_mode():
        for first in range(0, site.neurons, _ROWS_AT_ONCE):
            count = min(_ROWS_AT_ONCE, site.neurons - first)
            unit = torch.zeros(count, site.neurons, dtype=dtype, device=device)
            unit[torch.arange(count), torch.arange(first, first + count)] = -pushed
            found = down.quant_method.apply(down, unit, bias=None)
            parts.append(-found if pushed == 1 else (found.float() / -pushed).to(found.dtype))
    return torch.cat(parts)


def pushed_value(input_scale: Tensor | None) -> float:
    """The value of unit rows that a projection's quantisation of its input represents exactly.

    A static scale s gives x as s * round(x / s), in FP8 (e4m3) or INT8. Both hold all powers of two from 1 to 64; of
    s times these, the one next to 1 keeps what comes out in the range of 16-bit floats.

    Args:
        input_scale: The static scale, one number; None, or several numbers, where the scale follows the input.
    """
    if input_scale is None or input_scale.numel() != 1:
        return 1.0
    scale = float(input_scale)
    return float(scale * 2.0 ** min(6, max(0, round(-math.log2(scale)))))


def unembedding_rows(model: nn.Module, tokens: Sequence[int], lora_slot: int | None = None) -> Tensor:
    """This rank's part of the rows of the unembedding, float32 [U, H]; parts of all ranks add up.

    Args:
        tokens: The U tokens.
        lora_slot: Where vLLM keeps the adapter whose change of the unembedding is included; None for the base model.
    Raises:
        LookupError: no unembedding is found, or its weight is no longer as it was loaded.
    """
    head: Any = find_head(model)
    weight, shard = head.weight, head.shard_indices
    ids = torch.tensor(list(tokens), device=weight.device)
    mine = (ids >= shard.org_vocab_start_index) & (ids < shard.org_vocab_end_index)
    if weight.dim() != 2 or not weight.is_floating_point() or weight.element_size() < 2:
        raise LookupError(f"the unembedding's weight is {weight.dtype} {tuple(weight.shape)}")
    rows = weight[torch.where(mine, ids - shard.org_vocab_start_index, 0)].float()
    if lora_slot is not None and (pair := unembedding_factors(model, lora_slot)) is not None:
        a, b = pair
        rows = rows + b[ids.to(b.device)].float() @ a.float()
    return torch.where(mine[:, None], rows, 0.0)


def adapter_slot(model: Any, number: int) -> int:
    """Where vLLM keeps an adapter in the stacked factors of its LoRA layers.

    Args:
        model: The whole model, with vLLM's LoRA manager.
        number: The adapter's.
    Raises:
        ValueError: it is not loaded.
    """
    slot: int = model.lora_manager.lora_index_to_id.index(number)
    return slot


def down_factors(sites: Sequence[Site], slot: int) -> list[tuple[Tensor, Tensor] | None]:
    """This rank's A [r, I] and scaled B [H, r] of each down projection; None where it has no LoRA layer.

    Views of vLLM's buffers. A layer that the adapter leaves alone holds zeros there.
    """
    return [_factors(_lora_layer(site), slot) for site in sites]


def _lora_layer(site: Site) -> Any:
    """The module that vLLM's LoRA has put around a down projection, if it has."""
    for module in site.parent.modules():
        if getattr(module, "base_layer", None) is site.down and hasattr(module, "lora_a_stacked"):
            return module
    return None


def _factors(layer: Any, slot: int) -> tuple[Tensor, Tensor] | None:
    if layer is None:
        return None
    # Linear layers hold one pair for each of their parts; a down projection has one part.
    a, b = layer.lora_a_stacked, layer.lora_b_stacked
    a, b = (a[0], b[0]) if isinstance(a, tuple) else (a, b)
    return (a[slot, 0], b[slot, 0]) if bool(b[slot].any()) else None


def unembedding_factors(model: nn.Module, slot: int) -> tuple[Tensor, Tensor] | None:
    """A [r, H] and B [V, r] of the unembedding, which vLLM's LoRA applies where logits are computed."""
    from vllm.lora.layers import LogitsProcessorWithLoRA

    layers = [module for module in model.modules() if isinstance(module, LogitsProcessorWithLoRA)]
    return _factors(layers[0], slot) if layers else None
