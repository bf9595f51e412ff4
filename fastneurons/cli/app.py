"""The Typer application: all commands in one place."""

from typing import Annotated

import typer

import fastneurons
from fastneurons.cli import bench, data, info, look, run, tasks, verify

app = typer.Typer(
    name="fastneurons",
    help="How a multilingual LLM shares its neurons among languages, measured at engine speed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fastneurons {fastneurons.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(run.run)
app.command()(run.demo)
app.command()(look.summary)
app.command()(look.plot)
app.command()(verify.verify)
app.command()(tasks.tasks)
app.add_typer(data.data)
app.command()(bench.bench)
app.command()(info.info)
