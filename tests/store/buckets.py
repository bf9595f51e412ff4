"""A real S3 server in this process, with the requests that it answers."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import pytest

BUCKET = "bucket"


class Bucket:
    """An S3 server with one bucket.

    Attributes:
        requests: Method and path of each request, in order.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self._port = 0
        self.start()
        import boto3

        boto3.client("s3", endpoint_url=self.endpoint).create_bucket(Bucket=BUCKET)
        self.requests.clear()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Answer requests, at the same address as before; the bucket holds what it held."""
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(port=self._port, verbose=False)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        """Refuse connections."""
        self._server.stop()

    @property
    def num_objects_written(self) -> int:
        return sum(method == "PUT" for method, _ in self.requests)


@contextmanager
def bucket() -> Iterator[Bucket]:
    """Start a server and let clients know of it as users do, by the environment."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    from werkzeug.serving import WSGIRequestHandler

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    environment = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",  # botocore's own attempts take seconds; those of ours are tested
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        server = Bucket.__new__(Bucket)

        def log_request(handler: WSGIRequestHandler, code: object = "-", size: object = "-") -> None:
            server.requests.append((handler.command, handler.path))

        patch.setattr(WSGIRequestHandler, "log_request", log_request)
        server.__init__()
        patch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        fsspec.filesystem("s3").clear_instance_cache()
        try:
            yield server
        finally:
            server.stop()
            fsspec.filesystem("s3").clear_instance_cache()
