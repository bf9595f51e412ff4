"""Find the neurons of a loaded model: the activation between the up and the down projection.

Found by structure: a module that has an activation function and two linear layers as children, one
into the intermediate size and one out of it. No model is known by name here; what differs between
architectures is the table of activation classes.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class ActivationKind:
    """An activation module in the kernels' terms."""

    function: str  # a name of fastneurons_kernels.functions
    gated: bool  # its input is [gate | up], else up alone
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True)
class Site:
    """The site of one layer's neurons: attribute `name` of module `parent`."""

    layer: int
    path: str
    parent: nn.Module
    name: str
    kind: ActivationKind
    down: nn.Module  # the down projection, a vLLM linear layer
    neurons: int  # on this rank
    total_neurons: int
    first_neuron: int

    @property
    def module(self) -> nn.Module:
        """The activation module that is there now."""
        module: nn.Module = getattr(self.parent, self.name)
        return module


class NoSiteError(Exception):
    """A layer whose neurons cannot be measured; the message names it and what was found there."""


# By class name, since the Transformers backend brings classes of the same names and meaning from
# transformers.activations. The value builds the kind from the module.
_KINDS: dict[str, Callable[[Any], ActivationKind]] = {
    # vllm.model_executor.layers.activation, gated
    "SiluAndMul": lambda m: ActivationKind("silu", True),
    "GeluAndMul": lambda m: ActivationKind("gelu_tanh" if m.approximate == "tanh" else "gelu", True),
    "FatreluAndMul": lambda m: ActivationKind("fatrelu", True, (float(m.threshold),)),
    # plain, of vLLM, torch and transformers
    "ReLU": lambda m: ActivationKind("relu", False),
    "ReLUSquaredActivation": lambda m: ActivationKind("relu2", False),
    "SiLU": lambda m: ActivationKind("silu", False),
    "SiLUActivation": lambda m: ActivationKind("silu", False),
    "GELU": lambda m: ActivationKind(
        "gelu_tanh" if getattr(m, "approximate", "none") == "tanh" else "gelu", False
    ),
    "GELUTanh": lambda m: ActivationKind("gelu_tanh", False),
    "GELUActivation": lambda m: ActivationKind("gelu", False),
    "PytorchGELUTanh": lambda m: ActivationKind("gelu_tanh", False),
    "NewGELU": lambda m: ActivationKind("gelu_tanh", False),
    "NewGELUActivation": lambda m: ActivationKind("gelu_tanh", False),
    "FastGELU": lambda m: ActivationKind("gelu_fast", False),
    "FastGELUActivation": lambda m: ActivationKind("gelu_fast", False),
    "QuickGELU": lambda m: ActivationKind("quick_gelu", False),
    "QuickGELUActivation": lambda m: ActivationKind("quick_gelu", False),
    "XIELU": lambda m: ActivationKind("xielu", False, _xielu_parameters(m)),
    "XIELUActivation": lambda m: ActivationKind("xielu", False, _xielu_parameters(m)),
}

_ACTIVATION_MODULES = (
    "vllm.model_executor.layers.activation",
    "torch.nn.modules.activation",
    "transformers.activations",
)


# vLLM's mixtures of experts and their parts; which of them a release puts where differs.
_FUSED_MIXTURES = "vllm.model_executor.layers.fused_moe"


def _xielu_parameters(module: Any) -> tuple[float, ...]:
    """alpha_p, alpha_n, beta, eps as they enter the formula (arXiv 2411.13010)."""
    softplus = nn.functional.softplus
    alpha_p = float(softplus(module.alpha_p.detach()))
    alpha_n = float((module.beta + softplus(module.alpha_n.detach())).detach())
    return alpha_p, alpha_n, float(module.beta), float(module.eps)


def find_sites(model: nn.Module, layers: range) -> list[Site]:
    """One site for each of `layers`, the decoder layers that this rank holds, in their order.

    Raises:
        NoSiteError: a layer without exactly one, with an activation that has no kernel, with experts,
            or whose width differs from the other layers'.
    """
    if (mixture := _mixture(model, layers)) is not None:
        raise NoSiteError(mixture)
    found: dict[int, list[Site]] = {}
    unknown: dict[int, str] = {}
    for path, parent in _language_model(model).named_modules():
        layer = _layer_index(path)
        if layer is None:
            continue
        for name, child in parent.named_children():
            if not _is_activation(child):
                continue
            widths = _widths(parent)
            if widths is None:
                continue
            kind = _KINDS.get(type(child).__name__)
            if kind is None:
                unknown[layer] = (
                    f"{path}.{name} is a {type(child).__name__}, an activation that has no kernel here"
                )
                continue
            site = _site(layer, f"{path}.{name}", parent, name, kind(child), widths)
            if site is not None:
                found.setdefault(layer, []).append(site)

    sites = []
    for layer in layers:
        at_layer = _innermost(found.get(layer, []))
        if len(at_layer) != 1:
            raise NoSiteError(_why_none(model, layer, at_layer, unknown.get(layer)))
        sites.append(at_layer[0])
    widths_seen = {site.total_neurons for site in sites}
    if len(widths_seen) > 1:
        first = sites[0]
        other = next(s for s in sites if s.total_neurons != first.total_neurons)
        raise NoSiteError(
            f"layers of different widths: {first.path} has {first.total_neurons} neurons, "
            f"{other.path} has {other.total_neurons}; one store holds layers of one width"
        )
    return sites


def _mixture(model: nn.Module, layers: range) -> str | None:
    """Path of the first of vLLM's fused mixtures of experts; None for a dense model.

    A shared expert next to it is an ordinary MLP, but not all that the layer computes.
    """
    for path, module in _language_model(model).named_modules():
        layer = _layer_index(path)
        classes = [cls for cls in type(module).__mro__ if cls.__module__.startswith(_FUSED_MIXTURES)]
        if classes and (layer is None or layer in layers):
            where = "the model" if layer is None else f"layer {layer}"
            return (
                f"{where}: {path} is a mixture of experts ({type(module).__name__}); its neurons run inside a fused "
                "kernel and cannot be measured: choose a dense model"
            )
    return None


def _innermost(sites: list[Site]) -> list[Site]:
    """Sites whose parent holds no other site: next to an MLP, other parts of its layer do not count.

    Gemma 3n's layers gate their per-layer embeddings with projections and an activation of their own.
    """
    return [
        site
        for site in sites
        if not any(
            other.parent is not site.parent and other.parent in set(site.parent.modules()) for other in sites
        )
    ]


def _language_model(model: nn.Module) -> nn.Module:
    """The text part of a model that also sees or hears."""
    inner = getattr(model, "get_language_model", None)
    return inner() if callable(inner) else model


def _layer_index(path: str) -> int | None:
    match = re.search(r"(?:^|\.)(\d+)(?:\.|$)", path)
    return int(match.group(1)) if match else None


def _is_activation(module: nn.Module) -> bool:
    return any(cls.__module__ in _ACTIVATION_MODULES for cls in type(module).__mro__[:2])


@dataclass(frozen=True)
class _Linear:
    """A linear layer and its sizes: whole, and the part on this rank."""

    module: nn.Module
    input_size: int
    output_size: int
    local_output_size: int


def _linears(parent: nn.Module) -> Iterator[_Linear]:
    from vllm.model_executor.layers.linear import LinearBase, QKVParallelLinear

    for child in parent.children():
        base = getattr(child, "base_layer", child)  # a LoRA wrapper holds the layer itself there
        if not isinstance(base, LinearBase) or isinstance(base, QKVParallelLinear):
            continue
        yield _Linear(
            base,
            base.input_size,
            base.output_size,
            getattr(base, "output_size_per_partition", base.output_size),
        )


def _widths(parent: nn.Module) -> tuple[list[_Linear], list[_Linear]] | None:
    """Candidate (up, down) pairs among a module's children: an up is followed by a down of its width."""
    linears = list(_linears(parent))
    pairs = [
        (up, down)
        for up in linears
        for down in linears
        if up is not down
        and up.input_size == down.output_size
        and up.output_size in (down.input_size, 2 * down.input_size)
    ]
    return ([up for up, _ in pairs], [down for _, down in pairs]) if pairs else None


def _site(
    layer: int,
    path: str,
    parent: nn.Module,
    name: str,
    kind: ActivationKind,
    widths: tuple[list[_Linear], list[_Linear]],
) -> Site | None:
    from vllm.distributed import get_tensor_model_parallel_rank

    for up, down in zip(*widths, strict=True):
        factor = 2 if kind.gated else 1
        if up.output_size != factor * down.input_size:
            continue
        neurons = up.local_output_size // factor
        # A layer that vLLM replicates on every rank holds all its neurons everywhere.
        first = 0 if neurons == down.input_size else get_tensor_model_parallel_rank() * neurons
        return Site(layer, path, parent, name, kind, down.module, neurons, down.input_size, first)
    return None


def _why_none(model: nn.Module, layer: int, found: list[Site], unknown: str | None) -> str:
    """Describe, for people, what a layer has instead of exactly one place."""
    if len(found) > 1:
        return f"layer {layer}: more than one MLP: {', '.join(site.path for site in found)}"
    if unknown is not None:
        return f"layer {layer}: {unknown}"
    kinds = {}
    for path, module in _language_model(model).named_modules():
        if _layer_index(path) == layer:
            name = type(module).__name__
            if re.search(r"MoE|Moe|Expert", name):
                return (
                    f"layer {layer}: {path} is a mixture of experts ({name}); its neurons run inside a fused kernel "
                    "and cannot be measured: choose a dense model"
                )
            kinds[path] = name
    if not kinds:
        return f"layer {layer}: not found in {type(model).__name__}"
    shown = ", ".join(f"{path} ({name})" for path, name in list(kinds.items())[:12])
    return f"layer {layer}: no activation between an up and a down projection among {shown}"
