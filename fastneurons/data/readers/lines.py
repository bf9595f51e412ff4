"""Read the lines of a file: open it, unpack it, and drop the byte order mark, a piece at a time.

The content decides how a file is packed, whatever its name says: gzip, Zstandard, xz, bzip2. If a file fails, all
lines before the failure are yielded before the error.
"""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from fastneurons.data.problems import not_utf8
from fastneurons.data.readers.files import open_file
from fastneurons.errors import InputError

MAX_LINE_BYTES = 64 << 20  # longer than any model's context in all languages; what is beyond is not held
_CHUNK_BYTES = 1 << 20
_XZ_MEMORY_BYTES = 512 << 20  # an xz file says how much memory it wants; xz -9 wants 65 MB


class BadFileError(Exception):
    """The file as a whole cannot be read. The message continues a sentence that starts with the file's name."""


def numbered_lines(path: str) -> Iterator[tuple[int, bytes | None]]:
    r"""The lines of a file with their numbers, from 1, without their `\n`, which alone ends a line.

    Yields:
        Number and line; None for a line longer than 64 MiB, which is not held.
    Raises:
        InputError: the file cannot be read, or its packed data is damaged or cut off, after which line.
    """
    number = 0
    try:
        for number, line in enumerate(_lines(pieces(path)), 1):
            yield number, line
    except BadFileError as error:
        after = f" after line {number}; the lines before it are good" if number else ""
        raise InputError(f"{path}: {error}{after}".removesuffix(",")) from error
    except OSError as error:
        after = f" after line {number}" if number else ""
        raise InputError(f"{path} cannot be read{after}: {error.strerror or error}") from error


def pieces(path: str, foreign: tuple[bytes, ...] = ()) -> Iterator[bytes]:
    """The content of a file in pieces, unpacked, without a byte order mark.

    Args:
        path: A local path or a URL.
        foreign: First bytes of what is no text, but wanted here.
    Raises:
        InputError: the file is not there.
        BadFileError: it is packed with something else or not well, or is not UTF-8 by its first bytes.
        OSError: reading failed.
    """
    with open_file(path) as file:
        yield from _unpacked(file, foreign)


def is_blank(line: bytes) -> bool:
    """Whether a line has nothing in it."""
    return line == b"" or line.isspace()


def too_long() -> str:
    """The reason for skipping a line that is too long to hold."""
    return f"longer than {MAX_LINE_BYTES >> 20} MiB"


def line_text(line: bytes | None) -> str | None:
    r"""A line without its `\r`; None for one that cannot be read."""
    if line is None:
        return None
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        return None


def line_problem(line: bytes | None) -> str:
    """Say why a line cannot be read."""
    return (not_utf8(line) or "") if line is not None else too_long()


# -- unpacking --------------------------------------------------------------------------------------


class _Member(Protocol):
    """One member, stream or frame of a packed file, as the standard library's decompressors have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return more content, at most `max_length` bytes."""


class _GzipMember:
    """zlib's decompressor in the form of the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data


def _xz_member() -> _Member:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


def _zstd_member() -> _Member:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as error:
        raise BadFileError(
            "it is compressed with Zstandard, which needs another package: pip install 'fastneurons[zstd]'"
        ) from error
    member: _Member = zstd.ZstdDecompressor()
    return member


@dataclass(frozen=True)
class _Packing:
    name: str
    magic: tuple[bytes, ...]
    member: Callable[[], _Member]

    def starts(self, data: bytes) -> bool:
        return data.startswith(self.magic)


_PACKINGS = (
    _Packing("gzip", (b"\x1f\x8b",), _GzipMember),
    # A frame of data, or one to skip, with which some tools begin.
    _Packing(
        "Zstandard",
        (b"\x28\xb5\x2f\xfd", *(bytes([n]) + b"\x2a\x4d\x18" for n in range(80, 96))),
        _zstd_member,
    ),
    _Packing("xz", (b"\xfd7zXZ\x00",), _xz_member),
    # With the start of a block, or of the end: a text may well begin with "BZh".
    _Packing(
        "bzip2",
        tuple(b"BZh%d" % n + block for n in range(1, 10) for block in (b"1AY&SY", b"\x17rE8P\x90")),
        bz2.BZ2Decompressor,
    ),
)
_MAGIC_BYTES = 10
_FOREIGN = {
    b"PK\x03\x04": "a zip archive; unpack it",
    b"PAR1": "a Parquet file; its name must end in .parquet",
    b"\xff\xfe": "encoded in UTF-16 or UTF-32; it must be UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "encoded in UTF-16; it must be UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\x00\x00\xfe\xff": "encoded in UTF-32; it must be UTF-8 (iconv -f UTF-32 -t UTF-8)",
}
_UTF8_BOM = b"\xef\xbb\xbf"


def _unpacked(file: BinaryIO, wanted: tuple[bytes, ...]) -> Iterator[bytes]:
    first, rest = _start(_chunks(file))
    packing = next((packing for packing in _PACKINGS if packing.starts(first)), None)
    if packing is not None:
        first, rest = _start(_members(packing, first, rest))
        if twice := next((packing for packing in _PACKINGS if packing.starts(first)), None):
            raise BadFileError(f"it is packed twice, with {twice.name} inside; unpack it once")
    for magic, description in _FOREIGN.items():
        if first.startswith(magic) and magic not in wanted:
            raise BadFileError(f"it is {description}")
    yield first.removeprefix(_UTF8_BOM)
    yield from rest


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _start(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Enough first bytes to identify the file, and the rest."""
    first = b""
    try:
        while len(first) < _MAGIC_BYTES and (chunk := next(chunks, b"")):
            first += chunk
    except BadFileError as error:
        return first, _failing(error)  # after what there was
    return first, chunks


def _failing(error: BadFileError) -> Iterator[bytes]:
    yield b""
    raise error


def _members(packing: _Packing, data: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    """All members of a packed file, one after the other, in pieces of at most 1 MiB.

    Not `gzip.open` and its like: at data that ends early they drop up to a buffer of good lines before it.
    """
    member = packing.member()
    while True:
        try:
            out = member.decompress(data, _CHUNK_BYTES)
        except Exception as error:  # zlib.error, LZMAError, OSError, ZstdError: each its own
            raise BadFileError(f"its {packing.name} data is damaged ({error})") from error
        if out:
            yield out
        data = b""
        if member.eof:
            data = member.unused_data.lstrip(b"\0")  # tapes and some tools pad with zeros
            while len(data) < _MAGIC_BYTES and (more := next(rest, b"")):
                data = (data + more).lstrip(b"\0")
            if not data:
                return
            if not packing.starts(data):
                raise BadFileError(f"there is something else behind its {packing.name} data,")
            member = packing.member()
        elif member.needs_input:
            data = next(rest, b"")
            if not data and not out:
                raise BadFileError(f"its {packing.name} data ends too early,")


# -- lines ------------------------------------------------------------------------------------------


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes | None]:
    r"""Lines without their `\n`; None for one longer than MAX_LINE_BYTES."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        start, *others = chunk.split(b"\n")
        size += len(start)
        if size <= MAX_LINE_BYTES:
            held.append(start)
        else:
            held.clear()
        if not others:
            continue
        yield b"".join(held) if size <= MAX_LINE_BYTES else None
        yield from others[:-1]
        held, size = [others[-1]], len(others[-1])
    if size:
        yield b"".join(held) if size <= MAX_LINE_BYTES else None
