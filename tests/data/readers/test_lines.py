"""Files as they are packed: whole, cut off at any place, damaged, or packed with what is not installed."""

import bz2
import gzip
import lzma
import os
import sys

import pytest

from fastneurons.data.readers import lines as module
from fastneurons.data.readers.lines import is_blank, numbered_lines
from fastneurons.errors import InputError

zstd = pytest.importorskip("backports.zstd")


def _zstandard(content: bytes) -> bytes:
    """With a checksum, as the zstd command writes it."""
    return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})


PACK = {"gzip": gzip.compress, "Zstandard": _zstandard, "xz": lzma.compress, "bzip2": bz2.compress}
LINES = [b"%d %s" % (i, os.urandom(20).hex().encode()) for i in range(4000)]
CONTENT = b"\n".join(LINES) + b"\n"


@pytest.fixture
def write(tmp_path):
    def write(content: bytes) -> str:
        path = tmp_path / "data"
        path.write_bytes(content)
        return str(path)

    return write


def test_lines_have_numbers_and_end_at_newlines_only(write):
    path = write(b"a\r\n\n\x0b\x85\xe2\x80\xa8b\n\0")
    assert list(numbered_lines(path)) == [(1, b"a\r"), (2, b""), (3, b"\x0b\x85\xe2\x80\xa8b"), (4, b"\0")]
    assert [is_blank(line) for line in (b"", b" \t\r", b"\0")] == [True, True, False]


@pytest.mark.parametrize("name", PACK)
def test_members_behind_one_another_and_padding_are_one_file(write, name, monkeypatch):
    pack = PACK[name]
    content = pack(b"a\nb") + pack(b"") + pack(b"c\n") + b"\0" * 700
    for chunk in (1, 3, 1 << 20):
        monkeypatch.setattr(module, "_CHUNK_BYTES", chunk)
        assert [line for _, line in numbered_lines(write(content))] == [b"a", b"bc"]


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.9999])
def test_a_file_that_is_cut_off_gives_its_whole_lines_and_an_error(write, name, share):
    packed = PACK[name](CONTENT)
    path = write(packed[: max(12, int(len(packed) * share))])
    found: list[bytes | None] = []
    with pytest.raises(InputError, match=f"its {name} data ends too early") as caught:
        for _, line in numbered_lines(path):
            found.append(line)
    assert found == LINES[: len(found)]
    assert str(caught.value).startswith(path)
    if found:
        assert f"after line {len(found)}; the lines before it are good" in str(caught.value)
    if share > 0.99 and name == "gzip":  # the others hold back a block
        assert len(found) > 3900


@pytest.mark.parametrize("name", PACK)
def test_damage_is_an_error_that_names_the_file(write, name):
    packed = bytearray(PACK[name](CONTENT))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(InputError, match=f"data: its {name} data is damaged"):
        list(numbered_lines(write(bytes(packed))))


@pytest.mark.parametrize("name", PACK)
def test_what_stands_behind_packed_data_is_not_passed_over(write, name):
    with pytest.raises(InputError, match=f"there is something else behind its {name} data, after line 1"):
        list(numbered_lines(write(PACK[name](b"a\n") + b"rubbish, not data")))


def test_packed_twice_is_refused(write):
    with pytest.raises(InputError, match="it is packed twice, with gzip inside"):
        list(numbered_lines(write(zstd.compress(gzip.compress(CONTENT)))))


def test_a_text_that_begins_like_a_packed_file_is_a_text(write):
    assert list(numbered_lines(write(b"BZh9 is a name\n"))) == [(1, b"BZh9 is a name")]


def test_frames_to_skip_come_before_the_data(write):
    skipped = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"
    assert list(numbered_lines(write(skipped + zstd.compress(b"a")))) == [(1, b"a")]


def test_a_package_that_is_missing_is_named_with_what_installs_it(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "backports", None)
    monkeypatch.setitem(sys.modules, "compression", None)
    with pytest.raises(InputError, match=r"data: it is compressed with Zstandard.*'fastneurons\[zstd\]'"):
        list(numbered_lines(write(zstd.compress(CONTENT))))


def test_what_unpacks_to_very_much_is_not_held(write):
    import tracemalloc

    path = write(zstd.compress(b"x" * (60 << 20)))
    tracemalloc.start()
    try:
        assert sum(len(piece) for piece in module.pieces(path)) == 60 << 20
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()
