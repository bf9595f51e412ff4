"""Small drawn runs of the kinds of stores that hold answers or texts under several conditions."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastneurons.arrays import Answer
from tests.store.runs import Run, header

CONTROLS = 2
DEACTIVATE = [
    "intact", "all-shared", "specific",
    "random:all-shared:0", "random:all-shared:1", "random:specific:0", "random:specific:1",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class EditedRun(Run):
    """E examples drawn for a header with conditions; `Run` says which are skipped and which prompts exist."""

    @property
    def present(self) -> np.ndarray:  # bool [E, L]; one prompt is missing
        present = super().present
        present[2:3, 1] = False
        return present

    def drawn(self, *dims: int) -> np.ndarray:
        """float [E, ...] in [0, 1), of which a longer run draws the same for its first examples."""
        seed = len(self.header.kind) * 1000 + sum(dims)
        return np.stack([np.random.default_rng([seed, e]).random(dims) for e in range(len(self.activation))])

    def _sharing(self, rows: slice) -> dict[str, np.ndarray]:
        return {}

    def arrays(self, rows: slice = slice(None)) -> dict[str, np.ndarray]:
        """What the store must hold."""
        kept = ("example_id", "digest", "task", "outcome", "token_count", "present", "prompt")
        arrays = {name: array for name, array in super().arrays(rows).items() if name in kept}
        h, present = self.header, self.present
        L, C, N = len(h.languages), len(h.conditions), len(h.layers)
        wide = np.broadcast_to(present[..., None], (*present.shape, C))
        found: dict[str, np.ndarray] = {}
        if h.kind != "generate":
            logs = (-5 * self.drawn(L, C)).astype(np.float32)
            found["log_probability"] = np.where(wide, logs, np.float32(np.nan))
            found["judged_count"] = np.where(present, 1 + np.arange(L), 0).astype(np.int32)
        if h.measures:
            right = np.floor(2 * self.drawn(L, C, 1)[..., 0])
            found["correct"] = np.where(wide, right, Answer.NOT_JUDGED).astype(np.uint8)
        if h.kind == "deactivate":
            found["neuron_count"] = np.floor(h.neurons * self.drawn(C, N)).astype(np.int32)
            found["neuron_count"][~self.measured] = 0
            found["overlap"] = found["neuron_count"] // 2
        if h.kind == "generate":
            texts = [
                [[f"{i} {j} {k}\n" + "é" * (i % 4) for k in range(C)] for j in range(L)]
                for i in range(len(present))
            ]
            texts = np.array(texts, np.dtypes.StringDType()).reshape(len(present), L, C)
            found["text"] = np.where(wide, texts, "").astype(np.dtypes.StringDType())
            found["generated_count"] = np.where(wide, np.arange(C), 0).astype(np.int32)
        return arrays | {name: array[rows] for name, array in found.items()}


def draw_edited(kind: str, num_examples: int = 11, keep_prompts: bool = False, **changed: Any) -> EditedRun:
    given: dict[str, Any] = {"kind": kind, "thresholds": [], "conditions": ["intact", "off.safetensors"]}
    if kind == "deactivate":
        edits = {"category": "all-shared,specific", "controls": CONTROLS, "operation": "zero"}
        given |= {"thresholds": [0.0], "conditions": DEACTIVATE, "edits": edits}
        given |= {"measures": {"capitals": "choice"}}
    of = header(**(given | changed))
    shape = (num_examples, len(of.languages), len(of.layers), of.neurons)
    return EditedRun(of, np.zeros(shape), False, keep_prompts)
