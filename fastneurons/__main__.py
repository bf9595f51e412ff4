"""`python -m fastneurons`: the command line."""

from fastneurons.cli import console

console()
