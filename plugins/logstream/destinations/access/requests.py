"""Access to vendors that take requests: a token, an API key, or a user with a password."""

from __future__ import annotations

import json
from dataclasses import replace

from logstream.destinations.access.base import (
    Access,
    Authentication,
    CredentialField,
    OptionValues,
    Rights,
    Shape,
    given,
)

_ADDRESS = CredentialField(
    "address", "Address", "address", required=True, shape=Shape.ADDRESS, example="https://logs.example.com"
)
_PROXY = replace(
    _ADDRESS, required=False, example="https://intake.example.com",
    help="Only for a proxy of your own; else that of the vendor's site or region.",
)  # fmt: skip
_USER = CredentialField("user", "User", "login", required=True)
_PASSWORD = CredentialField("password", "Password", "password", secret=True, required=True)
_AUTHORITY = CredentialField(
    "ca", "Certificates of its authority", "extra.ca", shape=Shape.TEXT, example="-----BEGIN CERTIFICATE-----",
    help="PEM. Only where the server's certificate is of an authority of your own.",
)  # fmt: skip


def _one(*fields: CredentialField, title: str = "Key") -> tuple[Authentication, ...]:
    return (Authentication("key", title, fields),)


def _splunk_token(options: OptionValues) -> Rights:
    index = given(options, "index", "")
    lines = [
        "[http://logstream]",
        "disabled = 0",
        "useACK = 0",
        f"sourcetype = {given(options, 'sourcetype', '_json')}",
        *([f"index = {index}", f"indexes = {index}"] if index else ["index = main", "indexes = main"]),
    ]
    return Rights(
        "Settings of the token",
        "\n".join(lines),
        "Settings > Data inputs > HTTP Event Collector > New token: without indexer acknowledgement, and with this index "
        "allowed. Here as it stands in inputs.conf.",
    )


SPLUNK = Access(
    "http",
    _one(
        replace(_ADDRESS, example="https://splunk.example.com:8088", help="Of the HTTP Event Collector, with its port."),
        replace(_PASSWORD, name="token", label="HEC token"),
        _AUTHORITY,
        title="Token",
    ),
    documentation="https://docs.splunk.com/Documentation/Splunk/latest/Data/UsetheHTTPEventCollector",
    rights=_splunk_token,
)  # fmt: skip


def _ingest_key(vendor: str, where: str) -> Rights:
    return Rights("The key", where, f"{vendor} needs no more rights than the key has by itself.")


DATADOG = Access(
    "http",
    _one(
        replace(_PASSWORD, name="api_key", label="API key"),
        _PROXY,
    ),
    documentation="https://docs.datadoghq.com/account_management/api-app-keys/",
    rights=lambda _: _ingest_key("Datadog", "Organization Settings > API Keys > New Key\n(no application key, no scopes)"),
)  # fmt: skip

SUMO_LOGIC = Access(
    "http",
    _one(
        CredentialField(
            "url", "URL of the HTTP source", "address", secret=True, required=True, shape=Shape.ADDRESS,
            example="https://endpoint1.collection.sumologic.com/receiver/v1/http/...",
            help="The whole URL: it is the secret.",
        ),
        title="URL",
    ),
    documentation="https://help.sumologic.com/docs/send-data/hosted-collectors/http-source/logs-metrics/",
    rights=lambda _: _ingest_key(
        "Sumo Logic", "Manage Data > Collection > Add Source > HTTP Logs & Metrics\nTimestamp parsing: on. One message per line."
    ),
)  # fmt: skip

NEW_RELIC = Access(
    "http",
    _one(
        replace(_PASSWORD, name="license_key", label="Licence key"),
        _PROXY,
    ),
    documentation="https://docs.newrelic.com/docs/apis/intro-apis/new-relic-api-keys/#license-key",
    rights=lambda _: _ingest_key("New Relic", "API keys > Create a key\nKey type: Ingest - License"),
)  # fmt: skip


def _elastic_key(options: OptionValues) -> Rights:
    action = given(options, "action", "create")
    allowed = ["create_doc" if action == "create" else "index", "auto_configure"]
    index = {"names": [given(options, "index", "INDEX")], "privileges": allowed}
    body = {"name": "logstream", "role_descriptors": {"logstream": {"indices": [index]}}}
    return Rights(
        "API key",
        "POST /_security/api_key\n" + json.dumps(body, indent=2),
        "In Kibana: Stack Management > API keys. Take the answer's `encoded` as the API key.",
    )


ELASTICSEARCH = Access(
    "http",
    (
        Authentication(
            "key", "API key", (_ADDRESS, replace(_PASSWORD, name="api_key", label="API key"), _AUTHORITY)
        ),
        Authentication("user", "User and password", (_ADDRESS, _USER, _PASSWORD, _AUTHORITY)),
    ),
    documentation="https://www.elastic.co/docs/deploy-manage/api-keys/elasticsearch-api-keys",
    rights=_elastic_key,
)  # fmt: skip

GRAFANA_LOKI = Access(
    "http",
    (
        Authentication(
            "user", "User and token",
            (replace(_ADDRESS, example="https://logs-prod-eu.grafana.net"), replace(_USER, example="12345"),
             replace(_PASSWORD, name="token", label="Token")),
        ),
        Authentication("open", "None", (_ADDRESS, _AUTHORITY)),
    ),
    documentation="https://grafana.com/docs/grafana-cloud/account-management/authentication-and-permissions/access-policies/",
    rights=lambda _: Rights(
        "Access policy", "logs:write", "Grafana Cloud: Access Policies > Create access policy. Your own Loki has no policies."
    ),
)  # fmt: skip

_HEADERS = CredentialField(
    "headers", "Headers", "extra.headers", secret=True, shape=Shape.HEADERS, example="Authorization: Bearer ...",
    help="Of every request, one a line.",
)  # fmt: skip
_BASE = CredentialField(
    "address", "Base URL", "address", secret=True, required=True, shape=Shape.ADDRESS, example="https://logs.example.com",
    help="It may hold a secret itself, so it is not shown again.",
)  # fmt: skip
_SIGNING = CredentialField(
    "webhook_secret", "Secret of signed webhooks", "extra.webhook_secret", secret=True, example="whsec_...",
    help="For the option that signs each request.",
)  # fmt: skip
_CLIENT_CERTIFICATE = CredentialField(
    "client_certificate", "Client certificate and key", "extra.client_certificate", secret=True, shape=Shape.TEXT,
    example="-----BEGIN CERTIFICATE-----", help="PEM, for mutual TLS.",
)  # fmt: skip
_MORE = (_SIGNING, _CLIENT_CERTIFICATE, _AUTHORITY)

HTTP = Access(
    "http",
    (
        Authentication("headers", "Headers, a client certificate, or nothing", (_BASE, _HEADERS, *_MORE)),
        Authentication(
            "user",
            "User and password",
            (
                _BASE,
                replace(_USER, required=False, help="Left empty where a token is the password."),
                _PASSWORD,
                _HEADERS,
                *_MORE,
            ),
        ),
    ),
    documentation="https://www.standardwebhooks.com/",
)
