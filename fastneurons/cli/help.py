"""Layout of --help: options in sections, types as words; and the hint for a call without a command."""

import re
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

FIRST_RUN = """\
To start, you need a model (a folder or a Hugging Face name) and a JSONL file
with lines like {"id": "1", "prompts": {"en": "...", "de": "..."}}. Then run:
  fastneurons run MODEL --data FILE.jsonl"""


class SectionedCommand(TyperCommand):
    """A command whose help has one section per `rich_help_panel`, in plain text that fits 80 columns."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line; required arguments without typer's braces."""
        return [re.sub(r"^\{(\w+)\}", r"\1", piece) for piece in super().collect_usage_pieces(ctx)]

    def sections(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:
        """Return each section's parameters, as pairs of usage and help, in the order in which help shows them.

        Arguments come first, then everyday options, then the other sections in the order of the parameters.
        """
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            usage = re.sub(r"<([^<>]*)>", _word, record[0])
            name = getattr(parameter, "rich_help_panel", None) or "Options"
            if parameter.param_type_name == "argument":
                name, usage = "Arguments", usage.removesuffix(" TEXT")  # its name says enough
            sections.setdefault(name, []).append((usage, record[1]))
        return {name: records for name, records in sections.items() if records}

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections."""
        for name, records in self.sections(ctx).items():
            with formatter.section(name):
                formatter.write_dl(records)


class SectionedGroup(TyperGroup):
    """A group whose list of commands has one section per `rich_help_panel`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the sections, those without a name first, as "Commands"."""
        sections: dict[str, list[tuple[str, Any]]] = {"Commands": []}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            section = getattr(command, "rich_help_panel", None) or "Commands"
            sections.setdefault(section, []).append((name, command))
        for section, commands in sections.items():
            room = formatter.width - 6 - max(len(name) for name, _ in commands)
            with formatter.section(section):
                formatter.write_dl([(name, command.get_short_help_str(room)) for name, command in commands])


def _word(kind: re.Match[str]) -> str:
    """Return the word for a type: `NUMBER` for `<list[float]>`."""
    if "int" in kind[1] or "float" in kind[1]:
        return "NUMBER"
    return "PATH" if "path" in kind[1].lower() else "TEXT"


def help_if_alone(context: typer.Context, hint: str = "") -> None:
    """Print the list of commands on standard error and exit with status 2 if the call names none."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        if hint:
            print(f"\n{hint}", file=sys.stderr)
        raise typer.Exit(2)
