"""Put the page together: assets of this package, and blocks of data, into one file or a folder.

There is no build step: the style and the scripts are files in `assets/`, which are read and joined as they are. A
single file holds all blocks; a folder holds all but the small ones in scripts of their own, which the page loads when
a view needs them. Scripts, since a page that was opened from a disk may not fetch its neighbours.
"""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

import fastneurons
from fastneurons.report.page.blocks import Block
from fastneurons.report.page.data import RunPage
from fastneurons.report.style import CATEGORY_COLOURS

# In the order in which they need each other.
_SCRIPTS = (
    "data", "dom", "state", "figure", "table", "layers", "heatmap", "strip", "matrix", "sets", "contribution",
    "neurons", "examples", "panels", "deactivate", "conditions", "generation", "texts", "perplexity", "compare", "main",
)  # fmt: skip
_DATA_FOLDER = "data"


@dataclass(frozen=True)
class Page:
    """A report, ready to be written.

    Args:
        html: The page.
        files: Other files of a folder, by their path in it.
    """

    html: str
    files: Mapping[str, str]


def build(
    runs: Sequence[tuple[str, RunPage]],
    comparisons: Mapping[str, Block],
    folder: bool = False,
) -> Page:
    """Make the page of one or several runs.

    Args:
        runs: Title and data of each run.
        comparisons: Comparisons of two runs by "0-1", the places of both.
        folder: Whether large blocks become files of their own.
    """
    inside: dict[str, Block] = {f"compare/{pair}": block for pair, block in comparisons.items()}
    outside: dict[str, Block] = {}
    for number, (_, run) in enumerate(runs):
        inside[f"run{number}/core"] = run.core
        (outside if folder else inside).update({f"run{number}/{name}": b for name, b in run.blocks.items()})
    paths = {name: f"{_DATA_FOLDER}/{name.replace('/', '-')}.js" for name in outside}
    index = {
        "version": fastneurons.__version__,
        "runs": [{"name": f"run{number}", "title": title} for number, (title, _) in enumerate(runs)],
        "comparisons": list(comparisons),
        "files": paths,
    }
    # JSON in a script element must not end it.
    blocks = [f'<script type="application/json" id="index">{_script_json(index)}</script>']
    blocks += [
        f'<script type="application/octet-stream" id="block {name}">{block.text}</script>'
        for name, block in inside.items()
    ]
    title = " and ".join(title for title, _ in runs[:2]) + (" and others" if len(runs) > 2 else "")
    text = Template(_asset("page.html")).substitute(
        version=fastneurons.__version__,
        title=html.escape(f"{title} – fastneurons"),
        # A folder's data are scripts beside the page, which may be opened from a disk or served.
        scripts="'self' file:" if folder else "",
        style=Template(_asset("style.css")).substitute(CATEGORY_COLOURS_BY_KEY),
        blocks="\n".join(blocks),
        code="\n".join(_asset(f"{name}.js") for name in _SCRIPTS),
    )
    files = {
        paths[name]: f"fastneuronsBlock({json.dumps(name)},{json.dumps(block.text)});\n"
        for name, block in outside.items()
    }
    return Page(text, files)


CATEGORY_COLOURS_BY_KEY = dict(zip(("none", "specific", "partial", "all"), CATEGORY_COLOURS, strict=True))


def _script_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return (resources.files("fastneurons.report.page") / "assets" / name).read_text("utf-8")


def code_bytes() -> int:
    """Bytes of style, scripts and template, which are in every page."""
    names = ["page.html", "style.css", *(f"{name}.js" for name in _SCRIPTS)]
    return sum(len(_asset(name).encode()) for name in names)


def write(page: Page, path: Path) -> None:
    """Write a page to a file, or with its data files to a folder."""
    if not page.files:
        path.write_text(page.html, "utf-8")
        return
    path.mkdir(parents=True, exist_ok=True)
    (path / "index.html").write_text(page.html, "utf-8")
    for name, text in page.files.items():
        file = path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
