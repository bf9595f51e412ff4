"""What happens to a store that is damaged? Every reader must say so in one line, or not be touched by it.

    python -m tests.store.damage [--mutations 500] [--seed 0] [--minutes 20] [--kinds bits,json] [--verbose]

Finished and unfinished stores of every kind are written from drawn arrays. Each mutation damages one of them at random,
in an object that some reader uses; then every reader of stores runs on it, in a process of its own that is ended when
it takes too long or too much memory. What a reader returns is held against what it returns of the undamaged store.

Printed at the end, by kind of damage: how often it was noticed, how often it did no harm (what a reader returned was
right), and how often a figure was silently wrong, a reader ended in a traceback or did not end. The last three must
be 0; the exit status is 1 if they are not. A store that was damaged so that all of it still agrees (`signed`) may say
what it likes, but its readers must not fail or hang on it.
"""

import argparse
import copy
import io
import json
import multiprocessing
import os
import resource
import shutil
import socket
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fastneurons.errors import FastneuronsError
from fastneurons.report import plot, print_summary, summary_json
from fastneurons.store import StoreWriter, open_store, root, verify_store
from fastneurons.store.root import decode
from tests.store.runs import Run, draw

# A reader takes less than 0.3 s.
_LIMIT_S = 30.0
_LIMIT_BYTES = 8 * 2**30
_EXAMPLES = 22
_COMMITTED = 14  # of an unfinished store: three windows and a half


def runs() -> dict[str, tuple[Run, bool]]:
    """Runs of every kind, and whether each keeps bits."""
    tasks = ["capitals", "currencies", "rivers"]
    return {
        "last": (draw(_EXAMPLES, tasks=tasks), True),
        "any, no bits": (draw(_EXAMPLES, position="any", tasks=tasks), False),
        "answer": (draw(_EXAMPLES, position="answer", languages=["en", "de"], thresholds=[0.0]), True),
        "attribution": (draw(_EXAMPLES, top_k=3, thresholds=[0.0], keep_coefficients=True), True),
        "product": (draw(_EXAMPLES, top_k=3, signal="product"), True),
        "corpus": (draw(_EXAMPLES, position="corpus", tasks=tasks), True),
    }


@dataclass
class Sample:
    """A store before it is damaged.

    Args:
        path: Where it lies.
        older: The same at an earlier moment, which objects are put back from.
        keys: Its objects that readers use.
        returned: What each reader returns of it.
    """

    name: str
    run: Run
    keep_bits: bool
    path: Path
    older: Path
    keys: list[str] = field(default_factory=list)
    returned: dict[str, str] = field(default_factory=dict)


def samples(folder: Path) -> list[Sample]:
    """Every kind of store, finished and not, in two states of each."""
    found = []
    for name, (run, keep_bits) in runs().items():
        for finished in (True, False):
            base = folder / f"{len(found)}"
            sample = Sample(
                f"{name}, {'finished' if finished else 'unfinished'}",
                run, keep_bits, base / "run.zarr", base / "older.zarr",
            )  # fmt: skip
            _write(sample.older, run, keep_bits, 8, False)
            # As a run that went on from a part of a window leaves it.
            _write(sample.path, run, keep_bits, 10, False)
            _write(sample.path, run, keep_bits, _EXAMPLES if finished else _COMMITTED, finished)
            of = decode((sample.path / "zarr.json").read_bytes(), "")
            catalogue = open_store(str(sample.path))._catalogue
            assert catalogue is not None
            needed = [key for key in catalogue.objects if of.needs(key)]
            manifests = [f"manifest/{number}" for *_, number in catalogue.windows]
            sample.keys = [*needed, *manifests, "zarr.json", "skipped.jsonl"]
            found.append(sample)
    return found


def _write(path: Path, run: Run, keep_bits: bool, end: int, finish: bool) -> None:
    kept: dict[str, Any] = {"keep_bits": keep_bits, "keep_coefficients": run.keep_coefficients}
    kept |= {"keep_prompts": run.keep_prompts, "constants": run.constants()}
    with StoreWriter.resume(str(path), run.header, **kept) as writer:
        at, window = writer.committed, run.header.window
        while at < end:
            to = min((at // window + 1) * window, end)
            writer.commit(run.window(at, to, keep_bits))
            at = to
        if finish:
            writer.finish()


# -- readers ----------------------------------------------------------------------------------------------


def _digest(value: Any) -> str:
    array = np.asarray(value)
    data = json.dumps(array.tolist()).encode() if array.dtype.kind in "TOU" else array.tobytes()
    return f"{array.dtype}{array.shape}{blake2b(data, digest_size=8).hexdigest()}"


def _read_arrays(path: str) -> Any:
    store = open_store(path)
    return {name: (lambda name=name: _digest(store[name][...])) for name in store}


def _read_header(path: str) -> str:
    store = open_store(path)
    return f"{msgspec.json.encode(store.header)!r} {store.num_examples} {sorted(store)}"


def _read_printed(path: str) -> str:
    stream = io.StringIO()
    print_summary(open_store(path, check=True), stream)
    return stream.getvalue()


def _read_plot(path: str) -> str:
    picture = Path(path).with_name("picture.svg")
    plot(open_store(path, check=True), picture)
    return _digest(np.frombuffer(picture.read_bytes(), np.uint8))


def _read_xarray(path: str) -> str:
    data = open_store(path).to_xarray()
    return " ".join(f"{name} {_digest(data[name].values)}" for name in sorted(data.variables))


def _read_skipped(path: str) -> str:
    return repr(open_store(path).skipped())


READERS: dict[str, Callable[[str], Any]] = {
    "header": _read_header,
    "skipped": _read_skipped,
    "summary --json": lambda path: summary_json(open_store(path, check=True)),
    "summary": _read_printed,
    "to_xarray": _read_xarray,
    "verify": lambda path: str(verify_store(open_store(path)).is_whole),
}


def read_all(path: Path, pictures: bool) -> dict[str, str]:
    """What each reader returns; "refused: ..." or "traceback: ..." where it raises."""
    returned: dict[str, str] = {}

    def attempt(name: str, read: Callable[[], Any]) -> Any:
        try:
            returned[name] = read()
            return returned[name]
        except FastneuronsError as error:
            lines = str(error).splitlines()
            returned[name] = f"refused: {error}" if len(lines) == 1 else f"traceback: not one line: {error}"
        except BaseException:
            returned[name] = f"traceback: {traceback.format_exc(limit=-3)}"
        return None

    for name, read in READERS.items():
        attempt(name, lambda read=read: read(str(path)))  # type: ignore[misc]
    arrays = attempt("arrays", lambda: _read_arrays(str(path)))
    if arrays is not None:
        returned["arrays"] = ",".join(sorted(arrays))
        for name, read in arrays.items():
            attempt(f"array {name}", read)
    if pictures:
        attempt("plot", lambda: _read_plot(str(path)))
    return returned


def resume_and_read(path: Path, run: Run, keep_bits: bool) -> dict[str, str]:
    """What a run that continues the store ends with."""
    try:
        run.write(path, resume=True, keep_bits=keep_bits)
    except FastneuronsError as error:
        return {"resume": f"refused: {error}"}
    except BaseException:
        return {"resume": f"traceback: {traceback.format_exc(limit=-3)}"}
    expected = run.arrays()
    if not keep_bits:
        expected.pop("activated", None)
    try:
        store = open_store(str(path))
        for name, array in expected.items():
            if _digest(store[name][...]) != _digest(array):
                return {"resume": f"silent: {name}"}
        if [row.index for row in store.skipped()] != [row["index"] for row in run.skipped()]:
            return {"resume": "silent: skipped.jsonl"}
    except FastneuronsError as error:
        return {"resume": f"refused: {error}"}
    return {"resume": "right"}


# -- damage -----------------------------------------------------------------------------------------------


def _bits(sample: Sample, key: str, rng: np.random.Generator) -> None:
    file = sample.path / key
    data = bytearray(file.read_bytes())
    for _ in range(int(rng.integers(1, 4))):
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)


def _bytes(sample: Sample, key: str, rng: np.random.Generator) -> None:
    file = sample.path / key
    data = bytearray(file.read_bytes())
    start = int(rng.integers(len(data)))
    length = int(rng.integers(1, 30))
    data[start : start + length] = [bytes(length), rng.bytes(length)][int(rng.integers(2))]
    file.write_bytes(data)


def _truncated(sample: Sample, key: str, rng: np.random.Generator) -> None:
    file = sample.path / key
    file.write_bytes(file.read_bytes()[: int(rng.integers(file.stat().st_size))])


def _emptied(sample: Sample, key: str, rng: np.random.Generator) -> None:
    (sample.path / key).write_bytes(b"")


def _longer(sample: Sample, key: str, rng: np.random.Generator) -> None:
    file = sample.path / key
    more = rng.bytes(int(rng.integers(1, 100)))
    file.write_bytes(more + file.read_bytes() if rng.integers(2) else file.read_bytes() + more)


def _swapped(sample: Sample, key: str, rng: np.random.Generator) -> None:
    folder = key.rpartition("/")[0]
    near = [other for other in sample.keys if other != key and other.rpartition("/")[0] == folder]
    others = near if near and rng.integers(4) else [other for other in sample.keys if other != key]
    one, two = sample.path / key, sample.path / others[rng.integers(len(others))]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def _deleted(sample: Sample, key: str, rng: np.random.Generator) -> None:
    path = sample.path / key
    if "/" in key and not rng.integers(5):
        shutil.rmtree(path.parent)
    else:
        path.unlink()


def _older(sample: Sample, key: str, rng: np.random.Generator) -> None:
    file = sample.older / key
    if file.exists():
        (sample.path / key).write_bytes(file.read_bytes())
    else:
        (sample.path / key).unlink()


def _special(sample: Sample, key: str, rng: np.random.Generator) -> None:
    path = sample.path / key
    path.unlink()
    match rng.integers(7):
        case 0:
            os.mkfifo(path)
        case 1:
            path.symlink_to("/dev/zero")
        case 2:
            path.symlink_to("/dev/urandom")
        case 3:
            path.mkdir()
        case 4:
            path.symlink_to("nowhere")
        case 5:
            path.symlink_to(path.name)  # to itself
        case 6:
            here = Path.cwd()
            os.chdir(path.parent)  # a socket's name may have 100 characters
            try:
                with socket.socket(socket.AF_UNIX) as made:
                    made.bind(path.name)
            finally:
                os.chdir(here)


def _huge(sample: Sample, key: str, rng: np.random.Generator) -> None:
    with (sample.path / key).open("wb" if rng.integers(2) else "r+b") as file:
        file.truncate(2**31)  # zeros, which take no room


def _json(sample: Sample, key: str, rng: np.random.Generator) -> None:
    _edit(sample.path / "zarr.json", rng, signed=False)


def _signed(sample: Sample, key: str, rng: np.random.Generator) -> None:
    _edit(sample.path / "zarr.json", rng, signed=True)


def _other_json(sample: Sample, key: str, rng: np.random.Generator) -> None:
    names = [name for name in sample.keys if name.startswith("manifest/") or name == "skipped.jsonl"]
    file = sample.path / names[rng.integers(len(names))]
    lines = file.read_bytes().splitlines(keepends=True)
    at = int(rng.integers(len(lines)))
    try:
        value = json.loads(lines[at])
    except json.JSONDecodeError:  # the digest
        lines.pop(at)
    else:
        if isinstance(value, dict):
            lines[at] = _dumped(_edited(value, rng)) + b"\n"
    file.write_bytes(b"".join(lines))


def _text(sample: Sample, key: str, rng: np.random.Generator) -> None:
    file = sample.path / "zarr.json"
    data = file.read_bytes()
    at = int(rng.integers(len(data)))
    put = [b"\xff", b"[" * 3000, b"\x00", b"}", b'"', b"1e999", b"NaN", b"{" * 100_000, b"\\ud800"]
    file.write_bytes(data[:at] + put[rng.integers(len(put))] + data[at + int(rng.integers(2)) :])


def _edit(file: Path, rng: np.random.Generator, signed: bool) -> None:
    document = _edited(json.loads(file.read_bytes()), rng)
    if signed and isinstance(document, dict) and isinstance(document.get("attributes"), dict):
        document["attributes"]["checksum"] = root._checksum_or_none(document)
    file.write_bytes(_dumped(document))


def _dumped(value: Any) -> bytes:
    if value == "deep":
        return b"[" * 5000 + b"]" * 5000
    return json.dumps(value, ensure_ascii=bool(len(str(value)) % 2)).encode("utf-8", "surrogatepass")


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, child in below for place in _places(child, (*at, key)))]


def _edited(document: Any, rng: np.random.Generator) -> Any:
    """The document with one value of it changed, wherever it is."""
    document = copy.deepcopy(document)
    places = _places(document)
    if rng.integers(2):  # most places are in arrays' metadata
        ours = [place for place in places if "metadata" not in place]
        places = ours or places
    *parents, last = places[rng.integers(len(places))] or (None,)
    if last is None:
        return [[], 5, None, "deep", {}, {"attributes": 5}][rng.integers(6)]
    holder = document
    for key in parents:
        holder = holder[key]
    value = holder[last]
    changes: list[Any] = [
        None,
        -1,
        0,
        1,
        7,
        4_000_000_000,
        10**30,
        0.5,
        "x",
        "",
        [],
        {},
        True,
        [value],
        {"a": value},
    ]
    if isinstance(value, bool):
        changes += [not value] * 8
    elif isinstance(value, int):
        changes += [value + 1, value - 1, -value, 2 * value, value + 1, value - 1]
    elif isinstance(value, float):
        changes += [value + 0.25, -value - 1, 1e308]
    elif isinstance(value, str):
        changes += [value + "x", value[:-1], value.swapcase(), value[::-1], "\x1b[31m", "\ud800", "é" * 1000]
    elif isinstance(value, list):
        changes += [value[::-1], value[:-1], value + value, [*value, "x"], [*value, 1], [value]]
    elif isinstance(value, dict):
        changes += [dict(list(value.items())[1:]), {**value, "x": 1}]
    if rng.integers(6) == 0:
        if isinstance(holder, dict):
            del holder[last]
        else:
            holder.pop(last)
    else:
        holder[last] = changes[rng.integers(len(changes))]
    return document


DAMAGE: dict[str, Callable[[Sample, str, np.random.Generator], None]] = {
    "bits flipped": _bits,
    "bytes overwritten": _bytes,
    "truncated": _truncated,
    "emptied": _emptied,
    "longer": _longer,
    "swapped": _swapped,
    "deleted": _deleted,
    "older version": _older,
    "special file": _special,
    "2 GB": _huge,
    "zarr.json edited": _json,
    "zarr.json broken": _text,
    "other JSON edited": _other_json,
    "signed": _signed,
}


# -- the sweep --------------------------------------------------------------------------------------------


def _work(connection: Connection) -> None:
    """A process that reads what it is told to."""
    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT_BYTES, _LIMIT_BYTES))
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    while True:
        path, copied, run, keep_bits, pictures = connection.recv()
        found = read_all(path, pictures)
        if copied is not None:
            found |= resume_and_read(copied, run, keep_bits)
        connection.send(found)


class Reader:
    """A process that reads stores, ended and begun again when it does not answer."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None

    def __call__(self, path: Path, copied: Path | None, sample: Sample, pictures: bool) -> dict[str, str]:
        if self._process is None:
            self._connection, theirs = self._context.Pipe()
            self._process = self._context.Process(target=_work, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        self._connection.send((path, copied, sample.run, sample.keep_bits, pictures))
        try:
            if self._connection.poll(_LIMIT_S):
                found: dict[str, str] = self._connection.recv()
                return found
            what = f"did not end within {_LIMIT_S:g} s"
        except EOFError:
            what = "ended without a word"
        self.close()
        return {"process": f"hang: {what}"}

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


@dataclass
class Findings:
    """Mutations by kind of damage and what became of them, and each failure in words."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    done: int = 0


def sweep(
    mutations: int,
    seed: int,
    folder: Path,
    seconds: float = 1e9,
    kinds: list[str] | None = None,
    say: bool = False,
) -> Findings:
    """Damage stores at random, and see what their readers say.

    Args:
        mutations: How many times.
        seed: Of what is drawn.
        folder: Where to write, better in memory.
        seconds: When to stop at the latest.
        kinds: Of damage; all for None.
        say: Whether to print each failure as it is found.
    """
    rng, reader, findings = np.random.default_rng(seed), Reader(), Findings()
    stores, names = samples(folder), kinds or list(DAMAGE)
    end = time.monotonic() + seconds
    work = folder / "work"
    try:
        for number in range(mutations):
            if time.monotonic() > end:
                break
            sample = stores[rng.integers(len(stores))]
            kind = names[number % len(names)]
            damaged = copy.copy(sample)
            damaged.path = work / "run.zarr"
            if not sample.returned:
                shutil.copytree(sample.path, damaged.path)
                sample.returned = reader(damaged.path, None, sample, pictures=True)
                assert not [text for text in sample.returned.values() if ": " in text[:12]], sample.returned
                shutil.rmtree(work)
            what = _damage(damaged, sample, kind, rng)
            shutil.copytree(damaged.path, work / "resumed" / "run.zarr", symlinks=True, copy_function=_copy)
            found = reader(damaged.path, work / "resumed" / "run.zarr", sample, pictures=number % 8 == 0)
            result = _judge(sample.returned, found, kind)
            findings.counts.setdefault(kind, Counter())[result.partition(":")[0]] += 1
            findings.done += 1
            if result.partition(":")[0] in ("silent", "traceback", "hang"):
                findings.failures.append(f"{number} {sample.name}, {kind}, {what}: {result}")
                if say:
                    print(findings.failures[-1], flush=True)
            shutil.rmtree(work)
    finally:
        reader.close()
    return findings


def _copy(source: str, target: str) -> None:
    """As `shutil.copy2`; pipes and sockets are made anew, as reading them would not end."""
    if Path(source).is_fifo():
        os.mkfifo(target)
    elif Path(source).is_socket():
        os.mknod(target, 0o140600)
    elif Path(source).stat().st_size >= 2**30:
        with Path(source).open("rb") as old, Path(target).open("wb") as new:
            new.write(old.read(2**16))
            new.truncate(2**31)
    else:
        shutil.copy2(source, target)


def _damage(damaged: Sample, sample: Sample, kind: str, rng: np.random.Generator) -> str:
    """Damage a copy so that it differs; of which object."""
    while True:
        shutil.rmtree(damaged.path.parent, ignore_errors=True)
        shutil.copytree(sample.path, damaged.path)
        # As many in the root, lists and manifests as in all the rest.
        small = [key for key in sample.keys if not key.rpartition("/")[2].startswith("c.")]
        keys = small if rng.integers(4) == 0 else sample.keys
        key = keys[rng.integers(len(keys))]
        DAMAGE[kind](damaged, key, rng)
        if _state(damaged.path) != _state(sample.path):
            return "zarr.json" if "zarr.json " in kind or kind == "signed" else key


def _state(path: Path) -> dict[str, Any]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        if file.is_file() and not file.is_symlink() and file.stat().st_size < 2**30
        else "special"
        for file in path.rglob("*")
        if not file.is_dir() or not any(file.iterdir())
    }


def _judge(expected: dict[str, str], found: dict[str, str], kind: str) -> str:
    """ "noticed", "harmless", or what is wrong: "silent", "traceback" or "hang", with the reader and how."""
    for name, text in found.items():
        if text.startswith(("traceback: ", "hang: ", "silent: ")):
            problem, _, how = text.partition(": ")
            if problem != "silent" or kind != "signed":
                return f"{problem}: {name}: {how}"
    if any(text.startswith("refused: ") for text in found.values()) or found.get("verify") == "False":
        result = "noticed"
    else:
        result = "harmless"
    for name, text in found.items():
        is_right = text == expected.get(name) or (name == "resume" and text == "right")
        if kind != "signed" and name != "verify" and not is_right and not text.startswith("refused: "):
            return f"silent: {name}: {text[:200]}"
    if result == "noticed" and found.get("verify") == "True" and kind != "signed":
        return f"silent: verify: whole, though {next(t for t in found.values() if t.startswith('refused'))}"
    return result


def main() -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--kinds", help="of damage, separated by commas; all by default")
    parser.add_argument("--verbose", action="store_true", help="print each failure as it is found")
    given = parser.parse_args()
    kinds = given.kinds.split(",") if given.kinds else None
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        found = sweep(given.mutations, given.seed, Path(folder), given.minutes * 60, kinds, given.verbose)
    columns = ("noticed", "harmless", "silent", "traceback", "hang")
    print(f"{'damage':<20}" + "".join(f"{column:>12}" for column in ("stores", *columns)))
    total = sum(found.counts.values(), Counter())
    for kind, counts in [*found.counts.items(), ("all", total)]:
        print(f"{kind:<20}" + "".join(f"{n:>12}" for n in (counts.total(), *(counts[c] for c in columns))))
    if not given.verbose:
        print("\n".join(found.failures))
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
