"""Options that choose examples and how they are asked, each defined once: same name, same meaning everywhere."""

from typing import Annotated

import typer

_DATA = "Data"  # a section of --help; everyday options stand before all sections


def complete_tasks(incomplete: str) -> list[str]:
    """Names of tasks that go on what is typed, after the last comma."""
    from fastneurons.data.tasks import TASKS

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in TASKS if name.startswith(last)]


Tasks = Annotated[
    str | None,
    typer.Option(
        help="Data sets that are known by name, separated by commas; `fastneurons tasks` lists them.",
        autocompletion=complete_tasks,
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[TASK=]PLACE",
        help="A file, folder, pattern, URL or Hub name; repeatable, one for each task. Without --tasks: JSONL, a line "
        '{"id": ..., "prompts": {"en": ..., "de": ...}}.',
    ),
]
Languages = Annotated[
    str | None,
    typer.Option(
        help="Codes separated by commas: en,de,zh-Hant. Regions are not told apart: pt-BR is pt. "
        "[default: all that the data has]",
        show_default=False,
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        help="Part of a data set: train, test, validation, ... Files that name none, beside files that do, are train.",
        rich_help_panel=_DATA,
    ),
]
Config = Annotated[str | None, typer.Option(help="Configuration of a Hub data set.", rich_help_panel=_DATA)]
DataRevision = Annotated[
    str | None,
    typer.Option("--data-revision", help="Branch, tag or commit of a Hub data set.", rich_help_panel=_DATA),
]
AllowMissing = Annotated[
    bool,
    typer.Option(
        "--allow-missing",
        help="Measure examples that lack some languages on those they have, two at least.",
        rich_help_panel=_DATA,
    ),
]
Shuffle = Annotated[
    int | None, typer.Option(metavar="SEED", help="Shuffle examples with this seed.", rich_help_panel=_DATA)
]
Skip = Annotated[int, typer.Option(help="Leave out the first examples of each task.", rich_help_panel=_DATA)]
Limit = Annotated[int | None, typer.Option(help="Only that many examples of each task.")]
Select = Annotated[
    str | None,
    typer.Option(
        metavar="EXPRESSION|FILE",
        help='Only some examples: `length(en) < 200 and label == "neutral"`, or a file with an id a line.',
        rich_help_panel=_DATA,
    ),
]
NumFewshot = Annotated[
    int,
    typer.Option(
        help="Solved examples in front of each prompt; they are not measured.", rich_help_panel=_DATA
    ),
]
ApplyChatTemplate = Annotated[
    bool,
    typer.Option("--apply-chat-template", help="Prompts in the model's chat format.", rich_help_panel=_DATA),
]
ChatTemplateKwargs = Annotated[
    str | None,
    typer.Option(
        "--chat-template-kwargs",
        metavar="JSON",
        help="""Arguments for the chat template: '{"enable_thinking": false}'.""",
        rich_help_panel=_DATA,
    ),
]
SystemInstruction = Annotated[
    str | None, typer.Option(help="What the chat begins with.", rich_help_panel=_DATA)
]
TemplateFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Templates of your own for each language, TOML or JSON.", rich_help_panel=_DATA
    ),
]
AnswerPrefix = Annotated[
    str,
    typer.Option(metavar="TEXT", help="Put at the end of each prompt, as it is.", rich_help_panel=_DATA),
]
