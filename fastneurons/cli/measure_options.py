"""Options that choose what to measure, each defined once: same name, same meaning everywhere."""

from typing import Annotated

import typer

from fastneurons.config import CHOICES_BY, POSITIONS, SIGNALS

_WHAT = "Measurement"

Threshold = Annotated[
    list[float] | None,
    typer.Option(
        "--threshold",
        help="A neuron is activated above this value; repeatable. [default: 0]",
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
        help="Value to compare with the threshold: `gate`, the activation, or `product`, the coefficient that enters "
        "the down projection.",
        rich_help_panel=_WHAT,
    ),
]
Attribution = Annotated[
    bool,
    typer.Option(
        "--attribution",
        help="Also measure how much each category matters for the answer.",
        rich_help_panel=_WHAT,
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        help="With --attribution: how many of a layer's neurons count as its top contributors. "
        "[default: 800 of every 16,384]",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
KeepCoefficients = Annotated[
    bool,
    typer.Option(
        "--keep-coefficients",
        help="With --attribution: also store every coefficient.",
        rich_help_panel=_WHAT,
    ),
]
BlockSize = Annotated[
    int | None,
    typer.Option(
        help="With --position corpus: join each language's texts and cut them into blocks of this many tokens. "
        "[default: one text at a time]",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
Histogram = Annotated[
    int | None,
    typer.Option(
        metavar="BINS",
        help="With --position corpus: also keep a histogram of each neuron's signal over the tokens of each language, "
        "its exact mean and standard deviation, and how often gate and up have which signs. [default: none]",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
TokensPerLanguage = Annotated[
    int | None,
    typer.Option(
        help="With --position corpus: read the same number of tokens of each language. [default: all texts]",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
IncludeSpecialTokens = Annotated[
    bool,
    typer.Option(
        "--include-special-tokens",
        help="With `any`, `answer` and `corpus`: also read tokens that the tokenizer or the chat format adds "
        "around a text.",
        rich_help_panel=_WHAT,
    ),
]
AddBosToken = Annotated[
    bool | None,
    typer.Option(
        "--add-bos-token/--no-add-bos-token",
        help="Put the tokenizer's begin-of-text token before each prompt that lacks it, or before none. "
        "[default: as the tokenizer does]",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
ObserveMemory = Annotated[
    float | None,
    typer.Option(
        metavar="GIB",
        help="Device memory for examples in flight; the first lines of the log say how many fit. "
        "[default: 1 on CPUs; on GPUs a tenth of the device's, at most 8]",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
Score = Annotated[
    bool,
    typer.Option(
        "--score",
        help="Also judge the model's answers: log-probability of the reference answer, and whether the model is right.",
        rich_help_panel=_WHAT,
    ),
]
ChoicesBy = Annotated[
    str,
    typer.Option(
        metavar="|".join(CHOICES_BY),
        autocompletion=lambda: list(CHOICES_BY),
        help="With --score: the choice of the highest log-likelihood, or of the highest per character, byte or token.",
        rich_help_panel=_WHAT,
    ),
]
MaxNewTokens = Annotated[
    int | None,
    typer.Option(
        help="With --score: most tokens to generate where an answer is written, not chosen. "
        "[default: 256 for numbers, else twice the answer's and 8]",
        show_default=False,
        rich_help_panel=_WHAT,
    ),
]
