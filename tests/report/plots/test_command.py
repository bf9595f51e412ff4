"""`plot`, `export` and `publish` as commands: what they write, and what they say of a wrong call."""

import pytest

from fastneurons.cli import main


def call(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return (end.value.code, *capsys.readouterr())


def test_a_figure_by_its_name_and_without_one(folder, tmp_path, capsys):
    code, out, _ = call(
        capsys, "plot", folder / "run.zarr", "recategorise", "-o", tmp_path / "a.svg", "--resamples", 0
    )
    assert (code, out) == (0, f"{tmp_path / 'a.svg'}\n")
    assert "number of languages" in (tmp_path / "a.svg").read_text()
    code, _, _ = call(capsys, "plot", folder / "run.zarr", "-o", tmp_path / "b.svg")
    assert code == 0
    assert "activated neurons, mean over layers" in (tmp_path / "b.svg").read_text()


def test_two_stores_compare(folder, tmp_path, capsys):
    words = ("plot", folder / "run.zarr", "compare", folder / "other.zarr", "-o", tmp_path / "a.svg")
    assert call(capsys, *words, "--resamples", 0)[0] == 0
    assert "B less A" in (tmp_path / "a.svg").read_text()


def test_all_figures_that_the_store_has(folder, tmp_path, capsys):
    words = ("--all", "-o", tmp_path / "all", "--format", "svg", "--resamples", 0)
    code, out, err = call(capsys, "plot", folder / "any.zarr", *words)
    assert code == 0
    names = [
        "summary",
        "categories",
        "repeating",
        "inactive",
        "sharing",
        "recategorise",
        "alignment",
        "neurons",
    ]
    assert out.split() == [str(tmp_path / "all" / f"{name}.svg") for name in names]
    assert err.startswith("no contribution: ")
    assert sorted(path.stem for path in (tmp_path / "all").iterdir()) == sorted(names)


def test_all_figures_of_a_corpus(folder, tmp_path, capsys):
    words = ("--all", "-o", tmp_path / "all", "--format", "svg", "--resamples", 0)
    code, out, err = call(capsys, "plot", folder / "corpus.zarr", *words)
    assert (code, err) == (0, "")
    assert out.split() == [str(tmp_path / "all" / f"{name}.svg") for name in ("summary", "inactive", "lape")]
    assert "neurons by layer" in (tmp_path / "all" / "lape.svg").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare"], "compare takes two stores: plot A.zarr compare B.zarr"),
        (["sharing", "other.zarr"], "only categories and compare take more stores than one"),
        (["sharing", "--all"], "--all draws every figure: drop sharing or --all"),
        (["sharing", "--format", "pdf"], "--format goes with --all"),
        (["--task", "capitals"], "summary is of the whole store"),
        (["sharing", "-o", "a.gif"], "must be one of .png, .svg, .pdf"),
        (["contribution", "--task", "none"], "has no task none"),
    ],
)
def test_wrong_calls_are_one_line(words, message, folder, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, "plot", folder / "run.zarr", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_export_names_its_files(folder, tmp_path, capsys):
    words = (
        "export",
        folder / "run.zarr",
        "-o",
        tmp_path / "out",
        "--tables",
        "examples,prompts",
        "--no-prompts",
    )
    code, out, _ = call(capsys, *words)
    assert code == 0
    assert out.split() == [str(tmp_path / "out" / f"{name}.csv") for name in ("examples", "prompts")]
    assert "prompt\n" not in (tmp_path / "out" / "prompts.csv").read_text().splitlines(keepends=True)[0]
    code, _, err = call(capsys, "export", folder / "run.zarr", "-o", tmp_path / "x", "--bits")
    assert code == 2
    assert "--bits goes with --format safetensors" in err


def test_publish_refuses_a_folder_with_other_files(folder, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    code, _, err = call(capsys, "publish", folder / "run.zarr", "--to", tmp_path)
    assert code == 2
    assert "is a folder with other files" in err
