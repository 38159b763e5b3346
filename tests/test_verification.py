"""The proof: `verify` finds each thing that may have been done to a delivery, and nothing where nothing was."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from logstream.database import connect
from logstream.errors import InputError
from logstream.export.exporter import Exporter
from logstream.proof.chain import Link, chain_problems
from logstream.proof.manifests import digest_of
from logstream.proof.signing import Signer, is_signed
from logstream.store.schema import create_tables
from logstream.testing.filling import fill
from logstream.testing.postgres import new_database
from logstream.validation import validate_settings
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.auditor import audited
from tests.test_engine import QUICK, START, WINDOW, WORKSPACES, Connections, Make, engine, export, filled, override

__all__ = ["engine", "filled"]  # fixtures

PROJECT = Path(__file__).parent.parent
EVENTS = 300
WINDOWS = [Window(START + timedelta(minutes=n), START + timedelta(minutes=n + 1)) for n in range(5)]


def findings(exporter: Exporter, span: Window = WINDOW) -> list[str]:
    return [finding.what for finding in verify(exporter, span).findings]


def objects(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "_manifests" not in path.parts)


class Sealed(NamedTuple):
    """Five windows in a folder, with their manifests beside them, and the databases that know them."""

    exporter: Exporter
    connection: psycopg.Connection
    out: Path


class SealedOnce(NamedTuple):
    """What each test has a copy of. `out` is where the settings have the folder."""

    database: str
    out: Path
    pristine: Path


@pytest.fixture(scope="module", params=["file", "batch"])
def sealed_once(request: pytest.FixtureRequest, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> SealedOnce:
    folder = tmp_path_factory.mktemp("sealed")
    found = SealedOnce(f"sealed_{request.param}", folder / "out", folder / "pristine")
    options = {
        "type": "file", "path": str(found.out), "packaging": request.param, "manifests": True, "lanes": 2,
    }  # fmt: skip
    with connect(postgres) as server:
        server.execute(SQL("create database {}").format(Identifier(found.database)))
    dsn = make_conninfo(postgres, dbname=found.database)
    with connect(dsn) as connection:
        create_tables(connection)
        fill(connection, WORKSPACES, EVENTS, START, timedelta(minutes=5))
    with Exporter(dsn, dsn, Connections(), policy=QUICK) as exporter:
        exporter.settings.apply(validate_settings(override(options)))
        for window in WINDOWS:
            _, reports = export(exporter, window)
            assert [report.error for report in reports] == [None]
    found.out.rename(found.pristine)
    return found


@pytest.fixture
def sealed(sealed_once: SealedOnce, postgres: str) -> Iterator[Sealed]:
    shutil.copytree(sealed_once.pristine, sealed_once.out)
    with (
        new_database(postgres, sealed_once.database) as dsn,
        connect(dsn) as connection,
        Exporter(dsn, dsn, Connections(), policy=QUICK) as exporter,
    ):
        yield Sealed(exporter, connection, sealed_once.out)
    shutil.rmtree(sealed_once.out)


def test_nothing_is_found_where_nothing_was_done(sealed: Sealed) -> None:
    result = verify(sealed.exporter, WINDOW)
    assert result.findings == []
    assert (result.windows, result.events) == (5, EVENTS)
    assert result.objects == len(objects(sealed.out))
    # again, from the start: the same objects, and no other manifests
    before = {path: path.read_bytes() for path in sealed.out.rglob("*") if path.is_file()}
    for window in WINDOWS:
        export(sealed.exporter, window)
    assert {path: path.read_bytes() for path in sealed.out.rglob("*") if path.is_file()} == before
    assert findings(sealed.exporter) == []


def delete_an_object(out: Path, _: psycopg.Connection) -> None:
    objects(out)[3].unlink()


def a_pipe(out: Path, _: psycopg.Connection) -> None:
    """Who opens it waits for another who writes, and none comes."""
    path = objects(out)[3]
    path.unlink()
    os.mkfifo(path)


def a_pipe_for_a_manifest(out: Path, _: psycopg.Connection) -> None:
    path = out / "_manifests/d/00000002.json"
    path.unlink()
    os.mkfifo(path)


def alter_a_byte(out: Path, _: psycopg.Connection) -> None:
    body = bytearray(objects(out)[3].read_bytes())
    body[len(body) // 2] ^= 1
    objects(out)[3].write_bytes(body)


def cut_an_object(out: Path, _: psycopg.Connection) -> None:
    objects(out)[3].write_bytes(objects(out)[3].read_bytes()[:-1])


def immense(path: Path) -> None:
    """A file without an end to speak of: more than any machine's memory, and it takes no room on the disk."""
    with path.open("r+b") as file:
        file.truncate(1 << 42)


def an_immense_object(out: Path, _: psycopg.Connection) -> None:
    immense(objects(out)[3])


def an_immense_manifest(out: Path, _: psycopg.Connection) -> None:
    immense(out / "_manifests" / "d" / "00000002.json")


def an_immense_listing(out: Path, _: psycopg.Connection) -> None:
    immense(out / "_manifests" / "d" / "00000002-00000.ndjson.gz")


def an_immense_check(out: Path, _: psycopg.Connection) -> None:
    left = out / "_logstream_check" / ("0" * 16)
    left.parent.mkdir()
    left.touch()
    immense(left)


def add_an_object(out: Path, _: psycopg.Connection) -> None:
    shutil.copy(objects(out)[3], objects(out)[3].with_name("another" + objects(out)[3].suffix))


def remove_a_manifest_there(out: Path, _: psycopg.Connection) -> None:
    (out / "_manifests" / "d" / "00000002.json").unlink()


def alter_a_manifest_there(out: Path, _: psycopg.Connection) -> None:
    path = out / "_manifests" / "d" / "00000002.json"
    path.write_text(path.read_text().replace('"events":', '"events": '))


def alter_a_listing_there(out: Path, _: psycopg.Connection) -> None:
    path = out / "_manifests" / "d" / "00000002-00000.ndjson.gz"
    path.write_bytes((out / "_manifests" / "d" / "00000003-00000.ndjson.gz").read_bytes())


def remove_a_manifest(_: Path, connection: psycopg.Connection) -> None:
    connection.execute("delete from logstream.manifests where sequence = 3")


def alter_a_manifest(_: Path, connection: psycopg.Connection) -> None:
    connection.execute(
        "update logstream.manifests set document = replace(document, '\"rejected\":0', '\"rejected\":1') where sequence = 3"
    )


def swap_two_manifests(_: Path, connection: psycopg.Connection) -> None:
    connection.execute("update logstream.manifests set sequence = sequence + 100 where sequence in (2, 3)")
    connection.execute("update logstream.manifests set sequence = 105 - sequence where sequence > 100")


def forget_a_part(_: Path, connection: psycopg.Connection) -> None:
    connection.execute(
        "delete from logstream.lane_parts where ctid in (select ctid from logstream.lane_parts order by delivery_id limit 1)"
    )


def change_a_count(_: Path, connection: psycopg.Connection) -> None:
    connection.execute(
        'update logstream.lanes set delivered = \'{"1001": {"job": 1}}\' where (delivery_id, lane) in '
        "(select delivery_id, lane from logstream.lanes order by 1, 2 limit 1)"
    )


def delete_a_row(_: Path, connection: psycopg.Connection) -> None:
    connection.execute("delete from events where id = (select min(id) from events)")


def add_a_row(_: Path, connection: psycopg.Connection) -> None:
    connection.execute(
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload) select workspace_id, kind, occurred_at,"
        " recorded_at, payload from events order by id limit 1"
    )


def exchange_a_row(_: Path, connection: psycopg.Connection) -> None:
    """The counts stay what they were: only the ids tell."""
    connection.execute("update events set id = 1000000 where id = (select min(id) from events)")


def change_nothing_but_move(_: Path, connection: psycopg.Connection) -> None:
    connection.execute(
        "update logstream.deliveries set state = 'failed' where id = (select min(id) from logstream.deliveries)"
    )
    connection.execute(
        "update logstream.lanes set state = 'failed' where (delivery_id, lane) in "
        "(select delivery_id, lane from logstream.lanes order by 1, 2 limit 1)"
    )


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (delete_an_object, "is missing ("),
        (alter_a_byte, "its SHA-256 is not that of the manifest"),
        (cut_an_object, "was altered: it has "),
        (a_pipe, "it is no regular file"),
        (a_pipe_for_a_manifest, "00000002.json cannot be read: it is no regular file"),
        (an_immense_object, "bytes that were sent"),
        (
            an_immense_manifest,
            "manifest _manifests/d/00000002.json at the destination was altered: it is longer than that",
        ),
        (
            an_immense_listing,
            "00000002-00000.ndjson.gz at the destination was altered: it is longer than any listing",
        ),
        (an_immense_check, "is extra: no delivery made it"),
        (add_an_object, "is extra: no delivery made it"),
        (remove_a_manifest_there, "is missing at the destination"),
        (alter_a_manifest_there, "at the destination was altered"),
        (alter_a_listing_there, "00000002-00000.ndjson.gz at the destination was altered"),
        (remove_a_manifest, "manifest 3 of the chain is removed"),
        (alter_a_manifest, "manifest 3 was altered"),
        (swap_two_manifests, "manifest 2 is in another's place: it says it is 3"),
        (forget_a_part, "the ledger's list of what was delivered is not that of manifest 1"),
        (change_a_count, "the ledger's count of delivered events is not that of manifest"),
        (delete_a_row, "1 event was delivered that the log store no longer holds"),
        (add_a_row, "1 event is in the log store and not there when the window was exported"),
        (exchange_a_row, "do not hold the events that the log store has in their place"),
        (change_nothing_but_move, "is failed, not delivered"),
    ],
)
def test_each_thing_is_found(sealed: Sealed, tamper: Callable[[Path, psycopg.Connection], None], found: str) -> None:
    tamper(sealed.out, sealed.connection)
    told = findings(sealed.exporter)
    assert any(found in what for what in told), told


def test_the_last_manifest_cannot_be_removed_unseen(sealed: Sealed) -> None:
    sealed.connection.execute("delete from logstream.manifests where sequence = 5")
    assert findings(sealed.exporter) == [
        "it has no manifest: it was removed, or the delivery never sealed",
        "object _manifests/d/00000005-00000.ndjson.gz is extra: the ledger has no such manifest",
        "object _manifests/d/00000005.json is extra: the ledger has no such manifest",
    ]


def link(number: int, previous: str | None, key: str | None = None, signer: Signer | None = None, **more: Any) -> Link:
    """A manifest in its chain that says no more than it must."""
    fields = {
        "format": "logstream-manifest/1", "destination": "d", "sequence": number, "previous": previous, "generation": 1, "settings_snapshot": 1,
        "window": {"start": "2026-03-01T00:00:00Z", "end": "2026-03-01T00:05:00Z"}, "events": 0, "key": key,
        "delivered_by_workspace": {}, "rejected_by_workspace": {}, "listings": [], "superseded": [], "prefix": "",
        **more,
    }  # fmt: skip
    document = json.dumps(fields)
    return Link(number, document, digest_of(document), signer.sign(document) if signer else None)


def chain_of(*signers: Signer | None) -> list[Link]:
    """A chain, each of its manifests signed by one of these."""
    chain: list[Link] = []
    for number, signer in enumerate(signers, 1):
        previous = chain[-1].digest if chain else None
        chain.append(link(number, previous, signer.public_key if signer else None, signer))
    return chain


OLD, NOW = (Signer.of(base64.b64encode(seed * 32).decode()) for seed in (b"o", b"n"))


@pytest.mark.parametrize(
    ("chain", "key", "found"),
    [
        ([], None, []),
        (chain_of(None, None), None, []),
        (chain_of(None, None)[1:], None, ["manifest 1 of the chain is removed"]),
        (chain_of(None, None, None, None)[::3], None, ["manifest 2 to 3 of the chain is removed"]),
        (
            [link(1, None), link(2, "0" * 64)],
            None,
            ["the chain is broken at manifest 2: it does not hold the digest of the one before it"],
        ),
        ([link(1, None)._replace(sequence=2)], None, ["manifest 1 of", "manifest 2 is in another's place: it says it is 1"]),
        ([Link(1, "{", digest_of("{"), None)], None, ["manifest 1 was altered: it is no manifest: "]),
        ([Link(1, "[]", digest_of("[]"), None)], NOW.public_key, ["manifest 1 was altered: it is no manifest: "]),
        ([link(1, None, events="5")], None, ["manifest 1 was altered: it is no manifest: "]),
        # signing began later, and the key was changed: the newest vouches for all before it
        (chain_of(None, None, NOW, NOW), NOW.public_key, []),
        (chain_of(None, OLD, OLD, NOW), NOW.public_key, []),
        (chain_of(NOW, None), None, ["manifest 2 is not signed, though manifest 1 before it is"]),
        (
            chain_of(NOW, None),
            NOW.public_key,
            ["manifest 2 is not signed, though", "manifest 2, the newest, is not signed by the key of connection"],
        ),
        (chain_of(None, None), NOW.public_key, ["manifest 2, the newest, is not signed by the key of connection"]),
        (chain_of(None, OLD), NOW.public_key, ["manifest 2 is signed by another key than that of connection"]),
        (chain_of(NOW, OLD, NOW), NOW.public_key, ["manifest 2 is signed by another key than manifest 1 before it"]),
        ([chain_of(NOW)[0]._replace(signature=None)], None, ["the signature of manifest 1 is not valid"]),
        ([chain_of(NOW)[0]._replace(signature=OLD.sign("x"))], None, ["the signature of manifest 1 is not valid"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_chain(chain: list[Link], key: str | None, found: list[str]) -> None:
    problems = list(chain_problems(chain, key))
    assert len(problems) == len(found), problems
    assert all(problem.startswith(words) for problem, words in zip(problems, found, strict=True)), problems


def test_of_manifests_that_are_not_looked_at_only_the_newest_signature_is_verified() -> None:
    chain = chain_of(NOW, NOW, NOW)
    broken = [item._replace(signature=None) for item in chain]
    problems = list(chain_problems(broken, NOW.public_key, {1}.__contains__))
    assert problems == ["the signature of manifest 1 is not valid", "the signature of manifest 3 is not valid"]


def test_signatures(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    exporter = engine(override({"type": "file", "path": str(tmp_path / "out"), "manifests": True}))
    exporter.signer = Signer.of(base64.b64encode(bytes(32)).decode())
    export(exporter)
    assert findings(exporter) == []
    (manifest,) = exporter.ledger.manifests_within(WINDOW)
    assert is_signed(manifest.document, manifest.signature, exporter.signer.public_key)
    assert (tmp_path / "out" / "_manifests" / "d" / "00000001.sig").read_text() == manifest.signature
    exporter.signer = Signer.of(base64.b64encode(b"1" * 32).decode())
    assert findings(exporter) == ["manifest 1 is signed by another key than that of connection `logstream_signing`"]
    # the window exported again: the same objects, and a manifest that vouches for the chain
    export(exporter)
    assert findings(exporter) == []
    assert [item.sequence for item in exporter.ledger.manifests_within(WINDOW)] == [1, 2]
    export(exporter)
    assert [item.sequence for item in exporter.ledger.manifests_within(WINDOW)] == [1, 2]
    filled.execute("update logstream.manifests set signature = null")
    assert "the signature of manifest 1 is not valid" in findings(exporter)
    assert "the signature of manifest 2 is not valid" in findings(exporter)


@pytest.mark.parametrize("text", ["", "x", "AAAA", "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----"])
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(InputError, match="is no Ed25519 private key") as refused:
        Signer.of(text)
    assert not text or text not in str(refused.value)


@pytest.mark.thorough
def test_nothing_is_found_in_a_clean_month(engine: Make, filled: psycopg.Connection, tmp_path: Path) -> None:
    """Hour by hour: a month with `make soak`, two days of it else."""
    hours = 30 * 24 if os.environ.get("LOGSTREAM_SOAK") else 48
    begin = WINDOW.end + timedelta(days=1)
    filled.execute(
        "insert into events (workspace_id, kind, occurred_at, recorded_at, payload)"
        " select 100 + n, 'user_activity', t, t, json_build_object('id', n)"
        " from generate_series(0, %(hours)s - 1) h, generate_series(1, 5) n, lateral"
        " (select %(begin)s::timestamptz + h * interval '1 hour' + n * interval '1 minute' as t) x",
        {"hours": hours, "begin": begin},
    )
    out = {"type": "file", "path": str(tmp_path / "out"), "packaging": "batch", "manifests": True, "lanes": 1}
    exporter = engine(override(out))
    for hour in range(hours):
        export(exporter, Window(begin + timedelta(hours=hour), begin + timedelta(hours=hour + 1)))
    result = verify(exporter, Window(begin, begin + timedelta(hours=hours)))
    assert [str(finding) for finding in result.findings] == []
    assert (result.windows, result.events) == (hours, 5 * hours)
    # the same month with one row gone
    filled.execute("delete from events where id = (select max(id) from events)")
    gone, *_ = findings(exporter, Window(begin, begin + timedelta(hours=hours)))
    assert gone == "workspace 105, user_activity: 1 event was delivered that the log store no longer holds"


def test_a_window_in_which_nothing_was_selected_is_judged_by_the_settings_of_then(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    """Found by a simulated world: the settings in force today select what was rightly left out then."""
    lake = {"type": "file", "path": str(tmp_path / "out"), "packaging": "batch"}
    exporter = engine({**override(lake), "admin": {"enabled": True, "events": ["genie"], "destination": "d"}})
    export(exporter)
    exporter = engine(override(lake))
    assert verify(exporter, WINDOW).findings == []
    filled.execute("update events set kind = 'genie' where id = (select min(id) from events)")
    (finding,) = verify(exporter, WINDOW).findings
    assert "1 event was never exported" in finding.what


def test_a_late_row_that_only_the_newer_settings_of_its_window_select_is_found(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    def settings(*routes: tuple[int, str]) -> dict[str, Any]:
        streaming = {"enabled": True, "events": ["job_details", "user_activity", "api_platform", "log_service"]}
        return {
            "workspaces": [{"id": number, "streaming": {**streaming, "destination": name}} for number, name in routes],
            "destinations": {name: {"type": "file", "path": str(tmp_path / name)} for name in ("one", "other")},
        }

    export(engine(settings((101, "one"))))
    # `one` keeps what it has of the window, and is not planned anew: nothing is selected for it now
    exporter = engine(settings((101, "other"), (999, "one")))
    export(exporter)
    assert findings(exporter) == []
    filled.execute("insert into workspaces (id, name) values (999, 'new')")
    filled.execute(
        "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload)"
        " values (999999, 999, 'job', %s, %s, '{}')",
        (WINDOW.start, WINDOW.start),
    )
    assert findings(exporter) == ["1 event was never exported"]


@pytest.mark.parametrize("packaging", ["batch", "parquet", "file"])
def test_dead_letters_that_were_sent_again_come_last_in_their_lane(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, packaging: str
) -> None:
    deep = '{"id": "deep", "x": ' + "[" * 600 + "]" * 600 + "}"
    for number, workspace, second in ((70000, 101, 40), (70001, 101, 20), (70002, 101, 10), (70003, 102, 30)):
        at = START + timedelta(seconds=second)
        filled.execute(
            "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload) values (%s, %s, 'job', %s, %s, %s)",
            (number, workspace, at, at, deep),
        )
    options = {"type": "file", "path": str(tmp_path / "out"), "packaging": packaging, "manifests": True, "lanes": 2}
    exporter = engine(override(options))
    (report,) = export(exporter)[1]
    assert report.rejected == 4
    # the platform mends them: the last one first, then all but one
    for mended in ([70000], [70001, 70003], [70002]):
        for number in mended:
            payload = json.dumps({"id": f"mended {number}"})
            filled.execute("update events set payload = %s where id = %s", (payload, number))
        (again,) = exporter.redeliver_rejected()
        assert (again.delivered, again.error) == (len(mended), None)
        assert verify(exporter, WINDOW).findings == []
    found = audited(tmp_path / "out")
    assert (found.code, found.problems) == (0, [])
    # another row in the place of one of them is found
    filled.execute("update events set id = 80000 where id = 70001")
    assert any("in their place" in finding.what for finding in verify(exporter, WINDOW).findings)
