"""What Airflow is told of Logstream as a provider: its operators, triggers, notifier and links, for its UI and its command line.

There are no connection types of our own: destinations take those of other providers (docs/connections.md).
"""

from __future__ import annotations

from typing import Any

NAME = "Logstream"

_OPERATORS = ["audit", "check", "deliver", "emit", "plan", "pools", "redeliver", "seal", "tell", "wait", "watch"]
"""The modules that hold operators."""


def get_provider_info() -> dict[str, Any]:
    """The metadata, as Airflow's `provider_info.schema.json` has it."""
    return {
        "package-name": "logstream",
        "name": NAME,
        "description": "Streams the audit logs of many customer workspaces to the destinations their owners choose.",
        "integrations": [{"integration-name": NAME, "tags": ["service"]}],
        "operators": [
            {
                "integration-name": NAME,
                "python-modules": [f"logstream.airflow.operators.{name}" for name in _OPERATORS],
            }
        ],
        "triggers": [{"integration-name": NAME, "python-modules": ["logstream.airflow.operators.wait"]}],
        "notifications": ["logstream.airflow.operators.notify.WebhookNotifier"],
        "extra-links": ["logstream.airflow.links.DeliveriesLink"],
    }
