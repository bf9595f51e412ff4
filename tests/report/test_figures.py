"""Pictures are made in each format, say what they show, and leave the caller's matplotlib alone."""

import subprocess
import sys

import matplotlib
import pytest

from fastneurons.errors import InputError
from fastneurons.report import plot
from fastneurons.report.style import apart
from fastneurons.store import StoreWriter, open_store
from tests.report.test_tables import CODES
from tests.store.runs import draw

RUN = draw(12)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("figures") / "run.zarr"
    RUN.write(path)
    return open_store(str(path))


@pytest.mark.parametrize(
    ("ending", "signature"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89PNG")]
)
def test_the_ending_says_what_it_is(ending, signature, store, tmp_path):
    path = tmp_path / f"sharing.{ending}"
    plot(store, path)
    assert path.read_bytes().startswith(signature)


def test_both_panels_and_the_run_are_named(store, tmp_path):
    plot(store, tmp_path / "a.svg", 0.5)
    text = (tmp_path / "a.svg").read_text()
    for label in ("Qwen3-8B", "capitals", "9 examples", "3 languages", "activation &gt; 0.5", "layer",
                  "share of neurons", "non-activated", "specific", "partial-shared", "all-shared",
                  "English (en)", "German (de)", "Chinese (zh)", "activated neurons"):  # fmt: skip
        assert label in text, label
    assert "not complete" not in text
    plot(store, str(tmp_path / "b.svg"), 0.5)
    assert (tmp_path / "b.svg").read_text() == text  # the same store, the same picture


def test_attribution_has_a_panel_of_its_own(tmp_path):
    draw(12, top_k=3).write(tmp_path / "run.zarr")
    store = open_store(str(tmp_path / "run.zarr"))
    plot(store, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert "share of neurons" in text
    assert "share of the 3 most contributing neurons" in text
    assert text.count("all-shared") == 2
    assert "contributions at threshold" not in text
    plot(store, tmp_path / "b.svg", 0.5)
    assert "contributions at threshold 0" in (tmp_path / "b.svg").read_text()


def test_a_corpus_is_a_line_for_each_language(tmp_path):
    run = draw(14, position="corpus", languages=CODES[:12], signal="product")
    run.write(tmp_path / "run.zarr")
    plot(open_store(str(tmp_path / "run.zarr")), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    for label in ("activation probability", "tokens", "coefficient &gt; 0 at each token", "English (en)"):
        assert label in text, label
    read = run.token_count.sum(0) > 0
    assert read.sum() == 10  # the only texts of two languages were skipped
    assert [f"({code})" in text for code in CODES[:12]] == read.tolist()
    assert "shared" not in text


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([5.0], [5.0]),
        ([3.0, 1.0, 9.0], [3.0, 1.0, 9.0]),
        ([4.0, 4.0, 4.0], [3.0, 4.0, 5.0]),
        ([4.2, 4.0], [4.6, 3.6]),
        ([0.0, 0.1], [0.0, 1.0]),
        ([9.9, 10.0], [9.0, 10.0]),
        ([5.0] * 13, [float(k) for k in range(13)]),
    ],
)
def test_labels_are_apart_in_the_order_of_their_lines(ends, expected):
    assert apart(ends, 1.0, 0.0, 10.0) == pytest.approx(expected)


def test_two_languages_share_all_or_nothing(tmp_path):
    draw(5, languages=["en", "de"]).write(tmp_path / "run.zarr")
    plot(open_store(str(tmp_path / "run.zarr")), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert "all-shared" in text
    assert "partial-shared" not in text


def test_many_languages_are_all_named(tmp_path):
    draw(5, languages=[*CODES[:31], "my-own"], layers=list(range(60))).write(tmp_path / "run.zarr")
    plot(open_store(str(tmp_path / "run.zarr")), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert all(f"({code})" in text for code in CODES[:31])
    assert "my-own" in text


def test_an_incomplete_store_is_drawn_as_such(tmp_path):
    path = str(tmp_path / "run.zarr")
    with StoreWriter.create(path, RUN.header) as writer:
        with pytest.raises(InputError, match="nothing was measured yet"):
            plot(open_store(path), tmp_path / "a.svg")
        writer.commit(RUN.window(0, 4))
    plot(open_store(path), tmp_path / "a.svg")
    assert "run not complete" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.txt"])
def test_other_endings_are_refused(name, store, tmp_path):
    with pytest.raises(InputError, match=r"must be one of \.png, \.svg, \.pdf"):
        plot(store, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_place_that_cannot_be_written_is_told(store, tmp_path):
    with pytest.raises(InputError, match="No such file or directory"):
        plot(store, tmp_path / "nowhere" / "a.png")


def test_nothing_of_the_callers_matplotlib_is_touched(store, tmp_path):
    before = dict(matplotlib.rcParams)
    plot(store, tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before
    code = "import sys, fastneurons.report.figures; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
