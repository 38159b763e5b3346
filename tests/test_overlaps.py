"""Destinations that could write the same object are refused when saved; those that could not are not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from logstream.airflow.connections import AirflowConnections
from logstream.console.mistakes import FormMistakes
from logstream.console.service import Console
from logstream.console.service.settings import SettingsService
from logstream.console.setting_form import refuse_mistakes
from logstream.destinations import overlaps as module
from logstream.destinations.credentials import AwsCredentials, AzureBlobCredentials, GcsCredentials
from logstream.destinations.objects import ObjectDestination
from logstream.destinations.overlaps import _beside_others, overlaps
from logstream.destinations.parcel import LaneRef
from logstream.destinations.registry import make_destination
from logstream.destinations.s3 import S3Destination
from logstream.destinations.transport.patterns import Pattern, pattern_of
from logstream.errors import ConnectionNotFound, SettingsError
from logstream.events import EPOCH, Event, Kind
from logstream.messages import Messages
from logstream.proof.manifests import listing_key, manifest_key
from logstream.settings.models import DestinationSettings, Settings
from logstream.validation import validate_settings
from logstream.window import Window


def s3(**options: Any) -> dict[str, Any]:
    return {"type": "s3", "connection": "lake", "bucket": "audit", **options}


class Known:
    """Connections of three kinds, whose names tell where they lead."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def _at(self, connection: str) -> str:
        self.read.append(connection)
        if connection.startswith("gone"):
            raise ConnectionNotFound(f"there is no Airflow connection `{connection}`")
        return connection.partition("-")[0]

    def aws(self, connection: str) -> AwsCredentials:
        at = self._at(connection)
        endpoint = None if at in {"lake", "china"} else f"https://{at}.example:443/"
        return AwsCredentials(lambda: {}, region="cn-north-1" if at == "china" else "eu-west-1", endpoint=endpoint)

    def azure_blob(self, connection: str) -> AzureBlobCredentials:
        return AzureBlobCredentials(f"https://{self._at(connection)}.blob.core.windows.net", "x")

    def gcs(self, connection: str) -> GcsCredentials:
        at = self._at(connection)
        return GcsCredentials(endpoint=None if at == "lake" else f"http://{at}")


def refused(*destinations: dict[str, Any], connections: Any = None) -> list[str]:
    """The options at which settings with these destinations, called a, b, ..., are refused."""
    named = dict(zip("abcdefg", destinations, strict=False))
    try:
        validate_settings({"destinations": named}, connections=connections)
    except SettingsError as error:
        assert all("could write the same objects" in line for line in error.problems), error.problems
        return [line.partition(":")[0].removeprefix("destinations.") for line in error.problems]
    return []


BOTH = ["b.prefix", "a.prefix"]


@pytest.mark.parametrize(
    ("one", "other", "wrong"),
    {
        "equal": (s3(), s3(), BOTH),
        "file beside batch": (s3(), s3(packaging="batch"), []),
        "batches tell their destination": (s3(packaging="batch"), s3(packaging="batch"), []),
        "prefixes of their own": (s3(prefix="a/"), s3(prefix="b/"), []),
        "prefixes that contain one another": (s3(prefix="logs/"), s3(prefix="logs/b/"), []),
        "a prefix without its slash": (s3(prefix="logs"), s3(prefix="logs1"), BOTH),
        "compressed otherwise": (s3(), s3(compression="gzip"), []),
        "templates": (s3(key="{workspace_id}/{event_id}"), s3(key="{external_id}/{event_id}"), BOTH),
        "of different depth": (s3(key="{workspace_id}/{event_id}"), s3(key="{event_id}"), []),
        "with {destination}": (s3(key="{destination}/{event_id}"), s3(key="{destination}/{event_id}"), []),
        "with {destination} in one": (s3(key="{destination}/{event_id}"), s3(key="{external_id}/{event_id}"), BOTH),
        "with {destination} and no end of it": (s3(key="{destination}{event_id}"), s3(key="x/{event_id}"), []),
        "a kind as a folder": (s3(key="{kind}/{event_id}"), s3(prefix="job/", key="{event_id}"), BOTH),
        "no kind's folder": (s3(key="{kind}/{event_id}"), s3(prefix="jobs/", key="{event_id}"), []),
        "no month's folder": (s3(key="{mm}/{event_id}"), s3(prefix="13/", key="{event_id}"), []),
        "hive": (s3(hive=True), s3(hive=True), BOTH),
        "hive by prefix": (s3(hive=True), s3(prefix="workspace_id=7/kind=job/year=2026/month=01/", key="day={dd}/{event_id}"), BOTH),
        "an id behind a name that is taken": (s3(key="x{event_id}"), s3(key="x1-{event_id}"), BOTH),
        "the platform's rule by a template": (s3(), s3(key="7/jobs/r/{yyyy}{mm}{dd}/{event_id}/7-{external_id}"), BOTH),
        "a lone minus is no number": (s3(key="{workspace_id}/{event_id}"), s3(prefix="-/", key="{event_id}"), []),
        "a number may be below zero": (s3(key="{workspace_id}/{event_id}"), s3(prefix="-7/", key="{event_id}"), BOTH),
        "twice is one value": (s3(key="{workspace_id}/{workspace_id}/{event_id}"), s3(prefix="1/2/", key="{event_id}"), []),
        "twice, and that value": (s3(key="{workspace_id}/w-{workspace_id}/{event_id}"), s3(prefix="1/w-1/", key="{event_id}"), BOTH),
        "twice in a segment": (s3(key="{workspace_id}-{workspace_id}/{event_id}"), s3(prefix="1-2/", key="{event_id}"), []),
        "twice in a segment, and that value": (s3(key="{workspace_id}-{workspace_id}/{event_id}"), s3(prefix="-1--1/", key="{event_id}"), BOTH),
        "twice in a segment of others": (
            s3(key="{external_id}.{kind}.{external_id}/{event_id}"), s3(prefix="a.b.job.a.c/", key="{event_id}"), []),
        "twice in a segment of others, and that value": (
            s3(key="{external_id}.{kind}.{external_id}/{event_id}"), s3(prefix="a.b.job.a.b/", key="{event_id}"), BOTH),
        "another's manifests": (s3(), s3(prefix="_manifests/", key="a/{event_id}"), BOTH),
        "another's manifests, of which there are none": (s3(manifests=False), s3(prefix="_manifests/", key="a/{event_id}"), []),
        "another bucket": (s3(), s3(bucket="other"), []),
        "another kind of store": (s3(), {"type": "gcs", "connection": "lake", "bucket": "audit"}, []),
        "batches by a template": (
            s3(packaging="batch", key="{window}/{lane}-{part}"), s3(packaging="batch", key="{yyyy}{mm}{dd}T{hh}0000Z_{window_end}/{lane}-{part}-{window_start}"), []),
        "batches by equal templates": (s3(packaging="batch", key="{window}/{lane}/{part}"), s3(packaging="batch", key="{window_start}_{window_end}/{lane}/{part}"), BOTH),
    }.values(),
)  # fmt: skip
def test_pairs(one: dict[str, Any], other: dict[str, Any], wrong: list[str]) -> None:
    assert refused(one, other) == wrong


def test_both_names_and_the_remedy_are_told() -> None:
    with pytest.raises(SettingsError) as error:
        validate_settings({"destinations": {"lake": s3(), "copy": s3()}})
    assert error.value.problems[0] == (
        "destinations.copy.prefix: copy and lake could write the same objects in bucket `audit`, and replace each other's: "
        "give one of them a prefix of its own, or write {destination} into `key` of both"
    )


@pytest.mark.parametrize(
    ("one", "other", "wrong"),
    [
        (s3(), s3(connection="lake-2"), BOTH),
        (s3(), s3(connection="minio"), []),
        (s3(connection="minio"), s3(connection="minio-2"), BOTH),
        (s3(), s3(connection="china"), []),  # a name means another bucket there
        (s3(), s3(connection="gone"), BOTH),  # it may be the same place
        *(
            ({"type": kind, "connection": "lake", place: "audit"}, {"type": kind, "connection": other, place: "audit"}, wrong)
            for kind, place in (("azure_blob", "container"), ("gcs", "bucket"))
            for other, wrong in (("lake-2", BOTH), ("other", []), ("gone", BOTH))
        ),
    ],
)  # fmt: skip
def test_other_connections_to_the_same_place(one: dict[str, Any], other: dict[str, Any], wrong: list[str]) -> None:
    assert refused(one, other, connections=Known()) == wrong


AWS_KEYS = {"conn_type": "aws", "login": "l", "password": "p"}
AZURE_KEYS = {"conn_type": "wasb", "login": "acc", "password": "c2VjcmV0"}


def aws(endpoint: str | None = None, region: str = "eu-west-1", **config: Any) -> dict[str, Any]:
    extra = {"region_name": region, **({"endpoint_url": endpoint} if endpoint else {})}
    return {**AWS_KEYS, "extra": {**extra, **({"config_kwargs": config} if config else {})}}


def google(endpoint: str | None = None) -> dict[str, Any]:
    return {"conn_type": "google_cloud_platform", "extra": {"endpoint_url": endpoint} if endpoint else {}}


def azure(host: str | None = None) -> dict[str, Any]:
    return {**AZURE_KEYS, **({"host": host} if host else {})}


S3_AT_GOOGLE = aws("https://storage.googleapis.com")
ONE_SERVER = [
    *((aws(), aws(f"https://{host}")) for host in (
        "s3.eu-west-1.amazonaws.com", "s3.amazonaws.com", "s3-eu-west-1.amazonaws.com", "S3.eu-west-1.AMAZONAWS.com.",
        "s3.us-east-1.amazonaws.com", "s3.dualstack.eu-west-1.amazonaws.com", "s3-fips.us-east-1.amazonaws.com",
        "s3-fips.dualstack.us-east-1.amazonaws.com", "audit.s3.eu-west-1.amazonaws.com", "s3-accelerate.amazonaws.com",
        "bucket.vpce-1a2b.s3.eu-west-1.vpce.amazonaws.com", "s3.eu-west-1.amazonaws.com:443/", "s3.eu-west-1.api.aws",
    )),
    (aws(region="cn-north-1"), aws("https://s3.cn-north-1.amazonaws.com.cn")),
    (aws(region="us-gov-west-1"), aws("https://s3-fips.us-gov-west-1.amazonaws.com")),
    (aws(region="us-gov-west-1"), aws("https://s3-us-gov-west-1.amazonaws.com")),
    (aws("http://minio.example"), aws("https://minio.example:443/")),
    (aws("https://müller.example"), aws("https://xn--mller-kva.example")),
    (aws("https://s3.example", s3={"addressing_style": "virtual"}), aws("https://audit.s3.example")),
    (aws("http://[2001:db8::1]:9000"), aws("http://[2001:db8:0:0::1]:9000")),
    *((google(), google(f"https://{host}")) for host in (
        "storage.googleapis.com", "audit.storage.googleapis.com", "www.googleapis.com", "storage.europe-west3.rep.googleapis.com",
        "storage-lake.p.googleapis.com",
    )),
    (google(), S3_AT_GOOGLE),
    (google("http://minio.example"), aws("http://minio.example")),
    *((azure(), azure(f"https://{host}")) for host in (
        "acc.blob.core.windows.net:443/", "ACC.blob.core.windows.net", "acc.privatelink.blob.core.windows.net",
        "acc.dfs.core.windows.net", "acc-secondary.blob.core.windows.net",
    )),
]  # fmt: skip
SEVERAL_SERVERS = [
    (aws(), aws("https://minio.example")),
    (aws(), aws("https://amazonaws.com.example")),
    (aws(), aws(region="cn-north-1")),
    (aws(), aws("https://s3.us-gov-west-1.amazonaws.com")),
    (aws("http://minio.example:9000"), aws("http://minio.example:9001")),
    (aws(), S3_AT_GOOGLE),
    (google(), aws()),
    (google(), google("https://storage.example")),
    (azure(), azure("https://acc.blob.core.chinacloudapi.cn")),
]


@pytest.mark.parametrize(
    ("one", "other", "wrong"), [*((*pair, True) for pair in ONE_SERVER), *((*pair, False) for pair in SEVERAL_SERVERS)]
)
def test_a_server_is_known_by_all_of_its_addresses(
    one: dict[str, Any], other: dict[str, Any], wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"aws": ("s3", "bucket"), "google_cloud_platform": ("gcs", "bucket"), "wasb": ("azure_blob", "container")}
    destinations = []
    for name, connection in (("ONE", one), ("OTHER", other)):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(connection))
        kind, place = kinds[connection["conn_type"]]
        destinations.append({"type": kind, "connection": name.lower(), place: "audit"})
    assert refused(*destinations, connections=AirflowConnections()) == (BOTH if wrong else [])


def test_connections_are_read_only_where_it_depends_on_them() -> None:
    known = Known()
    several = [s3(connection=f"lake-{number}", prefix=f"{number}/") for number in range(5)]
    assert refused(*several, connections=known) == [] and known.read == []
    assert refused(s3(), s3(), connections=known) == BOTH and known.read == []
    assert refused(s3(), s3(connection="minio"), s3(connection="lake-2"), connections=known) == ["c.prefix", "a.prefix"]
    assert sorted(known.read) == ["lake", "lake-2", "minio"]


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "out")
    out, link, inner = ({"type": "file", "path": str(tmp_path / name)} for name in ("out", "link", "out/1001"))
    assert refused(out, out) == refused(out, link) == ["b.path", "a.path"]
    assert refused(out, {**out, "path": str(tmp_path / "x/../out/")}) == ["b.path", "a.path"]
    assert refused(out, inner) == []
    assert refused(out, {**inner, "key": "jobs/r/{yyyy}{mm}{dd}/j/1001-{event_id}"}) == ["b.path", "a.path"]
    assert refused(out, {"type": "file", "path": "/"}) == []


def test_settings_that_were_stored_before_load_and_run() -> None:
    document = {"destinations": {"a": s3(), "b": s3()}}
    stored = Settings.model_validate(document)
    for name in "ab":
        assert make_destination(name, stored.destinations[name], Known()).name == name  # type: ignore[arg-type]


@pytest.mark.thorough
def test_thousands_of_destinations_are_told_apart() -> None:
    kinds = [
        lambda n: s3(prefix=f"customer-{n}/"),
        lambda n: s3(packaging="batch"),
        lambda n: s3(key="{yyyy}/{mm}/{destination}/{event_id}"),
        lambda n: {"type": "file", "path": f"/srv/audit/{n}"},
    ]
    made = {
        f"d{n}-{number}": DestinationSettings.model_validate(kind(n))
        for n in range(1_000)
        for number, kind in enumerate(kinds)
    }
    assert list(overlaps(made, None)) == []
    made["late"] = DestinationSettings.model_validate(s3(key="{yyyy}/{mm}/d7-2/{event_id}"))
    assert {name for (name, _), _ in overlaps(made, None)} == {"late", "d7-2"}


# generated templates against every key of a small world

WINDOWS = [
    Window(datetime(2026, 1, 1, hour, tzinfo=UTC), datetime(2026, 1, 1, hour, 5, tzinfo=UTC)) for hour in (1, 11)
]
WORKSPACES = {1: "1", 11: "a", 12: "job", 111: None}
NAMES = ["a", "b", "a1"]
ATOMS_OF_EVENTS = [
    "{destination}",
    "{workspace_id}",
    "{external_id}",
    "{kind}",
    "{event_id}",
    "{mm}",
    "{hh}",
    "1",
    "a",
    "-",
    "job",
]
ATOMS_OF_BATCHES = [
    "{destination}",
    "{lane}",
    "{part}",
    "{window}",
    "{window_start}",
    "{window_end}",
    "{hh}",
    "1",
    "-",
    "a",
]


@st.composite
def templates(draw: st.DrawFn, atoms: list[str], needed: list[str]) -> str:
    """A template with what it must have, at any place."""
    pieces = draw(st.permutations([*needed, *draw(st.lists(st.sampled_from(atoms), max_size=4))]))
    return "".join(
        draw(st.sampled_from(["", "", "/"])) + piece if number else piece for number, piece in enumerate(pieces)
    )


OPTIONS = st.one_of(
    st.fixed_dictionaries(
        {"prefix": st.sampled_from(["", "a/", "a", "1/", "a/1", "_manifests/"]),
         "packaging": st.just("file"), "key": templates(ATOMS_OF_EVENTS, ["{event_id}"]), "hive": st.booleans(),
         "compression": st.sampled_from(["none", "gzip"])}
    ),
    st.fixed_dictionaries(
        {"prefix": st.sampled_from(["", "a/", "a", "1/"]), "packaging": st.just("batch"),
         "key": st.none() | templates(ATOMS_OF_BATCHES, ["{lane}", "{part}", "{window}"]), "hive": st.booleans()}
    ),
)  # fmt: skip


def small_world() -> Iterator[Event]:
    for workspace, kind, identity, hour in itertools.product(WORKSPACES, (Kind.JOB, Kind.GENIE), (1, 11, 111), (1, 11)):
        moment = int((datetime(2026, 1, 1, hour, tzinfo=UTC) - EPOCH).total_seconds() * 1_000_000)
        yield Event(identity, workspace, kind, moment, moment, b'{"id": "j", "recipe_id": 1, "status": "ok"}')


EVENTS = list(small_world())


def keys_of(name: str, options: dict[str, Any]) -> set[str]:
    """Every key that a destination writes of the small world, by its own packers."""
    made = make_destination(name, DestinationSettings.model_validate(s3(**options)), Known())  # type: ignore[arg-type]
    assert isinstance(made, ObjectDestination)
    found: set[str] = set()
    for window, lane in itertools.product(WINDOWS, (0, 10)):
        # each event alone, and all together, where those of one name are told apart
        for events in [*([event] for event in EVENTS), EVENTS] if options["packaging"] == "file" else [EVENTS[:1]]:
            packer = made.packer(LaneRef(name, window, lane, 11, WORKSPACES), 1)
            parcels = [*packer.pack(events, Messages([b"{}"] * len(events))), *packer.finish()]
            found |= {part.name for parcel in parcels for part in parcel.parts}
        if options["packaging"] == "file" and made.options.key and "{window" not in made.options.key:
            break
    prefix = options["prefix"]
    found |= {prefix + manifest_key(name, number) for number in (1, 11)}
    return found | {prefix + listing_key(name, 1, 0)}


@st.composite
def meeting(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Two destinations, a and b, and a key of both: the second's template is made of a key that the first one writes."""
    one = draw(OPTIONS)
    if draw(st.booleans()):
        one["packaging"], one["key"] = "file", None  # the platform's rule, or Hive's
    key = draw(st.sampled_from(sorted(keys_of("a", one))))
    event, window = draw(st.sampled_from(EVENTS)), draw(st.sampled_from(WINDOWS))
    packaging = "batch" if ".ndjson" in key and "_manifests" not in key else "file"
    suffix = ".ndjson" if packaging == "batch" else ".json"
    rest, found, compressed = key.partition(suffix)
    assume(found and compressed in ("", ".gz"))
    hour = (EPOCH + timedelta(microseconds=event.occurred_us)).hour if packaging == "file" else window.start.hour
    values = {"destination": "b", "yyyy": "2026", "mm": "01", "dd": "01", "hh": f"{hour:02d}", "window": window.slug}
    if packaging == "file":
        values |= {"workspace_id": str(event.workspace_id), "kind": event.kind, "event_id": str(event.id)}
        values["external_id"] = WORKSPACES[event.workspace_id] or str(event.workspace_id)
    else:
        values |= {"lane": "00-of-11", "part": "00001"}
        values["window_start"], _, values["window_end"] = window.slug.partition("_")
    folders, manifests, name = rest.rpartition("_manifests/")
    template, place = "", 0
    while place < len(name):
        fitting = [known for known, value in values.items() if name.startswith(value, place)]
        chosen = draw(st.sampled_from([*fitting, *fitting, None])) if fitting else None
        template += f"{{{chosen}}}" if chosen else name[place]
        place += len(values[chosen]) if chosen else 1
    needed = {"lane", "part"} if packaging == "batch" else {"event_id"}
    assume(all(f"{{{name}}}" in template for name in needed) and (packaging == "file" or "{window}" in template))
    other = {"prefix": folders + manifests, "packaging": packaging, "key": template,
             "compression": "gzip" if compressed else "none"}  # fmt: skip
    return one, other, key


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(meeting())
def test_whatever_key_two_destinations_have_in_common_they_are_refused(
    pair: tuple[dict[str, Any], dict[str, Any], str],
) -> None:
    *both, key = pair
    named = dict(zip("ab", both, strict=True))
    assert all(key in keys_of(name, options) for name, options in named.items())
    made = {name: DestinationSettings.model_validate(s3(**options)) for name, options in named.items()}
    assert {name for (name, _), _ in overlaps(made, None)} == {"a", "b"}, key


@settings(max_examples=150, deadline=None)
@given(OPTIONS, OPTIONS, st.sampled_from(list(itertools.combinations(NAMES, 2))))
def test_no_pair_that_is_let_through_has_a_key_in_common(
    one: dict[str, Any], other: dict[str, Any], names: tuple[str, str]
) -> None:
    named = dict(zip(names, (one, other), strict=True))
    made = {name: DestinationSettings.model_validate(s3(**options)) for name, options in named.items()}
    if not list(overlaps(made, None)):
        assert not keys_of(names[0], one) & keys_of(names[1], other)


FOLDER = st.sampled_from(["a", "b", "1", "job", "workspace_id=1", "_manifests"])


@settings(max_examples=150, deadline=None)
@given(OPTIONS, OPTIONS, st.lists(FOLDER, max_size=3), FOLDER, FOLDER)
def test_disjoint_prefixes_are_never_refused(
    one: dict[str, Any], other: dict[str, Any], above: list[str], left: str, right: str
) -> None:
    assume(left != right)
    for options, folder in ((one, left), (other, right)):
        options["prefix"] = "/".join([*above, folder, options["prefix"]])
    made = [DestinationSettings.model_validate(s3(**options)) for options in (one, other)]
    assert list(overlaps(dict(zip("ab", made, strict=True)), None)) == []


@settings(max_examples=150, deadline=None)
@given(OPTIONS, st.sampled_from(list(itertools.permutations(NAMES, 2))), st.sampled_from(["", "x/", "{kind}/"]))
def test_destination_as_a_folder_is_never_refused(options: dict[str, Any], names: tuple[str, str], above: str) -> None:
    assume(
        options["key"]
        and options["prefix"] != "_manifests/"
        and (options["packaging"] == "file" or "kind" not in above)
    )
    options["key"] = f"{above}{{destination}}/{options['key']}"
    made = {name: DestinationSettings.model_validate(s3(**options)) for name in names}
    assert list(overlaps(made, None)) == []


def test_the_form_shows_it_at_the_field() -> None:
    class Stored(SettingsService):
        def __init__(self) -> None:
            self._connections = Known()  # type: ignore[assignment]

        def current(self) -> Any:
            kept = Settings.model_validate({"destinations": {"lake": s3()}})
            return type("Snapshot", (), {"settings": kept})

    class Kept(Console):
        def __init__(self) -> None:
            self.settings = Stored()

    for name, destination, wrong in (
        ("copy", s3(), {"option.prefix"}),
        ("copy", s3(prefix="copy/"), set()),
        ("lake", s3(compression="gzip"), set()),
    ):
        try:
            refuse_mistakes(Kept(), {}, name, destination)
            found = set[str]()
        except FormMistakes as error:
            found = set(error.fields)
        assert found == wrong


@pytest.mark.timeout(60)
def test_keys_whose_comparison_would_not_end_are_taken_to_overlap() -> None:
    """Templates of a customer, who saves them: what stands twice in one has, in the other, a sign at a place far from its end."""
    days = "{dd}" * 8
    far = s3(key=f"{{external_id}}0{days}/{{external_id}}1{days}/{{event_id}}")
    assert refused(s3(key="{external_id}/{external_id}/{event_id}"), far) == BOTH


@given(st.lists(st.text("ab/", max_size=4), max_size=8))
def test_places_that_may_have_a_key_in_common_are_looked_at(roots: list[str]) -> None:
    found = _beside_others(roots)
    for number, one in enumerate(roots):
        others = roots[:number] + roots[number + 1 :]
        assert (one in found) == any(one.startswith(other) or other.startswith(one) for other in others)


def test_a_plug_in_may_write_where_its_own_patterns_say(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(S3Destination):
        def patterns(self) -> list[Pattern]:
            return [pattern_of(["shared/", "one.json"])]  # whatever its prefix is

    def made(*arguments: Any) -> ObjectDestination[Any]:
        destination = make_destination(*arguments)
        destination.__class__ = Elsewhere
        return destination

    monkeypatch.setattr(module, "make_destination", made)
    given = {name: DestinationSettings.model_validate(s3(prefix=f"{name}/")) for name in ("a", "b")}
    assert [where for where, _ in overlaps(given, None)] == [("b", "prefix"), ("a", "prefix")]
