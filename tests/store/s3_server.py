"""A process with a real S3 server: PORT LOG, and "stop" or "start" on standard input.

A process of its own, because vLLM looks at every module there is, and those that come with the server do not bear it.
"""

import logging
import sys
from pathlib import Path
from typing import Any

from moto.server import ThreadedMotoServer
from werkzeug.serving import WSGIRequestHandler


def main() -> None:
    port, log = int(sys.argv[1]), Path(sys.argv[2])
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    def log_request(handler: WSGIRequestHandler, *_: Any) -> None:
        with log.open("a") as file:
            file.write(f"{handler.command} {handler.path}\n")

    setattr(WSGIRequestHandler, "log_request", log_request)  # noqa: B010

    def started() -> ThreadedMotoServer:
        server = ThreadedMotoServer(port=port, verbose=False)
        server.start()
        return server

    server = started()
    port = server.get_host_and_port()[1]
    print(port, flush=True)
    for line in sys.stdin:  # what it holds stays, as it is the process's
        if line.strip() == "stop":
            server.stop()
        else:
            server = started()
        print(line.strip(), flush=True)


if __name__ == "__main__":
    main()
