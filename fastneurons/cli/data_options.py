"""Options that choose examples and format their prompts, each defined once: same name, same meaning everywhere."""

from typing import Annotated

import typer

_DATA = "Data"  # a section of --help; everyday options come before all sections


def complete_tasks(incomplete: str) -> list[str]:
    """Complete the task name after the last comma."""
    from fastneurons.data.tasks import TASKS

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in TASKS if name.startswith(last)]


Tasks = Annotated[
    str | None,
    typer.Option(
        help="Known data sets, separated by commas; `fastneurons tasks` lists them.",
        autocompletion=complete_tasks,
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[TASK=]PLACE",
        help="A file, folder, pattern, URL or Hub name; repeat it for several tasks. Without --tasks, JSONL with "
        'lines like {"id": ..., "prompts": {"en": ..., "de": ...}}.',
    ),
]
Languages = Annotated[
    str | None,
    typer.Option(
        help="Codes separated by commas: en,de,zh-Hant. Regions are ignored: pt-BR is read as pt. "
        "[default: all languages in the data]",
        show_default=False,
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        help="Part of a data set: train, test, validation, ... If only some files name a split, the others are train.",
        rich_help_panel=_DATA,
    ),
]
Config = Annotated[
    str | None, typer.Option(help="Configuration (subset) of a Hub data set.", rich_help_panel=_DATA)
]
DataRevision = Annotated[
    str | None,
    typer.Option("--data-revision", help="Branch, tag or commit of a Hub data set.", rich_help_panel=_DATA),
]
AllowMissing = Annotated[
    bool,
    typer.Option(
        "--allow-missing",
        help="Also measure examples that lack some languages, on those they have; at least two.",
        rich_help_panel=_DATA,
    ),
]
Shuffle = Annotated[
    int | None, typer.Option(metavar="SEED", help="Shuffle examples with this seed.", rich_help_panel=_DATA)
]
Skip = Annotated[int, typer.Option(help="Skip this many examples of each task.", rich_help_panel=_DATA)]
Limit = Annotated[int | None, typer.Option(help="Stop after this many examples of each task.")]
Select = Annotated[
    str | None,
    typer.Option(
        metavar="EXPRESSION|FILE",
        help='Keep only some examples: `length(en) < 200 and label == "neutral"`, or a file with one id per line.',
        rich_help_panel=_DATA,
    ),
]
NumFewshot = Annotated[
    int,
    typer.Option(
        help="Put this many solved examples before each prompt; they are not measured themselves.",
        rich_help_panel=_DATA,
    ),
]
ApplyChatTemplate = Annotated[
    bool,
    typer.Option(
        "--apply-chat-template", help="Put each prompt into the model's chat format.", rich_help_panel=_DATA
    ),
]
ChatTemplateKwargs = Annotated[
    str | None,
    typer.Option(
        "--chat-template-kwargs",
        metavar="JSON",
        help="""Arguments for the chat template, e.g. '{"enable_thinking": false}'.""",
        rich_help_panel=_DATA,
    ),
]
SystemInstruction = Annotated[
    str | None, typer.Option(help="System message at the start of each chat.", rich_help_panel=_DATA)
]
TemplateFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Your own prompt templates by language, TOML or JSON.", rich_help_panel=_DATA
    ),
]
AnswerPrefix = Annotated[
    str,
    typer.Option(metavar="TEXT", help="Append this text to each prompt, unchanged.", rich_help_panel=_DATA),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do only the I-th of N shares of the data, I from 1 to N; `fastneurons merge` puts the N stores together.",
        rich_help_panel=_DATA,
    ),
]
