"""Sealing: manifests are put once and never over others, later if they could not be, and tell what they supersede."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import tracemalloc
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from logstream.errors import DeliveryError
from logstream.export.beside import ManifestFolder
from logstream.export.exporter import Exporter
from logstream.export.sealer import Sealer
from logstream.ledger.records import Delivery, State
from logstream.proof import listings
from logstream.proof.manifests import Manifest
from logstream.validation import validate_settings
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.auditor import audited
from tests.test_engine import START, WINDOW, Make, engine, export, filled, override

__all__ = ["engine", "filled"]  # fixtures

WINDOWS = [Window(START + timedelta(minutes=n), START + timedelta(minutes=n + 1)) for n in range(5)]
AFTER = datetime(2027, 1, 1, tzinfo=UTC)


def findings(exporter: Exporter, span: Window = WINDOW) -> list[str]:
    return [finding.what for finding in verify(exporter, span).findings]


def folder(out: Path, **options: Any) -> dict[str, Any]:
    return {"type": "file", "path": str(out), "packaging": "batch", "manifests": True, "lanes": 2, **options}


def apply(exporter: Exporter, destination: dict[str, Any], **streaming: Any) -> None:
    document = override(destination, **streaming)
    exporter.settings.apply(validate_settings(document))


def manifest(out: Path, number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "_manifests" / "d" / f"{number:08d}.json").read_text())
    return found


def files(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def data(out: Path) -> set[str]:
    return {name for name in files(out) if not name.startswith("_manifests/")}


def only(reports: Iterable[Delivery]) -> Delivery:
    (report,) = reports
    return report


def clean(exporter: Exporter, out: Path, span: Window = WINDOW) -> None:
    assert findings(exporter, span) == []
    found = audited(out)
    assert (found.code, found.problems) == (0, [])


# what could not be put is put later


def test_a_manifest_that_could_not_be_put_is_put_by_a_later_run(engine: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out)))
    out.mkdir()
    (out / "_manifests").write_text("in the way")
    report = only(export(exporter, WINDOWS[0])[1])
    assert report.state is State.FAILED
    assert "its manifest could not be written" in (report.error or "")
    assert [(item.window, item.error) for item in exporter.ledger.owed()] == [(WINDOWS[0], report.error)]
    (out / "_manifests").unlink()
    # the next window's run takes along what is owed, sends nothing of it again, and seals it
    before = {name: (out / name).stat().st_mtime_ns for name in data(out)}
    planned = exporter.plan(WINDOWS[1], heal=True)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    assert {report.error for report in exporter.seal(planned.delivery_ids)} == {None}
    assert exporter.ledger.owed() == []
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before
    assert [manifest(out, number)["sequence"] for number in (1, 2)] == [1, 2]
    clean(exporter, out, Window(WINDOWS[0].start, WINDOWS[1].end))


def test_a_chain_beside_the_data_has_no_hole_though_a_window_was_planned_anew_before_its_manifest_was_put(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from logstream.destinations import file
    from logstream.destinations.outcome import GiveUp

    out = tmp_path / "out"
    exporter = engine(override(folder(out, lanes=1)))
    assert only(export(exporter, WINDOWS[0])[1]).error is None
    monkeypatch.setattr(file.FileDestination, "create_now", lambda *_: GiveUp("the disk is full"))
    assert only(export(exporter, WINDOWS[1])[1]).state is State.FAILED
    monkeypatch.undo()
    filled.execute(
        "insert into events (id, workspace_id, kind, occurred_at, recorded_at, payload)"
        " select 999999, workspace_id, kind, occurred_at, recorded_at, payload from events"
        " where recorded_at >= %s and recorded_at < %s limit 1",
        (WINDOWS[1].start, WINDOWS[1].end),
    )
    for _ in range(2):  # what was never put is made anew at the second
        export(exporter, WINDOWS[1])
    assert exporter.ledger.owed() == []
    clean(exporter, out, Window(WINDOWS[0].start, WINDOWS[1].end))
    export(exporter, WINDOWS[2])
    clean(exporter, out, Window(WINDOWS[0].start, WINDOWS[2].end))


# after the ledger was pruned


def test_sealing_again_after_pruning_keeps_the_manifest(engine: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out)))
    planned = exporter.plan(WINDOW)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    exporter.seal(planned.delivery_ids)
    before = files(out)
    assert exporter.ledger.prune(AFTER) == 1
    assert only(exporter.seal(planned.delivery_ids)).error is None
    assert [item.sequence for item in exporter.ledger.manifests_within(WINDOW)] == [1]
    assert files(out) == before
    clean(exporter, out)


def test_a_dead_letter_that_arrives_after_pruning_is_listed_beside_what_was_forgotten(
    engine: Make, filled: psycopg.Connection, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out, packaging="file", lanes=1)))
    deep = '{"id": "deep", "x": ' + "[" * 600 + "]" * 600 + "}"
    filled.execute("insert into events values (77777, 100, 'job', %s, %s, %s)", (START, START, deep))
    report = only(export(exporter, WINDOWS[0])[1])
    assert report.rejected == 1
    exporter.ledger.prune(AFTER)
    filled.execute('update events set payload = \'{"id": "mended"}\' where id = 77777')
    (again,) = exporter.redeliver_rejected()
    assert again.error is None
    first, second = manifest(out, 1), manifest(out, 2)
    assert second["events"] == first["events"] + report.rejected
    assert second["listings"][:-1] == first["listings"]
    clean(exporter, out, WINDOWS[0])


def test_what_was_pruned_and_is_exported_anew_under_other_names_is_superseded(engine: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out)))
    export(exporter)
    first = data(out)
    exporter.ledger.prune(AFTER)
    # again to the same objects: nothing is superseded, and the manifest stays
    export(exporter)
    assert [item.sequence for item in exporter.ledger.manifests_within(WINDOW)] == [1]
    clean(exporter, out)
    for number, compression in enumerate(["gzip", "zstd", "gzip"], start=2):
        exporter.ledger.prune(AFTER)
        apply(exporter, folder(out, compression=compression))
        report = only(export(exporter)[1])
        assert report.error is None
        assert manifest(out, number)["superseded"]
        assert first <= data(out), "what the ledger has forgotten it does not remove"
        clean(exporter, out)
        # sealed again, it is the same
        assert [item.error for item in exporter.seal([report.id])] == [None]
        assert [item.sequence for item in exporter.ledger.manifests_within(WINDOW)] == list(range(1, number + 1))
    # not forgotten: removed, and what was forgotten before stays known
    apply(exporter, folder(out))
    assert only(export(exporter)[1]).error is None
    assert first <= data(out)
    clean(exporter, out)
    next(out.rglob("*.zst")).write_bytes(b"altered")
    assert findings(exporter) != [] and audited(out).code == 1


def test_what_was_pruned_without_its_listing_is_exported_anew_all_the_same(engine: Make, tmp_path: Path) -> None:
    """Then the old objects cannot be spoken of, and are extra."""
    out = tmp_path / "out"
    exporter = engine(override(folder(out)))
    export(exporter)
    exporter.ledger.prune(AFTER)
    next(out.rglob("*-00000.ndjson.gz")).unlink()
    apply(exporter, folder(out, compression="gzip"))
    assert only(export(exporter)[1]).error is None
    assert any("is extra" in what for what in findings(exporter))


@pytest.mark.parametrize("packaging", ["file", "batch"])
def test_dead_letters_are_not_put_elsewhere_than_their_manifest_tells(
    engine: Make, filled: psycopg.Connection, tmp_path: Path, packaging: str
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    exporter = engine(override(folder(old, packaging=packaging)))
    deep = '{"id": "deep", "x": ' + "[" * 600 + "]" * 600 + "}"
    filled.execute("insert into events values (77777, 100, 'job', %s, %s, %s)", (START, START, deep))
    assert only(export(exporter, WINDOWS[0])[1]).rejected == 1
    filled.execute('update events set payload = \'{"id": "mended"}\' where id = 77777')
    apply(exporter, folder(new, packaging=packaging))
    (again,) = exporter.redeliver_rejected()
    assert "was delivered to another place than d is now: export that window again" in (again.error or "")
    assert again.delivered == 0 and not new.exists()
    clean(exporter, old, WINDOWS[0])
    # what it says helps
    report = only(export(exporter, WINDOWS[0])[1])
    assert (report.error, report.rejected) == (None, 0)
    assert exporter.redeliver_rejected() == []


# the same objects


def test_equal_objects_under_another_version_of_the_settings_make_no_new_manifest(engine: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out)))
    export(exporter)
    before = files(out)
    document = override(folder(out))
    document["destinations"]["spare"] = {"type": "file", "path": str(tmp_path / "spare")}
    exporter.settings.apply(validate_settings(document))
    assert only(export(exporter)[1]).error is None
    assert files(out) == before
    clean(exporter, out)


def test_behind_a_manifest_that_could_not_be_put_none_is_put_whatever_other_destinations_do_meanwhile(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hole in a chain beside the data: what came behind it was then made anew, and its place was taken for ever."""
    everything = {"enabled": True, "events": ["job_details", "user_activity", "api_platform", "log_service"]}
    exporter = engine({
        "destinations": {name: folder(tmp_path / name, lanes=1) for name in ("d", "other")},
        "workspaces": [
            {"id": number, "streaming": {**everything, "destination": "d" if number % 2 else "other"}}
            for number in range(100, 110)
        ],
    })  # fmt: skip
    planned = [exporter.plan(window) for window in WINDOWS[:2]]
    for plan in planned:
        exporter.deliver([key for share in plan.shares for key in share.lanes])
    put, others_is_put = Sealer._put_one, asyncio.Event()

    async def put_one(self: Sealer, folder: Any, found: Manifest, *rest: Any) -> None:
        if (found.destination, found.sequence) == ("d", 1):
            await asyncio.wait_for(others_is_put.wait(), 30)
            raise DeliveryError("it cannot be put")
        await put(self, folder, found, *rest)
        if found.destination == "other":
            others_is_put.set()

    with monkeypatch.context() as broken:
        broken.setattr(Sealer, "_put_one", put_one)
        exporter.seal([number for plan in planned for number in plan.delivery_ids])
    beside = {path.name for path in (tmp_path / "d" / "_manifests" / "d").glob("*.json")}
    assert beside == set(), "no manifest without the one before it"
    assert [item.error for item in exporter.redeliver_owed()] == [None, None]
    assert audited(tmp_path / "d").code == 0


# a control database that was restored


# a destination that moves, and one that is named anew


def test_a_file_that_unpacks_to_more_than_there_is_memory_is_no_listing(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is the customer's, and one task seals the windows of all customers."""
    most, out = 1 << 20, tmp_path / "out"
    monkeypatch.setattr(listings, "LISTING_BYTES", most, raising=False)
    lines = b'{"name":"x","bytes":1,"sha256":"","events":0,"ids":""}\n'
    bomb = gzip.compress(lines * ((64 << 20) // len(lines)), 1)
    listing = out / "_manifests" / "d" / "00000001-00000.ndjson.gz"
    listing.parent.mkdir(parents=True)
    listing.write_bytes(bomb)
    exporter = engine(override(folder(out)))

    def peak(work: Callable[[], object]) -> int:
        tracemalloc.start()
        try:
            work()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    planned = exporter.plan(WINDOW)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    assert peak(lambda: exporter.seal(planned.delivery_ids)) < 16 * most
    clean(exporter, out)
    listing.write_bytes(bomb)
    found: list[str] = []
    assert peak(lambda: found.extend(findings(exporter))) < 16 * most
    assert found == [
        f"listing {listing.relative_to(out)} at the destination was altered: it is longer than any listing"
    ]
    assert any("00000001-00000.ndjson.gz was altered" in problem for problem in audited(out).problems)


def test_what_is_larger_than_any_file_of_ours_is_none_of_them(engine: Make, tmp_path: Path) -> None:
    """In the place of a listing it is written over, as any other there; in the place of a manifest it stays."""
    out, exporter = tmp_path / "out", engine(override(folder(tmp_path / "out")))
    chain = out / "_manifests" / "d"
    chain.mkdir(parents=True)
    for name in ("00000001-00000.ndjson.gz", "00000002.json"):
        with (chain / name).open("wb") as file:
            file.truncate(1 << 42)
    _, reports = export(exporter, WINDOWS[0])
    assert [report.error for report in reports] == [None]
    assert findings(exporter, WINDOWS[0])[1:] == []  # but for what is ahead
    _, reports = export(exporter, WINDOWS[1])
    assert ["holds another manifest (what is there is no manifest)" in str(report.error) for report in reports] == [
        True
    ]
    assert (chain / "00000002.json").stat().st_size == 1 << 42


@pytest.mark.parametrize("pause", ["before its listings", "after its listings"])
def test_a_sealing_that_was_taken_for_dead_harms_no_listing_of_another_manifest(
    engine: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: str
) -> None:
    """It pauses; meanwhile its window is planned by other options, and sealed under the same number."""
    out = tmp_path / "out"
    listing = out / "_manifests" / "d" / "00000001-00000.ndjson.gz"
    listing.parent.mkdir(parents=True)
    listing.write_bytes(b"what an earlier sealing has left")
    exporter = engine(override(folder(out)))
    planned = exporter.plan(WINDOW)
    exporter.deliver([key for share in planned.shares for key in share.lanes])
    putting = ManifestFolder._put_listings
    there: list[dict[str, bytes]] = []

    async def another() -> None:
        monkeypatch.setattr(ManifestFolder, "_put_listings", putting)
        apply(exporter, folder(out, compression="gzip"))
        exporter.ledger.drop_end("d", 1)
        await asyncio.to_thread(export, exporter)
        there.append({name: body for name, body in files(out).items() if name.startswith("_manifests/")})

    calls: list[object] = []

    async def with_another(self: ManifestFolder, *args: Any, **kwargs: Any) -> bool:
        calls.append(args)
        if pause == "before its listings":
            await another()
        found = await putting(self, *args, **kwargs)
        if pause == "after its listings" and len(calls) == 2:
            await another()
        return found

    monkeypatch.setattr(ManifestFolder, "_put_listings", with_another)
    exporter.seal(planned.delivery_ids)
    assert len(there[0]) == 3
    assert {name: body for name, body in files(out).items() if name in there[0]} == there[0]


def test_a_chain_goes_on_in_another_folder(engine: Make, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    exporter = engine(override(folder(old)))
    for window in WINDOWS[:2]:
        export(exporter, window)
    apply(exporter, folder(new))
    for window in WINDOWS[2:]:
        export(exporter, window)
    assert findings(exporter) == []
    assert audited(old, new).problems == []
    assert "d: manifests 1 to 2 are missing" in audited(new).problems
    shutil.rmtree(old / "d")
    assert any("is missing (" in what for what in findings(exporter))
    assert audited(old, new).code == 1


def test_a_destination_that_is_named_anew_has_a_chain_of_its_own(engine: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exporter = engine(override(folder(out)))
    export(exporter, WINDOWS[0])
    document = {"admin": {**override({})["admin"], "destination": "e"}, "destinations": {"e": folder(out)}}
    exporter.settings.apply(validate_settings(document))
    export(exporter, WINDOWS[1])
    assert findings(exporter, Window(WINDOWS[0].start, WINDOWS[1].end)) == []
    found = audited(out)
    assert (found.code, [line.split(":")[0] for line in found.lines[:2]]) == (0, ["d", "e"])
    # folders in folders: each is judged by its own manifests
    document["destinations"]["e"]["path"] = str(out / "below")
    exporter.settings.apply(validate_settings(document))
    export(exporter, WINDOWS[2])
    assert findings(exporter, Window(WINDOWS[0].start, WINDOWS[2].end)) == []
    assert audited(out, out / "below").problems == []
    assert audited(out).code == 1


# real object stores
