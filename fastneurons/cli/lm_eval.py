"""`lm-eval`: lm-evaluation-harness with the intact model and with edited ones, in one engine."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fastneurons.cli import data_options as opt_data
from fastneurons.cli.engine_options import AsJson, Lora
from fastneurons.cli.help import SectionedCommand
from fastneurons.streams import say

lm_eval = typer.Typer(name="lm-eval", help="Run EleutherAI's lm-evaluation-harness on edited models.")


@lm_eval.command(
    cls=SectionedCommand, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def run(
    context: typer.Context,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="An edit, or a set of neurons to switch off, as a .safetensors file; repeat it for several.",
        ),
    ] = None,
    output_path: Annotated[
        Path | None,
        typer.Option(
            "--output_path",
            "--output-path",
            metavar="FOLDER",
            help="Keep the harness' files here: a numbered folder for the intact model and each edit. "
            "[default: a temporary folder]",
            show_default=False,
        ),
    ] = None,
    lora: Lora = None,
    as_json: AsJson = False,
) -> None:
    """Run lm-evaluation-harness with the intact model and with each edit, and compare.

    All other options are the harness' own, as after `lm-eval run`: --model_args pretrained=MODEL, --tasks, --limit,
    --num_fewshot, --include_path, ... The table shows each metric with the harness' standard error, and its change from
    the intact model over the same documents.
    """
    from fastneurons.arrays import INTACT
    from fastneurons.engine.adapters import read_adapter
    from fastneurons.errors import InputError

    adapter = read_adapter(lora) if lora is not None else None
    # Imported late: a mistaken folder is reported at once.
    from fastneurons.experiments.under_edits import named_edits
    from fastneurons.harness.results import (
        ADAPTER_KEY,
        folders_of,
        print_results,
        read_results,
        results_numbers,
    )
    from fastneurons.harness.run import adapter_facts, run_harness
    from fastneurons.visible import visible_json

    edits = named_edits(edit or [])
    if scoped := [name for name, one in edits if one.scope != "both"]:
        raise InputError(
            f"--edit {', '.join(scoped)}: is for prompts or for generated tokens alone, and the harness does not tell "
            "them apart; lm-eval takes edits whose scope is both"
        )
    if adapter is not None and ADAPTER_KEY in dict(edits):
        raise InputError(f"--edit {ADAPTER_KEY}: results name the adapter so; rename the file")
    root = run_harness(context.args, edits, output_path, adapter)
    found = read_results(folders_of(root, [INTACT, *(name for name, _ in edits)]))
    if as_json:
        print(visible_json(results_numbers(found, adapter_facts(adapter) if adapter else None)))
    else:
        print_results(found, sys.stdout, str(adapter.folder) if adapter else None)
    if output_path is not None:
        say(f"files:   {output_path}")


@lm_eval.command("write-task", cls=SectionedCommand)
def write_task(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write, for --include_path.")],
    name: Annotated[
        str, typer.Option(help="Name of the group; its tasks are NAME_en, NAME_de, ...")
    ] = "fastneurons",
    tasks: opt_data.Tasks = None,
    data: opt_data.Data = None,
    languages: opt_data.Languages = None,
    split: opt_data.Split = None,
    config: opt_data.Config = None,
    limit: opt_data.Limit = None,
) -> None:
    """Write examples with answers as tasks of lm-evaluation-harness, one for each language.

    Answers that are choices make a task of multiple choice; others are compared with the first line generated.
    """
    from fastneurons.data.options import DataOptions
    from fastneurons.data.tasks import open_tasks, tasks_and_data
    from fastneurons.harness.write_task import write_tasks
    from fastneurons.languages import parse_languages

    names, places = tasks_and_data(tasks, data or [])
    codes = parse_languages(languages, 1) if languages is not None else None
    source = open_tasks(names, places, codes, DataOptions(split=split, config=config, limit=limit), None)
    source.check()
    counts = write_tasks(source, source.languages, out, name)
    for language, count in counts.items():
        say(f"{name}_{language}: {count:,} documents")
    say(f"run:     fastneurons lm-eval run --model_args pretrained=MODEL --include_path {out} --tasks {name}")
