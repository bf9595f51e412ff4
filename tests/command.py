"""Run commands and scripts in processes forked from one that has imported vLLM: an engine starts there in a second.

Where the process itself is what is tested (what it imports, its streams), tests start `python -m fastneurons`.
"""

import os
import runpy
import signal
import subprocess
import sys
import tempfile
from multiprocessing import connection
from pathlib import Path
from typing import IO, Any

from tests.engine.forked import PATIENCE_S, context


class Running:
    """A command that runs; used like a `subprocess.Popen` with text streams.

    Args:
        arguments: What follows `fastneurons`, or the script.
        script: A Python file to run instead.
        cwd: The working folder; None: that of the tests.
    """

    def __init__(self, *arguments: Any, script: Path | None = None, cwd: Path | None = None) -> None:
        self.args = [str(script or "fastneurons"), *map(str, arguments)]
        self._streams: list[IO[str]] = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
        places = [f"/proc/{os.getpid()}/fd/{stream.fileno()}" for stream in self._streams]
        self._process = context().Process(
            target=_run, args=(self.args, script, places, cwd or Path.cwd(), dict(os.environ))
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Likewise."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout: float = PATIENCE_S) -> int:
        """Wait for its end; return its exit status."""
        assert connection.wait([self._process.sentinel], timeout), f"{' '.join(self.args)}: did not end"
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def communicate(self, timeout: float = PATIENCE_S) -> tuple[str, str]:
        """Wait for its end; return what it wrote to standard output and standard error."""
        self.wait(timeout)
        written = []
        for stream in self._streams:
            stream.seek(0)
            written.append(stream.read())
            stream.close()
        return written[0], written[1]


def fastneurons_command(*arguments: Any, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `fastneurons` with these arguments to its end."""
    return _to_its_end(Running(*arguments, cwd=cwd))


def python_script(script: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run a Python file with these arguments to its end."""
    return _to_its_end(Running(*arguments, script=script))


def _to_its_end(running: Running) -> subprocess.CompletedProcess[str]:
    output, errors = running.communicate()
    assert running.returncode is not None
    return subprocess.CompletedProcess(running.args, running.returncode, output, errors)


def _run(
    arguments: list[str], script: Path | None, places: list[str], cwd: Path, environment: dict[str, str]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, place in enumerate(places, 1):
        descriptor = os.open(place, os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(cwd)
    sys.argv = arguments
    if script is not None:
        sys.path.insert(0, str(script.parent))
        runpy.run_path(str(script), run_name="__main__")
        return
    from fastneurons.cli import console

    console()
