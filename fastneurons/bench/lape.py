"""LAPE's method (arXiv 2402.16438) on today's vLLM: the MLP's forward replaced by one that counts, in plain torch.

Each layer's own method adds up, over all tokens, which activations are above 0. That needs an engine that is neither
compiled nor captured, in this process, with one language at a time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastneurons.bench.contender import Findings, Setting, Work
from fastneurons.bench.engine import Unpatched, options_of, run_plainly
from fastneurons.errors import InputError


class Lape(Unpatched):
    """Counts over all tokens."""

    def __init__(self, setting: Setting) -> None:
        if options_of(setting, compiled=False).world_size > 1:
            raise InputError(
                "LAPE's method replaces the model's methods in this process: it runs on one device alone"
            )
        super().__init__(setting, compiled=False)
        core = self._engine.engine_core.engine_core
        model = core.model_executor.driver_worker.worker.model_runner.get_model()
        mlps = [module for path, module in model.named_modules() if path.rpartition(".")[2] == "mlp"]
        if not mlps:
            raise InputError(f"{setting.model}: its layers have no `mlp`")
        self._num_languages = len(setting.languages)
        self._counts: list[Tensor] = []
        for mlp in mlps:
            mlp.forward = self._counting(mlp)

    def find(self, work: Work) -> Findings:
        """Counts int64 [L, N, I]."""
        counts = []
        for language in range(self._num_languages):
            for count in self._counts:
                count.zero_()
            run_plainly(self._engine, _of_language(work, language))
            counts.append(torch.stack(self._counts).cpu().numpy().astype(np.int64))
        return Findings(activation_count=np.stack(counts))

    def round(self, work: Work) -> None:
        """Count as `find` does."""
        self.find(work)

    def _counting(self, mlp: Any) -> Callable[[Tensor], Tensor]:
        gated = hasattr(mlp, "gate_up_proj")
        up = mlp.gate_up_proj if gated else mlp.dense_h_to_4h
        down = mlp.down_proj if gated else mlp.dense_4h_to_h
        width = down.input_size
        count = torch.zeros(width, dtype=torch.int32, device=next(iter(down.parameters())).device)
        self._counts.append(count)

        def forward(x: Tensor) -> Tensor:
            hidden, _ = up(x)
            if gated:
                activation = torch.nn.functional.silu(hidden[..., :width])
                count.add_((activation > 0).flatten(0, -2).sum(0, dtype=torch.int32))
                hidden = activation * hidden[..., width:]
            else:
                hidden = mlp.gelu_impl(hidden)
                count.add_((hidden > 0).flatten(0, -2).sum(0, dtype=torch.int32))
            out: Tensor = down(hidden)[0]
            return out

        return forward


def _of_language(work: Work, language: int) -> Work:
    return Work([[example[language]] for example in work.prompts], [[a[language]] for a in work.answers])
