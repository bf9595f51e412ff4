"""The command line: parses, calls, prints. What the commands do is in the other packages."""

import sys
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
