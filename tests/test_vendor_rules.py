"""What a vendor would refuse among options is refused when settings are saved, at the option; what it takes is taken."""

from __future__ import annotations

from typing import Any

import pytest

from logstream.destinations.registry import check_options, destination_types, make_destination
from logstream.destinations.vendor_rules import Accepts
from logstream.settings.models import DestinationSettings

NEEDED: dict[str, dict[str, Any]] = {
    "s3": {"bucket": "audit"},
    "gcs": {"bucket": "audit"},
    "azure_blob": {"container": "audit"},
    "elasticsearch": {"index": "audit"},
    "azure_monitor": {
        "endpoint": "https://x.ingest.monitor.azure.com",
        "rule_id": "dcr-000a00a000a00000a000000aa000a0aa",
        "stream": "Custom-Audit_CL",
    },
}
REFUSED: dict[tuple[str, str], list[Any]] = {
    ("s3", "bucket"): ["192.168.5.4", "a..b", ".abc", "abc-", "xn--abc", "sthree-abc", "amzn-s3-demo-x", "ab", "a/b", "a b"],
    ("http", "path"): ["/ingest#token", "#"],
    ("s3", "metadata"): [{f"k{number}": "x" * 200 for number in range(11)}, {"Team": "a", "team": "b"}, {"team": " a"}],
    ("s3", "storage_class"): ["standard_ia", "Standard", "STANDARDIA", "GLACIERIR", "glacier"],
    ("gcs", "metadata"): [{"Team": "a", "team": "b"}, {"team": "a "}],
    ("azure_blob", "metadata"): [{"Team": "a", "team": "b"}, {"team": "a "}],
    ("datadog", "site"): ["app.datadoghq.com", "example.com", "us5.example.com", "http-intake.logs.datadoghq.com", "us1", "datadoghq"],
    ("s3", "tags"): [{"aws:x": "1"}, {"AWS:x": "1"}, {"a": "b,c"}, {"a": "x" * 257}, {"a": "100%"}],
    ("gcs", "bucket"): ["192.168.5.4", "abc-", "abc.", "a..b", "goog-audit", "my-google-logs", "x" * 64, "Audit"],
    ("gcs", "storage_class"): ["STANDARD_IA", "Hot"],
    ("gcs", "tags"): [{"a": "b"}],
    ("azure_blob", "container"): ["a--b", "-ab", "ab-", "Audit", "a.b", "$root", "x" * 64],
    ("azure_blob", "storage_class"): ["STANDARD", "Frozen"],
    ("azure_blob", "tags"): [{"a@b": "c"}, {"a": "c@d"}],
    ("splunk_hec", "index"): ["Audit", "-audit", "my_kvstore_x", "au dit", ""],
    ("splunk_hec", "source"): ["a\nb", "a\tb", " workato", "  ", "a\u2028b"],
    ("splunk_hec", "sourcetype"): ["_json ", "a\nb", " "],
    ("splunk_hec", "host"): ["h\n", "h "],
    ("datadog", "tags"): [["1env:prod"], ["env:prod,team:a"], ["env prod"], ["env:"], ["e" * 201], "env:prod,,b", "a:b,2c"],
    ("sumo_logic", "category"): ["prod/äudit", " prod", "a\tb"],
    ("sumo_logic", "name"): ["ñ"],
    ("sumo_logic", "host"): ["x "],
    ("sumo_logic", "fields"): [{"a,b": "c"}, {"a": "b=c"}, {"": "x"}, {"a": "b,c"}, {"a": "ü"}, {"a": "x" * 201}, {"n" * 256: "x"},
                               {f"a{number}": "x" for number in range(31)}],
    ("grafana_loki", "tenant"): ["a/b", "..", "a|b", "x" * 151],
    ("grafana_loki", "labels"): [{"a-b": "x"}, {"__own": "x"}, {"1a": "x"}, {"a": "x" * 2_049}, {"a": "é" * 1_025}, {"a": ""}],
    ("new_relic", "attributes"): [{"": "x"}, {"n" * 256: "x"}, {"a": "x" * 4_095}, {f"a{number}": "" for number in range(256)},
                                   {"accountId": "1"}, {"logtype": "audit", "eventType": "Log"}, {"timestamp": "2026-11-26"}],
    ("elasticsearch", "index"): ["Audit", "_audit", "-audit", "+audit", "a/b", "a*b", "a?b", 'a"b', "a<b", "a|b", "a b", "a,b",
                                 "a#b", "a:b", ".", "..", "a\\b", "a>b", "", "a\u2028b", "Ä", "x" * 256, "é" * 128, "<logs-{now/d}>"],
    ("azure_monitor", "rule_id"): ["audit-rule", "/subscriptions/x/dataCollectionRules/audit", "dcr-", "dcr-1", "dcr-" + "A" * 32],
    ("azure_monitor", "stream"): ["Audit_CL", "custom-audit", "Custom-", "Microsoft-"],
    ("azure_monitor", "endpoint"): ["x.ingest.monitor.azure.com", "https://x.ingest.monitor.azure.com/dataCollectionRules", "https://u:p@x.ingest.monitor.azure.com",
                                      "https://x.ingest.monitor.azure.com?a=b", "https://x.ingest.monitor.azure.com:x"],
}  # fmt: skip
TAKEN: dict[tuple[str, str], list[Any]] = {
    ("s3", "bucket"): ["audit", "a.b-c.1", "Old_Bucket_of_2012", "x" * 63, "my-access-point-aqfqprnstn7aefdfbarligizwgyfouse1a-s3alias"],
    ("s3", "tags"): [{"retention": "7y", "a b": "x@y:z/1+2=3"}, {f"k{number}": "" for number in range(10)}],
    ("s3", "storage_class"): ["GLACIER_IR", "CUSTOM_OF_CEPH", "STANDARD", "ssd_tier"],
    ("s3", "metadata"): [{"Team": "a", "team_b": "b c"}],
    ("datadog", "site"): ["datadoghq.com", "datadoghq.eu", "us3.datadoghq.com", "ap2.datadoghq.com", "ddog-gov.com", "us2.ddog-gov.com"],
    ("grafana_loki", "labels"): [{"a": "x" * 2_048, "b": "é" * 1_024}],
    ("azure_monitor", "endpoint"): ["https://audit-1234.westeurope-1.ingest.monitor.azure.com", "http://127.0.0.1:8080/"],
    ("gcs", "bucket"): ["audit_logs-1", "logs.example.com", f"{'x' * 63}.{'y' * 63}"],
    ("gcs", "storage_class"): ["NEARLINE", "standard"],
    ("azure_blob", "container"): ["audit-logs-1", "$web", "3ab"],
    ("azure_blob", "storage_class"): ["Cool", "hot"],
    ("azure_blob", "tags"): [{"a b": "c/d:e=f_g-h+i.j"}],
    ("splunk_hec", "index"): ["audit", "a_b-c1", "_internal", None],
    ("splunk_hec", "source"): ["workato", "http:audit (prod)", "/var/log/é", None, ""],
    ("splunk_hec", "sourcetype"): ["_json", "aws:cloudtrail", "WinEventLog:Security", "access-2", "httpevent", ""],
    ("splunk_hec", "host"): ["h.example.com", "::1", None],
    ("datadog", "tags"): [["env:prod", "équipe:a", "a:b:c/d.e-f_g"], "env:prod, team:a", []],
    ("http", "path"): ["/ingest%23token", ""],
    ("sumo_logic", "category"): ["prod/audit events (1)", None],
    ("sumo_logic", "fields"): [{"env": "prod", "team_a": "x y"}, {f"a{number}": "x" * 200 for number in range(30)}, {"n" * 255: ""}],
    ("grafana_loki", "tenant"): ["t1", "team-a_(x)'*!.b"],
    ("new_relic", "attributes"): [{"logtype": "audit", "a.b": "ü"}, {"accountid": "1", "service.name": "x"}],
    ("elasticsearch", "index"): ["workato-audit", "logs-workato.audit-default", "x" * 255, ".audit", "größe", "監査", "a+b@c!~(1)"],
    ("azure_monitor", "stream"): ["Custom-Audit_CL", "Microsoft-CommonSecurityLog"],
}  # fmt: skip


def options_of(kind: str, **options: Any) -> dict[str, Any]:
    return {"connection": "c", **NEEDED.get(kind, {}), **options}


@pytest.mark.parametrize(("place", "values"), REFUSED.items(), ids=map(".".join, REFUSED))
def test_what_the_vendor_refuses_is_refused_at_its_option(place: tuple[str, str], values: list[Any]) -> None:
    kind, option = place
    for value in values:
        wrong = check_options(kind, options_of(kind, **{option: value}))
        assert wrong and all(path[0] == option and what for path, what in wrong), (value, wrong)


@pytest.mark.parametrize(("place", "values"), TAKEN.items(), ids=map(".".join, TAKEN))
def test_what_the_vendor_takes_is_taken(place: tuple[str, str], values: list[Any]) -> None:
    kind, option = place
    for value in values:
        assert check_options(kind, options_of(kind, **{option: value})) == [], value


def test_every_rule_tells_its_source() -> None:
    rules = {
        part.rule
        for kind in destination_types().values()
        for field in kind.options_model.model_fields.values()
        for part in field.metadata
        if isinstance(part, Accepts) and part.rule.__name__ != "rule"
    }
    assert len(rules) >= 15
    for rule in rules:
        assert "https://" in (rule.__doc__ or "") or "RFC " in (rule.__doc__ or ""), rule.__name__


def test_stored_settings_are_loaded_as_they_are() -> None:
    stored = DestinationSettings.model_validate({"type": "datadog", "connection": "c", "tags": ["1:x"]})
    assert make_destination("d", stored, None).options.tags == ["1:x"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("new_relic", {"attributes": {f"a{number}": "x" * 4_094 for number in range(250)}}),
        ("splunk_hec", {"source": "x" * 600_000}),
        ("datadog", {"service": "x" * 600_000}),
    ],
)
def test_options_that_leave_no_room_for_an_event_are_refused(kind: str, options: dict[str, Any]) -> None:
    ((path, problem),) = check_options(kind, options_of(kind, **options))
    assert path == (min(options),) and "at least half of that is for the events" in problem
    settings = DestinationSettings.model_validate({"type": kind, **options_of(kind, **options)})
    assert make_destination("d", settings, None).limits.bytes  # type: ignore[arg-type]


ENDPOINTS = {
    "https://audit-1234.westeurope-1.ingest.monitor.azure.com": True,
    "https://audit.usgovvirginia-1.ingest.monitor.azure.us/": True,
    "https://audit.chinanorth3-1.ingest.monitor.azure.cn:443": True,
    "http://audit-1234.westeurope-1.ingest.monitor.azure.com": False,
    "https://audit-1234.westeurope-1.ingest.monitor.azure.com:8443": False,
    "https://ingest.monitor.azure.com.example.com": False,
    "https://example.com": False,
}


@pytest.mark.parametrize(("endpoint", "taken"), ENDPOINTS.items())
def test_tokens_of_azure_go_to_azure(monkeypatch: pytest.MonkeyPatch, endpoint: str, taken: bool) -> None:
    monkeypatch.delenv("LOGSTREAM_ALLOW_PRIVATE_ADDRESSES")
    assert (check_options("azure_monitor", options_of("azure_monitor", endpoint=endpoint)) == []) is taken
