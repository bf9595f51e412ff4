"""`python -m fastneurons`: the command line."""

import os
import sys

# `-m` puts the working folder first, where a json.py or a vllm/ would be run in place of the module that is meant.
if not sys.flags.safe_path and sys.path[:1] in ([""], [os.getcwd()]):  # noqa: PTH109 - pathlib is one such module
    del sys.path[0]

from fastneurons.cli import console

console()
