"""What growth.py runs and draws, from numbers that are given; that it runs is in test_scripts.py."""

from fastneurons.bench.rounds import Percentiles
from tests.bench.scripts import script

growth = script("growth")


def test_a_point_has_about_as_many_tokens_as_its_neighbours():
    assert growth.case_of("examples", 300, 48_000) == growth.Case(300)
    of_languages = growth.case_of("languages", 64, 48_000)
    assert (of_languages.languages, of_languages.examples) == (64, 93)  # 93 x 64 x 8 tokens: 47,616
    of_neurons = growth.case_of("neurons", 512, 48_000)
    assert (of_neurons.neurons, of_neurons.examples, of_neurons.languages) == (512, 2_000, 3)


def test_the_picture_shows_every_point_of_every_axis():
    rates = {"examples": [100.0, 900.0], "neurons": [5_000.0, 20.0]}
    rows = [
        growth.Row(axis, 10 * (k + 1), 480, Percentiles(rate, 0.8 * rate, 1.2 * rate), 1_000 + rate)
        for axis, of_axis in rates.items()
        for k, rate in enumerate(of_axis)
    ]
    figure = growth.figure_of(rows)
    drawn = [(panel, line.get_xydata()) for panel in figure.axes for line in panel.lines]
    assert len(drawn) == 4
    for panel, points in drawn:
        assert len(points) == 2
        low, high = panel.get_ylim()
        assert low == 0
        assert (points[:, 1] < high).all()
    # The band reaches to the 80th percentile.
    assert figure.axes[0].get_ylim()[1] > 6_000


def test_memory_is_read_once_at_each_share_of_a_long_run(monkeypatch):
    held = iter([900.0, 910.0, 930.0])
    monkeypatch.setattr(growth, "_resident_mib", lambda: next(held))
    looking = growth._Looking(1000, (0.01, 0.1, 1.0), resumed=False)
    looking.start(None, 0)
    for _ in range(15):
        looking.advance(64, 128, 1000)
    looking.advance(40, 80, 600)
    assert looking.found == [
        growth.Resident(64, 900.0),
        growth.Resident(128, 910.0),
        growth.Resident(1000, 930.0),
    ]
    assert growth.bytes_per_example(looking.found[1], looking.found[2]) == 20 * 2**20 / 872


def test_examples_of_a_long_run_are_made_one_by_one():
    made = growth._made_examples(10**9)
    rows = [next(made) for _ in range(50)]
    assert [row.id for row in rows[:2]] == ["e0", "e1"]
    assert {len(prompt) for row in rows for prompt in row.prompts.values()} == set(range(2, 13))
