"""A real S3 server with a bucket, the environment that names it, and the requests that it has answered."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import fsspec
import pytest

BUCKET = "bucket"
ROOT = Path(__file__).parents[2]


class Bucket:
    """An S3 server with one bucket.

    Args:
        log: A file for the requests.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        log.touch()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.s3_server", "0", str(log)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.endpoint = f"http://127.0.0.1:{int(self._answer())}"
        self._begin = 0

    @property
    def requests(self) -> list[str]:
        """The method of each request since `forget`."""
        return [line.split()[0] for line in self._log.read_text().splitlines()[self._begin :]]

    def forget(self) -> None:
        """Begin to count requests."""
        self._begin = len(self._log.read_text().splitlines())

    def start(self) -> None:
        """Answer requests again, at the same address; the bucket holds what it held."""
        self._ask("start")

    def stop(self) -> None:
        """Refuse connections."""
        self._ask("stop")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _ask(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        assert self._answer() == what

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def bucket() -> Iterator[Bucket]:
    """Start a server, and let clients know of it as users do, by the environment."""
    for package in ("s3fs", "moto", "flask", "flask_cors"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        server = Bucket(Path(folder) / "requests")
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",  # botocore's own attempts take seconds; those of ours are tested
            "AWS_ENDPOINT_URL": server.endpoint,
        }.items():
            patch.setenv(name, value)
        files = fsspec.filesystem("s3")
        files.clear_instance_cache()
        try:
            fsspec.filesystem("s3").mkdir(BUCKET)
            yield server
        finally:
            server.close()
            files.clear_instance_cache()
