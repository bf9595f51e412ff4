"""Read small files that a user names as a whole: templates, lists of ids."""

import stat
from pathlib import Path

from fastneurons.errors import InputError


def is_path(text: str) -> bool:
    """Whether a file or folder has this name; False for a text that cannot be a name."""
    if not text:
        return False
    try:
        Path(text).stat()
    except (OSError, ValueError):
        return False
    return True


def read_small(path: str, most_bytes: int, named: str) -> bytes:
    """The content of a file.

    Args:
        path: A local path.
        most_bytes: The most that it may hold.
        named: The file as errors name it, with its option: `--template own.toml`.
    Raises:
        InputError: it is no regular file, is larger, or cannot be read.
    """
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{named} is a folder; a file is needed")
        if not stat.S_ISREG(
            mode
        ):  # a device may not end, a pipe may never begin, and neither can be read twice
            raise InputError(f"{named} is not a regular file")
        with Path(path).open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise InputError(f"{named} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{named} cannot be read: {error}") from error
    if len(data) > most_bytes:
        raise InputError(f"{named} is larger than {_size(most_bytes)}, the limit for such a file")
    return data


def _size(num_bytes: int) -> str:
    return f"{num_bytes >> 20} MiB" if num_bytes >= 1 << 20 else f"{num_bytes >> 10} KiB"
