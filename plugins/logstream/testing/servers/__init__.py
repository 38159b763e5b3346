"""Servers to deliver to, for tests, the demo and `make up`: S3 (moto), Azurite, a GCS emulator, a strict HTTP log sink.

Each is a context manager that starts on a free port of the loopback interface (or the one given) and stops what it started.
"""

from __future__ import annotations

from logstream.testing.servers.azurite import AZURITE_ACCOUNT, AZURITE_KEY, AzuriteServer
from logstream.testing.servers.echoing import EchoingStore
from logstream.testing.servers.flaky import FlakyProxy
from logstream.testing.servers.gcs import GcsServer
from logstream.testing.servers.node import node_program
from logstream.testing.servers.process import Process, Server, free_port, wait_for
from logstream.testing.servers.reading import without_manifests
from logstream.testing.servers.s3 import S3rver, S3Server, s3_client
from logstream.testing.servers.sink import CLOSED, HALF, LogSink, Manner, decoded

__all__ = [
    "AZURITE_ACCOUNT",
    "AZURITE_KEY",
    "CLOSED",
    "HALF",
    "AzuriteServer",
    "EchoingStore",
    "FlakyProxy",
    "GcsServer",
    "LogSink",
    "Manner",
    "Process",
    "S3Server",
    "S3rver",
    "Server",
    "decoded",
    "free_port",
    "node_program",
    "s3_client",
    "wait_for",
    "without_manifests",
]
