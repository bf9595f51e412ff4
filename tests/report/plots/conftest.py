"""Stores and the datasets of their analyses, once for all tests of figures."""

import pytest

from fastneurons.analysis.selection import Selection
from fastneurons.report.plots import FIGURES
from fastneurons.report.plots.analyses import Request, analyse
from fastneurons.store import open_store
from tests.analysis.planted import planted, written
from tests.report.page.simulated import LANGUAGES, simulate
from tests.store.runs import draw

TASKS = ["capitals", "currencies"]
COMMON = {
    "tasks": TASKS,
    "task": ",".join(TASKS),
    "thresholds": [0.0, 0.5],
    "languages": list(LANGUAGES[:5]),
    "layers": list(range(8)),
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("plots")
    simulate(30, top_k=8, **COMMON).write(path / "run.zarr")
    simulate(30, shift=40, **COMMON).write(path / "other.zarr")
    simulate(30, position="any", layers=list(range(8))).write(path / "any.zarr")
    written(path / "corpus.zarr", planted(24, noise=0.1))
    signed = {"position": "corpus", "bins": 16, "counts_signs": True}
    draw(20, languages=list(LANGUAGES[:5]), layers=list(range(8)), **signed).write(path / "binned.zarr")
    return path


@pytest.fixture(scope="session")
def stores(folder):
    return {
        name: open_store(str(folder / f"{name}.zarr")) for name in ("run", "other", "any", "corpus", "binned")
    }


@pytest.fixture(scope="session")
def found(stores):
    """The dataset of each figure, by its name."""
    made = {}
    for name in FIGURES:
        chosen = {
            "inactive": ["any"], "compare": ["run", "other"], "lape": ["corpus"], "distributions": ["binned"],
        }  # fmt: skip
        of = chosen.get(name, ["run"])
        made[name] = analyse(name, Request([stores[each] for each in of], Selection(), 40, 0))
    return made
