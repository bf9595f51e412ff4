"""The check of layouts finds what it is for."""

from matplotlib.figure import Figure

from tests.report.plots.layout import problems


def test_faults_are_found():
    figure = Figure(figsize=(3, 2))
    figure.text(0.9, 0.9, "this runs over the edge", fontsize=9)
    figure.text(0.1, 0.5, "one text", fontsize=9)
    figure.text(0.12, 0.5, "another text", fontsize=9)
    figure.text(0.1, 0.1, "tiny", fontsize=4)
    found = problems(figure)
    assert [each.partition(":")[0] for each in found] == ["cut off", "small", "over each other"]
