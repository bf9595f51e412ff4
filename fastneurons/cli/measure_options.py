"""Options that say what is read of each prompt, each defined once: same name, same meaning everywhere."""

from typing import Annotated

import typer

from fastneurons.config import POSITIONS, SIGNALS

_WHAT = "What is measured"

Threshold = Annotated[
    list[float] | None,
    typer.Option(
        "--threshold",
        help="A neuron is activated above it; repeatable. [default: 0]",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
Position = Annotated[
    str,
    typer.Option(
        metavar="|".join(POSITIONS),
        help="Which tokens to read: the `last` prompt token, `any` prompt token, any `answer` token, or `corpus` to "
        "count every token of monolingual texts.",
        autocompletion=lambda: list(POSITIONS),
        rich_help_panel=_WHAT,
    ),
]
Signal = Annotated[
    str,
    typer.Option(
        metavar="|".join(SIGNALS),
        autocompletion=lambda: list(SIGNALS),
        help="What is held against the threshold: the activation, or the coefficient that enters the down projection.",
        rich_help_panel=_WHAT,
    ),
]
Attribution = Annotated[
    bool,
    typer.Option(
        "--attribution", help="Also how much each category matters for the answer.", rich_help_panel=_WHAT
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        help="Neurons of a layer that count as its most contributing ones. [default: 800 of 16,384]",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
KeepCoefficients = Annotated[
    bool,
    typer.Option(
        "--keep-coefficients",
        help="With --attribution: store the coefficients themselves, too.",
        rich_help_panel=_WHAT,
    ),
]
BlockSize = Annotated[
    int | None,
    typer.Option(
        help="Of a corpus: join each language's texts and cut them into blocks of so many tokens. "
        "[default: texts as they are]",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
IncludeSpecialTokens = Annotated[
    bool,
    typer.Option(
        "--include-special-tokens",
        help="Where several tokens are read: also those that the tokenizer or the chat format puts around a text.",
        rich_help_panel=_WHAT,
    ),
]
AddBosToken = Annotated[
    bool | None,
    typer.Option(
        "--add-bos-token/--no-add-bos-token",
        help="Put the tokenizer's begin mark before each prompt that does not begin with it. "
        "[default: as the tokenizer does]",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
ObserveMemory = Annotated[
    float,
    typer.Option(
        metavar="GIB",
        help="Memory of each device for what is read; more holds more examples in flight.",
        rich_help_panel=_WHAT,
    ),
]
