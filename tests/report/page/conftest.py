"""Reports of simulated runs, and a browser to open them in."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastneurons.report.page import write_report
from fastneurons.store import open_store
from tests.report.page.simulated import Simulated, simulate

TASKS = ["capitals", "currencies"]
AXE_VERSION = "4.10.3"


@pytest.fixture(scope="session")
def run() -> Simulated:
    return simulate(60, top_k=8, tasks=TASKS, task=",".join(TASKS))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="session")
def store(run: Simulated, folder: Path) -> str:
    return run.write(folder / "run.zarr")


@pytest.fixture(scope="session")
def page_file(store: str, folder: Path) -> Path:
    """The report of `run`, in one file."""
    path = folder / "report.html"
    write_report([open_store(store)], path)
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    names = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium in PATH; on Debian: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        # Containers often have no sandbox for the user that runs the tests; the pages are our own.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page file as a disk has it, offline, and waits until its views are drawn; errors in it fail the test."""
    contexts = []
    problems: list[str] = []

    def open_page(
        path: Path, address: str = "", width: int = 1280, dark: bool = False, **options: Any
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            offline=True,
            accept_downloads=True,
            reduced_motion="reduce",  # no smooth scrolling to wait for
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: message.type == "error" and problems.append(message.text))
        page.on("request", lambda request: request.url.startswith("http") and problems.append(request.url))
        page.goto(path.as_uri() + address)
        page.locator("html[data-ready]").wait_for(state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, fetched by npm."""
    if shutil.which("npm") is None:
        pytest.skip("no npm to fetch axe-core")
    folder = tmp_path_factory.mktemp("axe")
    command = [
        "npm",
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--prefix",
        str(folder),
        f"axe-core@{AXE_VERSION}",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not answer in two minutes")
    if done.returncode:
        pytest.skip(f"npm cannot fetch axe-core: {done.stderr.strip()[-200:]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture
def accessible(axe: str) -> Callable[[Any], None]:
    """Checks that a page is no wider than its window and that axe-core finds nothing wrong with it."""

    def check(page: Any) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"], page.url
        page.evaluate(axe)
        result = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        found = [
            (each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in result["violations"]
        ]
        assert not found, page.url

    return check
