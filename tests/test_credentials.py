"""The form of credentials: what it shows of a connection, what it makes of it, and that no secret comes back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from logstream.airflow.connections import AirflowConnections
from logstream.airflow.connections.fields import Fate
from logstream.airflow.connections.tables import TYPES
from logstream.console.credentials import (
    CredentialMistakes,
    StoredConnection,
    authentication_of,
    changed_fields,
    field_id,
    filled_in,
    shown_fields,
)
from logstream.console.setting_form import access_of
from logstream.destinations import destination_types
from logstream.destinations.access import Access, CredentialField, Shape
from logstream.destinations.access.amazon import S3
from logstream.destinations.access.google import GCS
from logstream.destinations.access.microsoft import AZURE_BLOB
from logstream.destinations.access.requests import ELASTICSEARCH, HTTP, SPLUNK, SUMO_LOGIC
from logstream.destinations.base import Destination
from logstream.destinations.registry import make_destination
from logstream.settings.models import DestinationSettings
from logstream.testing.servers import S3Server

ACCESSES = {name: kind.access for name, kind in destination_types().items() if kind.access is not None}
CANARY = "canary-91f0"


def form(way: str, **fields: str) -> dict[str, list[str]]:
    return {"credential.way": [way], **{field_id(way, name): [value] for name, value in fields.items()}}


def made(access: Access, way: str, stored: StoredConnection | None = None, **fields: str) -> StoredConnection:
    return filled_in(access, form(way, **fields), "c", stored)


def values(access: Access, stored: StoredConnection) -> dict[str, tuple[str, bool]]:
    """What the form shows of the way in which a connection authenticates."""
    way = authentication_of(access, stored).name
    return {shown.field.name: (shown.value, shown.kept) for shown in shown_fields(access, stored)[way]}


def test_every_type_that_takes_a_connection_has_a_form_for_it() -> None:
    taking = {name for name, kind in destination_types().items() if kind.connection_type}
    assert taking == ACCESSES.keys()
    assert all(access_of(destination_types()[name]) for name in taking)


@pytest.mark.parametrize("name", sorted(ACCESSES))
def test_every_field_is_one_that_is_used(name: str) -> None:
    """Against the tables that decide what becomes of a connection's fields."""
    access = ACCESSES[name]
    table = TYPES[access.connection_type]
    for way in access.authentications:
        assert len({one.name for one in way.fields}) == len({one.place for one in way.fields}) == len(way.fields)
        for one in way.fields:
            for place in (one.place, *one.aliases):
                path = place.removeprefix("extra.").removeprefix(table.prefix)
                known = table.extras if place.startswith("extra.") else table.standard
                # an object that is used whole
                found = known.get("host" if path == "address" else path) or known.get(path.partition(".")[0])
                assert found is not None and found.fate is Fate.USED, (way.name, place)


def test_s3_keys_by_their_names() -> None:
    found = made(S3, "keys", access_key_id="AKIA", secret_access_key="s", region="eu-west-1", endpoint="")
    assert found == StoredConnection("c", "aws", login="AKIA", password="s", extra={"region_name": "eu-west-1"})
    assert values(S3, found) == {
        "access_key_id": ("AKIA", False), "secret_access_key": ("", True), "region": ("eu-west-1", False), "endpoint": ("", False),
    }  # fmt: skip
    assert "'s'" not in repr(found)


def test_a_secret_that_is_left_empty_stays_and_others_change() -> None:
    stored = StoredConnection("c", "aws", login="AKIA", password="s", extra={"region_name": "a", "verify": "/ca.pem"})
    found = made(
        S3, "keys", stored, access_key_id="AKIB", secret_access_key=" ", region="", endpoint="https://minio:9000"
    )
    assert found.password == "s"
    assert (found.login, found.extra) == ("AKIB", {"verify": "/ca.pem", "endpoint_url": "https://minio:9000"})
    assert list(changed_fields(S3, stored, found)) == ["Access key ID", "Region", "Endpoint"]
    found = made(S3, "keys", stored, access_key_id="AKIA", secret_access_key="new", region="a")
    assert found.password == "new"
    assert list(changed_fields(S3, stored, found)) == ["Secret access key"]


def test_keys_that_stand_in_the_extra_stay_together() -> None:
    """Airflow's hook takes login and password only as a pair."""
    extra = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "s"}
    found = made(S3, "keys", StoredConnection("c", "aws", extra=extra), access_key_id="AKIB", secret_access_key="")
    assert (found.login, found.password, found.extra) == ("AKIB", "s", {})


def test_another_way_to_authenticate_takes_the_old_ones_fields_away() -> None:
    stored = StoredConnection(
        "c", "aws", login="AKIA", password="s", extra={"aws_session_token": "t", "region_name": "a"}
    )
    assert authentication_of(S3, stored).name == "temporary"
    found = made(
        S3, "role", stored, role_arn="arn:aws:iam::1:role/x", external_id="e", region="a", access_key_id="AKIA"
    )
    assert found.password == "s", "the same secret at the same place is kept"
    assert found.extra == {
        "region_name": "a",
        "role_arn": "arn:aws:iam::1:role/x",
        "assume_role_kwargs": {"ExternalId": "e"},
    }
    assert authentication_of(S3, found).name == "role"
    found = made(S3, "machine", found, region="b")
    assert found == StoredConnection("c", "aws", extra={"region_name": "b"})


def test_a_secret_of_another_meaning_is_not_kept() -> None:
    """An account's key and a client's secret are both the password."""
    stored = StoredConnection("c", "wasb", login="acme", password="key")
    assert authentication_of(AZURE_BLOB, stored).name == "key"
    with pytest.raises(CredentialMistakes) as caught:
        made(AZURE_BLOB, "principal", stored, address="acme", tenant_id="t", client_id="i", client_secret="")
    assert caught.value.fields == {"credential.principal.client_secret": "is required"}
    found = made(AZURE_BLOB, "principal", stored, address="acme", tenant_id="t", client_id="i", client_secret="c")
    assert (found.login, found.password, found.host, found.extra) == ("i", "c", "acme", {"tenant_id": "t"})
    assert authentication_of(AZURE_BLOB, found).name == "principal"
    found = made(AZURE_BLOB, "sas", found, account="acme", sas="sv=1&sig=x")
    assert (found.login, found.password, found.extra) == ("acme", None, {"sas_token": "sv=1&sig=x"})


def test_an_address_in_parts_becomes_one() -> None:
    stored = StoredConnection("c", "https", host="splunk.example", port=8088, password="t")
    assert values(SPLUNK, stored)["address"] == ("https://splunk.example:8088", False)
    found = made(SPLUNK, "key", stored, address="https://splunk.example:9088", token="")
    assert (found.host, found.port, found.schema, found.password) == ("https://splunk.example:9088", None, None, "t")
    with pytest.raises(CredentialMistakes, match="was not saved") as caught:
        made(SPLUNK, "key", None, address="splunk.example", token="t")
    assert "https://" in caught.value.fields["credential.key.address"]


@pytest.mark.parametrize(("name", "way", "field"), [
    (name, way.name, one.name) for name, access in sorted(ACCESSES.items())
    for way in access.authentications for one in way.fields if one.example.startswith("http") and one.place != "host"  # that may be a name
])  # fmt: skip
def test_what_is_no_address_is_told_at_its_field(name: str, way: str, field: str) -> None:
    """An endpoint without its scheme fails every run; `http://[` is no URL at all."""
    access = ACCESSES[name]
    for typed in (
        "logs.example.com:9000",
        "127.0.0.1:9000",
        "ftp://logs.example.com",
        "https://",
        "http://[",
        "https://h:99999",
        "https://h\nX: y",
    ):
        with pytest.raises(CredentialMistakes) as caught:
            made(access, way, None, **{field: typed})
        assert f"credential.{way}.{field}" in caught.value.fields, typed


@pytest.mark.parametrize("address", ["http://[", "https://h:99999"])
def test_a_connection_whose_address_is_none_can_be_mended(address: str) -> None:
    stored = StoredConnection("c", "http", host=address, password="t")
    assert values(SPLUNK, stored)["address"] in (("", True), (address, False))
    assert made(SPLUNK, "key", stored, address="https://h", token="").host == "https://h"


@pytest.mark.parametrize(
    "address", ["https://u:canary-91f0@h", "https://h/receiver/canary-91f0", "https://h?key=canary-91f0"]
)
def test_an_address_that_may_hold_a_secret_is_not_shown(address: str) -> None:
    stored = StoredConnection("c", "http", host=address, password="t")
    assert values(SPLUNK, stored)["address"] == ("", True)
    assert made(SPLUNK, "key", stored, address="", token="").host == address
    endpoint = StoredConnection("c", "aws", login="AKIA", password="s", extra={"endpoint_url": address})
    assert values(S3, endpoint)["endpoint"] == ("", True)


def test_a_way_without_a_login_takes_the_login_away() -> None:
    stored = StoredConnection("c", "http", host="https://h", login="u", password="p")
    assert authentication_of(ELASTICSEARCH, stored).name == "user"
    found = made(ELASTICSEARCH, "key", stored, address="https://h", api_key="k")
    assert (found.login, found.password) == (None, "k")


def test_what_is_more_than_a_line() -> None:
    assert made(HTTP, "headers", address="https://h", headers="Authorization: Bearer x:y\r\n\r\nX-A: 1").extra == {
        "headers": {"Authorization": "Bearer x:y", "X-A": "1"}
    }
    key = json.dumps({"type": "service_account", "private_key": "k"})
    assert made(GCS, "key", key=key).extra == {"keyfile_dict": key}
    stored = StoredConnection("c", "google_cloud_platform", extra={"keyfile_dict": {"private_key": "k"}})
    assert made(GCS, "key", stored, key="", endpoint="http://e").extra["keyfile_dict"] == {"private_key": "k"}
    for access, way, fields, wrong in (
        (GCS, "key", {"key": "{"}, "paste the whole file"), (GCS, "key", {"key": "[]"}, "no JSON object"),
        (HTTP, "headers", {"address": "https://h", "headers": "nonsense"}, "one header a line"),
        (SPLUNK, "key", {"address": "https://h", "token": "a\nb"}, "one line only"),
        (SPLUNK, "key", {"address": "https://h", "token": "a" * 4000}, "at most"),
    ):  # fmt: skip
        with pytest.raises(CredentialMistakes) as caught:
            made(access, way, None, **fields)
        assert any(wrong in text for text in caught.value.fields.values()), wrong


def _is_address(one: CredentialField) -> bool:
    return one.shape is Shape.ADDRESS or one.place == "host"


@pytest.mark.parametrize("name", sorted(ACCESSES))
@given(data=st.data())
def test_no_secret_comes_back_whatever_a_connection_holds(name: str, data: st.DataObject) -> None:
    access = ACCESSES[name]
    way = data.draw(st.sampled_from(access.authentications))
    fields: dict[str, str] = {}
    for one in way.fields:
        if one.shape is Shape.JSON:
            secret = json.dumps({"private_key": CANARY})
        elif one.shape is Shape.HEADERS:
            secret = f"X: {CANARY}"
        else:
            secret = f"https://h/{CANARY}" if _is_address(one) else CANARY
        fields[one.name] = secret if one.secret else "https://h" if _is_address(one) else "plain"
    stored = made(access, way.name, None, **fields)
    for kind in {
        kind.access.connection_type: kind.access for kind in destination_types().values() if kind.access
    }.values():
        if kind.connection_type == access.connection_type:
            assert CANARY not in repr(shown_fields(kind, stored))
    again: dict[str, Any] = {one.name: "" if one.secret else fields[one.name] for one in way.fields}
    assert made(access, authentication_of(access, stored).name, stored, **again) == stored


def test_the_url_of_a_source_is_the_secret() -> None:
    stored = made(SUMO_LOGIC, "key", url="https://collector.example/receiver/v1/http/xyz")
    assert values(SUMO_LOGIC, stored)["url"] == ("", True)


# the least rights


def test_the_policy_of_s3_has_bucket_and_prefix() -> None:
    assert S3.rights is not None
    found = json.loads(S3.rights({"bucket": "audit", "prefix": "logs/"}).text)["Statement"]
    assert found[0]["Resource"] == "arn:aws:s3:::audit/logs/*" and "s3:PutObject" in found[0]["Action"]
    assert found[2]["Condition"] == {"StringLike": {"s3:prefix": "logs/*"}}
    assert "s3:PutObjectTagging" not in found[0]["Action"]
    more = {"bucket": "audit", "tags": {"a": "b"}, "encryption": "aws:kms", "kms_key_id": "arn:key"}
    found = json.loads(S3.rights(more).text)["Statement"]
    assert "s3:PutObjectTagging" in found[0]["Action"] and "Condition" not in found[2]
    assert found[3]["Resource"] == "arn:key"
    assert "arn:aws:s3:::BUCKET/*" in S3.rights({}).text


@pytest.mark.parametrize("name", sorted(ACCESSES))
def test_rights_and_documentation_of_each_type(name: str) -> None:
    access = ACCESSES[name]
    assert access.documentation.startswith("https://")
    if access is not HTTP:
        assert access.rights is not None
        options = {
            "bucket": "my-bucket",
            "container": "my-bucket",
            "index": "my-bucket",
            "prefix": "p/",
            "rule_id": "my-bucket",
        }
        rights = access.rights(options)
        assert rights.text and rights.where and rights.title
        named = name in ("s3", "gcs", "azure_blob", "azure_monitor", "splunk_hec", "elasticsearch")
        assert ("my-bucket" in rights.text + rights.where) == named
        assert access.rights({}).text, "a form that is still empty"


class StrictS3(S3Server):
    """moto as it judges requests by IAM's policies, once a bucket and two users, with a key and a policy each, are made."""

    def command(self) -> tuple[list[str], dict[str, str]]:
        command, environment = super().command()
        return command, {**environment, "INITIAL_NO_AUTH_ACTION_COUNT": "7"}


def test_the_policy_of_s3_allows_what_is_done_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"connection": "least", "bucket": "audit", "prefix": "logs/"}
    assert S3.rights is not None
    with StrictS3(tmp_path / "log") as server:

        def client(service: str, key: str, secret: str) -> Any:
            return boto3.client(
                service,
                endpoint_url=server.url,
                region_name="us-east-1",
                aws_access_key_id=key,
                aws_secret_access_key=secret,
            )

        client("s3", "root", "root").create_bucket(Bucket="audit")
        iam = client("iam", "root", "root")
        least = S3.rights(options).text
        deliver = json.dumps({**json.loads(least), "Statement": json.loads(least)["Statement"][:1]})
        for user, policy in (("writer", deliver), ("least", least)):
            iam.create_user(UserName=user)
            key = iam.create_access_key(UserName=user)["AccessKey"]
            iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=policy)
            extra = {"endpoint_url": server.url, "region_name": "us-east-1"}
            fields = {
                "conn_type": "aws",
                "login": key["AccessKeyId"],
                "password": key["SecretAccessKey"],
                "extra": extra,
            }
            monkeypatch.setenv(f"AIRFLOW_CONN_{user.upper()}", json.dumps(fields))

        def tried(**changed: Any) -> list[bool]:
            settings = DestinationSettings.model_validate({"type": "s3", **options, **changed})
            return asyncio.run(steps_of(make_destination("lake", settings, AirflowConnections())))

        # (that the test object stays is moto's doing: it wants a right to DeleteObjects that Amazon's IAM does not have)
        assert tried() == [True, True, True]
        assert tried(prefix="elsewhere/") == [False]
        s3 = client("s3", key["AccessKeyId"], key["SecretAccessKey"])
        s3.put_object(Bucket="audit", Key="logs/1", Body=b"{}")
        assert s3.get_object(Bucket="audit", Key="logs/1")["Body"].read() == b"{}"
        assert "logs/1" in {item["Key"] for item in s3.list_objects_v2(Bucket="audit", Prefix="logs/")["Contents"]}
        s3.delete_object(Bucket="audit", Key="logs/1")
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.put_object(Bucket="audit", Key="logsx", Body=b"")
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(Bucket="audit", Key="other")
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_bucket(Bucket="audit")
        # who may only write cannot tell that no manifest is there: the check says so, and not the first window
        assert tried(connection="writer") == [True, False, True]
        assert tried(connection="writer", manifests=False) == [True, True]


async def steps_of(destination: Destination[Any]) -> list[bool]:
    return [step.ok async for step in destination.run_check()]
