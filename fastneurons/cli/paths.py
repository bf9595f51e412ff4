"""Check files that a command will write, before it starts its work."""

from pathlib import Path

from fastneurons.errors import InputError


def check_written(path: Path) -> None:
    """Raise InputError if `path` is a folder, or if its folder does not exist."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: the folder {path.absolute().parent} does not exist")


def check_picture(path: Path) -> None:
    """Raise InputError if `path` has no ending of a picture, or cannot be written."""
    from fastneurons.report.style import check_ending

    check_ending(path)
    check_written(path)
