"""Write docs/cli.md, the reference of all commands, from the commands' own help.

python docs/make_cli.py            # write it
python docs/make_cli.py --check    # fail if it differs from what would be written; for `make lint`
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from fastneurons.cli.app import app

PAGE = Path(__file__).with_name("cli.md")

_BEGINNING = """\
# Command line

`make docs` writes this page from the commands' own help; `fastneurons COMMAND --help` prints the same. Exit status: 0
for success, 1 for a failed run or a damaged store, 2 for a wrong call or unusable input, 130 after Ctrl-C.

`fastneurons --version` prints the version. `fastneurons --install-completion` teaches your shell to complete commands,
options, task names and positions."""


def page() -> str:
    """Return the page's text."""
    root = typer.main.get_command(app)
    found = list(_commands(root, "fastneurons"))
    parts = [_BEGINNING, _table(("command", ""), [(_link(name), _first_line(c)) for name, c, _ in found])]
    parts += [_command(name, command, context) for name, command, context in found]
    return "\n\n".join(parts) + "\n"


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield every command with its full name and context, in the order of `fastneurons --help`."""
    context = group.context_class(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        full = f"{path} {name}"
        if hasattr(command, "list_commands"):
            yield from _commands(command, full)
        else:
            yield full, command, command.context_class(command, info_name=full)


def _command(name: str, command: Any, context: Any) -> str:
    """Return a command's chapter: what it does, its usage, and a table for each section of its help."""
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"## {name}", _unwrapped(command.help), f"```sh\n{name} {usage}\n```"]
    for section, records in command.sections(context).items():
        rows = [_row(*record) for record in records if not record[0].startswith("--help")]
        if section == "Arguments":
            parts.append(_table(("argument", "", "default"), rows))
        elif rows:
            parts += [f"### {section}", _table(("option", "", "default"), rows)]
    return "\n\n".join(parts)


def _row(usage: str, text: str) -> tuple[str, str, str]:
    """Split a default off the help of a parameter."""
    found = re.fullmatch(r"(.*?)\s*(?:\[(?:default: (.*)|(required))\])?", text, re.DOTALL)
    assert found is not None
    shown = " ".join(found[1].split())
    return f"`{usage}`", shown, found[2] or found[3] or ""


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def _link(name: str) -> str:
    return f"[`{name}`](#{name.replace(' ', '-')})"


def _first_line(command: Any) -> str:
    return str(command.help.split("\n\n")[0])


def _unwrapped(text: str) -> str:
    """Return the paragraphs of a docstring, a line each."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def main() -> None:
    """Write the page, or check it."""
    wanted = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(wanted, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != wanted:
        sys.exit("docs/cli.md differs from the commands' help; run `make docs`")


if __name__ == "__main__":
    main()
