"""What stands between us and receivers: nginx with TLS, tinyproxy, a proxy that looks into TLS, a changing DNS. No root is needed."""

from __future__ import annotations

import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from .certificates import Certificate
from .databases import PROJECT, SERVANT, folder, free_port, libraries

PLACE = "ways"
"""The bucket or container of the servers that ways lead to: the fixture `servers`."""


class Programs(NamedTuple):
    """Where Debian's programs are."""

    nginx: Path
    tinyproxy: Path
    nss_wrapper: Path
    """A library that answers look-ups of names from a file, in any process that it is loaded into."""


@cache
def programs() -> Programs:
    """The machine's own, or Debian's packages unpacked below `.venv`."""
    done = subprocess.run(
        ["bash", str(PROJECT / "deploy" / "network.sh")], capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return Programs(*map(Path, done.stdout.split()))


@contextmanager
def running(command: list[str], port: int, log: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """A server while it is used: it listens on a port of the loopback interface."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, **SERVANT)
    try:
        until = time.monotonic() + 20
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=2).close()
                break
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(20)


class Nginx(NamedTuple):
    """nginx with TLS in front of servers of the loopback interface."""

    ports: Mapping[int, int]
    """The server's port by that which is behind it."""

    def url(self, behind: int) -> str:
        """The address of what is behind, by TLS."""
        return f"https://127.0.0.1:{self.ports[behind]}"


@contextmanager
def nginx(certificate: Certificate, behind: list[int], body: str = "64m") -> Iterator[Nginx]:
    """One server of nginx for each port; requests of a larger body than `body` are refused, as by default in the field."""
    program = programs().nginx
    ports = {port: free_port() for port in behind}
    with folder() as home:
        servers = "".join(
            f"server {{ listen 127.0.0.1:{port} ssl; location / {{ proxy_pass http://127.0.0.1:{of}; "
            "proxy_set_header Host $http_host; proxy_http_version 1.1; proxy_request_buffering off; } }\n"
            for of, port in ports.items()
        )
        temporary = "".join(
            f"{name}_temp_path {home}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (home / "nginx.conf").write_text(
            f"daemon off;\nmaster_process off;\npid {home}/pid;\nerror_log {home}/error.log;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{temporary}client_max_body_size {body};\nignore_invalid_headers off;\n"
            f"ssl_certificate {home}/server.pem;\nssl_certificate_key {home}/server.pem;\n{servers}}}\n"
        )
        (home / "server.pem").write_text(certificate.pem)
        for file in home.iterdir():
            file.chmod(0o644)
        command = [str(program), "-p", str(home), "-e", str(home / "error.log"), "-c", str(home / "nginx.conf")]
        with running(command, next(iter(ports.values())), home / "log", libraries(program)):
            yield Nginx(ports)


class Tinyproxy(NamedTuple):
    """A proxy as many companies have one."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def requests(self) -> list[str]:
        """Method and target of what it was asked for, so far."""
        lines = self.log.read_text().splitlines()
        return [line.split("): ", 1)[1].rsplit(" ", 1)[0] for line in lines if "Request (file" in line]


@contextmanager
def tinyproxy(user: str | None = None, password: str | None = None) -> Iterator[Tinyproxy]:
    """Debian's tinyproxy, with basic authentication if there is a user."""
    program = programs().tinyproxy
    with folder() as home:
        made = Tinyproxy(free_port(), home / "log")
        authentication = f"BasicAuth {user} {password}\n" if user else ""
        (home / "tinyproxy.conf").write_text(
            f'Port {made.port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 200\nLogFile "{made.log}"\nLogLevel Connect\n'
            f'PidFile "{home}/pid"\n{authentication}'
        )
        (home / "tinyproxy.conf").chmod(0o644)
        command = [str(program), "-d", "-c", str(home / "tinyproxy.conf")]
        with running(command, made.port, home / "out", libraries(program)):
            yield made


class LookingProxy:
    """A proxy that looks into TLS, as companies' do: what is asked of a host is answered with a certificate of the company's.

    `servers` are ports of the loopback interface by host, where nginx has such a certificate.
    """

    def __init__(self, servers: Mapping[str, int]) -> None:
        self.servers = servers
        self.asked: list[str] = []
        """Hosts, in order."""
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    proxy.serve(self)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, request: Any) -> None:
        """One tunnel."""
        method, target, _ = request.rfile.readline().decode().split()
        while request.rfile.readline().strip():
            pass
        host = target.rpartition(":")[0]
        with self._lock:
            self.asked.append(host)
        if method != "CONNECT" or host not in self.servers:
            request.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        request.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", self.servers[host])) as server:
            back = threading.Thread(target=_copy, args=(server, request.connection), daemon=True)
            back.start()
            _copy(request.connection, server)
            back.join(10)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def names_from(hosts: Path) -> dict[str, str]:
    """What to add to a process' environment so that it looks names up in a file of the form of `/etc/hosts`."""
    library = hosts.parent / "libnss_wrapper.so"
    shutil.copy(programs().nss_wrapper, library)
    return {"LD_PRELOAD": str(library), "NSS_WRAPPER_HOSTS": str(hosts)}
