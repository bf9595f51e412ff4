"""Differences of answers under deactivation against slow numpy, and against truths that are known beforehand."""

import msgspec
import numpy as np
import pytest

from fastneurons.analysis.bootstrap import bootstrap_generator, poisson_weights
from fastneurons.analysis.deactivation import (
    MeansOverExamples,
    conditions_of,
    contrasts,
    control_name,
    deactivation,
)
from fastneurons.arrays import Answer
from fastneurons.errors import InputError
from fastneurons.store import StoreWriter, open_store
from tests.store.edited import DEACTIVATE, EditedRun, draw_edited
from tests.store.runs import draw, header

RUN = draw_edited("deactivate", 30, tasks=["capitals", "colours"], measures={"capitals": "c", "colours": "c"})
LANGUAGES, CATEGORIES = RUN.header.languages, ["all-shared", "specific"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("deactivation") / "d.zarr"
    RUN.write(path)
    return open_store(str(path))


def scores(run: EditedRun) -> dict[str, np.ndarray]:
    """float64 [E, L, C] of each score, NaN where there is none."""
    arrays = run.arrays()
    correct = arrays["correct"].astype(np.float64)
    correct[arrays["correct"] == Answer.NOT_JUDGED] = np.nan
    return {"log_probability": arrays["log_probability"].astype(np.float64), "accuracy": correct}


def slow(
    run: EditedRun, score: np.ndarray, rows: np.ndarray
) -> dict[str, dict[tuple[str, str], list[float]]]:
    """The values of each example by variable, and by language and category or condition."""
    names = run.header.conditions
    found: dict[str, dict[tuple[str, str], list[float]]] = {}

    def put(variable: str, language: str, label: str, value: float) -> None:
        found.setdefault(variable, {}).setdefault((language, label), []).append(value)

    for e in np.flatnonzero(rows):
        for j, language in enumerate(LANGUAGES):
            at = {name: float(score[e, j, names.index(name)]) for name in names}
            put("", language, "intact", at["intact"])
            for category in CATEGORIES:
                control = (at[f"random:{category}:0"] + at[f"random:{category}:1"]) / 2
                put("", language, category, at[category])
                put("", language, f"random:{category}", control)
                put("_from_intact", language, category, at[category] - at["intact"])
                put("_control_from_intact", language, category, control - at["intact"])
                put("_from_control", language, category, at[category] - control)
    return found


@pytest.mark.parametrize("score", ["log_probability", "accuracy"])
@pytest.mark.parametrize("tasks", [(), ("colours",)], ids=["all tasks", "one task"])
def test_means_and_intervals_are_those_of_slow_numpy(score, tasks, store):
    found = deactivation(store, tasks=tasks, replicates=200)
    arrays = RUN.arrays()
    rows = (arrays["outcome"] == 1) & (np.ones(30, bool) if not tasks else arrays["task"] == 1)
    # The same examples have the same weights in all analyses.
    weights = poisson_weights(bootstrap_generator(), rows.sum(), 200)
    for ending, by_label in slow(RUN, scores(RUN)[score], rows).items():
        name, dim = score + ending, "category" if ending else "condition"
        of_languages: dict[str, list[tuple[float, np.ndarray]]] = {}
        for (language, label), values in by_label.items():
            there = ~np.isnan(values)
            given, drawn = np.array(values)[there], weights[there].astype(np.float64)
            mean = given.mean()
            replicated = (drawn * given[:, None]).sum(0) / drawn.sum(0)
            of_languages.setdefault(label, []).append((mean, replicated))
            at = found.sel({"language": language, dim: label})
            expected = [mean, *np.nanpercentile(replicated, [2.5, 97.5])]
            np.testing.assert_allclose([at[name], at[f"{name}_low"], at[f"{name}_high"]], expected, rtol=1e-9)
        for label, parts in of_languages.items():
            at = found.sel({dim: label})
            replicated = np.mean([each for _, each in parts], 0)
            expected = [np.mean([mean for mean, _ in parts]), *np.nanpercentile(replicated, [2.5, 97.5])]
            ends = [at[f"overall_{name}{end}"] for end in ("", "_low", "_high")]
            np.testing.assert_allclose(ends, expected, rtol=1e-9)
    assert found.examples.values.tolist() == [int((rows & arrays["present"][:, j]).sum()) for j in range(3)]


def test_neurons_and_overlap_are_those_of_slow_numpy(store):
    found = deactivation(store, replicates=0)
    arrays, names, I = RUN.arrays(), RUN.header.conditions, RUN.header.neurons  # noqa: E741
    for category in CATEGORIES:
        at, c = found.sel(category=category), names.index(category)
        count = arrays["neuron_count"][RUN.measured, c].astype(float)
        np.testing.assert_allclose(at["neurons"], count.mean(0))
        drawn = shared = 0
        for seed in range(2):
            control = names.index(control_name(category, seed))
            drawn += arrays["neuron_count"][RUN.measured, control].sum()
            shared += arrays["overlap"][RUN.measured, control].sum()
        assert float(at["overlap"]) == pytest.approx(shared / drawn)
        assert float(at["overlap_by_chance"]) == pytest.approx((count**2 / I).sum() / count.sum())
        assert int(at["empty"]) == sum(int(each.sum() == 0) for each in count)
    assert np.isnan(found["log_probability_low"]).all()
    assert found.attrs["controls"] == 2


def test_a_subset_of_the_languages_comes_in_its_order(store):
    found, everything = deactivation(store, languages=["zh", "en"]), deactivation(store)
    assert found.language.values.tolist() == ["zh", "en"]
    for name in ("log_probability", "accuracy_from_control", "log_probability_from_intact_low"):
        np.testing.assert_array_equal(found[name], everything[name].sel(language=["zh", "en"]))


def known(num_examples: int, seed: int = 0) -> np.ndarray:
    """float32 [E, L, C], where all-shared neurons cost German 3 nats more than random ones, and others nothing more."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(-6, 4, (num_examples, len(LANGUAGES), 1))  # much larger than the effect
    log_probability = difficulty + rng.normal(0, 0.5, (num_examples, len(LANGUAGES), len(DEACTIVATE)))
    log_probability[..., 1:] -= 1.0  # any deactivation costs one
    log_probability[:, 1, DEACTIVATE.index("all-shared")] -= 3.0
    return log_probability.astype(np.float32)


def test_a_known_effect_is_found_where_it_is_and_nowhere_else(tmp_path):
    run = draw_edited("deactivate", 200, window=64)
    values = np.where(run.present[..., None], known(200), np.float32(np.nan))
    with StoreWriter.create(str(tmp_path / "d.zarr"), run.header) as writer:
        for window in run.windows():
            window.arrays["log_probability"] = values[window.first : window.first + len(window)]
            writer.commit(window)
        writer.finish()
    found = deactivation(open_store(str(tmp_path / "d.zarr")))
    effect = found["log_probability_from_control"]
    low, high = found["log_probability_from_control_low"], found["log_probability_from_control_high"]
    german = {"language": "de", "category": "all-shared"}
    assert float(effect.sel(german)) == pytest.approx(-3.0, abs=0.15)
    # Examples differ by 4 nats: only pairing makes the interval this narrow.
    assert float(high.sel(german) - low.sel(german)) < 0.4
    assert float(high.sel(german)) < -2.5
    elsewhere = effect.where((effect.language != "de") | (effect.category != "all-shared"))
    assert float(abs(elsewhere).max()) < 0.2
    assert float(found["log_probability_control_from_intact"].mean()) == pytest.approx(-1.0, abs=0.05)
    assert float(found["log_probability_from_intact"].sel(german)) == pytest.approx(-4.0, abs=0.15)


def test_intervals_contain_the_truth_as_often_as_they_say():
    places, truth = conditions_of(RUN.header), np.zeros((3, 2))
    truth[1, 0] = -3.0
    inside = []
    for seed in range(60):
        means = MeansOverExamples((3, 2), 400)
        weights = poisson_weights(np.random.default_rng(seed), 60, 400)
        means.add(contrasts(known(60, seed), places).difference[:, :, 2], weights)
        found = means.estimate()
        inside.append((found.low <= truth) & (truth <= found.high))
    assert 0.90 <= np.mean(inside) <= 0.985  # of 360 intervals of 95 %


def test_a_missing_control_makes_its_mean_unknown():
    places = conditions_of(header(kind="deactivate", conditions=DEACTIVATE))
    score = np.zeros((1, 1, len(DEACTIVATE)))
    score[0, 0, DEACTIVATE.index("random:specific:1")] = np.nan
    level, difference = contrasts(score, places)
    assert np.isnan(level[0, 0]).tolist() == [False, False, False, False, True]
    assert np.isnan(difference[0, 0]).tolist() == [[False, False], [False, True], [False, True]]


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        (["specific"], "none is intact"),
        (["intact", "random:all-shared:0"], "the control of no other condition"),
    ],
)
def test_conditions_that_no_deactivation_has_are_refused(conditions, said):
    with pytest.raises(InputError, match=said):
        conditions_of(header(kind="deactivate", conditions=conditions))


def test_what_a_store_lacks_is_said(store, tmp_path):
    with pytest.raises(InputError, match="has no task birds; it has capitals, colours"):
        deactivation(store, tasks=["birds"])
    with pytest.raises(InputError, match="has no language fr"):
        deactivation(store, languages=["fr"])
    draw(4).write(tmp_path / "run.zarr")
    with pytest.raises(InputError, match="is of kind measure"):
        deactivation(open_store(str(tmp_path / "run.zarr")))


def test_an_empty_store_has_no_values(tmp_path):
    path = str(tmp_path / "d.zarr")
    with StoreWriter.create(path, msgspec.structs.replace(RUN.header, window=4)):
        pass
    found = deactivation(open_store(path))
    assert found.attrs["examples"] == 0
    assert np.isnan(found["overall_log_probability"]).all()
