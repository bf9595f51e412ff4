"""The command line: parse, call, print. Other packages do the work."""

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

from fastneurons.errors import FastneuronsError
from fastneurons.streams import ReaderGoneError, say, say_traceback, standard_streams

_COMPLETION = "_FASTNEURONS_COMPLETE"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 if done, 1 if the run failed, 2 if the call is wrong."""
    if _COMPLETION in os.environ:  # a shell asks for words
        from fastneurons.cli.app import app

        app(prog_name="fastneurons")
    try:
        with standard_streams():
            status = _call(sys.argv[1:] if arguments is None else list(arguments))
    except FastneuronsError as error:
        say(f"fastneurons: {error}")
        status = error.exit_status
    except KeyboardInterrupt:
        say("fastneurons: interrupted")
        status = 130
    except ReaderGoneError:
        status = 0
    sys.exit(status)


def _call(arguments: list[str]) -> int:
    """Run a command and return its exit status."""
    import typer

    from fastneurons.cli.app import app

    # Typer vendors click since 0.26, so the class of its errors can only be found through typer.
    mistake: Any = typer.BadParameter.mro()[2]  # ClickException
    command = typer.main.get_command(app)
    try:
        # Not `app()`, which would report a broken pipe as a failure and print usage above each error.
        with command.make_context("fastneurons", arguments) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except mistake as error:
        where = error.ctx.command_path if getattr(error, "ctx", None) else "fastneurons"
        say(f"{where}: {error.format_message().rstrip('.')}; see {where} --help")
        return int(error.exit_code)
    return 0


def console() -> None:
    """Run `main` as the process's entry point, and end the process at once.

    Once vLLM is loaded, a normal exit would spend another 3 s tearing down a million objects.
    """
    sys.excepthook = say_traceback
    # For children, of whatever library: `python -c` and `-m` would run modules of the working folder.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    try:
        main()
    except SystemExit as end:
        if "vllm" not in sys.modules or not isinstance(end.code, int | None):
            raise
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # gone, or closed
                stream.flush()
        os._exit(end.code or 0)
