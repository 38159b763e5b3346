"""Servers in processes of their own, on free ports of the loopback interface."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import Self

from logstream.errors import LogstreamError

PORTS = range(15_000, 32_000)
"""Below those that systems give to outgoing connections: between being found and being listened on, none of these is taken."""


def free_port() -> int:
    """A port that no process listens on right now. Raises `LogstreamError` if there is none."""
    for port in SystemRandom().sample(PORTS, 100):  # a test may have seeded the others
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port
    raise LogstreamError(f"no port from {PORTS.start} to {PORTS.stop} seems to be free")


def wait_for(url: str, seconds: float = 60.0, alive: Callable[[], bool] = lambda: True) -> None:
    """Wait until a server answers, with whatever status. Raises `LogstreamError` if it does not or is gone."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except urllib.error.HTTPError:
            return
        except (OSError, ValueError):
            if not alive():
                break
            time.sleep(0.1)
    raise LogstreamError(f"no server answers at {url}")


class Process:
    """A server in a process group of its own, its output in a file."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )

    @property
    def pid(self) -> int:
        """The process' own id, which is its group's."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def ask(self) -> None:
        """Ask it to end, and do not wait."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the whole group at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        """Stop the whole group where it stands: its connections stay open, and it answers none of them."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def stop(self, seconds: float = 10.0) -> None:
        """Ask the whole group to end, then insist."""
        for ask in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, ask)
            except ProcessLookupError:
                break
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
            if ask is signal.SIGTERM and not _group_alive(self._process.pid):
                break
        self._process.wait()


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Server:
    """A server in a process of its own: started on entering, stopped on leaving."""

    probe = "/"
    """A path that answers once the server is up."""

    def __init__(self, log: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log

    def command(self) -> tuple[list[str], dict[str, str]]:
        """The command that starts it, and what to add to its environment."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        command, environment = self.command()
        self._process = Process(command, self._log, environment)
        try:
            wait_for(f"{self.url}{self.probe}", alive=self._process.alive)
        except BaseException:
            self._process.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()
