"""Events that look like the platform's, as it streams them: for the demo, tests and benchmarks. One seed, the same events.

What life has is in them: failed jobs whose error is a text that holds JSON, jobs of the older shape, jobs whose report holds
customers' data though they have no steps, activity of the platform itself (no user), customers without an external id.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from logstream.settings.resolution import Workspace

KINDS = ("job", "user_activity", "api_platform", "log_service")
"""The kinds of `EventMaker.lines`. Genie conversations (`genie`) are made on request: settings leave them out as well."""

_WEIGHTS = (45, 15, 25, 15)
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
_PEOPLE = ("Zoë Ortega", "Jun Watanabe", "Amara Diallo", "Priya Nair", "Łukasz Nowak", "Sam O'Neil", "李小龙")
_RECIPES = (
    "New Salesforce lead to Slack",
    "Sync NetSuite invoices",
    "Onboard employee",
    "Ticket escalation",
    'Nightly "orders" export',
)
_ADAPTERS = (
    ("salesforce", "new_lead"),
    ("slack", "post_message"),
    ("netsuite", "update_record"),
    ("workday", "get_worker"),
)
_ACTIVITY = (
    ("user_login", "User"), ("user_logout", "User"), ("recipe_created", "Flow"), ("recipe_started", "Flow"),
    ("recipe_stopped", "Flow"), ("recipe_deleted", "Flow"), ("package_exported", "Package"), ("package_imported", "Package"),
    ("folder_created", "Folder"), ("folder_deleted", "Folder"), ("team_invitation_created", "MemberInvitation"),
    ("connection_created", "SharedAccount"), ("connection_connected", "SharedAccount"),
)  # fmt: skip
_ERRORS = ("503 Service Unavailable", 'Duplicate value on field "Email"', "timeout\nafter 30s")


class EventMaker:
    """Makes events of one seed."""

    def __init__(self, workspaces: Sequence[Workspace], seed: int = 7) -> None:
        self._random = random.Random(seed)
        self._workspaces = list(workspaces)
        self._weights = [1 / rank for rank in range(1, len(self._workspaces) + 1)]

    def lines(self, count: int, start: datetime, span: timedelta, first_id: int = 1) -> Iterator[str]:
        """`count` lines for `logstream store load`, spread over `span` from `start`, ids from `first_id`."""
        for index in range(count):
            moment = start + span * index / count
            (workspace,) = self._random.choices(self._workspaces, self._weights)
            (kind,) = self._random.choices(KINDS, _WEIGHTS)
            event = {
                "id": first_id + index,
                "workspace_id": workspace.id,
                "kind": kind,
                "occurred_at": (moment - timedelta(milliseconds=self._random.randrange(900))).isoformat(),
                "recorded_at": moment.isoformat(),
                "payload": self.payload(kind, workspace, moment),
            }
            yield json.dumps({"event": event}, ensure_ascii=self._random.random() < 0.5)

    def payload(self, kind: str, workspace: Workspace, moment: datetime) -> dict[str, Any]:
        """The JSON of one event."""
        return getattr(self, f"_{kind}")(workspace, moment)  # type: ignore[no-any-return]

    def _token(self, length: int) -> str:
        return "".join(self._random.choices(_ALPHABET, k=length))

    def _context(self, workspace: Workspace, recipe: int, name: str) -> dict[str, Any]:
        return {
            "user_id": workspace.id,
            "user_external_id": workspace.external_id,
            "user_name": workspace.name,
            "user_email": f"ops+{workspace.id}@example.com",
            "recipe_id": recipe,
            "recipe_url": f"https://www.workato.com/recipes/{recipe}",
            "recipe_name": name,
            "recipe_path": f"/{workspace.name}/{name}",
        }

    def _job(self, workspace: Workspace, moment: datetime) -> dict[str, Any]:
        recipe, name = self._random.randrange(400, 460), self._random.choice(_RECIPES)
        older = self._random.random() < 0.05
        job: str | int = self._random.randrange(10**9) if older else f"j-{self._token(8)}-{self._token(6)}"
        failed = self._random.random() < 0.08
        lines = [self._line(number, moment) for number in range(self._random.randrange(1, 4))]
        context = {**self._context(workspace, recipe, name), "job_id": job}
        report: dict[str, Any] = {"custom_column_1": self._token(5)}
        if self._random.random() < 0.1:
            report["customer"] = {"name": self._random.choice(_PEOPLE), "order": self._token(8)}
        event: dict[str, Any] = {
            "id": job,
            "master_job_id": job,
            "recipe_id": recipe,
            "calling_job_id": None,
            "calling_recipe_id": None,
            "root_job_handle": job,
            "root_recipe_id": recipe,
            "title": f"Order {self._random.randrange(10**6)}",
            "status": "failed" if failed else "succeeded",
            "is_repeat": False,
            "is_test": False,
            "started_at": (moment - timedelta(seconds=2)).isoformat(),
            "completed_at": moment.isoformat(),
            "repeat_count": None,
            "action_count": None if failed else len(lines),
            "parent_id": None,
            "flow_id": recipe,
            "error_type": "action_error" if failed else None,
            "is_poll_error": False,
            "account_id": workspace.id,
            "account_name": workspace.name,
            "environment_type": "prod",
            "environment_id": 1,
            "error": self._error(moment) if failed else None,
            "context": context,
            "report": report,
            "lines": lines,
        }
        if older:
            del event["context"]
            event["report"] = {**report, "workato": {"job_context": context}}
        return event

    def _error(self, moment: datetime) -> str:
        adapter, _ = self._random.choice(_ADAPTERS)
        message = self._random.choice(_ERRORS)
        found = {
            "adapter": adapter,
            "error_type": "action_error",
            "message": message,
            "error_id": self._token(10),
            "error_at": moment.isoformat(),
            "input": {"id": self._token(18)},
            "inner_message": message.splitlines()[0],
        }
        return json.dumps(found, ensure_ascii=False)

    def _line(self, number: int, moment: datetime) -> dict[str, Any]:
        adapter, operation = self._random.choice(_ADAPTERS)
        masked = self._random.random() < 0.2
        hidden = {"data": "masked"}
        took = round(self._random.random(), 3)
        return {
            "recipe_line_number": number,
            "adapter_name": adapter,
            "adapter_operation": operation,
            "input": hidden if masked else {"id": self._token(18), "amount": round(self._random.random() * 1000, 2)},
            "output": hidden
            if masked
            else {"ok": True, "at": moment.isoformat(), "note": self._random.choice(_PEOPLE)},
            "mask_data": masked,
            "error": None,
            "line_stat": {
                "total": took,
                "details": [{"name": operation, "count": 1, "average": took, "total": took, "min": took, "max": took}],
            },
        }

    def _user_activity(self, workspace: Workspace, moment: datetime) -> dict[str, Any]:
        event, resource = self._random.choice(_ACTIVITY)
        name = self._random.choice(_PEOPLE)
        identity = self._random.randrange(10**6)
        user = {
            "id": identity,
            "external_id": None,
            "handle": f"U{identity:06d}",
            "email": f"user{identity}@example.com",
            "name": name,
        }
        team = {
            "id": workspace.id,
            "external_id": workspace.external_id,
            "handle": f"T{workspace.id:06d}",
            "email": f"ops+{workspace.id}@example.com",
            "name": workspace.name,
        }
        request = {"ip_address": f"203.0.113.{self._random.randrange(255)}", "user_agent": "Mozilla/5.0"}
        activity: dict[str, Any] = {
            "event": event,
            "details": {"activity": None, "request": request},
            "user": user,
            "team": team,
            "resource": {
                "type": resource,
                "id": identity if resource == "User" else self._random.randrange(10**6),
                "name": name if resource == "User" else self._random.choice(_RECIPES),
            },
            "timestamp": f"{moment:%Y-%m-%d %H:%M:%S} UTC",
        }
        if event == "recipe_stopped" and self._random.random() < 0.5:
            del activity["user"]  # the platform stopped it
            activity["details"] = {}
        return activity

    def _api_platform(self, workspace: Workspace, moment: datetime) -> dict[str, Any]:
        recipe, name = self._random.randrange(400, 460), self._random.choice(_RECIPES)
        return {
            "id": self._token(20),
            "timestamp": moment.isoformat(),
            "method": self._random.choice(("GET", "POST", "PUT")),
            "path": f"/{workspace.id}/orders-v1/orders/{self._random.randrange(10**5)}",
            "status_code": self._random.choice((200, 200, 200, 201, 404, 429, 500)),
            "latency_ms": self._random.randrange(5, 900),
            "client": {"id": self._random.randrange(100), "name": "Mobile app"},
            "endpoint": {"id": recipe, "name": name},
            "ip_address": f"198.51.100.{self._random.randrange(255)}",
            "context": self._context(workspace, recipe, name),
        }

    def _log_service(self, workspace: Workspace, moment: datetime) -> dict[str, Any]:
        recipe, name = self._random.randrange(400, 460), self._random.choice(_RECIPES)
        return {
            "id": self._token(16),
            "timestamp": moment.isoformat(),
            "log_type": self._random.choice(("recipe", "connector")),
            "level": self._random.choice(("debug", "info", "info", "warn", "error")),
            "message": f"{self._random.choice(_PEOPLE)}: {self._random.choice(_RECIPES)}\u2028done",
            "recipe_id": recipe,
            "job_id": f"j-{self._token(8)}-{self._token(6)}",
            "context": self._context(workspace, recipe, name),
        }

    def _genie(self, workspace: Workspace, moment: datetime) -> dict[str, Any]:
        identity = self._random.randrange(10**6)
        name = self._random.choice(_PEOPLE)
        return {
            "event": "message_sent",
            "conversation_id": f"c-{self._token(12)}",
            "timestamp": moment.isoformat(),
            "genie": {"id": self._random.randrange(100), "name": "IT help"},
            "user": {"id": identity, "external_id": None, "email": f"user{identity}@example.com", "name": name},
            "team": {"id": workspace.id, "external_id": workspace.external_id, "name": workspace.name},
            "message": {"role": self._random.choice(("user", "genie")), "text": "Where is my invoice?"},
        }


def workspace_line(workspace: Workspace) -> str:
    """A workspace's line for `logstream store load`."""
    fields = {"id": workspace.id, "external_id": workspace.external_id, "name": workspace.name, "role": workspace.role}
    return json.dumps({"workspace": fields})
