"""The command line: parses, calls, prints. What the commands do is in the other packages."""

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Sequence

from fastneurons.errors import FastneuronsError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status: 0 done, 1 the run failed, 2 the call is wrong."""
    from fastneurons.cli.app import app

    try:
        app(args=None if arguments is None else list(arguments), prog_name="fastneurons")
    except FastneuronsError as error:
        print(f"fastneurons: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("fastneurons: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output, `head` for one, has seen enough.
        sys.stderr.close()
        sys.exit(0)


def console() -> None:
    """`main` as a process of its own, which ends at once.

    Once vLLM is loaded, the interpreter would take another 3 s to take apart a million objects.
    """
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
