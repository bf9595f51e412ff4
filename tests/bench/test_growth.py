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
