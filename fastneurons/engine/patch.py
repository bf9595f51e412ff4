"""The patch: replace each layer's activation module by one that calls a custom op of ours.

On GPUs one op computes the activated product and reads and edits rows on the way (one Triton
kernel). On the CPU the model's own module computes the product, untouched, and our op reads what
goes in and what comes out: so measuring changes no bit of the model's output, compiled or not. An
engine that edits has another op there, which also changes the product, in place.

The ops are opaque to torch.compile. They take the layer as a plain integer: a module, or a name,
would be folded into compiled graphs. Neither ever raises: an exception inside a forward pass leaves
vLLM hanging or dead. The first error is kept for the session, which stops the run and tells it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fastneurons.engine.discovery import Site
from fastneurons.engine.layer_observer import LayerObserver

# Part of the key of compiled graphs: raise it with any change of what the ops do.
PATCH_VERSION = 3

# One process may hold several patched engines; a handle is (engine, layer) in one integer.
_LAYERS_PER_ENGINE = 1 << 16
_observers: dict[int, LayerObserver] = {}


class ObservedActivation(nn.Module):
    """Replaces an activation module, and calls it or its fused equivalent.

    Args:
        original: The module that stood there.
        observer: Where this layer's read rows go.
        handle: The layer's number among all patched engines of the process.
    """

    def __init__(self, original: nn.Module, observer: LayerObserver, handle: int) -> None:
        super().__init__()
        self.original = original
        self.handle = handle
        self.neurons = observer.neurons
        self.fused = observer.fused
        self.edits = observer.editing is not None
        # One tensor a layer: the ops write to it, which keeps torch.compile from dropping them, and
        # a compiled graph that copies what is written copies eight bytes.
        self.calls = observer.calls

    def forward(self, x: Tensor) -> Tensor:
        """Activated product of `[gate | up]` (or of `up`), [..., I]."""
        product: Tensor
        if self.fused:
            product = torch.ops.fastneurons.activation(x, self.calls, self.handle, self.neurons)
        else:
            product = self.original(x)
            # The op is for graphs to have; without one, its dispatch takes longer than many a reading.
            if not torch.compiler.is_compiling():
                observe = _observe_and_edit if self.edits else _observe
            elif self.edits:
                observe = torch.ops.fastneurons.observe_and_edit
            else:
                observe = torch.ops.fastneurons.observe
            observe(x, product, self.calls, self.handle)
        return product


def patch(site: Site, observer: LayerObserver, engine: int) -> None:
    """Replace a site's module by an `ObservedActivation`."""
    handle = engine * _LAYERS_PER_ENGINE + site.layer
    _observers[handle] = observer
    setattr(site.parent, site.name, ObservedActivation(site.module, observer, handle))


@contextmanager
def original_activation(observer: LayerObserver) -> Iterator[None]:
    """Put the original module back into a layer's site for a while."""
    site = observer.site
    patched = getattr(site.parent, site.name)
    setattr(site.parent, site.name, observer.original)
    try:
        yield
    finally:
        setattr(site.parent, site.name, patched)


def forget(engine: int) -> None:
    """Release the buffers of an engine that was shut down."""
    for handle in [h for h in _observers if h // _LAYERS_PER_ENGINE == engine]:
        del _observers[handle]


def _observe(x: Tensor, product: Tensor, calls: Tensor, handle: int) -> None:
    observer = _observers[handle]
    try:
        observer.observe(x.reshape(-1, x.shape[-1]), product.reshape(-1, product.shape[-1]))
    except Exception as error:
        observer.failed(error)
    calls += 1


def _observe_and_edit(x: Tensor, product: Tensor, calls: Tensor, handle: int) -> None:
    observer = _observers[handle]
    try:
        rows = x.reshape(-1, x.shape[-1])
        # A view, where `reshape` could make a copy: what is changed must be what the model goes on with.
        out = product.view(-1, product.shape[-1])
        observer.observe(rows, out)
        observer.edit(rows, out)
    except Exception as error:
        observer.failed(error)
    calls += 1


def _activation(x: Tensor, calls: Tensor, handle: int, neurons: int) -> Tensor:
    observer = _observers[handle]
    try:
        product = observer.activation(x.reshape(-1, x.shape[-1]), calls)
    except Exception as error:
        observer.failed(error)
        product = observer.original(x)
    return product.reshape(*x.shape[:-1], neurons)


def _activation_fake(x: Tensor, calls: Tensor, handle: int, neurons: int) -> Tensor:
    return x.new_empty((*x.shape[:-1], neurons))


_library = torch.library.Library("fastneurons", "DEF")
_library.define("observe(Tensor x, Tensor product, Tensor(a!) calls, int handle) -> ()")
_library.define("observe_and_edit(Tensor x, Tensor(a!) product, Tensor(b!) calls, int handle) -> ()")
_library.define("activation(Tensor x, Tensor(a!) calls, int handle, int neurons) -> Tensor")
for _device in ("CPU", "CUDA"):
    _library.impl("observe", _observe, _device)
    _library.impl("observe_and_edit", _observe_and_edit, _device)
    _library.impl("activation", _activation, _device)
torch.library.register_fake("fastneurons::observe", lambda x, product, calls, handle: None, lib=_library)
torch.library.register_fake(
    "fastneurons::observe_and_edit", lambda x, product, calls, handle: None, lib=_library
)
torch.library.register_fake("fastneurons::activation", _activation_fake, lib=_library)
