"""Files that a command will write, looked at before it does its work."""

from pathlib import Path

from fastneurons.errors import InputError


def check_written(path: Path) -> None:
    """Raises InputError where a file cannot be written: it is a folder, or its own folder is missing."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder, where a file's name must be")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.absolute().parent}")


def check_picture(path: Path) -> None:
    """Raises InputError where `path` is no place, or has no ending, for a picture."""
    from fastneurons.report.style import check_ending

    check_ending(path)
    check_written(path)
