"""A name that means a public address while it is judged, and this machine when it is used, leads nowhere."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from logstream.testing.servers import EchoingStore

from .rebound import DESTINATIONS, say
from .stage import PROJECT
from .ways import names_from

PUBLIC = "93.184.216.34"
NAME, ACCOUNT = "rebound.example.com", "rebound.blob.core.windows.net"


def outcomes(folder: Path, port: int, *changed: str, **environment: str) -> dict[str, dict[str, str]]:
    """What becomes of the destinations whose names change their meaning after they were opened, by what it changes to."""
    hosts = folder / "hosts"
    say(hosts, [NAME, ACCOUNT], PUBLIC)
    keys = {"login": "l", "password": "p"}
    connections = {
        "s3": {"conn_type": "aws", **keys, "extra": {"endpoint_url": f"http://{NAME}:{port}", "region_name": "eu-west-1"}},
        "azure_blob": {
            "conn_type": "wasb", "login": "rebound", "password": base64.b64encode(b"key").decode(),
            "host": f"http://{ACCOUNT}:{port}",
        },
        "gcs": {"conn_type": "google_cloud_platform", "extra": {"endpoint_url": f"http://{NAME}:{port}"}},
        "http": {"conn_type": "http", "host": f"http://{NAME}:{port}"},
    }  # fmt: skip
    given = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in connections.items()}
    usual = {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}
    usual.pop("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES")
    done = subprocess.run(
        [sys.executable, "-m", "tests.rebound", str(hosts), *changed],
        env={**usual, **given, **names_from(hosts), **environment},
        cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    assert all(found[address].keys() == DESTINATIONS.keys() for address in changed)
    return found


@pytest.mark.servers
def test_what_is_connected_to_is_what_was_judged(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with EchoingStore() as server:
        found = outcomes(tmp_path, server.port, "127.0.0.1", "169.254.169.254", "::1")
        for address, of in found.items():
            for kind, outcome in of.items():
                assert outcome.startswith("GiveUp") and "not a public address" in outcome, (address, kind, outcome)
        assert server.requests == 0


@pytest.mark.servers
def test_names_change_their_meaning_in_this_test(tmp_path: Path) -> None:
    """Where the operator allows private addresses all four reach the server: the look-ups of all clients are those of the file."""
    with EchoingStore() as server:
        found = outcomes(tmp_path, server.port, "127.0.0.1", LOGSTREAM_ALLOW_PRIVATE_ADDRESSES="1")
        hosts = {value for head in server.heads for name, value in head.items() if name.lower() == "host"}
        assert server.requests >= 4 and hosts == {f"{NAME}:{server.port}", f"{ACCOUNT}:{server.port}"}, found
