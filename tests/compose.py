"""What docker-compose.yml says of its services."""

from __future__ import annotations

import re
from typing import Any

import yaml

from .stage import PROJECT

COMPOSE = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
AIRFLOWS = {name: service for name, service in COMPOSE["services"].items() if "build" in service}


def compose_environment(service: dict[str, Any]) -> dict[str, str]:
    """A service's environment, with something for each secret of `.env`."""
    given = {name: str(value) for name, value in service["environment"].items() if value is not None}
    defaults = {name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value) for name, value in given.items()}
    return {name: re.sub(r"\$\{\w+(:\?[^}]*)?\}", "secret", value) for name, value in defaults.items()}
