"""`fastneurons report` as it is called, and what it says of calls that are wrong."""

import pytest

import fastneurons
from fastneurons.cli import main
from fastneurons.errors import InputError
from tests.report.page.simulated import simulate


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    return simulate(12, languages=["en", "de"], layers=[0, 1]).write(folder / "run.zarr")


def call(*arguments):
    with pytest.raises(SystemExit) as end:
        main(["report", *map(str, arguments)])
    return end.value.code


def test_it_writes_a_file_and_says_where(small, tmp_path, capsys):
    assert call(small, "-o", tmp_path / "a.html") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a.html'}\n"
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert call(small, small, "--folder", "-o", tmp_path / "out") == 0
    assert (tmp_path / "out" / "index.html").exists()
    # A folder that a report is in may be written again.
    assert call(small, "--folder", "-o", tmp_path / "out") == 0


def test_wrong_calls_say_what_is_wrong(small, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    wrong = {
        (tmp_path / "none.zarr",): (1, "none.zarr: does not exist"),
        (small, "-o", tmp_path): (2, "is a folder; name a file"),
        (small, "-o", tmp_path / "no" / "a.html"): (2, "does not exist"),
        (small, "--folder", "-o", tmp_path / "full"): (2, "is a folder with other files; name a new one"),
        (small, "--threshold", "7", "-o", tmp_path / "a.html"): (2, "has no threshold 7"),
        (): (2, "Missing argument 'STORE...'"),
    }
    for arguments, (status, message) in wrong.items():
        assert call(*arguments) == status, arguments
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_the_python_interface_takes_paths_and_stores(small, tmp_path):
    fastneurons.write_report(small, tmp_path / "a.html")
    fastneurons.write_report([fastneurons.open(small)], tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    with pytest.raises(InputError, match="at least one store"):
        fastneurons.write_report([], tmp_path / "c.html")
