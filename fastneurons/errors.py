"""What can go wrong, as users are told it. A leaf: imports nothing of ours."""


class FastneuronsError(Exception):
    """Base of every error that is told to users by its message alone."""

    exit_status = 1


class InputError(FastneuronsError):
    """The call, or what it names, is wrong: a file, a line, a language, a model that cannot be used."""

    exit_status = 2


class StoreError(FastneuronsError):
    """A store cannot be written, continued or read."""


class EngineError(FastneuronsError):
    """The engine failed, or its figures contradict each other; what was committed before stands."""


class OutputError(FastneuronsError):
    """Standard output cannot be written: it is closed, or its disk is full."""
