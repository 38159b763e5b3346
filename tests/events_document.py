"""The tables and samples of docs/events.md, made of what the code does. `make docs` writes them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from logstream.destinations import destination_types
from logstream.events import Kind
from logstream.rendering.fit import misfits
from logstream.rendering.preview import render_sample
from logstream.settings.message_files import shipped_templates
from logstream.shapes.samples import sample_event, sample_text
from tests.test_arrivals import FITTING, places
from tests.test_templates import ACTIVITIES

PAGE = Path(__file__).parents[1] / "docs" / "events.md"


def with_tables(page: str) -> str:
    """The page with everything between its markers made anew."""
    for name, made in {"schemas": schemas(), "fits": fits(), "arrivals": arrivals(), "samples": samples()}.items():
        pattern = rf"(<!-- {name}: made by `make docs` -->\n).*?(<!-- /{name} -->)"
        page, count = re.subn(pattern, lambda match, made=made: match[1] + made + match[2], page, flags=re.DOTALL)
        assert count == 1, name
    return page


def schemas() -> str:
    """Kind, and for user activity each event, to what it is in each schema."""
    rows = ["| kind | event | OCSF class and activity | ECS category and type | CIM data model | Datadog |",
            "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for kind in Kind:
        sample = sample_event(kind)
        events = {
            Kind.USER_ACTIVITY: [({**sample, "event": name}, name) for name in ACTIVITIES[:-2]],
            Kind.JOB: [({**sample, "status": status}, status) for status in ("succeeded", "failed")],
            Kind.API_PLATFORM: [({**sample, "method": method}, method) for method in ("GET", "POST", "PUT", "DELETE")],
            Kind.LOG_SERVICE: [({**sample, "level": level}, f"level {level}") for level in ("info", "error")],
        }.get(kind, [(sample, sample.get("event", ""))])
        rows += [f"| `{kind}` | {name} | {in_schemas(kind, event)} |" for event, name in events]
    return "\n".join(rows) + "\n"


def in_schemas(kind: str, event: dict[str, Any]) -> str:
    """One event in each schema, as cells of a table."""
    made = {}
    for schema in ("ocsf", "ecs", "cim", "datadog"):
        rendered = render_sample(f"{{{{{{{schema}}}}}}}", kind, json.dumps(event).encode(), drop_lines=True)
        made[schema] = json.loads(rendered.message or "")
    ocsf, ecs, datadog = made["ocsf"], made["ecs"], made["datadog"]
    category = ", ".join(ecs["event"].get("category", [])) or "none"
    model = {"action", "status"} & made["cim"].keys()
    cim = ", ".join(f"{name}={made['cim'][name]}" for name in sorted(model)) or "none"
    return " | ".join(
        [
            f"{ocsf['class_name']} ({ocsf['class_uid']}): {ocsf['activity_name']}",
            f"{category}: {', '.join(ecs['event']['type'])}; {ecs['event']['outcome']}",
            cim,
            f"{datadog['evt']['category']}, {datadog['status']}",
        ]
    )


def fits() -> str:
    """Template to the types of destination that it fits."""
    types = sorted(destination_types())
    rows = [f"| template | {' | '.join(f'`{kind}`' for kind in types)} |", "| --- |" + " --- |" * len(types)]
    for name, template in shipped_templates().items():
        cells = ["" if misfits(template, list(Kind), kind, {}) else "fits" for kind in types]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def arrivals() -> str:
    """Each template at each type that it fits: where the receiver finds time and customer, once each kind was checked."""
    kinds = " | ".join(f"`{kind}`" for kind in Kind)
    rows = [f"| template | destination | time | customer | {kinds} |", "| --- |" + " --- |" * (3 + len(Kind))]
    for template, destination in FITTING:
        found = {kind: places(kind, template, destination) for kind in Kind}
        ((time, customer),) = set(found.values())
        cells = " | ".join("valid" for _ in found)
        rows.append(f"| `{template}` | `{destination}` | `{time}` | `{customer}` | {cells} |")
    return "\n".join(rows) + "\n"


def samples() -> str:
    """A whole sample of each kind."""
    return "".join(f"### `{kind}`\n\n```json\n{sample_text(kind)}```\n\n" for kind in Kind)


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
    print(f"{PAGE} is made anew", file=sys.stderr)
