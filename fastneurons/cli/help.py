"""How help is laid out: options in sections, types as words; and what a command without its subcommand says."""

import re
import sys
from typing import Any

import typer
from typer.core import TyperCommand

FIRST_RUN = """\
First run, of a model's folder or Hub name and a file of lines {"id": ..., "prompts": {"en": ..., "de": ...}}:
  fastneurons run MODEL --data FILE.jsonl"""


class SectionedCommand(TyperCommand):
    """A command whose help has a section for each `rich_help_panel`, in plain text that fits 80 columns."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, everyday options, then the other sections in the order of the parameters."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            name = getattr(parameter, "rich_help_panel", None) or "Options"
            if parameter.param_type_name == "argument":
                name = "Arguments"
            sections.setdefault(name, []).append((re.sub(r"<([^<>]*)>", _word, record[0]), record[1]))
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def _word(kind: re.Match[str]) -> str:
    """What to write for a type: `NUMBER` for `<list[float]>`."""
    if "int" in kind[1] or "float" in kind[1]:
        return "NUMBER"
    return "PATH" if "path" in kind[1].lower() else "TEXT"


def help_if_alone(context: typer.Context, hint: str = "") -> None:
    """Print what commands there are on standard error, and exit with status 2, where none is named."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        if hint:
            print(f"\n{hint}", file=sys.stderr)
        raise typer.Exit(2)
