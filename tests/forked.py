"""Commands as processes of their own that have imported Airflow already: to import it takes two seconds of the processor.

For tests about what a command does, and what becomes of it when it is killed; not for those about what it imports.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = """
import gc, json, os, sys
# what an export imports; none of it starts a thread or opens a connection
import logstream.airflow.connections, logstream.cli.arguments, logstream.cli.export, logstream.destinations.file
import logstream.export.deliver, logstream.export.exporter, logstream.export.processes, logstream.export.sealer
from logstream.airflow.importing import LOOKING_UP, imported

imported(*LOOKING_UP, "airflow.sdk.bases.hook")

asked, answers = os.fdopen(os.dup(0)), os.dup(1)
gc.collect(); gc.freeze()
for line in asked:
    order = json.loads(line)
    child = os.fork()
    if child:
        os.write(answers, b"%d\\n" % os.waitpid(child, 0)[1])
        continue
    asked.close(); os.close(answers)
    for number, path in enumerate(["/dev/null", order["stdout"], order["stderr"]]):
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, number); os.close(opened)
    os.environ.clear(); os.environ.update(order["environment"])
    sys.argv = ["-c", *order["words"]]
    exec(order["program"], {"__name__": "__main__"})
    break
"""


class Forked:
    """Runs Python programs, each in a process forked from one that has imported what `logstream export` does."""

    def __init__(self, server: subprocess.Popen[str], folder: Path) -> None:
        self._server, self._folder, self._numbers = server, folder, itertools.count()

    def run(self, program: str, *words: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """What `python -c program words` does; as there, minus the signal is the exit code of a process that is killed."""
        number = next(self._numbers)
        out, err = (self._folder / f"{number}.{name}" for name in ("stdout", "stderr"))
        order = {
            "program": program,
            "words": words,
            "environment": environment,
            "stdout": str(out),
            "stderr": str(err),
        }
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        code = os.waitstatus_to_exitcode(int(self._server.stdout.readline()))
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())


@contextmanager
def forked(folder: Path) -> Iterator[Forked]:
    """Start the process that is forked; `folder` is for what its children say."""
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Forked(server, folder)
    finally:
        server.communicate(timeout=20)
