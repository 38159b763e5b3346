"""`python -m tests.rebound HOSTS ADDRESS...`: open destinations, let their names mean ADDRESS in the file HOSTS, and then send.

Run by `test_rebinding.py` in a process that looks names up in HOSTS. Prints what became of each at each address, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from logstream.airflow.connections import AirflowConnections
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.parcel import EventRef
from logstream.destinations.registry import make_destination
from logstream.events import Event
from logstream.settings.models import DestinationSettings

DESTINATIONS = {
    "s3": {"bucket": "audit"},
    "azure_blob": {"container": "audit"},
    "gcs": {"bucket": "audit"},
    "http": {},
}


def say(hosts: Path, names: list[str], address: str) -> None:
    """Let names mean an address from now on."""
    before = hosts.stat().st_mtime if hosts.exists() else 0
    hosts.write_text("".join(f"{address} {name}\n" for name in names))
    os.utime(hosts, (before + 10, before + 10))  # the library reads the file anew when its time has changed


async def run(hosts: Path, names: list[str], address: str) -> dict[str, str]:
    """What became of one object or request for each type."""
    opened: dict[str, Any] = {}
    for kind, options in DESTINATIONS.items():
        settings = DestinationSettings.model_validate({"type": kind, "connection": kind, **options})
        opened[kind] = make_destination("d", settings, AirflowConnections())
        await opened[kind].start()
    say(hosts, names, address)
    found = {}
    for kind, made in opened.items():
        if isinstance(made, ObjectDestination):
            outcome = await made.put("key", b"{}")
        else:
            event = Event(1, 100, "job", 0, 0, b"{}")
            outcome = await made.deliver(made.parcel("p", [EventRef(1, 100, "job")], [b"{}"], event))
        found[kind] = f"{type(outcome).__name__} {getattr(outcome, 'reason', '')}"
        await made.close()
    return found


if __name__ == "__main__":
    file = Path(sys.argv[1])
    before, *others = file.read_text().split()
    outcomes = {}
    for address in sys.argv[2:]:
        say(file, others[::2], before)
        outcomes[address] = asyncio.run(run(file, others[::2], address))
    print(json.dumps(outcomes))
