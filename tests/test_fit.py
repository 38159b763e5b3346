"""Templates and destinations that fit, and those of which is warned: nothing is wrapped twice."""

from __future__ import annotations

from typing import Any

import pytest

from logstream.destinations import destination_types
from logstream.events import Kind
from logstream.rendering.fit import misfits
from logstream.settings.message_files import shipped_templates
from logstream.validation import validate_settings, warnings_of

KINDS = [*Kind]

FOR_HTTP = {"http_splunk_hec": "splunk_hec", "http_grafana_loki": "grafana_loki", "http_new_relic": "new_relic"}
"""Templates that make a vendor's whole request, and the vendor's own type."""

ELSEWHERE = {"http", "file", "s3", "azure_blob", "gcs", "sumo_logic"}


@pytest.mark.parametrize("template", sorted(shipped_templates()))
@pytest.mark.parametrize("kind", sorted(destination_types()))
def test_what_fits(template: str, kind: str) -> None:
    found = misfits(shipped_templates()[template], KINDS, kind, {})
    if template in FOR_HTTP:
        assert bool(found) is (kind not in ELSEWHERE)
        if kind == FOR_HTTP[template]:
            assert "wrapped twice" in found[0]
    elif template == "datadog":
        assert bool(found) is (kind not in {*ELSEWHERE, "datadog"})
    else:
        assert found == []


@pytest.mark.parametrize(
    ("message", "kind", "options", "warned"),
    [
        (None, "splunk_hec", {}, False),
        ("{{{log_message}}}", "splunk_hec", {}, False),
        ('{"sourcetype": "x", "source": "workato", "event": {{{log_message}}}}', "splunk_hec", {}, True),
        ('{"sourcetype": "x", "source": "workato", "event": {{{log_message}}}}', "http", {"format": "lines"}, False),
        ('{"sourcetype": "x", "source": "workato", "event": {{{log_message}}}}', "http", {"format": "array"}, True),
        ('{"source": "workato", "event": {{{log_message}}}}', "splunk_hec", {}, False),
        (
            '{"streams": [{"stream": {"a": "b"}, "values": [["1", {{{log_message_str}}}]]}]}',
            "http",
            {"format": "lines"},
            True,
        ),
        ('{"streams": [{"stream": {"a": "b"}, "values": [["1", {{{log_message_str}}}]]}]}', "datadog", {}, True),
        ("[{{{log_message}}}]", "elasticsearch", {}, True),
        ("{{{log_message_str}}}", "azure_monitor", {}, True),
        ("[{{{log_message}}}]", "http", {}, False),
        ({"job": '{"streams": [{{{log_message}}}]}'}, "grafana_loki", {}, True),
        ({"job": '{"streams": [{{{log_message}}}]}', "default": "{{{log_message}}}"}, "file", {}, False),
        ('{"broken": {{{gone}}}}', "splunk_hec", {}, False),
    ],
)
def test_what_is_warned_of(message: Any, kind: str, options: dict[str, Any], warned: bool) -> None:
    assert bool(misfits(message, KINDS, kind, options)) is warned


def test_only_the_kinds_that_are_streamed_matter() -> None:
    message = {"job": '{"streams": [{{{log_message}}}]}'}
    assert misfits(message, ["user_activity"], "grafana_loki", {}) == []
    assert len(misfits(message, ["user_activity", "job"], "grafana_loki", {})) == 1


def test_settings_are_warned_of_with_their_path() -> None:
    streaming = {
        "enabled": True,
        "events": ["job_status"],
        "destination": "siem",
        "message": shipped_templates()["http_splunk_hec"],
    }
    document = {
        "workspaces": [{"id": 1, "streaming": streaming}, {"id": 2, "streaming": {**streaming, "enabled": False}}],
        "destinations": {"siem": {"type": "splunk_hec", "connection": "c"}},
    }
    (warning,) = warnings_of(validate_settings(document))
    assert warning.startswith(
        "workspaces[0].streaming.message: the template makes a whole request of Splunk's HTTP Event"
    )
