"""The reference that contenders are checked against: activations of plain forward passes, prompt by prompt."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fastneurons.bench.contender import Findings, Setting, Work, categories_of
from fastneurons.bench.hooks import Hooked, dtype_of
from fastneurons.config import Measurement


@dataclass(frozen=True)
class Reference:
    """Activations from plain forward passes, and findings computed from them.

    Args:
        last: float32 [E, L, N, I], at the last token.
        largest: float32 [E, L, N, I], over the tokens.
        count: int64 [L, N, I], tokens above 0.
        near: int64 [L, N, I], tokens so near 0 that rounding decides.
        contribution: float32 [E, L, N, I].
        tolerance: How near rounding decides.
        may_differ: Share of the other neurons that may differ all the same; 0 in float32.
    """

    last: NDArray[np.float32]
    largest: NDArray[np.float32]
    count: NDArray[np.int64]
    near: NDArray[np.int64]
    contribution: NDArray[np.float32]
    tolerance: float
    may_differ: float


def reference(setting: Setting, work: Work) -> Reference:
    """Run the work, prompt by prompt."""
    model = Hooked(setting, coefficients=True, last_only=False)
    exact = dtype_of(setting) == torch.float32
    tolerance = 1e-4 if exact else 2e-2
    norms = torch.stack([model.value_vectors(layer).norm(dim=1) for layer in range(len(model.downs))])
    last, largest, contribution = [], [], []
    count = near = torch.zeros(())
    for prompts in work.prompts:
        of_languages = []
        for token_ids in prompts:
            model.run(token_ids)
            activations = torch.stack(model.activations, 1)  # [T, N, I]
            coefficients = torch.stack(model.coefficients, 1)
            last.append(activations[-1].cpu().numpy())
            largest.append(activations.amax(0).cpu().numpy())
            contribution.append((coefficients[-1].abs() * norms).cpu().numpy())
            of_languages.append(
                torch.stack([(activations > 0).sum(0), (activations.abs() <= tolerance).sum(0)])
            )
        added = torch.stack(of_languages)  # [L, 2, N, I]
        count, near = count + added[:, 0], near + added[:, 1]
    shape = (len(work.prompts), len(setting.languages), *last[0].shape)
    return Reference(
        np.stack(last).reshape(shape),
        np.stack(largest).reshape(shape),
        count.cpu().numpy(),
        near.cpu().numpy(),
        np.stack(contribution).reshape(shape),
        tolerance,
        0.0 if exact else 0.015,
    )


def differs(found: Findings, expected: Reference) -> str | None:
    """Say in a sentence how findings differ from the reference by more than rounding; None if they do not."""
    if found.category is not None:
        values = expected.last if found.position == "last" else expected.largest
        for category, threshold in zip(found.category, found.thresholds, strict=True):
            decided = (np.abs(values - threshold) > expected.tolerance).all(axis=1)  # [E, N, I]
            wrong = (categories_of(values > threshold, axis=1) != category) & decided
            if wrong.mean() > expected.may_differ:
                place = f"at threshold {threshold:g}"
                return f"{wrong.sum():,} of {decided.sum():,} neurons are in another category {place}"
    if found.activation_count is not None:
        wrong = np.abs(found.activation_count - expected.count) > expected.near
        if wrong.mean() > 2 * expected.may_differ:
            return f"{wrong.sum():,} of {wrong.size:,} counts of activations are others"
    if found.top_share is not None:
        neurons = expected.last.shape[-1]
        top_k = Measurement(attribution=True).neurons_in_top(neurons) or 1
        category = categories_of(expected.last > 0, axis=1)
        top = np.argsort(-expected.contribution, axis=-1, kind="stable")[..., :top_k]  # [E, L, N, k]
        of_top = np.take_along_axis(np.broadcast_to(category[:, None], expected.last.shape), top, -1)
        shares = np.stack([(of_top == code).mean(-1) for code in range(4)], -1).mean(1)
        # A neuron that rounding moves, into a category or among the largest, moves a share by no more than this.
        worst = np.abs(found.top_share - shares).max()
        if worst > (1 / top_k if expected.may_differ == 0 else 0.2):
            return f"a share of the largest contribution scores is off by {worst:.3f}"
    return None
