"""Call lm-evaluation-harness' own command line once for each condition, with one engine for all."""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastneurons.arrays import INTACT
from fastneurons.errors import InputError, printable
from fastneurons.neuron_sets import Edit
from fastneurons.streams import say

if TYPE_CHECKING:
    from fastneurons.engine.adapters import Adapter

# Options of the harness that contradict several conditions in one engine.
_REFUSED = {
    "--model": "the model is fastneurons' own; name its files by --model_args pretrained=...",
    "-M": "the model is fastneurons' own; name its files by --model_args pretrained=...",
    "--use_cache": "answers of one condition would be given for another; leave it out",
    "--predict_only": "there would be nothing to compare; leave it out",
    "-x": "there would be nothing to compare; leave it out",
}
# The file that says which of the numbered folders is of which condition.
CONDITIONS = "conditions.json"
# The file that names the adapter of all of them, if there is one: the harness knows nothing of it.
ADAPTER = "adapter.json"


def run_harness(
    arguments: Sequence[str],
    edits: Sequence[tuple[str, Edit]],
    output: Path | None,
    adapter: "Adapter | None" = None,
) -> Path:
    """Run the harness' `run` command with the intact model and under each edit.

    Args:
        arguments: Its arguments.
        edits: The edits with their names.
        output: The folder for its files, one numbered folder for each condition; None takes a temporary one.
        adapter: A LoRA adapter that the model has under every condition.
    Returns:
        The folder.
    Raises:
        InputError: the harness is not installed, or an argument cannot be used here.
        SystemExit: the harness refused its arguments.
    """
    check_arguments(arguments)
    try:
        from lm_eval._cli import HarnessCLI
        from lm_eval.utils import setup_logging
    except ImportError as error:
        raise InputError(
            f"lm-eval cannot be imported ({error}); install it with pip install 'fastneurons[lm-eval]'"
        ) from error
    from fastneurons.harness.model import NAME, edited

    root = output or Path(tempfile.mkdtemp(prefix="fastneurons-lm-eval-"))
    conditions = [INTACT, *(name for name, _ in edits)]
    root.mkdir(parents=True, exist_ok=True)
    (root / CONDITIONS).write_text(json.dumps(conditions, ensure_ascii=False), encoding="utf-8")
    (root / ADAPTER).unlink(missing_ok=True)
    if adapter is not None:
        named = json.dumps(adapter_facts(adapter), ensure_ascii=False)
        (root / ADAPTER).write_text(named, encoding="utf-8")
    setup_logging()
    with edited(edits, adapter) as choose:
        for number, condition in enumerate(conditions):
            choose(number)
            say(f"lm-eval: {condition}")
            own = ["--output_path", str(root / str(number)), "--log_samples"]
            with _command_line(["lm-eval", "run", "--model", NAME, *arguments, *own]):
                command = HarnessCLI()
                command.execute(command.parse_args())
    return root


def adapter_facts(adapter: "Adapter") -> dict[str, Any]:
    """Facts about an adapter to keep with results: its folder and fingerprint, its rank and its base model."""
    return {
        "folder": printable(str(adapter.folder)),
        "fingerprint": adapter.fingerprint,
        **adapter.describe(),
    }


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments of the harness that cannot be used here.

    Raises:
        InputError: there is one; or no model is named.
    """
    for argument in arguments:
        name = argument.partition("=")[0]
        if name in _REFUSED:
            raise InputError(f"lm-eval run {name}: {_REFUSED[name]}")
    given = " ".join(arguments)
    if "pretrained=" not in given and '"pretrained"' not in given and not {"--config", "-C"} & set(arguments):
        raise InputError("lm-eval run: name the model with --model_args pretrained=MODEL")


@contextmanager
def _command_line(arguments: list[str]) -> Iterator[None]:
    before = sys.argv
    sys.argv = arguments
    try:
        yield
    finally:
        sys.argv = before
