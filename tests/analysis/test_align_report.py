"""Reports of alignments, against slow numpy: one example, one replicate and one pair at a time."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from fastneurons.analysis.align_report import (
    OUTCOMES,
    Judged,
    align_report,
    correlation,
    estimated,
    growth_by_outcome,
    paired_mean,
)
from fastneurons.analysis.bootstrap import bootstrap_generator
from fastneurons.analysis.reading import drawn_weights
from fastneurons.analysis.selection import Selection
from fastneurons.arrays import Answer
from fastneurons.errors import InputError
from fastneurons.store import open_store
from tests.analysis.test_words import slow_categories
from tests.store.runs import Run, draw, header

E, L, R = 40, 3, 50
RNG = np.random.default_rng(4)
WEIGHTS = drawn_weights(bootstrap_generator(7), E, R)


def with_gaps(values: np.ndarray) -> np.ndarray:
    return np.where(RNG.random(values.shape) < 0.2, np.nan, values)


def percentiles(drawn: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.nanpercentile(np.stack(drawn), [2.5, 97.5], axis=0)
    return low, high


def test_means_and_replicates_are_numpys():
    values = with_gaps(RNG.normal(size=(E, 2, 3)))
    mean, drawn = paired_mean(values, R, 7)
    np.testing.assert_allclose(mean, np.nanmean(values, 0))
    for r in range(R):
        repeated = np.repeat(values, WEIGHTS[:, r].astype(int), axis=0)
        np.testing.assert_allclose(drawn[r], np.nanmean(repeated, 0))
    found = estimated(values, R, 7)
    np.testing.assert_allclose((found.low, found.high), percentiles(list(drawn)))
    nothing = paired_mean(np.full((5, 2), np.nan), 3)
    assert np.isnan(nothing[0]).all() and np.isnan(nothing[1]).all()


def slow_growth(
    growth: np.ndarray, before: np.ndarray, after: np.ndarray, times: np.ndarray
) -> list[np.ndarray]:
    """Mean growth of the pairs of each outcome, pair by pair; an example counts `times`."""
    of: list[list[np.ndarray]] = [[] for _ in OUTCOMES]
    for e, language in np.ndindex(*before.shape):
        was, became = before[e, language], after[e, language]
        if np.isnan(was) or np.isnan(became):
            continue
        k = {(0, 1): 0, (0, 0): 1, (1, 0): 2, (1, 1): 3}[int(was), int(became)]
        of[k] += [growth[e]] * int(times[e])
    return [np.mean(each, 0) if each else np.full(growth.shape[1:], np.nan) for each in of]


def test_growth_by_outcome_is_counted_pair_by_pair():
    growth = RNG.normal(size=(E, 4))
    before, after = (with_gaps(RNG.integers(0, 2, (E, L)).astype(float)) for _ in range(2))
    found = growth_by_outcome(growth, before, after, R, 7)
    means = slow_growth(growth, before, after, np.ones(E))
    np.testing.assert_allclose(found.mean.mean, means)
    np.testing.assert_allclose(found.gained.mean, means[0] - means[1])
    np.testing.assert_allclose(found.lost.mean, means[2] - means[3])
    both = ~np.isnan(before) & ~np.isnan(after)
    assert found.number.sum() == both.sum()
    assert found.number[0] == (both & (before == 0) & (after == 1)).sum()
    drawn = [slow_growth(growth, before, after, WEIGHTS[:, r]) for r in range(R)]
    np.testing.assert_allclose(
        (found.gained.low, found.gained.high), percentiles([d[0] - d[1] for d in drawn])
    )
    np.testing.assert_allclose((found.lost.low, found.lost.high), percentiles([d[2] - d[3] for d in drawn]))


def test_outcomes_that_no_pair_has_give_no_number():
    found = growth_by_outcome(RNG.normal(size=(5, 4)), np.ones((5, 2)), np.ones((5, 2)), R)
    assert found.number.tolist() == [0, 0, 0, 10]
    assert np.isnan(found.gained.mean).all() and np.isnan(found.mean.mean[:3]).all()
    assert np.isfinite(found.mean.mean[3]).all()


def test_correlations_are_numpys():
    growth = RNG.normal(size=(E, 3)) * [1, 1e-3, 0] + [0, 1e3, 5]
    gain = with_gaps(0.7 * growth[:, 0] + RNG.normal(size=E))
    found = correlation(growth, gain, R, 7)
    given = ~np.isnan(gain)
    for k in range(2):
        np.testing.assert_allclose(found.mean[k], np.corrcoef(growth[given, k], gain[given])[0, 1], rtol=1e-6)
        drawn = []
        for r in range(R):
            rows = np.repeat(np.arange(E), np.where(given, WEIGHTS[:, r], 0).astype(int))
            drawn.append(np.corrcoef(growth[rows, k], gain[rows])[0, 1])
        np.testing.assert_allclose((found.low[k], found.high[k]), percentiles(drawn), rtol=1e-5)
    assert np.isnan(found.mean[2])


# -- stores --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Scored(Run):
    """A run with judged answers: a prompt in ten has none."""

    seed: int = 0

    def scores(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`log_probability`, `judged_count`, `correct` [E, L]."""
        rng = np.random.default_rng(self.seed)
        shape = self.present.shape
        judged = self.present & (rng.random(shape) > 0.1)
        count = np.where(judged, rng.integers(1, 4, shape), 0).astype(np.int32)
        logs = np.where(judged, -3 * rng.random(shape), np.nan).astype(np.float32)
        right = rng.integers(0, 2, shape)
        return logs, count, np.where(judged, right, Answer.NOT_JUDGED).astype(np.uint8)

    def arrays(self, rows: slice = slice(None)) -> dict[str, np.ndarray]:
        arrays = super().arrays(rows)
        if self.header.measures:
            logs, count, correct = self.scores()
            arrays |= {"log_probability": logs[rows], "judged_count": count[rows], "correct": correct[rows]}
        return arrays


def scored(seed: int, noise: float, **changes: Any) -> Scored:
    base = draw(60, seed=3, window=16, neurons=31, tasks=["a", "b"]).activation
    activation = base + np.random.default_rng(seed).normal(scale=noise, size=base.shape) if noise else base
    given = {"window": 16, "neurons": 31, "tasks": ["a", "b"], "measures": {"a": "x", "b": "x"}} | changes
    return Scored(header(**given), activation, seed=seed)


RUNS = [
    scored(1, 0),
    scored(2, 0.4, config={"alignment": {"languages": ["en", "de"]}}),
    scored(3, 0.2, window=8),
    scored(4, 0.3),
]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alignment")
    for k, run in enumerate(RUNS):
        run.write(folder / f"{k}.zarr")
    return [open_store(str(folder / f"{k}.zarr")) for k in range(len(RUNS))]


@pytest.fixture(scope="module")
def found(stores):
    return align_report(stores[0], stores[1], stores[2:], Selection(threshold=0.5), R, 7)


def shares(run: Scored) -> np.ndarray:
    """[E, N, 4] of the measured examples, at the second threshold."""
    bits = run.bits[run.measured, 1]
    found: np.ndarray = slow_categories(bits, run.present[run.measured]).mean(2)
    return found


def test_changes_of_categories(found):
    assert list(found["run"].values) == ["before", "after", "control 1", "control 2"]
    assert list(found["comparison"].values) == [
        "after - before", "control 1 - before", "control 2 - before", "after - control 1", "after - control 2",
    ]  # fmt: skip
    share = [shares(run) for run in RUNS]
    np.testing.assert_allclose(found["share"], [each.mean(0) for each in share])
    pairs = [(1, 0), (2, 0), (3, 0), (1, 2), (1, 3)]
    np.testing.assert_allclose(found["change"], [(share[a] - share[b]).mean(0) for a, b in pairs], atol=1e-12)
    np.testing.assert_allclose(
        found["overall_change"], [(share[a] - share[b]).mean((0, 1)) for a, b in pairs], atol=1e-12
    )
    task = RUNS[0].task[RUNS[0].measured]
    by_task = [[(share[a] - share[b])[task == k].mean((0, 1)) for k in range(2)] for a, b in pairs]
    np.testing.assert_allclose(found["task_change"], by_task, atol=1e-12)
    assert (found["change_low"] <= found["change"] + 1e-12).all()
    assert (found["change_high"] >= found["change"] - 1e-12).all()
    # All examples have the same weights everywhere: comparisons add up, replicate by replicate.
    np.testing.assert_allclose(found["change"][0] - found["change"][1], found["change"][3], atol=1e-12)


def slow_language_shares(run: Scored) -> np.ndarray:
    """[E, L, 3]: neuron by neuron, of those that a language activates."""
    bits = run.bits[run.measured, 1]
    out = np.zeros((*bits.shape[:2], 3))
    for e, language in np.ndindex(*bits.shape[:2]):
        number = bits[e].sum(0)[bits[e, language]]  # how many languages activate each of its neurons
        out[e, language] = [np.mean(number == 1), np.mean((number > 1) & (number < L)), np.mean(number == L)]
    return out


def test_changes_by_language_and_group(found):
    of = [slow_language_shares(run) for run in RUNS]
    np.testing.assert_allclose(found["language_share"], [each.mean(0) for each in of])
    np.testing.assert_allclose(found["language_change"][0], (of[1] - of[0]).mean(0), atol=1e-12)
    trained, untrained = found["language_change"][0][:2].mean("language"), found["language_change"][0][2]
    np.testing.assert_allclose(found["group_language_change"][0, 1], trained)
    np.testing.assert_allclose(found["group_language_change"][0, 2], untrained)
    np.testing.assert_allclose(found["group_language_change"][0, 3], trained - untrained)
    assert found.attrs["trained"] == ["en", "de"] and found.attrs["untrained"] == ["zh"]


def test_changes_of_answers(found):
    scores = []
    for run in RUNS:
        logs, count, correct = (each[run.measured] for each in run.scores())
        with np.errstate(invalid="ignore", divide="ignore"):
            scores.append((logs.astype(float) / count, np.where(correct == 2, np.nan, correct)))
    for k, name in enumerate(("log_probability", "accuracy")):
        np.testing.assert_allclose(found[name], [np.nanmean(each[k], 0) for each in scores])
        change = scores[1][k] - scores[0][k]
        np.testing.assert_allclose(found[f"{name}_change"][0], np.nanmean(change, 0))
        drawn = []
        weights = drawn_weights(bootstrap_generator(7), len(change), R)
        for r in range(R):
            drawn.append(np.nanmean(np.repeat(change, weights[:, r].astype(int), axis=0), 0))
        low, high = percentiles(drawn)
        np.testing.assert_allclose(found[f"{name}_change_low"][0], low)
        np.testing.assert_allclose(found[f"{name}_change_high"][0], high)
        low, high = percentiles([each[:2].mean() - each[2] for each in drawn])
        np.testing.assert_allclose(found[f"group_{name}_change_low"][0, 3], low)
        np.testing.assert_allclose(found[f"group_{name}_change_high"][0, 3], high)
    growth = (shares(RUNS[1]) - shares(RUNS[0])).mean(1)
    with_answers = growth_by_outcome(growth, scores[0][1], scores[1][1], R, 7)
    np.testing.assert_allclose(found["growth_gained"][0], with_answers.gained.mean)
    np.testing.assert_array_equal(found["pairs"][0], with_answers.number)
    gain = np.nanmean(scores[1][0] - scores[0][0], 1)
    np.testing.assert_allclose(found["growth_log_probability"][0], correlation(growth, gain, R, 7).mean)


def test_examples_that_one_store_lacks_are_left_out(tmp_path, stores):
    shorter = replace(RUNS[2], activation=RUNS[2].activation[:33])
    shorter.write(tmp_path / "short.zarr")
    found = align_report(stores[0], stores[1], [open_store(str(tmp_path / "short.zarr"))], None, 0)
    assert found.attrs["examples"] == RUNS[0].measured[:33].sum()
    whole = align_report(stores[0], stores[1], [stores[2]], Selection(examples=[(0, 33)]), 0)
    np.testing.assert_array_equal(found["overall_change"], whole["overall_change"])


def test_stores_without_answers_take_those_that_were_judged_elsewhere(tmp_path):
    plain = [scored(1, 0, measures={}), scored(2, 0.4, measures={})]
    opened = []
    for k, run in enumerate(plain):
        run.write(tmp_path / f"{k}.zarr")
        opened.append(open_store(str(tmp_path / f"{k}.zarr")))
    bare = align_report(*opened, replicates=0)
    assert not bare.attrs["has_scores"] and np.isnan(bare["accuracy"]).all()
    assert bare.attrs["trained"] == []
    names = [str(name) for name in opened[0]["example_id"][...]][::-1]
    correct = np.random.default_rng(0).integers(0, 2, (60, 3)).astype(float)
    judged = Judged(correct - 1, correct, names)
    found = align_report(*opened, replicates=0, judged=[judged, judged])
    np.testing.assert_allclose(found["accuracy"][0], correct[::-1][plain[0].measured].mean(0))
    assert not found["accuracy_change"].any()
    with pytest.raises(InputError, match="was not judged"):
        align_report(*opened, replicates=0, judged=[Judged(correct[:9], correct[:9], names[:9]), judged])
