"""`tasks`: list the data sets known by name, and describe one of them."""

import sys
from typing import Annotated, Any

import typer

from fastneurons.cli.data_options import complete_tasks
from fastneurons.cli.engine_options import AsJson
from fastneurons.visible import visible_json

_SCORES = {
    "choice": "choice: the most likely choice by log-likelihood, with and without length normalisation",
    "exact-match": "exact match after language-specific normalisation",
    "last-number": "the last number in the output, in any script's digits",
    None: "not scored: there is no correct answer",
}


def tasks(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK",
            help="Describe this data set in full.",
            show_default=False,
            autocompletion=complete_tasks,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the data sets known by name, or describe one.

    The description gives languages, fields, templates, example prompts, and where to get the data.
    """
    from fastneurons.data.tasks import TASKS, task_named

    if name is None:
        found = [_described(task) for task in TASKS.values()]
        print(visible_json(found)) if as_json else _print_all(found)
        return
    one = _described(task_named(name))
    print(visible_json(one)) if as_json else _print_one(one)


def _described(task: Any) -> dict[str, Any]:
    from fastneurons.data.template import Compiled

    rendered = {}
    for code, fields in task.example().items():
        template = task.template(code)
        filled = Compiled(template, task.name, task.fields)(fields)
        rendered[code] = {
            "template": template.prompt,
            "prompt": filled.prompt,
            "choices": list(filled.choices),
            "answer": filled.answer,
        }
    return {
        "task": task.name,
        "about": task.about,
        "languages": list(task.codes),
        "fields": dict(task.fields),
        "aligned_by": task.aligned_by,
        "scoring": task.scoring,
        "sources": list(task.sources),
        "needs_data": task.needs_data,
        "examples": rendered,
    }


def _print_all(found: list[dict[str, Any]]) -> None:
    from fastneurons.console import PlainConsole, PlainTable

    table = PlainTable()
    table.add_column("task", no_wrap=True)
    table.add_column("languages", justify="right", no_wrap=True)
    table.add_column("description")
    for one in found:
        table.add_row(one["task"], str(len(one["languages"]) or "any"), one["about"])
    console = PlainConsole(sys.stdout, 100)
    console.print(table)
    console.print(
        "describe one:  fastneurons tasks TASK\n"
        "measure it:    fastneurons run MODEL --tasks TASK --data PLACE"
    )


def _print_one(one: dict[str, Any]) -> None:
    codes = ", ".join(one["languages"]) or "any"
    print(f"{one['task']}: {one['about']}\n")
    print(f"languages   {codes}")
    print(f"aligned by  {one['aligned_by']}")
    print(f"scored by   {_SCORES[one['scoring']]}")
    _block("data", one["sources"])
    width = max(map(len, one["fields"]))
    _block("fields", [f"{name:<{width}}  {meaning}" for name, meaning in one["fields"].items()])
    for code, example in one["examples"].items():
        _block(f"template in {code}", example["template"].splitlines())
    for code, example in one["examples"].items():
        _block(f"a prompt in {code}", example["prompt"].splitlines())
        if example["choices"]:
            print(f"  choices: {' | '.join(example['choices'])}")
        if example["answer"] is not None:
            print(f"  answer: {example['answer']}")


def _block(title: str, lines: list[str]) -> None:
    print(f"\n{title}")
    for line in lines:
        print(f"  {line}")
