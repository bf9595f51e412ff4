"""The card of a published run: README.md, with the YAML front matter that the Hugging Face Hub reads."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastneurons.languages import language, short_code
from fastneurons.model_name import is_path, short_name
from fastneurons.report.findings import Findings
from fastneurons.report.page.reproduce import command, facts
from fastneurons.visible import visible

# By this line, `publish` knows a folder that it may write again.
MARK = "<!-- Written by fastneurons publish. -->"
PROJECT = "fastneurons"
_LONGEST = 200
CAPTIONS = {
    "summary": "Categories by layer, and neurons that each language activates.",
    "categories": "Share of each category by layer: mean, its 95 % interval, and how examples differ.",
    "repeating": "Neurons that stay in their category in every example.",
    "thresholds": "The same shares at every threshold.",
    "inactive": "Neurons that no token activates.",
    "sharing": "Which languages activate the same neurons, beside what chance gives.",
    "recategorise": "How shares change with the number of languages.",
    "alignment": "How often a translation has the most similar neurons.",
    "neurons": "Neurons that prefer a language most.",
    "contribution": "What each category contributes, beside its share of neurons.",
}


@dataclass(frozen=True)
class Contents:
    """The files that the card describes, by their paths in the folder.

    Args:
        figures: Names of the figures in `figures/`, in order.
        tables: What a row of each table is, by the table's file.
        others: What each other file is.
        sentences: The findings.
        licence: Of the data set, as the Hub spells it; None for none.
        store: Path of the store in the folder; None where it is not there.
    """

    figures: Sequence[str] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    sentences: Sequence[str] = ()
    licence: str | None = None
    store: str | None = None


def card(found: Findings, contents: Contents) -> str:
    """Write the card as Markdown. Text from the store is escaped: it shows as it is.

    Args:
        found: The findings of the store.
        contents: The folder's files.
    """
    header = found.header
    model = visible(short_name(header.model), limit=_LONGEST)
    parts = [
        f"---\n{_front_matter(found, contents)}---",
        MARK,
        f"# Neurons of {escaped(model)} by language",
        _opening(found),
    ]
    if not found.is_complete:
        parts.append(
            "**The run was not complete when this was written.** It covers the examples measured so far."
        )
    if contents.sentences:
        parts.append("## Findings\n\n" + "\n".join(f"- {escaped(each)}" for each in contents.sentences))
    if contents.figures:
        shown = [f"![{CAPTIONS[name]}](figures/{name}.png)\n\n{CAPTIONS[name]}" for name in contents.figures]
        parts.append("## Figures\n\n" + "\n\n".join(shown))
    rows = [f"| {escaped(name)} | {escaped(value)} |" for name, value in facts(header)]
    parts.append("## What was run\n\n| | |\n|---|---|\n" + "\n".join(rows))
    parts.append(fenced(command(header), "sh"))
    parts.append(_files(contents))
    return "\n\n".join(parts) + "\n"


def _opening(found: Findings) -> str:
    header = found.header
    model = visible(short_name(header.model), limit=_LONGEST)
    named = escaped(model)
    if not is_path(header.model) and re.fullmatch(r"[\w.-]+/[\w.-]+", header.model):
        named = f"[{named}](https://huggingface.co/{header.model})"
    languages = ", ".join(_language_name(code) for code in header.languages)
    what = (
        "how many tokens of each language activate each of its feed-forward neurons"
        if header.is_corpus
        else "which of its feed-forward neurons each language activates"
    )
    return (
        f"Measurements of {named}: {what}, over {found.num_measured:,} examples in {len(header.languages)} "
        f"languages ({escaped(languages)}). They were made with {PROJECT} {escaped(header.version)}."
    )


def _language_name(code: str) -> str:
    return language(code).name if short_code(code) else visible(code, limit=_LONGEST)


def _files(contents: Contents) -> str:
    rows = [f"| `{name}` | {about} |" for name, about in contents.others.items()]
    rows += [f"| `{name}` | Table: a row is {about}. |" for name, about in contents.tables.items()]
    text = "## Files\n\n| | |\n|---|---|\n" + "\n".join(rows)
    first = next(
        (name for name in contents.tables if "category_counts" in name), next(iter(contents.tables), None)
    )
    code = []
    if first:
        reader = "read_parquet" if first.endswith(".parquet") else "read_csv"
        code += ["import pandas", f'counts = pandas.{reader}("{first}")', ""]
    if "arrays.safetensors" in contents.others:
        code += ["from safetensors.numpy import load_file", 'arrays = load_file("arrays.safetensors")', ""]
    if contents.store is not None:
        code += ["import fastneurons", f'store = fastneurons.open("{contents.store}")']
    else:
        text += (
            "\n\nThe store of the run, a Zarr folder of many files that also has which neurons each single prompt "
            "activates, is not here: these files hold what was counted in it."
        )
    return text + ("\n\n" + fenced("\n".join(code).strip(), "python") if code else "")


# -- front matter -----------------------------------------------------------------------------------------


def _front_matter(found: Findings, contents: Contents) -> str:
    """YAML, each value as JSON, which YAML contains: no name can be misread, not even `no` for Norwegian."""
    header = found.header
    values: dict[str, Any] = {
        "pretty_name": f"Neurons of {visible(short_name(header.model), limit=_LONGEST)} by language",
        "tags": ["fastneurons", "interpretability", "multilingual", "neurons"],
        "language": _hub_languages(header.languages),
    }
    if contents.licence is not None:
        values["license"] = contents.licence
    lines = [f"{name}: {_yaml(value)}" for name, value in values.items() if value]
    tables = [name for name in contents.tables if not name.rpartition("/")[2].startswith("skipped.")]
    if tables:
        lines.append("configs:")
        for name in tables:
            lines.append(f"- config_name: {_yaml(name.rpartition('/')[2].partition('.')[0])}")
            lines.append(f"  data_files: {_yaml(name)}")
            if "category_counts" in name:
                lines.append("  default: true")
    return "\n".join(lines) + "\n"


def _yaml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _hub_languages(codes: Sequence[str]) -> list[str]:
    """Codes as the Hub takes them: two or three letters, without a script."""
    found = dict.fromkeys(re.split("[-_]", code)[0] for code in map(short_code, codes) if code)
    return [code for code in found if re.fullmatch("[a-z]{2,3}", code)]


# -- Markdown ---------------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """Escape text so that Markdown shows it as it is, in a line or a cell of a table."""
    return re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def fenced(text: str, kind: str) -> str:
    """A block of code, in a fence longer than any that is in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{text}\n{fence}"
