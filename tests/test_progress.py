"""What a log shows of a run."""

import io

import pytest

from fastneurons import progress
from fastneurons.progress import Lines


@pytest.mark.parametrize("every_s", [0.0, 1e9])
def test_the_last_line_says_all_and_is_said_once(every_s, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_EVERY_S", every_s)
    stream = io.StringIO()
    lines = Lines(stream)
    lines.start(5, 2)
    lines.advance(3, 30, 700)
    lines.stop()
    [line] = stream.getvalue().splitlines()
    assert line.startswith("5 of 5 examples")
    assert line.endswith("0:00 left")


def test_a_run_with_nothing_to_do_says_nothing():
    stream = io.StringIO()
    lines = Lines(stream)
    lines.start(5, 5)
    lines.stop()
    assert stream.getvalue() == ""
