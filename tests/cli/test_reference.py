"""docs/cli.md, which is made from the commands' help: it has every option, and a stale page is noticed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import typer

from fastneurons.cli.app import app

DOCS = Path(__file__).parents[2] / "docs"


def make(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=False
    )


def commands(group, path):
    for name, command in group.commands.items():
        yield from (
            commands(command, f"{path} {name}")
            if hasattr(command, "commands")
            else [(f"{path} {name}", command)]
        )


def test_the_page_has_every_option_of_every_command():
    chapters = re.split(r"^## ", (DOCS / "cli.md").read_text(), flags=re.MULTILINE)[1:]
    by_name = {chapter.partition("\n")[0]: chapter for chapter in chapters}
    found = dict(commands(typer.main.get_command(app), "fastneurons"))
    assert by_name.keys() == found.keys()
    for name, command in found.items():
        documented = set(re.findall(r"--[a-z][a-z_-]+", by_name[name]))
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert set(parameter.opts + parameter.secondary_opts) - {"-o", "-tp", "-pp"} <= documented


def test_a_stale_page_is_noticed_and_made_anew(tmp_path):
    for name in ("make_cli.py", "cli.md"):
        shutil.copy(DOCS / name, tmp_path / name)
    page, script = tmp_path / "cli.md", tmp_path / "make_cli.py"
    assert make(script, "--check").returncode == 0
    page.write_text(page.read_text().replace("--shuffle SEED", "--shuffle"))
    stale = make(script, "--check")
    assert (stale.returncode, stale.stderr) == (
        1,
        "docs/cli.md differs from the commands' help; run `make docs`\n",
    )
    assert make(script).returncode == 0
    assert page.read_text() == (DOCS / "cli.md").read_text()
