"""How fast are rows read, and does memory stay flat? Rows per second and peak memory for each format.

    python benchmarks/data_rate.py [--megabytes 100 --megabytes 1000] [--formats jsonl,csv] [--json FILE]

Files of these sizes (of their content, where they are packed) are written to a temporary folder, one at a
time: rows of an id, a prompt in eight languages and an answer, about 1.1 KB each; of `txt` sentences. Each is
then read twice by a process of its own; the second time, from the disk's cache, is timed, in seconds of the
processor. The peak of its memory is given before reading and after both times. `examples` is the `jsonl`
source, which checks languages and ids as well. Rows that came are counted against those written.
"""

import csv
import gzip
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

TEXTS = {
    "en": 'A shop sells 14 boxes of 12 "fair" eggs each, and 5 boxes break. How many eggs are left at noon, {i}?',
    "de": "Ein Laden hat 14 Schachteln mit je 12 Eiern, und 5 Schachteln zerbrechen. Wie viele Eier bleiben, {i}?",
    "fr": "Un magasin a 14 boîtes de 12 œufs, et 5 boîtes se cassent. Combien d'œufs reste-t-il à midi, {i} ?",
    "ru": "В магазине 14 коробок по 12 яиц, и 5 коробок разбиваются. Сколько яиц останется, {i}?",
    "th": "ร้านมีไข่ 14 กล่อง กล่องละ 12 ฟอง และแตกไป 5 กล่อง เหลือไข่กี่ฟอง {i}",
    "zh": "商店有14盒鸡蛋，每盒12个，其中5盒碎了。中午还剩多少个鸡蛋，{i}？",
    "ja": "店には卵が12個入りの箱が14箱あり、そのうち5箱が割れました。残りの卵は何個ですか、{i}？",
    "ar": "في المتجر 14 علبة في كل منها 12 بيضة، وانكسرت 5 علب. كم بيضة بقيت عند الظهر، {i}؟",
}
FORMATS = ("examples", "jsonl", "jsonl.gz", "jsonl.zst", "json", "csv", "tsv", "txt", "parquet")


def main(
    megabytes: Annotated[list[int] | None, typer.Option(help="Sizes. [default: 100 and 1000]")] = None,
    formats: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(FORMATS),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here, too.")] = None,
    read: Annotated[str | None, typer.Option(hidden=True)] = None,
    source: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Measure and print."""
    if read is not None:
        print(json.dumps(read_all(read, source)))
        return
    results = []
    print(
        f"{'format':<10}{'MB':>7}{'rows':>12}{'s':>8}{'rows/s':>10}{'MB/s':>7}{'peak MB':>9}{'of it before':>14}"
    )
    for name in formats.split(","):
        for size in megabytes or [100, 1000]:
            result = measure(name, size)
            results.append(result)
            print(
                f"{name:<10}{size:>7,}{result['rows']:>12,}{result['seconds']:>8.2f}{result['rows_per_s']:>10,.0f}"
                f"{size / result['seconds']:>7.0f}{result['peak_mb']:>9.0f}{result['start_mb']:>14.0f}"
            )
    if json_file is not None:
        about = {"python": platform.python_version(), "machine": platform.machine(), "results": results}
        json_file.write_text(json.dumps(about, indent=1) + "\n")


def measure(name: str, megabytes: int) -> dict[str, Any]:
    """One format at one size."""
    suffix = "jsonl" if name == "examples" else name
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data.{suffix}"
        written = write(path, suffix, megabytes * 1_000_000)
        command = [
            sys.executable,
            __file__,
            "--read",
            str(path),
            *(["--source"] if name == "examples" else []),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    if result["rows"] != written:
        raise SystemExit(f"{name}: {written} rows written, {result['rows']} read")
    result["rows_per_s"] = round(written / result["seconds"])
    return {"format": name, "megabytes": megabytes, **result}


def read_all(path: str, source: bool) -> dict[str, Any]:
    """Read a file twice; the second time counts."""
    from fastneurons.data.example import Example
    from fastneurons.data.jsonl_examples import JsonlSource
    from fastneurons.data.readers.data_set import Record, read_records

    rows: Any = JsonlSource(path, tuple(TEXTS)) if source else read_records(path)
    start_mb = peak_mb()
    count, seconds = 0, 0.0
    for _ in range(2):
        start = time.process_time()
        count = sum(isinstance(row, Record | Example) for row in rows)
        seconds = time.process_time() - start
    return {"rows": count, "seconds": seconds, "start_mb": start_mb, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The peak of this process's resident memory so far; getrusage's is that of the parent, if that had more."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


# -- files ------------------------------------------------------------------------------------------


def write(path: Path, suffix: str, num_bytes: int) -> int:
    """Write a file with content of this size; return its number of rows."""
    if suffix == "parquet":
        return write_parquet(path, num_bytes)
    with text_file(path, suffix) as file:
        rows = 0
        table = csv.writer(file)
        names = ["id", *TEXTS, "answer"]
        if suffix == "csv":
            table.writerow(names)
        elif suffix == "tsv":
            file.write("\t".join(names) + "\n")
        elif suffix == "json":
            file.write("[")
        # In the text's own position, which a packed file has too.
        size = 0
        for rows, (line, cells) in enumerate(content(suffix), 1):
            if suffix == "csv":
                table.writerow(cells)
            else:
                file.write((",\n" if suffix == "json" and rows > 1 else "") + line)
            size += len(line.encode())
            if size >= num_bytes:
                break
        if suffix == "json":
            file.write("]")
    return rows


def content(suffix: str) -> Iterator[tuple[str, list[str]]]:
    """Lines, and their cells."""
    number = 0
    while True:
        if suffix == "txt":
            for text in TEXTS.values():
                yield text.format(i=number) + "\n", []
        else:
            prompts = {code: text.format(i=number) for code, text in TEXTS.items()}
            cells = [str(number), *prompts.values(), "108"]
            if suffix in ("csv", "tsv"):
                yield "\t".join(cells) + "\n", cells
            else:
                row = {"id": str(number), "prompts": prompts, "answers": dict.fromkeys(prompts, "108")}
                yield json.dumps(row, ensure_ascii=False) + ("" if suffix == "json" else "\n"), cells
        number += 1


def text_file(path: Path, suffix: str) -> TextIO:
    """A file to write text into, packed as its suffix says."""
    if suffix.endswith(".gz"):
        return gzip.open(path, "wt", compresslevel=1, encoding="utf-8", newline="")
    if suffix.endswith(".zst"):
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        packed: TextIO = zstd.open(path, "wt", encoding="utf-8", newline="")
        return packed
    return path.open("w", encoding="utf-8", newline="")


def write_parquet(path: Path, num_bytes: int) -> int:
    """Prompts as a struct, in groups of 50,000 rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = size = 0
    writer = None
    batch: list[dict[str, Any]] = []
    for line, _ in content("jsonl"):
        batch.append(json.loads(line))
        rows += 1
        size += len(line.encode())
        if len(batch) == 50_000 or size >= num_bytes:
            table = pa.Table.from_pylist(batch)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
            batch = []
        if size >= num_bytes:
            break
    assert writer is not None
    writer.close()
    return rows


if __name__ == "__main__":
    typer.run(main)
