"""`data`: commands that inspect data, without a model."""

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from fastneurons.cli import data_options as opt_data
from fastneurons.cli import measure_options as opt_what
from fastneurons.cli.engine_options import AsJson
from fastneurons.cli.help import SectionedCommand, help_if_alone
from fastneurons.streams import say
from fastneurons.visible import visible, visible_json

if TYPE_CHECKING:
    from fastneurons.data.check import Tokenize
    from fastneurons.engine.tokenise import Tokeniser

_LONGEST_PLACE = 2000  # characters shown
_LONGEST_DETAIL = 500

data = typer.Typer(name="data", help="Check data before it is measured.")


@data.callback(invoke_without_command=True)
def _data(context: typer.Context) -> None:
    help_if_alone(context)


@data.command(cls=SectionedCommand)
def check(
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TASK=]PLACE", help="The data to check, as for --data.", show_default=False),
    ] = None,
    tasks: opt_data.Tasks = None,
    data: opt_data.Data = None,
    languages: opt_data.Languages = None,
    split: opt_data.Split = None,
    config: opt_data.Config = None,
    data_revision: opt_data.DataRevision = None,
    allow_missing: opt_data.AllowMissing = False,
    num_fewshot: opt_data.NumFewshot = 0,
    apply_chat_template: opt_data.ApplyChatTemplate = False,
    chat_template_kwargs: opt_data.ChatTemplateKwargs = None,
    system_instruction: opt_data.SystemInstruction = None,
    template: opt_data.TemplateFile = None,
    answer_prefix: opt_data.AnswerPrefix = "",
    tokenizer: Annotated[
        str | None, typer.Option(help="A model folder or Hub name whose tokenizer counts tokens.")
    ] = None,
    add_bos_token: opt_what.AddBosToken = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the tokenizer.")
    ] = False,
    show: Annotated[int, typer.Option(help="Show this many findings of each kind.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Read all data; report languages, lengths and problems.

    Reports what does not align, duplicates, and anything suspicious, with file and line.
    """
    from fastneurons.data.chat import ChatTemplate, load_tokenizer
    from fastneurons.data.check import check_data
    from fastneurons.data.options import DataOptions, parse_chat_template_kwargs
    from fastneurons.data.place_files import notes_on_varieties
    from fastneurons.data.tasks import open_tasks, task_named, tasks_and_data
    from fastneurons.engine.tokenise import Tokeniser
    from fastneurons.errors import InputError
    from fastneurons.languages import parse_languages

    options = DataOptions(
        split=split,
        config=config,
        revision=data_revision,
        allow_missing=allow_missing,
        num_fewshot=num_fewshot,
        apply_chat_template=apply_chat_template,
        chat_template_kwargs=parse_chat_template_kwargs(chat_template_kwargs),
        system_instruction=system_instruction,
        template=template,
        answer_prefix=answer_prefix,
    )
    chat = None
    if apply_chat_template:
        if tokenizer is None:
            raise InputError("--apply-chat-template needs --tokenizer, which has the chat template")
        chat = ChatTemplate(tokenizer, None, trust_remote_code, options.chat_template_kwargs)
    names, found = tasks_and_data(tasks, [*(places or []), *(data or [])])
    at_least = 2 if any(task_named(name).parallel for name in names) else 1
    codes = parse_languages(languages, at_least) if languages is not None else None
    for note in notes_on_varieties(re.split(r"[,\s]+", languages or "")):
        say(f"--languages: {note}")
    source = open_tasks(names, found, codes, options, chat)
    tokenize = None
    if tokenizer is not None:
        loaded = load_tokenizer(tokenizer, None, trust_remote_code)
        tokenize = _counting(Tokeniser(loaded, source.add_special_tokens, add_bos_token))

    # JSON lists everything kept; a terminal shows as many as asked for.
    reports = check_data(source, tokenize, keep=max(show, 1000) if as_json else show)
    if as_json:
        print(visible_json([report.to_builtins() for report in reports]))
        return
    for report in reports:
        _print(report, sys.stdout)


def _counting(tokenise: "Tokeniser") -> "Tokenize":
    """Count tokens as a run sends them."""
    from fastneurons.data.check import Counted

    def tokenize(texts: list[str]) -> list[Counted]:
        counted = []
        for encoded in tokenise(texts):
            ids, num_before = tokenise.begun(encoded.ids)
            has_own = bool(tokenise.before and ids) and not num_before
            counted.append(Counted(ids, tokenise.marks.named(ids[:1])[0] if has_own else ""))
        return counted

    return tokenize


def _print(report: Any, stream: TextIO) -> None:
    from rich.text import Text

    from fastneurons.console import PlainConsole, PlainTable
    from fastneurons.data.check_report import KINDS, findings_by_kind

    console = PlainConsole(stream, 100)
    lacking = f", {report.incomplete:,} lack a language" if report.incomplete else ""
    place = visible(report.place, limit=_LONGEST_PLACE)
    console.print(Text.assemble((visible(report.task), "bold"), f"  {place}"), soft_wrap=True)
    console.print(
        f"{report.examples:,} examples can be measured, {report.with_answers:,} with answers{lacking}"
    )
    for note in report.notes:
        console.print(visible(note, limit=_LONGEST_PLACE), soft_wrap=True)
    table = PlainTable()
    table.add_column("language", vertical="bottom")
    with_tokens = any(language.tokens.counts for language in report.languages.values())
    columns = ["prompts", "missing", "characters\n(mean)", "(max)"]
    if with_tokens:
        columns += ["tokens\n(mean)", "(max)"]
    for name in columns:
        table.add_column(name, justify="right", vertical="bottom")
    for code, language in report.languages.items():
        row = [code, f"{language.prompts:,}", f"{report.missing.get(code, 0):,}"]
        for lengths in (language.characters, language.tokens)[: 2 if with_tokens else 1]:
            summary = lengths.summary()
            row += [f"{summary['mean']:,.1f}", f"{summary['max']:,}"] if summary else ["", ""]
        table.add_row(*row)
    console.print(table)
    if last := report.last_token.summary():
        from fastneurons.report.cells import last_token_line

        console.print(last_token_line(100 * last["all_same"], last["sharing"], last["languages"]))
    if not report.counts.total():
        console.print("nothing suspicious\n")
        return
    for kind, findings in findings_by_kind(report):
        more = report.counts[kind] - len(findings)
        console.print(f"{report.counts[kind]:,} {kind}: {KINDS[kind]}")
        for finding in findings:
            language = f" {finding.language}" if finding.language else ""
            where, detail = (
                visible(finding.where, limit=_LONGEST_PLACE),
                visible(finding.detail, limit=_LONGEST_DETAIL),
            )
            console.print(f"  {where}{language} {detail}", soft_wrap=True)
        if more:
            console.print(f"  and {more:,} more")
    console.print()
