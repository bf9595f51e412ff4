"""The Typer application: all commands in one place."""

from collections.abc import Callable
from typing import Annotated

import typer

import fastneurons
from fastneurons.cli import (
    align,
    align_report,
    alignment,
    bench,
    categories,
    compare,
    contribution,
    data,
    deactivate,
    distributions,
    exchange,
    export,
    generate,
    inactive,
    info,
    lape,
    look,
    merge,
    neurons,
    perplexity,
    plan,
    plot,
    publish,
    recategorise,
    repeating,
    report,
    run,
    sets,
    sharing,
    tasks,
    verify,
)
from fastneurons.cli.help import FIRST_RUN, SectionedCommand, SectionedGroup, help_if_alone

app = typer.Typer(
    name="fastneurons",
    cls=SectionedGroup,
    help="Measure how a multilingual LLM shares its neurons among languages, at the speed of vLLM.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fastneurons {fastneurons.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    help_if_alone(context, FIRST_RUN)


app.command(cls=SectionedCommand)(run.run)
app.command(cls=SectionedCommand)(run.demo)
app.command(cls=SectionedCommand)(deactivate.deactivate)
app.command(cls=SectionedCommand)(generate.generate)
app.command(cls=SectionedCommand)(perplexity.perplexity)
app.command(cls=SectionedCommand)(align.align)
app.command(cls=SectionedCommand)(look.summary)
app.command(cls=SectionedCommand)(plot.plot)
app.command(cls=SectionedCommand)(report.report)
app.command(cls=SectionedCommand)(export.export)
app.command(cls=SectionedCommand)(publish.publish)
app.command(cls=SectionedCommand)(verify.verify)
app.command(cls=SectionedCommand)(merge.merge)
app.command(cls=SectionedCommand)(tasks.tasks)
app.add_typer(data.data)
app.add_typer(sets.sets)
app.command(cls=SectionedCommand)(plan.plan)
app.command(cls=SectionedCommand)(bench.bench)
app.command(cls=SectionedCommand)(info.info)

_FINDINGS: tuple[Callable[..., None], ...] = (
    categories.categories,
    categories.thresholds,
    repeating.repeating,
    inactive.inactive,
    recategorise.recategorise,
    compare.compare,
    align_report.align_report,
    sharing.sharing,
    alignment.alignment,
    neurons.neurons,
    contribution.contribution,
    lape.lape,
    distributions.distributions,
)
for _command in _FINDINGS:
    app.command(cls=SectionedCommand, rich_help_panel="Findings")(_command)

_EXCHANGE: tuple[Callable[..., None], ...] = (
    exchange.import_counts,
    exchange.export_counts,
    exchange.import_masks,
    exchange.export_masks,
)
for _command in _EXCHANGE:
    app.command(cls=SectionedCommand, rich_help_panel="Files of other projects")(_command)
