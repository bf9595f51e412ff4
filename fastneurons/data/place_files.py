"""The files of a place, sorted by the language and the split that their names give (`file_names`).

Several files of one language are read one after another if they lie in one folder of that language, or if their
names differ in numbers alone. Anything else is refused: it may be the same text twice, or two varieties of a
language, which would be mixed silently. Files that name no split, next to files that do, are the training split.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastneurons.data.file_names import (
    SPLITS,
    Named,
    folder_tag,
    kin,
    named_by,
    split_of,
    stem,
    unread_tag,
)
from fastneurons.data.places import Place
from fastneurons.data.problems import one_line, shown
from fastneurons.data.readers.files import format_of
from fastneurons.errors import InputError
from fastneurons.languages import read_code

# Of the same content in several formats the first of these is read.
_PREFERRED = ("parquet", "jsonl", "json", "tsv", "csv", "text", None)


@dataclass(frozen=True)
class Files:
    """A place's files, sorted out.

    Args:
        by_language: For each language that a file's path names, its files.
        others: Those whose path names none.
        split: The split that they are of, None where the names do not say.
        notes: Notes for people: files left out, regions dropped, a split that no name gives.
        of_folder: Whether the language is that of the place's own folder, as no path within it names one.
    """

    by_language: dict[str, tuple[str, ...]]
    others: tuple[str, ...]
    split: str | None
    notes: tuple[str, ...] = ()
    of_folder: bool = False


def sorted_files(
    place: Place, default_splits: Sequence[str] = ("test", "devtest", "validation", "train")
) -> Files:
    """Sort the files of a place by language.

    Args:
        place: A folder, a pattern or a file.
        default_splits: Where the place has several and none is asked for, the first of these that is there.
    Raises:
        InputError: there are no files, or not of the split asked for; a language has several files that are not
            parts of one; a name begins like a language's and goes on in an unknown way.
    """
    split, paths, notes = _of_split(place, place.files(), default_splits)
    paths = _one_format(paths)
    relative = {path: place.relative(path) for path in paths}
    extracted = any("AA" in name.split("/")[:-1] for name in relative.values())
    certain = {path: named_by(name, extracted=extracted) for path, name in relative.items()}
    shapes = frozenset(named.shape for named in certain.values() if named is not None and named.shape)
    by_language: dict[str, dict[str, Named]] = {}
    others: list[str] = []
    for path in paths:
        named = certain[path] or named_by(relative[path], shapes, extracted)
        if named is None:
            others.append(path)
        else:
            by_language.setdefault(named.reading.code, {})[path] = named
    of_folder = False
    if not by_language and place.is_folder and (named := _named_by_folder(place)):
        by_language = {named.reading.code: dict.fromkeys(others, named)}
        others, of_folder = [], True
    for code, own in by_language.items():
        _check_one_source(place, code, own)
    if by_language:
        notes += _about_others(place, others)
    notes += notes_on_varieties(named.spelled for own in by_language.values() for named in own.values())
    files = {code: tuple(own) for code, own in by_language.items()}
    return Files(files, tuple(others), split, tuple(notes), of_folder)


def _named_by_folder(place: Place) -> Named | None:
    """The language that the place's own folder names: `wiki/de`, with `AA/wiki_00` in it."""
    name = Path(place.root).name if "://" not in place.root else place.root.rstrip("/").rpartition("/")[2]
    tag = folder_tag(name)
    return None if tag is None else Named(tag.reading, name[tag.start : tag.end], "")


def _check_one_source(place: Place, code: str, files: dict[str, Named]) -> None:
    """Check that a language's files are parts of one thing.

    Raises:
        InputError: they are not; it names two of them.
    """
    first, *others = files
    one = files[first]
    # A count that runs past 1900 looks like years from there on; where it also has other numbers it is a count.
    is_count = any(named.shape == named.counted for named in files.values())
    for other in others:
        two = files[other]
        same_variety = (one.reading.dropped, one.spelled.lower()) == (
            two.reading.dropped,
            two.spelled.lower(),
        )
        folder = _own_folder(place.relative(first), one)
        in_one_folder = folder is not None and folder == _own_folder(place.relative(other), two)
        by_names = one.folder is None and two.folder is None
        by_number = one.shape == two.shape or (is_count and one.counted == two.counted)
        if same_variety and (in_one_folder or (by_names and by_number)):
            continue
        varieties = (
            f" ({one.spelled} and {two.spelled}: regions and variants of a language count as one)"
            if one.reading.dropped != two.reading.dropped
            else ""
        )
        parents = dict.fromkeys(path.rpartition("/")[0] for path in files)
        if len(parents) > 1:
            folders = ", ".join(sorted(parents)[:4])
            raise InputError(
                f"{place.location} has files in {code} in several folders ({folders}){varieties}; point --data at the "
                "one that is meant"
            )
        raise InputError(
            f"{place.location} has {one_line(place.relative(first))} and {one_line(place.relative(other))}, both in "
            f"{code}{varieties}, and neither numbers nor a folder {one.spelled}/ say that they belong together; put "
            "them into such a folder, or choose by a pattern, such as "
            f"'{(place.root or '.').rstrip('/')}/{_pattern(place.relative(first), one)}'"
        )


def _own_folder(relative: str, named: Named) -> str | None:
    """The folder of its language that a file lies in, whether or not its own name has the language as well."""
    if named.folder is not None:
        return named.folder
    above = named_by(f"{relative.rpartition('/')[0]}/-")
    return None if above is None or above.reading != named.reading else above.folder


def _pattern(relative: str, named: Named) -> str:
    """A pattern that fits a file, and those of its kind in other languages."""
    folder, slash, name = relative.rpartition("/")
    return f"{folder}{slash}{name.replace(named.spelled, '*', 1)}"


def _about_others(place: Place, others: Sequence[str]) -> list[str]:
    """A note on the files that name no language, next to those that do.

    Raises:
        InputError: one looks as if it were meant to name one.
    """
    names = [place.relative(path) for path in others]
    for name in names:
        if tag := unread_tag(name):
            raise InputError(
                f"{place.location}: {one_line(name)} names no language that is known here: {tag!r} is a language's "
                "code with something unknown behind it. Write a tag such as de, deu_Latn, pt-BR or zh-Hant between "
                "dots or at the end of the name, move the file away, or leave it out by a pattern"
            )
    return [f"left out, as their names name no language: {shown(names)}"] if names else []


def notes_on_varieties(spellings: Iterable[str]) -> tuple[str, ...]:
    """A note on dropped regions and variants, or no note.

    Args:
        spellings: Languages as a place spells them.
    """
    read = {spelled: reading for spelled in spellings if (reading := read_code(spelled)) and reading.dropped}
    if not read:
        return ()
    dropped = shown(
        f"{spelled} is {reading.code}{' (the script used there)' if reading.script_of_region else ''}"
        for spelled, reading in read.items()
    )
    return (f"regions and variants of a language count as one: {dropped}",)


def _of_split(
    place: Place, paths: list[str], default_splits: Sequence[str]
) -> tuple[str | None, list[str], list[str]]:
    """The split to read, its files, and notes for people.

    Raises:
        InputError: the split asked for is not there.
    """
    by_split: dict[str, list[str]] = {}
    unmarked: list[str] = []
    for path in paths:
        split = split_of(place.relative(path))
        (unmarked if split is None else by_split.setdefault(split, [])).append(path)
    if not by_split:
        wanted = place.split and SPLITS.get(place.split.lower(), place.split.lower())
        # Names that say nothing: a single file, or a data set that has this split only.
        if wanted is None or len(unmarked) == 1 or wanted == default_splits[0]:
            return None, unmarked, []
        raise _no_split(place, ["none that the names of its files tell"])
    training: list[str] = []
    if unmarked and "train" not in by_split:
        # Where some are the same files without the split's name, the others are something else.
        marked = {kin(place.relative(path)) for own in by_split.values() for path in own}
        training = [path for path in unmarked if kin(place.relative(path)) in marked] or unmarked
        by_split["train"] = training
        taken = set(training)
        unmarked = [path for path in unmarked if path not in taken]
    if place.split is not None:
        chosen = SPLITS.get(place.split.lower(), place.split.lower())
        if chosen not in by_split:
            raise _no_split(place, sorted(by_split))
    else:
        chosen = next((name for name in default_splits if name in by_split), next(iter(by_split)))
    if not training and not unmarked:
        return chosen, by_split[chosen], []  # all names say it, and so does the place's description
    left = [f"{name} ({len(own):,})" for name, own in by_split.items() if name != chosen]
    if unmarked:
        left.append(f"without a split in their names {_some(place, unmarked)}")
    said = ""
    if training:
        said = f"; files without a split in their names, {_some(place, training)}, are the training split"
    return chosen, by_split[chosen], [f"split {chosen}, left out: {', '.join(left)}{said}"]


def _no_split(place: Place, there: Sequence[str]) -> InputError:
    return InputError(
        f"--split {place.split}: {place.location} has no such split; there is {', '.join(there)}"
    )


def _some(place: Place, paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 2:,} more" if len(paths) > 2 else ""
    return ", ".join(one_line(place.relative(path)) for path in paths[:2]) + more


def _one_format(paths: Iterable[str]) -> list[str]:
    """Keep one of the files that differ only in their format."""
    best: dict[str, tuple[int, str]] = {}
    for path in paths:
        name = stem(path)
        rank = _PREFERRED.index(format_of(path))
        if name not in best or rank < best[name][0]:
            best[name] = (rank, path)
    return [path for _, path in best.values()]
