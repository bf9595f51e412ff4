"""A command that has commands below it, called without one."""

import sys

import typer


def help_if_alone(context: typer.Context) -> None:
    """Print what commands there are on standard error, and exit with status 2, where none is named."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(2)
